"""What programs compute with: shared tensors (fixed point or integers) and shared bits, with
NumPy-like operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import Misuse
from wwfl_core.numbers.algebra import RING32
from wwfl_core.numbers.arrays import Array, Shape, array_of, contiguous, cut, numel
from wwfl_core.numbers.bilinear import Bilinear, MatMul, Mul
from wwfl_core.protocol import modulus
from wwfl_core.sharing.share import Share, concat, stack

from .computation import Computation
from .functions import Functions

Public = float | int | npt.NDArray[Any]


class SharedTensor(Functions):
    """An array of secret numbers: `data` shares round(value * 2^frac_bits) modulo 2^64.

    Operators follow NumPy. A product of two tensors with fractions is truncated back to the format
    of the cluster (`mpc.format.frac_bits`); the exact product must stay below 2^(62 - 2 frac_bits)
    in magnitude."""

    __array_priority__ = 1000  # so that ndarray + SharedTensor comes here
    __slots__ = ("__weakref__", "data", "frac_bits", "mpc")

    def __init__(self, mpc: Computation, data: Share, frac_bits: int) -> None:
        self.mpc = mpc
        self.data = data
        self.frac_bits = frac_bits

    # ------------------------------------------------------------------ shape

    @property
    def shape(self) -> Shape:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return len(self.data.shape)

    @property
    def size(self) -> int:
        return numel(self.data.shape)

    def __len__(self) -> int:
        if not self.shape:
            raise Misuse("a 0-d tensor has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"SharedTensor(shape={self.shape}, frac_bits={self.frac_bits}, {self.mpc.name})"

    def linear(self, fn: Callable[[Array], Array]) -> SharedTensor:
        """Applies a public linear function of the array (reshape, slice, sum, permutation)
        locally."""
        return SharedTensor(self.mpc, self.data.map(fn), self.frac_bits)

    def reshape(self, *shape: int | Sequence[int]) -> SharedTensor:
        target: Any = shape[0] if len(shape) == 1 else shape
        return self.linear(lambda a: a.reshape(target))

    def transpose(self, *axes: int) -> SharedTensor:
        return self.linear(lambda a: contiguous(a.transpose(*axes)))

    @property
    def T(self) -> SharedTensor:
        return self.transpose()

    def __getitem__(self, index: Any) -> SharedTensor:
        try:
            return self.linear(lambda a: a[index])
        except IndexError as error:
            raise Misuse(f"index {index!r} does not fit shape {self.shape}: {error}") from error

    def broadcast_to(self, shape: Shape) -> SharedTensor:
        return self.linear(lambda a: contiguous(np.broadcast_to(a, shape)))

    def sum(
        self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
    ) -> SharedTensor:
        return self.linear(
            lambda a: array_of(np.sum(a, axis=axis, keepdims=keepdims, dtype=a.dtype))
        )

    def mean(
        self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
    ) -> SharedTensor:
        total = self.sum(axis, keepdims)
        if not total.size:
            raise Misuse(f"mean over an empty axis of shape {self.shape}")
        return total * (total.size / self.size)

    # ------------------------------------------------------------------ linear arithmetic

    def full(self, what: str) -> Share:
        """The share, for operations that need the protocol's own number format."""
        if self.data.algebra != self.mpc.protocol.numbers:
            raise Misuse(
                f"{what}: this tensor was narrowed to {self.data.algebra}; widen() it first"
            )
        return self.data

    def narrow(self) -> SharedTensor:
        """The same numbers in Z_2^32, for |x| * 2^frac_bits < 2^30: half the bytes for sums,
        products, opening and conversion. Truncation and comparison need `widen` first. Local."""
        return SharedTensor(self.mpc, modulus.reduce(self.data, RING32), self.frac_bits)

    def widen(self) -> SharedTensor:
        """A narrowed tensor in Z_2^64 again, exact: one dealing and one product."""
        return SharedTensor(self.mpc, modulus.widen(self.mpc.protocol, self.data), self.frac_bits)

    def _aligned(self, other: SharedTensor) -> tuple[Share, Share, int]:
        """Both operands at the larger scale (raising a scale is exact and local)."""
        if other.data.algebra != self.data.algebra:
            raise Misuse(
                f"operands are shared in {self.data.algebra} and {other.data.algebra}; widen() "
                "one of them"
            )
        if other.mpc is not self.mpc:
            raise Misuse(
                f"operands are shared by different clusters or parties ({self.mpc.name} and "
                f"{other.mpc.name}); "
                f"reshare one of them first"
            )
        f = max(self.frac_bits, other.frac_bits)

        def lift(t: SharedTensor) -> Share:
            return _shifted(t.data, f - t.frac_bits)

        return lift(self), lift(other), f

    def _public(self, value: Public) -> tuple[Share, Array, int]:
        """This tensor and a public operand at a common scale."""
        f = self.frac_bits
        if f == 0 and not _integral(value):
            f = self.mpc.format.frac_bits
            return _shifted(self.data, f), self.mpc.constant(value, f), f
        return self.data, self.mpc.constant(value, f), f

    def __add__(self, other: SharedTensor | Public) -> SharedTensor:
        if isinstance(other, SharedTensor):
            a, b, f = self._aligned(other)
            return SharedTensor(self.mpc, _checked(lambda: a + b, "addition", a, b), f)
        data, constant, f = self._public(other)
        return SharedTensor(
            self.mpc,
            _checked(
                lambda: self.mpc.protocol.add_public(data, constant), "addition", data, constant
            ),
            f,
        )

    __radd__ = __add__

    def __neg__(self) -> SharedTensor:
        return SharedTensor(self.mpc, -self.data, self.frac_bits)

    def __sub__(self, other: SharedTensor | Public) -> SharedTensor:
        if isinstance(other, SharedTensor):
            a, b, f = self._aligned(other)
            return SharedTensor(self.mpc, _checked(lambda: a - b, "subtraction", a, b), f)
        return self + np.negative(other)

    def __rsub__(self, other: Public) -> SharedTensor:
        return (-self) + other

    # ------------------------------------------------------------------ products

    def _rescale(self, f: Bilinear, other: SharedTensor) -> SharedTensor:
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
        return SharedTensor(
            self.mpc, self.mpc.protocol.bilinear(f, self.data, other.data, extra), scale - extra
        )

    def __mul__(self, other: SharedTensor | Public) -> SharedTensor:
        if isinstance(other, SharedTensor):
            return self._rescale(Mul(), other)
        ring, bits = self.mpc.factor(other)
        scaled = _checked(lambda: _times(self.data, ring), "multiplication", self.data, ring)
        product = SharedTensor(self.mpc, scaled, self.frac_bits)
        if not bits:
            return product
        return SharedTensor(
            self.mpc,
            self.mpc.protocol.truncate(product.full("multiplication"), bits),
            self.frac_bits,
        )

    __rmul__ = __mul__

    def __truediv__(self, other: float | int) -> SharedTensor:
        if not np.all(other):
            raise Misuse("division by zero")
        return self * (1.0 / np.asarray(other, np.float64))

    def __matmul__(self, other: SharedTensor) -> SharedTensor:
        return self._rescale(MatMul(), other)

    def bilinear(self, f: Bilinear, other: SharedTensor) -> SharedTensor:
        """f(self, other) for any bilinear map, truncated back to the cluster's format."""
        return self._rescale(f, other)

    def truncate(self, bits: int) -> SharedTensor:
        """The same numbers with `bits` fewer fractional bits."""
        if not 0 <= bits <= self.frac_bits:
            raise Misuse(f"cannot drop {bits} of {self.frac_bits} fractional bits")
        if not bits:
            return self
        return SharedTensor(
            self.mpc,
            self.mpc.protocol.truncate(self.full("truncation"), bits),
            self.frac_bits - bits,
        )

    def rescale(self, frac_bits: int) -> SharedTensor:
        """The same numbers with `frac_bits` fractional bits (exact when it raises them)."""
        if frac_bits <= self.frac_bits:
            return self.truncate(self.frac_bits - frac_bits)
        return SharedTensor(self.mpc, _shifted(self.data, frac_bits - self.frac_bits), frac_bits)

    # ------------------------------------------------------------------ comparison

    def negative(self, bits: int = 64) -> SharedBits:
        """[self < 0], given |self| * 2^frac_bits < 2^(bits - 1): fewer bits, fewer bytes."""
        return SharedBits(
            self.mpc, self.mpc.protocol.sign(self.full("comparison"), bits), self.shape
        )

    def __lt__(self, other: SharedTensor | Public) -> SharedBits:
        return (self - other).negative()

    def __gt__(self, other: SharedTensor | Public) -> SharedBits:
        return (-self + other).negative()

    def __ge__(self, other: SharedTensor | Public) -> SharedBits:
        return ~(self < other)

    def __le__(self, other: SharedTensor | Public) -> SharedBits:
        return ~(self > other)

    def equals(self, other: SharedTensor | Public) -> SharedBits:
        """[self == other], exact in the ring."""
        difference = self - other
        return SharedBits(
            self.mpc, self.mpc.protocol.is_zero(difference.full("comparison")), difference.shape
        )


def _times(data: Share, words: Array) -> Share:
    return data.map(lambda a: data.algebra.times(a, words))


def _shifted(data: Share, bits: int) -> Share:
    return data.map(lambda a: data.algebra.shift_left(a, bits)) if bits else data


class SharedBits:
    """An array of secret bits; `data` shares them as `mpc.protocol.bits` says (over rings: packed 8 to a
    byte, over GF(2))."""

    __slots__ = ("data", "mpc", "shape")
    frac_bits = None  # where a tensor has its scale

    def __init__(self, mpc: Computation, data: Share, shape: Shape) -> None:
        self.mpc = mpc
        self.data = data
        self.shape = shape

    def __repr__(self) -> str:
        return f"SharedBits(shape={self.shape}, {self.mpc.name})"

    def _same(self, other: SharedBits) -> None:
        if other.mpc is not self.mpc or other.shape != self.shape:
            raise Misuse(
                f"bits of shapes {self.shape} and {other.shape} of one cluster are needed to "
                "combine them"
            )

    def __xor__(self, other: SharedBits) -> SharedBits:
        self._same(other)
        return SharedBits(
            self.mpc,
            self.mpc.protocol.bits.xor(self.mpc.protocol, self.data, other.data),
            self.shape,
        )

    def __invert__(self) -> SharedBits:
        return SharedBits(
            self.mpc,
            self.mpc.protocol.bits.invert(self.mpc.protocol, self.data, self.shape),
            self.shape,
        )

    def flip(self, mask: npt.NDArray[np.bool_]) -> SharedBits:
        """The bits, inverted where a public mask of the same shape is true; local."""
        return SharedBits(
            self.mpc, self.mpc.protocol.bits.flip(self.mpc.protocol, self.data, mask), self.shape
        )

    def __and__(self, other: SharedBits) -> SharedBits:
        self._same(other)
        return SharedBits(
            self.mpc, self.mpc.protocol.bilinear(Mul(), self.data, other.data), self.shape
        )

    def __or__(self, other: SharedBits) -> SharedBits:
        return ~(~self & ~other)

    def reshape(self, *shape: int) -> SharedBits:
        target = np.broadcast_to(0, self.shape).reshape(shape).shape
        packed = self.mpc.protocol.bits.shape(target)
        return SharedBits(
            self.mpc, self.data if packed == self.data.shape else self.data.reshape(*packed), target
        )

    def __getitem__(self, index: Any) -> SharedBits:
        shape = np.broadcast_to(0, self.shape)[index].shape
        return SharedBits(
            self.mpc, self.mpc.protocol.bits.pick(self.data, self.shape, index), shape
        )

    def to_integers(self) -> SharedTensor:
        """The bits as integers 0 and 1 (frac_bits = 0)."""
        return SharedTensor(self.mpc, self.mpc.protocol.bit_to_ring(self.data, self.shape), 0)

    def times(self, x: SharedTensor) -> SharedTensor:
        """bit * x, elementwise; shapes must be equal."""
        if x.mpc is not self.mpc or x.shape != self.shape:
            raise Misuse(
                f"bits of shape {self.shape} cannot gate a tensor of shape {x.shape} of "
                f"{x.mpc.name}"
            )
        return SharedTensor(
            self.mpc, self.mpc.protocol.inject(self.data, x.full("selection")), x.frac_bits
        )

    def select(self, if_one: SharedTensor, if_zero: SharedTensor) -> SharedTensor:
        """Elementwise `if_one` where the bit is 1, else `if_zero`."""
        return if_zero + self.times(if_one - if_zero)


def concatenate(tensors: Sequence[SharedTensor], axis: int = 0) -> SharedTensor:
    """Concatenates tensors of one cluster and one scale."""
    first = _uniform(tensors, "concatenate")
    return SharedTensor(first.mpc, concat([t.data for t in tensors], axis), first.frac_bits)


def stack_tensors(tensors: Sequence[SharedTensor], axis: int = 0) -> SharedTensor:
    """Stacks tensors of one cluster, shape and scale along a new axis."""
    first = _uniform(tensors, "stack")
    return SharedTensor(first.mpc, stack([t.data for t in tensors], axis), first.frac_bits)


def weighted_sum(terms: Sequence[tuple[SharedTensor, Public]]) -> SharedTensor:
    """sum_k tensor_k * factor_k for public factors (numbers, or arrays that broadcast), in one
    truncation."""
    first = _uniform([tensor for tensor, _ in terms], "weighted_sum")
    factors = [np.asarray(factor, np.float64) for _, factor in terms]
    ring, bits = first.mpc.factor(np.concatenate([factor.reshape(-1) for factor in factors]))
    parts = cut(ring, [factor.shape for factor in factors])
    total = reduce(
        Share.__add__,
        [_times(tensor.data, part) for (tensor, _), part in zip(terms, parts, strict=True)],
    )
    result = SharedTensor(first.mpc, total, first.frac_bits)
    return (
        SharedTensor(
            first.mpc, first.mpc.protocol.truncate(result.full("sum"), bits), first.frac_bits
        )
        if bits
        else result
    )


def bilinear_many(
    jobs: Sequence[tuple[Bilinear, SharedTensor, SharedTensor]], *, shift: int = 0
) -> list[SharedTensor]:
    """Independent products, each divided by 2^shift, in the rounds of one; all operands in the
    cluster's format."""
    first = _uniform([t for _, x, y in jobs for t in (x, y)], "bilinear_many")
    for f, x, y in jobs:
        f.shape(x.shape, y.shape)
    shares = first.mpc.protocol.bilinear_many(
        [(f, x.data, y.data) for f, x, y in jobs], first.frac_bits + shift
    )
    return [SharedTensor(first.mpc, s, first.frac_bits) for s in shares]


def _uniform(tensors: Sequence[SharedTensor], what: str) -> SharedTensor:
    if not tensors:
        raise Misuse(f"{what}: needs at least one tensor")
    first = tensors[0]
    if any(t.mpc is not first.mpc or t.frac_bits != first.frac_bits for t in tensors):
        raise Misuse(f"{what}: tensors must belong to one cluster and have equal frac_bits")
    return first


def _integral(value: Public) -> bool:
    return np.issubdtype(np.asarray(value).dtype, np.integer) or np.asarray(value).dtype == np.bool_


def _checked(fn: Callable[[], Share], what: str, a: Share, b: Share | Array) -> Share:
    try:
        return fn()
    except ValueError as error:
        if isinstance(error, Misuse):
            raise
        raise Misuse(f"{what}: shapes {a.shape} and {b.shape} do not broadcast") from error


__all__ = [
    "SharedBits",
    "SharedTensor",
    "bilinear_many",
    "concatenate",
    "stack_tensors",
    "weighted_sum",
]
