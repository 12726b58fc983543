"""SPU's local truncation was biased until 2026-04 (fix #1435; found by an outsider,
secretflow#1998).

Here: every result is a neighbour of the exact one, but always the lower.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backends import Replicated3PC
from wwfl_core.numbers.bilinear import Bilinear
from wwfl_core.sharing.share import Share


class BiasedTruncation(Replicated3PC):
    """Rounds down, always: what was rounded up is taken back by a comparison."""

    def truncate(self, x: Share, bits: int) -> Share:
        rounded = super().truncate(x, bits)
        up = self.sign(x - rounded.map(lambda a: a << np.uint64(bits)))
        return rounded - self.bit_to_ring(up, x.shape)

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Any:
        z = super().bilinear(f, x, y)
        return self.truncate(z, truncate) if truncate else z
