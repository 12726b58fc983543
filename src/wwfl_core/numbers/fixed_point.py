"""Fixed point: a real number v is the ring element round(v * 2^f) mod 2^64, read back in two's
complement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import Misuse, RangeError

from .algebra import Algebra
from .arrays import F64, U64, Array, as_float, as_ring
from .number_format import NumberFormat

# Exact truncation (wwfl_core.protocol.truncation, Lemma W) needs |x| < 2^62 for the ring element
# that is truncated.
HEADROOM_BITS = 62
MIN_FRAC_BITS, MAX_FRAC_BITS = 8, 26
FACTOR_BITS = 44
"""The most fractional bits of a public factor."""


@dataclass(frozen=True)
class FixedPoint(NumberFormat):
    """A fixed-point format with `frac_bits` fractional bits.

    A single value may have magnitude below 2^(62 - frac_bits); the product of two values, before it
    is truncated, below 2^(62 - 2 frac_bits) (at 20 bits: 4.2 million)."""

    frac_bits: int = 20

    def __post_init__(self) -> None:
        if not MIN_FRAC_BITS <= self.frac_bits <= MAX_FRAC_BITS:
            raise Misuse(
                f"frac_bits={self.frac_bits} is outside {MIN_FRAC_BITS}..{MAX_FRAC_BITS}: fewer "
                "loses gradients, more leaves no room for products in 64 bits"
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
                f"with {f} fractional bits (magnitude must be below {limit:g}); scale the data or "
                "use fewer frac_bits"
            )
        return np.rint(real * 2.0**f).astype(np.int64).view(np.uint64)

    def decode(self, words: Array, frac_bits: int | None = None) -> F64:
        """Ring elements -> float64."""
        f = self.frac_bits if frac_bits is None else frac_bits
        return np.asarray(words, np.uint64).view(np.int64).astype(np.float64) * 2.0**-f

    def constant(self, value: npt.ArrayLike, frac_bits: int) -> U64:
        """A public operand as words of the given scale (integers for frac_bits=0)."""
        if frac_bits == 0:
            return as_ring(value, "the public operand")
        return self.encode(as_float(value, "the public operand"), "the public operand", frac_bits)

    def factor(self, value: npt.ArrayLike) -> tuple[U64, int]:
        """A public factor as (words, bits) with value = words / 2^bits, about frac_bits significant
        bits.

        Small factors get more fractional bits, so that a learning rate of 0.001 is as precise as
        one of 1; trailing zero bits are dropped, so that powers of two cost no more than they must.

        >>> words, bits = FixedPoint(frac_bits=20).factor(0.25)
        >>> int(words), bits
        (1, 2)
        """
        given = np.asarray(value)
        if np.issubdtype(given.dtype, np.integer) or given.dtype == np.bool_:
            return self.constant(given, 0), 0
        real = np.asarray(given, np.float64)
        largest = float(np.max(np.abs(real), initial=0.0))
        small = max(0, -int(np.floor(np.log2(largest)))) if 0 < largest < 1 else 0
        bits = min(self.frac_bits + small, FACTOR_BITS)
        ring = self.encode(real, "the public factor", bits)
        used = int(np.bitwise_or.reduce(ring, axis=None)) if ring.size else 0
        spare = min(bits, (used & -used).bit_length() - 1) if used else bits
        return (ring.view(np.int64) >> np.int64(spare)).view(np.uint64), bits - spare

    def from_elements(self, algebra: Algebra, elements: Array, frac_bits: int) -> Any:
        """Opened elements as float64, or as int64 where there is no fraction."""
        words = algebra.to_words(elements)
        return words.view(np.int64) if frac_bits == 0 else self.decode(words, frac_bits)
