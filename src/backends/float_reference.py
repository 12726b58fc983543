"""Real: one party that computes with float64. The programs of the secure protocols, without fixed
point.

A number v at `frac_bits` f is the float v * 2^f, so scales mean what they mean elsewhere, but
nothing is rounded: truncation divides, public factors are exact, values do not wrap. Bits are
packed as in every protocol over a ring. What a program computes by polynomials (roots, reciprocals)
has the error of the polynomial here, too.

Not registered as a protocol: it is the reference that others are compared with, and it offers no
security."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core import kernels
from wwfl_core.channel import MemoryNetwork
from wwfl_core.numbers import BITS, F64, Algebra, Array, NumberFormat, Shape, as_float, numel
from wwfl_core.party import Party
from wwfl_core.protocol import check_window
from wwfl_core.sharing import Share, SharingSemantics
from wwfl_core.tensors import Session

from .plain import PLAIN, OneParty


class _Reals(Algebra):
    """Floats as an algebra; public words may be floats as well. Images (im2col) are not among its
    operations."""

    name = "float64"
    dtype = np.float64
    modulus = 0

    def from_words(self, words: Array) -> Array:
        return (
            words
            if words.dtype == np.float64
            else words.astype(np.uint64).view(np.int64).astype(np.float64)
        )

    def from_integers(self, a: Array) -> Array:
        return a.astype(np.float64)

    def to_words(self, a: Array) -> Array:
        return np.rint(a).astype(np.int64).view(np.uint64)

    def add(self, a: Array, b: Array) -> Array:
        return np.asarray(np.add(a, b))

    def sub(self, a: Array, b: Array) -> Array:
        return np.asarray(np.subtract(a, b))

    def neg(self, a: Array) -> Array:
        return np.asarray(np.negative(a))

    def scale(self, coefficient: int, a: Array) -> Array:
        return np.asarray(float(coefficient) * a)

    def mul_sum(self, pairs: Sequence[tuple[Array, Array]]) -> Array:
        return np.asarray(reduce(np.add, [np.multiply(a, b) for a, b in pairs]))

    def matmul(self, pairs: Sequence[tuple[Array, Array]]) -> Array:
        return np.asarray(reduce(np.add, [a @ b for a, b in pairs]))


REALS: Algebra = _Reals()


@dataclass(frozen=True)
class Floats(NumberFormat):
    """The word of a value v at `frac_bits` f is the float v * 2^f; nothing is rounded."""

    frac_bits: int = 20

    def encode(
        self, value: npt.ArrayLike, what: str = "value", frac_bits: int | None = None
    ) -> F64:
        """v * 2^f.

        Raises:
            Misuse: for a dtype that is not a real number.
        """
        f = self.frac_bits if frac_bits is None else frac_bits
        return np.asarray(as_float(value, what) * 2.0**f)

    def decode(self, words: Array, frac_bits: int | None = None) -> F64:
        """w * 2^-f."""
        f = self.frac_bits if frac_bits is None else frac_bits
        return np.asarray(words, np.float64) * 2.0**-f

    def constant(self, value: npt.ArrayLike, frac_bits: int) -> F64:
        """v * 2^f."""
        return self.encode(value, "the public operand", frac_bits)

    def factor(self, value: npt.ArrayLike) -> tuple[F64, int]:
        """The factor itself; there is nothing to divide by."""
        return self.constant(value, 0), 0

    def from_elements(self, algebra: Algebra, elements: Array, frac_bits: int) -> Any:
        """float64, with or without a fraction."""
        return self.decode(elements, frac_bits)


class Real(OneParty):
    """float64 computation in the clear."""

    name = "real"
    numbers = REALS
    number_format = Floats

    @classmethod
    def alone(
        cls,
        frac_bits: int = 20,
        stands_for: SharingSemantics = PLAIN,
        insecure_seed: bytes | None = None,
    ) -> Session:
        """A session without a cluster around it. Its party draws from a fresh key, or from a public
        seed."""
        address = "real/0"
        party = Party(0, [address], MemoryNetwork().endpoint(address))
        party.agree_on_keys(cls.sharing, insecure_seed)
        return Session(cls(frac_bits=frac_bits, stands_for=stands_for).at(party))

    def truncate(self, x: Share, bits: int) -> Share:
        """x / 2^bits."""
        return x.map(lambda a: a * 2.0**-bits)

    def sign(self, x: Share, bits: int = 64) -> Share:
        """[x < 0], whatever the declared width."""
        check_window(bits)
        return self._bits(x.parts[0] < 0)

    def is_zero(self, x: Share, bits: int = 64) -> Share:
        return self._bits(x.parts[0] == 0)

    def _bits(self, bools: npt.NDArray[np.bool_]) -> Share:
        packed = self.bits.from_bools(bools)
        return Share(BITS, packed.shape, {0: packed})

    def bit_to_ring(self, b: Share, shape: Shape) -> Share:
        values = kernels.expand(b.parts[0], numel(shape)).reshape(shape).astype(np.float64)
        return Share(REALS, shape, {0: values})


__all__ = ["REALS", "Floats", "Real"]
