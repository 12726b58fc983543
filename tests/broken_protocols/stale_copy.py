"""Two holders of one component disagree: nothing fails until a later operation mixes the copies.

CrypTen's `_A2B` catches an out-of-memory error at one party and goes another way than its peers.
"""

from __future__ import annotations

from typing import Any

from backends import Replicated3PC
from wwfl_core.sharing.share import Share


class StaleCopy(Replicated3PC):
    """P2 keeps another copy of x2 after a truncation."""

    def truncate(self, x: Share, bits: int) -> Share:
        z = super().truncate(x, bits)
        if self.me != 1:
            return z
        parts: dict[int, Any] = {c: a + a.dtype.type(c == 1) for c, a in z.parts.items()}
        return Share(z.algebra, z.shape, parts)
