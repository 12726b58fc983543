"""Piranha opens softmax sums and exponents on the way; CrypTen's `validation_mode` reveals
operands."""

from __future__ import annotations

from backends import Additive2PC
from wwfl_core.sharing.share import Share


class HiddenOpen(Additive2PC):
    """A comparison that looks at its operand when it seems to be small."""

    def sign(self, x: Share, bits: int = 64) -> Share:
        if bits < 64:
            self.open(x, "debug")
        return super().sign(x, bits)
