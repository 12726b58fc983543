"""Fixed point: a real number v is the ring element round(v * 2^f) mod 2^64, read back in two's
complement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import Misuse, RangeError

from .arrays import F64, U64, as_float

# Exact truncation (wwfl_core.protocol.truncation, Lemma W) needs |x| < 2^62 for the ring element
# that is truncated.
HEADROOM_BITS = 62
MIN_FRAC_BITS, MAX_FRAC_BITS = 8, 26


@dataclass(frozen=True)
class FixedPoint:
    """A fixed-point format with `frac_bits` fractional bits.

    A single value may have magnitude below 2^(62 - frac_bits); the product of two values, before it
    is truncated, below 2^(62 - 2 frac_bits) (at 20 bits: 4.2 million)."""

    frac_bits: int = 20

    def __post_init__(self) -> None:
        if not MIN_FRAC_BITS <= self.frac_bits <= MAX_FRAC_BITS:
            raise Misuse(
                f"frac_bits={self.frac_bits} is outside {MIN_FRAC_BITS}..{MAX_FRAC_BITS}: fewer "
                "loses gradients, "
                f"more leaves no room for products in 64 bits"
            )

    def encode(
        self, value: npt.ArrayLike, what: str = "value", frac_bits: int | None = None
    ) -> U64:
        """Real numbers -> ring elements, rounded to nearest.

        Raises:
            RangeError: for a value that is not finite or whose magnitude reaches 2^(62 -
                frac_bits); the message names its position.
            Misuse: for a dtype that is not a real number.
        """
        f = self.frac_bits if frac_bits is None else frac_bits
        real = as_float(value, what)
        limit = 2.0 ** (HEADROOM_BITS - f)
        bad = ~(np.abs(real) < limit)  # also true for NaN
        if bad.any():
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            raise RangeError(
                f"{what}[{', '.join(map(str, where))}] = {real[where]} does not fit fixed point "
                f"with {f} fractional "
                f"bits (magnitude must be below {limit:g}); scale the data or use fewer frac_bits"
            )
        return np.rint(real * 2.0**f).astype(np.int64).view(np.uint64)

    def decode(self, ring: U64, frac_bits: int | None = None) -> F64:
        """Ring elements -> float64."""
        f = self.frac_bits if frac_bits is None else frac_bits
        return np.asarray(ring, np.uint64).view(np.int64).astype(np.float64) * 2.0**-f
