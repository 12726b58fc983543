"""A public number is added by every holder group instead of by one: the classic slip of a first
protocol."""

from __future__ import annotations

from typing import Any

from backends import Replicated3PC
from wwfl_core.sharing.share import Share


class AddsPublicTwice(Replicated3PC):
    """Components 0 and 1 both absorb the public array (for bits, the two cancel)."""

    def add_public(self, x: Share, value: Any) -> Share:
        once = super().add_public(x, value)
        parts = {c: once.algebra.add(a, value) if c == 1 else a for c, a in once.parts.items()}
        return Share(once.algebra, once.shape, parts)
