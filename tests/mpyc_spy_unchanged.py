"""`mpyc_spy` with MPyC's own zero test."""

from __future__ import annotations

from typing import Any

import mpyc_spy


class Runtime(mpyc_spy.Runtime):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self._mpc.np_is_zero_public  # the instance's; the class has MPyC's
