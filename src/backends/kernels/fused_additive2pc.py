"""2PC with a helper on a device: truncation in one kernel per step."""

from __future__ import annotations

from typing import ClassVar

from ..additive2pc import Additive2PC
from ..correlated.truncation import PairTruncation
from .pair import FusedPairTruncation


class FusedAdditive2PC(Additive2PC):
    """`Additive2PC` with the kernels of `PairTruncation`."""

    truncation: ClassVar[PairTruncation] = FusedPairTruncation()


__all__ = ["FusedAdditive2PC"]
