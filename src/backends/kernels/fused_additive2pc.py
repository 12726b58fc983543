"""2PC with a helper on a device: truncation in one kernel per step."""

from __future__ import annotations

from typing import ClassVar

from wwfl_core.numbers.lazy import computed
from wwfl_core.sharing.share import Share

from ..additive2pc import Additive2PC
from ..correlated.truncation import PairTruncation
from .pair import FusedPairTruncation


class FusedAdditive2PC(Additive2PC):
    """`Additive2PC` with the kernels of `PairTruncation`."""

    truncation: ClassVar[PairTruncation] = FusedPairTruncation()

    def truncate(self, x: Share, bits: int) -> Share:
        half = super().truncate(x, bits)
        return Share(half.algebra, half.shape, {c: computed(a) for c, a in half.parts.items()})


__all__ = ["FusedAdditive2PC"]
