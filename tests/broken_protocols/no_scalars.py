"""Code written for tensors that never saw a 0-d array: NumPy's scalars become vectors of one."""

from __future__ import annotations

import numpy as np

from backends import Plain
from wwfl_core.numbers.bilinear import Bilinear
from wwfl_core.sharing.share import Share


class NoScalars(Plain):
    """A product of 0-d arrays is a vector."""

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        return super().bilinear(f, x, y, truncate).map(np.atleast_1d)
