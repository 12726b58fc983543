"""A multiplexer with its branches exchanged."""

from __future__ import annotations

from backends import Replicated3PC
from wwfl_core.sharing.share import Share


class OtherBranch(Replicated3PC):
    """(1 - b) x instead of b x."""

    def inject(self, b: Share, x: Share) -> Share:
        return x - super().inject(b, x)
