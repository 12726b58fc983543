"""Shares of a bit under XOR taken for shares of the number: b1 + b2 + b3 is not b1 ^ b2 ^ b3."""

from __future__ import annotations

from backends import Replicated3PC
from wwfl_core import kernels
from wwfl_core.numbers.algebra import RING
from wwfl_core.numbers.arrays import Shape, numel
from wwfl_core.sharing.share import Share


class XorIsNoSum(Replicated3PC):
    """Every component is lifted to the ring by itself."""

    def bit_to_ring(self, b: Share, shape: Shape) -> Share:
        lifted = {c: kernels.expand(a, numel(shape)).reshape(shape) for c, a in b.parts.items()}
        return Share(RING, shape, lifted)
