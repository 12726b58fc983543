"""What shared numbers and shared bits do by themselves: shapes, sums, products, comparisons, logic.

The functions of `ops` are written over these two classes, and `tensor` makes of them what programs
compute with. So an operation can be a function there and a method of `SharedTensor`, and no module
imports in a circle. Nothing here knows `ops`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import Misuse
from wwfl_core.numbers import (
    RING32,
    Array,
    Bilinear,
    MatMul,
    Mul,
    Shape,
    array_of,
    contiguous,
    numel,
)
from wwfl_core.protocol import reduce_modulus
from wwfl_core.sharing import Share

from .computation import Computation

Public = float | int | npt.NDArray[Any]
"""A public operand: everybody knows it, so it costs nothing to add and little to multiply."""

B = TypeVar("B", bound="Logic[Any]")
"""The bits that comparisons of some numbers give."""

N = TypeVar("N", bound="Arithmetic[Any]")
"""The numbers that some bits become."""

T = TypeVar("T", bound="Arithmetic[Any]")
"""The numbers that an operation is given and gives back."""


class Arithmetic(Generic[B], ABC):
    """An array of secret numbers: `data` shares round(value * 2^frac_bits) in the protocol's
    algebra (over rings: modulo 2^64).

    Operators follow NumPy. What they cost is said in terms of the protocol's operations: a
    *product* (`MPCBackend.bilinear`), a *truncation*, a *sign*. What is called local sends
    nothing. Sums, differences, public factors that are integers, and everything about shapes is
    local."""

    __array_priority__ = 1000  # so that ndarray + SharedTensor comes here
    __slots__ = ("__weakref__", "data", "frac_bits", "mpc")

    def __init__(self, mpc: Computation, data: Share, frac_bits: int) -> None:
        self.mpc = mpc
        self.data = data
        self.frac_bits = frac_bits

    def like(self, data: Share, frac_bits: int) -> Self:
        """A tensor of the same kind and computation, of another share."""
        return type(self)(self.mpc, data, frac_bits)

    @abstractmethod
    def bits_like(self, data: Share, shape: Shape) -> B:
        """Bits of the same computation; `shape` is theirs, not that of the share."""

    # ------------------------------------------------------------------ shape

    @property
    def shape(self) -> Shape:
        """Public, like the scale; only the numbers are secret."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.data.shape)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return numel(self.data.shape)

    def __len__(self) -> int:
        if not self.shape:
            raise Misuse("a 0-d tensor has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"{kind}(shape={self.shape}, frac_bits={self.frac_bits}, {self.mpc.name})"

    def linear(self, fn: Callable[[Array], Array]) -> Self:
        """Applies a public linear function of the array (reshape, slice, sum, permutation) to every
        component. Local.

        `fn` must be linear over the algebra; nobody checks that it is."""
        return self.like(self.data.map(fn), self.frac_bits)

    def reshape(self, *shape: int | Sequence[int]) -> Self:
        """The same numbers in another shape, as `numpy.reshape`. Local."""
        target: Any = shape[0] if len(shape) == 1 else shape
        return self.linear(lambda a: a.reshape(target))

    def transpose(self, *axes: int) -> Self:
        """The axes in another order, as `numpy.transpose`. Local."""
        return self.linear(lambda a: contiguous(a.transpose(*axes)))

    @property
    def T(self) -> Self:
        """All axes in reverse order. Local."""
        return self.transpose()

    def __getitem__(self, index: Any) -> Self:
        try:
            return self.linear(lambda a: a[index])
        except IndexError as error:
            raise Misuse(f"index {index!r} does not fit shape {self.shape}: {error}") from error

    def broadcast_to(self, shape: Shape) -> Self:
        """The numbers repeated along new axes and axes of length 1. Local."""
        return self.linear(lambda a: contiguous(np.broadcast_to(a, shape)))

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Self:
        """The sum along axes (default: of everything). Local."""
        return self.linear(
            lambda a: array_of(np.sum(a, axis=axis, keepdims=keepdims, dtype=a.dtype))
        )

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Self:
        """The mean along axes: a sum and, unless it divides by a power of two within the scale, one
        truncation.

        Raises:
            Misuse: there is nothing to average.
        """
        total = self.sum(axis, keepdims)
        if not total.size:
            raise Misuse(f"mean over an empty axis of shape {self.shape}")
        return total * (total.size / self.size)

    # ------------------------------------------------------------------ the modulus

    def full(self, what: str) -> Share:
        """The share, for operations that need the protocol's own algebra.

        Raises:
            Misuse: for a narrowed tensor; `what` says what needs more.
        """
        if self.data.algebra != self.mpc.protocol.numbers:
            raise Misuse(
                f"{what}: this tensor was narrowed to {self.data.algebra}; widen() it first"
            )
        return self.data

    def narrow(self) -> Self:
        """The same numbers in Z_2^32, for |x| * 2^frac_bits < 2^30: half the bytes for sums,
        products, opening and conversion. Truncation and comparison need `widen` first. Local."""
        return self.like(reduce_modulus(self.data, RING32), self.frac_bits)

    def widen(self) -> Self:
        """A narrowed tensor in Z_2^64 again, exact: one dealing and one product."""
        return self.like(self.mpc.protocol.widen(self.data), self.frac_bits)

    # ------------------------------------------------------------------ sums

    def _aligned(self, other: Self) -> tuple[Share, Share, int]:
        """Both operands at the larger scale (raising a scale is exact and local)."""
        if other.data.algebra != self.data.algebra:
            raise Misuse(
                f"operands are shared in {self.data.algebra} and {other.data.algebra}; widen() "
                "one of them"
            )
        if other.mpc is not self.mpc:
            raise Misuse(
                f"operands are shared by different clusters or parties ({self.mpc.name} and "
                f"{other.mpc.name}); reshare one of them first"
            )
        f = max(self.frac_bits, other.frac_bits)

        def lift(t: Self) -> Share:
            return _shifted(t.data, f - t.frac_bits)

        return lift(self), lift(other), f

    def _public(self, value: Public) -> tuple[Share, Array, int]:
        """This tensor and a public operand at a common scale."""
        f = self.frac_bits
        if f == 0 and not _integral(value):
            f = self.mpc.format.frac_bits
            return _shifted(self.data, f), self.mpc.constant(value, f), f
        return self.data, self.mpc.constant(value, f), f

    def __add__(self, other: Self | Public) -> Self:
        if isinstance(other, Arithmetic):
            a, b, f = self._aligned(other)
            return self.like(_checked(lambda: a + b, "addition", a, b), f)
        data, constant, f = self._public(other)
        add_public = self.mpc.protocol.add_public
        return self.like(
            _checked(lambda: add_public(data, constant), "addition", data, constant), f
        )

    __radd__ = __add__

    def __neg__(self) -> Self:
        return self.like(-self.data, self.frac_bits)

    def __sub__(self, other: Self | Public) -> Self:
        if isinstance(other, Arithmetic):
            a, b, f = self._aligned(other)
            return self.like(_checked(lambda: a - b, "subtraction", a, b), f)
        return self + np.negative(other)

    def __rsub__(self, other: Public) -> Self:
        return (-self) + other

    # ------------------------------------------------------------------ products

    def bilinear(self, f: Bilinear, other: Self) -> Self:
        """f(self, other) for any bilinear map: one product, which truncates what the sum of both
        scales has more than the format and either operand.

        The exact product must stay below 2^(62 - 2 frac_bits) in magnitude.

        Raises:
            Misuse: shapes that f does not take, tensors of two clusters, narrowed ones.
        """
        if other.mpc is not self.mpc:
            raise Misuse(
                f"{f.name}: operands are shared by different clusters; reshare one of them first"
            )
        f.shape(self.shape, other.shape)
        scale = self.frac_bits + other.frac_bits
        extra = max(0, scale - max(self.frac_bits, other.frac_bits, self.mpc.format.frac_bits))
        if extra or other.data.algebra != self.data.algebra:
            self.full(f.name)
            other.full(f.name)
        product = self.mpc.protocol.bilinear(f, self.data, other.data, extra)
        return self.like(product, scale - extra)

    def __mul__(self, other: Self | Public) -> Self:
        if isinstance(other, Arithmetic):
            return self.bilinear(Mul(), other)
        words, bits = self.mpc.factor(other)
        scaled = _checked(lambda: times_words(self.data, words), "multiplication", self.data, words)
        product = self.like(scaled, self.frac_bits)
        if not bits:
            return product
        truncated = self.mpc.protocol.truncate(product.full("multiplication"), bits)
        return self.like(truncated, self.frac_bits)

    __rmul__ = __mul__

    def __truediv__(self, other: float | int) -> Self:
        if not np.all(other):
            raise Misuse("division by zero")
        return self * (1.0 / np.asarray(other, np.float64))

    def __matmul__(self, other: Self) -> Self:
        return self.bilinear(MatMul(), other)

    def truncate(self, bits: int) -> Self:
        """The same numbers with `bits` fewer fractional bits, each rounded to one of its two
        neighbours: one truncation.

        Raises:
            Misuse: more bits than the tensor has, or a narrowed tensor.
        """
        if not 0 <= bits <= self.frac_bits:
            raise Misuse(f"cannot drop {bits} of {self.frac_bits} fractional bits")
        if not bits:
            return self
        truncated = self.mpc.protocol.truncate(self.full("truncation"), bits)
        return self.like(truncated, self.frac_bits - bits)

    def rescale(self, frac_bits: int) -> Self:
        """The same numbers with `frac_bits` fractional bits: local and exact when it raises them,
        else one truncation."""
        if frac_bits <= self.frac_bits:
            return self.truncate(self.frac_bits - frac_bits)
        return self.like(_shifted(self.data, frac_bits - self.frac_bits), frac_bits)

    # ------------------------------------------------------------------ comparisons

    def negative(self, bits: int = 64) -> B:
        """[self < 0]: one sign.

        Args:
            bits: the window; |self| * 2^frac_bits < 2^(bits - 1) must hold, which nobody can check.
                Fewer bits cost fewer bytes and rounds.
        """
        sign = self.mpc.protocol.sign(self.full("comparison"), bits)
        return self.bits_like(sign, self.shape)

    def __lt__(self, other: Self | Public) -> B:
        return (self - other).negative()

    def __gt__(self, other: Self | Public) -> B:
        return (-self + other).negative()

    def __ge__(self, other: Self | Public) -> B:
        return ~(self < other)

    def __le__(self, other: Self | Public) -> B:
        return ~(self > other)

    def equals(self, other: Self | Public) -> B:
        """[self == other], exact in the ring: one test for zero (`MPCBackend.is_zero`)."""
        difference = self - other
        zero = self.mpc.protocol.is_zero(difference.full("comparison"))
        return self.bits_like(zero, difference.shape)


def times_words(data: Share, words: Array) -> Share:
    """A share times public words that broadcast to its shape. Local."""
    return data.map(lambda a: data.algebra.times(a, words))


def _shifted(data: Share, bits: int) -> Share:
    return data.map(lambda a: data.algebra.shift_left(a, bits)) if bits else data


def _integral(value: Public) -> bool:
    return np.issubdtype(np.asarray(value).dtype, np.integer) or np.asarray(value).dtype == np.bool_


def _checked(fn: Callable[[], Share], what: str, a: Share, b: Share | Array) -> Share:
    try:
        return fn()
    except ValueError as error:
        if isinstance(error, Misuse):
            raise
        raise Misuse(f"{what}: shapes {a.shape} and {b.shape} do not broadcast") from error


class Logic(Generic[N], ABC):
    """An array of secret bits; `data` shares them as the protocol says (`MPCBackend.bits`; over
    rings packed 8 to a byte, over GF(2)).

    XOR and NOT are local over GF(2), AND and OR are one product."""

    __slots__ = ("data", "mpc", "shape")
    frac_bits = None  # where numbers have their scale

    def __init__(self, mpc: Computation, data: Share, shape: Shape) -> None:
        self.mpc = mpc
        self.data = data
        self.shape = shape

    def like(self, data: Share, shape: Shape) -> Self:
        """Bits of the same kind and computation, of another share."""
        return type(self)(self.mpc, data, shape)

    @abstractmethod
    def numbers_like(self, data: Share, frac_bits: int) -> N:
        """Numbers of the same computation."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, {self.mpc.name})"

    def _same(self, other: Self) -> None:
        if other.mpc is not self.mpc or other.shape != self.shape:
            raise Misuse(
                f"bits of shapes {self.shape} and {other.shape} of one cluster are needed to "
                "combine them"
            )

    def __xor__(self, other: Self) -> Self:
        self._same(other)
        protocol = self.mpc.protocol
        return self.like(protocol.bits.xor(protocol, self.data, other.data), self.shape)

    def __invert__(self) -> Self:
        protocol = self.mpc.protocol
        return self.like(protocol.bits.invert(protocol, self.data, self.shape), self.shape)

    def flip(self, mask: npt.NDArray[np.bool_]) -> Self:
        """The bits, inverted where a public mask of the same shape is true. Local."""
        protocol = self.mpc.protocol
        return self.like(protocol.bits.flip(protocol, self.data, mask), self.shape)

    def __and__(self, other: Self) -> Self:
        self._same(other)
        return self.like(self.mpc.protocol.bilinear(Mul(), self.data, other.data), self.shape)

    def __or__(self, other: Self) -> Self:
        return ~(~self & ~other)

    def reshape(self, *shape: int) -> Self:
        """The same bits in another shape, as `numpy.reshape`. Local."""
        target = np.broadcast_to(0, self.shape).reshape(shape).shape
        packed = self.mpc.protocol.bits.shape(target)
        return self.like(
            self.data if packed == self.data.shape else self.data.reshape(*packed), target
        )

    def __getitem__(self, index: Any) -> Self:
        shape = np.broadcast_to(0, self.shape)[index].shape
        return self.like(self.mpc.protocol.bits.pick(self.data, self.shape, index), shape)

    def to_integers(self) -> N:
        """The bits as integers 0 and 1 (frac_bits = 0): one conversion
        (`MPCBackend.bit_to_ring`)."""
        return self.numbers_like(self.mpc.protocol.bit_to_ring(self.data, self.shape), 0)

    def times(self, x: T) -> T:
        """bit * x, elementwise: one injection (`MPCBackend.inject`).

        Raises:
            Misuse: unless shapes are equal, or for a narrowed x.
        """
        if x.mpc is not self.mpc or x.shape != self.shape:
            raise Misuse(
                f"bits of shape {self.shape} cannot gate a tensor of shape {x.shape} of "
                f"{x.mpc.name}"
            )
        gated = self.mpc.protocol.inject(self.data, x.full("selection"))
        return x.like(gated, x.frac_bits)

    def select(self, if_one: T, if_zero: T) -> T:
        """Elementwise `if_one` where the bit is 1, else `if_zero`: one injection."""
        return if_zero + self.times(if_one - if_zero)


__all__ = ["Arithmetic", "B", "Logic", "Public", "T", "times_words"]
