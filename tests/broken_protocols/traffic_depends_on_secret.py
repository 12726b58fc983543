"""Piranha opens per-element exponents by default; what is sent after such an opening can depend on
it."""

from __future__ import annotations

from backends import Replicated3PC
from wwfl_core.sharing.share import Share


class TrafficDependsOnSecret(Replicated3PC):
    """Opens, and skips the injection where there is nothing to gate."""

    def inject(self, b: Share, x: Share) -> Share:
        opened = self.open(x, "is there anything?")
        assert opened is not None
        return super().inject(b, x) if opened.any() else x
