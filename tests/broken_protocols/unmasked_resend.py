"""CrypTen's replicated product sends its local product on without a share of zero: the receiver
learns from it."""

from __future__ import annotations

from typing import Any

from backends import Replicated3PC
from wwfl_core.sharing.share import Share


class UnmaskedResend(Replicated3PC):
    """No zero share."""

    def _zero_share(self, op: Any, x: Share, shape: Any) -> Any:
        return x.algebra.zeros(shape)
