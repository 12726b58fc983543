"""Where a value lives on the two sides of a conversion, and what becomes of its words in between.

Ring to ring of one width, bits to bits: words are dealt as they are. Else the modulus changes
(`wwfl_core.protocol.modulus`): words are dealt with what is needed to count their wraps, and the
target finishes with its own product or comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from wwfl_core import kernels
from wwfl_core.numbers.algebra import BITS, RING, Algebra
from wwfl_core.numbers.arrays import Array, Shape, numel
from wwfl_core.protocol import modulus
from wwfl_core.protocol.backend import MPCBackend
from wwfl_core.sharing import Share


@dataclass(frozen=True)
class Change:
    """Words modulo `source` become shares modulo `target`, for values of logical shape `shape`.

    Numbers that wrap must be below a quarter of the source's modulus in magnitude, and half of the
    target's."""

    source: Algebra
    target: Algebra
    shape: Shape

    @property
    def kept(self) -> bool:
        """Whether words stay as they are."""
        return self.source == self.target

    @property
    def dealt(self) -> Shape:
        """The shape of a dealt word."""
        if self.source == BITS:
            return ((numel(self.shape) + 7) // 8,)
        return self.shape if modulus.divides(self.target, self.source) else (2, *self.shape)

    @property
    def value_bytes(self) -> int:
        """Bytes of one dealt component."""
        return self.target.nbytes(self.dealt)

    def parts(self, word: Array, number: int, count: int) -> Array:
        """What is dealt of word `number` of `count`, computed by those who know it."""
        return word if self.kept else modulus.parts(word, number, count, self.source, self.target)

    def combine(self, mpc: MPCBackend, dealt: Sequence[Share]) -> Share:
        """The value from its dealt words, at the target."""
        if self.kept:
            return reduce(Share.__add__, dealt)
        return mpc.combine(dealt, self.source, self.target)


@dataclass(frozen=True)
class BitsToField(Change):
    """GF(2) words become field elements 0 and 1, and their XOR costs a product each
    (`FieldBits`)."""

    @property
    def dealt(self) -> Shape:
        return self.shape

    def parts(self, word: Array, number: int, count: int) -> Array:
        return self.target.from_integers(
            kernels.expand(word, numel(self.shape)).reshape(self.shape)
        )

    def combine(self, mpc: MPCBackend, dealt: Sequence[Share]) -> Share:
        return reduce(lambda a, b: mpc.bits.xor(mpc, a, b), dealt)


@dataclass(frozen=True)
class FieldToBits(Change):
    """Field elements 0 and 1 become numbers modulo 2^64 (`target`), whose low bits are shares over
    GF(2)."""

    def combine(self, mpc: MPCBackend, dealt: Sequence[Share]) -> Share:
        return modulus.reduce(super().combine(mpc, dealt), BITS)


def numbers(source: Algebra, target: Algebra, shape: Shape) -> Change:
    """For number tensors."""
    return Change(source, target, shape)


def bits(source: Algebra, target: Algebra, shape: Shape) -> Change:
    """For bit tensors, which lie in `source` and `target`."""
    if source == target:
        return Change(source, target, shape)
    return (
        BitsToField(source, target, shape) if source == BITS else FieldToBits(source, RING, shape)
    )
