"""An MPyC runtime that shows what it sends in a zero test (tests/core/sharing/test_shamir.py)."""

from __future__ import annotations

from typing import Any

from backends.foreign import mpyc_runtime
from backends.foreign.mpyc_field import from_words


class Runtime(mpyc_runtime.Runtime):
    def zero_test_points(self, words: Any) -> dict[str, list[int]]:
        """The points of this party that a public zero test of its shares opens, and its shares of
        the input."""
        mpc, opened = self._mpc, []
        output = mpc.output

        def listening(x: Any, *args: Any, **kwargs: Any) -> Any:
            opened.append(x.value.tolist())
            return output(x, *args, **kwargs)

        mpc.output = listening
        try:
            result = mpc.np_is_zero_public(self._shared(words))
            self._rounds(result)
        finally:
            mpc.output = output
        assert not result.result().any()
        return {"own": from_words(words).tolist(), "opened": opened[0]}
