"""Local truncation (SecureML), as CrypTen does for two parties and SPU with
`trunc_allow_msb_error`.

With a probability of about |x| / 2^63 the result is off by 2^(64 - f).
"""

from __future__ import annotations

import numpy as np

from backends import Additive2PC
from backends.additive2pc import H
from wwfl_core.sharing.share import Share


class LocalTruncation(Additive2PC):
    """P1 shifts its share, P2 the negative of its own."""

    def truncate(self, x: Share, bits: int) -> Share:
        if self.me == H:
            return Share(x.algebra, x.shape, {})
        mine, shift = x.parts[self.me], np.uint64(bits)
        cut = mine >> shift if self.me == 0 else np.negative(np.negative(mine) >> shift)
        return Share(x.algebra, x.shape, {self.me: cut})
