"""The algebras that protocols are written over.

A protocol uses only add, sub, neg, a sum of products and uniform sampling, so the same code gives
its arithmetic world (`RING`, Z_2^64 on uint64) and its Boolean world (`BITS`, GF(2) on bit-packed
bytes: add is XOR, product is AND). `RING32` is Z_2^32; prime fields are in
`wwfl_core.numbers.field`.

Public values travel as *words*: uint64 in two's complement (packed bytes for `BITS`), whatever the
algebra."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core import kernels

from .arrays import U64, WORD, Array, Shape, array_of, beside, numel
from .lazy_array import LazyArray


class Algebra(ABC):
    """A commutative ring whose elements are packed in arrays of one dtype. Instances are stateless,
    equal by name."""

    name: str
    dtype: npt.DTypeLike
    modulus: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Algebra) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return self.name

    def zeros(self, shape: Shape) -> Array:
        """The zero element, `shape` many times."""
        return np.zeros(shape, self.dtype)

    def from_bytes(self, data: npt.NDArray[np.uint8], shape: Shape) -> Array:
        """Uniform bytes as uniform elements (every byte pattern is an element in both algebras)."""
        return data.view(self.dtype).reshape(shape)

    def nbytes(self, shape: Shape) -> int:
        """Bytes of an array of this shape on the wire."""
        return numel(shape) * np.dtype(self.dtype).itemsize

    def random_bytes(self, shape: Shape) -> int:
        """Uniform bytes that `from_bytes` needs for an array of this shape."""
        return self.nbytes(shape)

    def from_words(self, words: Array) -> Array:
        """Words as elements."""
        return words

    def from_integers(self, a: Array) -> Array:
        """Non-negative integers of any dtype, modulo the modulus, as elements."""
        return np.asarray(a & WORD).astype(np.uint64) if a.dtype.hasobject else a.astype(np.uint64)

    def to_words(self, a: Array) -> Array:
        """Elements as words; elements above half the modulus are negative numbers.

        Raises:
            RangeError: for an element that no word represents (prime fields only).
        """
        return a

    def normal(self, a: Array) -> Array:
        """The same elements after NumPy computed with them: reduced where the dtype does not do it
        by itself."""
        return a

    def times(self, a: Array, words: Array) -> Array:
        """a * c elementwise for public words c, with broadcasting."""
        return array_of(a * self.from_words(beside(words, a)))

    def shift_left(self, a: Array, bits: int) -> Array:
        """a * 2^bits for a public number of bits."""
        return self.scale(1 << bits, a)

    def matmul(self, pairs: Sequence[tuple[Array, Array]]) -> Array:
        """sum_k a_k @ b_k for matrices."""
        return kernels.matmul(pairs)

    def im2col(self, x: Array, window: tuple[int, int], stride: int, padding: int) -> Array:
        """The patches of images [b, c, h, w] as columns [c*kh*kw, b*oh*ow]."""
        return kernels.im2col(x, window, stride, padding)

    def col2im(
        self, columns: Array, image: Shape, window: tuple[int, int], stride: int, padding: int
    ) -> Array:
        """The adjoint of `im2col`."""
        b, c, h, w = image
        return kernels.col2im(columns, (b, c, h, w), window, stride, padding)

    def sum(self, terms: Sequence[Array]) -> Array:
        """Sum of at least one array."""
        return self.difference(terms, ())

    def difference(self, plus: Sequence[Array], minus: Sequence[Array]) -> Array:
        """sum(plus) - sum(minus) of at least one array; one pass, where a term is not computed yet
        (`LazyArray`)."""
        for term in (*plus, *minus):
            if isinstance(term, LazyArray):
                return term.combined(plus, minus)
        if not plus:
            return self.neg(self.sum(minus))
        total = plus[0]
        for term in plus[1:]:
            total = self.add(total, term)
        for term in minus:
            total = self.sub(total, term)
        return total

    @abstractmethod
    def add(self, a: Array, b: Array) -> Array: ...

    @abstractmethod
    def sub(self, a: Array, b: Array) -> Array: ...

    @abstractmethod
    def neg(self, a: Array) -> Array: ...

    @abstractmethod
    def mul_sum(self, pairs: Sequence[tuple[Array, Array]]) -> Array:
        """sum_k a_k * b_k elementwise, in one pass where shapes agree."""

    def scale(self, coefficient: int, a: Array) -> Array:
        """coefficient * a for a public integer coefficient; only +1 and -1 are units in all
        algebras."""
        return a if coefficient == 1 else self.neg(a)


class _Ring64(Algebra):
    name = "Z_2^64"
    dtype = np.uint64
    modulus = 1 << 64

    def __reduce__(self) -> str:
        return "RING"

    def add(self, a: Array, b: Array) -> Array:
        return array_of(a + b)

    def sub(self, a: Array, b: Array) -> Array:
        return array_of(a - b)

    def neg(self, a: Array) -> Array:
        return array_of(-a)

    def mul_sum(self, pairs: Sequence[tuple[Array, Array]]) -> Array:
        first = pairs[0][0].shape
        if all(a.shape == first and b.shape == first for a, b in pairs):
            return kernels.mul_sum(pairs)
        return array_of(reduce(np.add, [np.multiply(a, b) for a, b in pairs]))

    def scale(self, coefficient: int, a: Array) -> Array:
        if coefficient == 1:
            return a
        return array_of(np.negative(a) if coefficient == -1 else a * np.uint64(coefficient % 2**64))


class _Ring32(_Ring64):
    """Half the bytes for values below 2^31; products go through the 64-bit kernels."""

    name = "Z_2^32"
    dtype = np.uint32
    modulus = 1 << 32

    def __reduce__(self) -> str:
        return "RING32"

    def from_words(self, words: Array) -> Array:
        return words.astype(np.uint32)

    def from_integers(self, a: Array) -> Array:
        return super().from_integers(a).astype(np.uint32)

    def to_words(self, a: Array) -> Array:
        return a.astype(np.uint32).view(np.int32).astype(np.int64).view(np.uint64)

    def mul_sum(self, pairs: Sequence[tuple[Array, Array]]) -> Array:
        return array_of(reduce(np.add, [np.multiply(a, b) for a, b in pairs]))

    def scale(self, coefficient: int, a: Array) -> Array:
        return array_of(a * np.uint32(coefficient % 2**32))

    def matmul(self, pairs: Sequence[tuple[Array, Array]]) -> Array:
        return super().matmul([(_wide(a), _wide(b)) for a, b in pairs]).astype(np.uint32)

    def im2col(self, x: Array, window: tuple[int, int], stride: int, padding: int) -> Array:
        return super().im2col(_wide(x), window, stride, padding).astype(np.uint32)

    def col2im(
        self, columns: Array, image: Shape, window: tuple[int, int], stride: int, padding: int
    ) -> Array:
        return super().col2im(_wide(columns), image, window, stride, padding).astype(np.uint32)


def _wide(a: Array) -> U64:
    return a.astype(np.uint64)


class _Bits(Algebra):
    name = "GF(2), packed"
    dtype = np.uint8
    modulus = 2

    def __reduce__(self) -> str:
        return "BITS"

    def from_integers(self, a: Array) -> Array:
        return kernels.pack(super().from_integers(a).reshape(-1) & np.uint64(1))

    def add(self, a: Array, b: Array) -> Array:
        return array_of(a ^ b)

    def sub(self, a: Array, b: Array) -> Array:
        return array_of(a ^ b)

    def neg(self, a: Array) -> Array:
        return a

    def mul_sum(self, pairs: Sequence[tuple[Array, Array]]) -> Array:
        total: Any = np.bitwise_and(*pairs[0])
        for a, b in pairs[1:]:
            total = np.bitwise_xor(total, np.bitwise_and(a, b))
        return total


RING: Algebra = _Ring64()
RING32: Algebra = _Ring32()
BITS: Algebra = _Bits()
