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
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core import kernels
from wwfl_core.channel.memory import MemoryNetwork
from wwfl_core.errors import Misuse
from wwfl_core.numbers.algebra import BITS, Algebra
from wwfl_core.numbers.arrays import Array, Shape, as_float, numel
from wwfl_core.party.party import Party
from wwfl_core.protocol.bit_planes import check_window
from wwfl_core.sharing.semantics import SharingSemantics
from wwfl_core.sharing.share import Share
from wwfl_core.tensors.tensor import SharedBits, SharedTensor

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


class Real(OneParty):
    """float64 computation in the clear."""

    name = "real"
    numbers = REALS

    @classmethod
    def alone(
        cls,
        frac_bits: int = 20,
        stands_for: SharingSemantics = PLAIN,
        insecure_seed: bytes | None = None,
    ) -> Real:
        """A bound instance, without a cluster around it. Its party draws from a fresh key, or from
        a public seed."""
        address = "real/0"
        party = Party(0, [address], MemoryNetwork().endpoint(address))
        party.agree_on_keys(cls.sharing, insecure_seed)
        return cls(frac_bits=frac_bits, stands_for=stands_for).at(party)

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

    # ----------------------------------------------------------------- floats in and out, unrounded

    def constant(self, value: npt.ArrayLike, frac_bits: int) -> Array:
        return np.asarray(as_float(value, "the public operand") * 2.0**frac_bits)

    def factor(self, value: npt.ArrayLike) -> tuple[Array, int]:
        return self.constant(value, 0), 0

    def share(
        self, value: npt.ArrayLike | None, owner: int, *, shape: Shape | None = None
    ) -> SharedTensor:
        if value is None or owner:
            raise Misuse("the only party is number 0, and gives the value")
        return self.public_tensor(value)

    def public_tensor(self, value: npt.ArrayLike) -> SharedTensor:
        f = self.fixed.frac_bits
        return SharedTensor(self, self.public(self.constant(value, f)), f)

    def reveal(
        self, x: SharedTensor | SharedBits, reason: str = "reveal", to: Sequence[int] | None = None
    ) -> Any:
        if isinstance(x, SharedBits):
            return super().reveal(x, reason, to)
        opened = self.open(x.data, reason, to)
        return None if opened is None else opened * 2.0**-x.frac_bits


__all__ = ["REALS", "Real"]
