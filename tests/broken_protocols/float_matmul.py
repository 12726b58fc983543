"""Matrix products through floating point, as GPU code does to use fast kernels: 64-bit integers
lose their low bits."""

from __future__ import annotations

import numpy as np

from backends import Plain
from wwfl_core.numbers.bilinear import Bilinear, Conv2d, MatMul
from wwfl_core.sharing.share import Share


class FloatMatMul(Plain):
    """Products of matrices and convolutions keep 53 bits."""

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        z = super().bilinear(f, x, y)
        if isinstance(f, MatMul | Conv2d):
            z = z.map(
                lambda a: (
                    np.ldexp(a.view(np.int64).astype(np.float64), -12)
                    .astype(np.int64)
                    .view(np.uint64)
                    << 12
                )
            )
        return self.truncate(z, truncate) if truncate else z
