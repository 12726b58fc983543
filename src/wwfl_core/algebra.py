"""The algebras that protocols are written over.

A protocol uses only add, sub, neg, a sum of products and uniform sampling, so the same code gives its arithmetic world
(`RING`, Z_2^64 on uint64) and its Boolean world (`BITS`, GF(2) on bit-packed bytes: add is XOR, product is AND).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from . import kernels
from .arrays import Array, Shape, numel


class Algebra(ABC):
    """A commutative ring whose elements are packed in arrays of one dtype. Instances are stateless."""

    # Results are wrapped in asarray below because NumPy makes scalars of 0-d results, which cannot be sent.
    name: str
    dtype: npt.DTypeLike

    def zeros(self, shape: Shape) -> Array:
        """The zero element, `shape` many times."""
        return np.zeros(shape, self.dtype)

    def from_bytes(self, data: npt.NDArray[np.uint8], shape: Shape) -> Array:
        """Uniform bytes as uniform elements (every byte pattern is an element in both algebras)."""
        return data.view(self.dtype).reshape(shape)

    def nbytes(self, shape: Shape) -> int:
        """Bytes of an array of this shape, in memory and on the wire."""
        return numel(shape) * np.dtype(self.dtype).itemsize

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
        """coefficient * a for a public integer coefficient; only +1 and -1 are units in both algebras."""
        return a if coefficient == 1 else self.neg(a)

    def sum(self, terms: Sequence[Array]) -> Array:
        """Sum of at least one array."""
        return reduce(self.add, terms)


class _Ring64(Algebra):
    name = "Z_2^64"
    dtype = np.uint64

    def add(self, a: Array, b: Array) -> Array:
        return np.asarray(np.add(a, b))

    def sub(self, a: Array, b: Array) -> Array:
        return np.asarray(np.subtract(a, b))

    def neg(self, a: Array) -> Array:
        return np.asarray(np.negative(a))

    def mul_sum(self, pairs: Sequence[tuple[Array, Array]]) -> Array:
        first = pairs[0][0].shape
        if all(a.shape == first and b.shape == first for a, b in pairs):
            return kernels.mul_sum(pairs)
        return np.asarray(reduce(np.add, [np.multiply(a, b) for a, b in pairs]))

    def scale(self, coefficient: int, a: Array) -> Array:
        if coefficient == 1:
            return a
        return np.asarray(np.negative(a) if coefficient == -1 else a * np.uint64(coefficient % 2**64))


class _Bits(Algebra):
    name = "GF(2), packed"
    dtype = np.uint8

    def add(self, a: Array, b: Array) -> Array:
        return np.asarray(np.bitwise_xor(a, b))

    def sub(self, a: Array, b: Array) -> Array:
        return np.asarray(np.bitwise_xor(a, b))

    def neg(self, a: Array) -> Array:
        return a

    def mul_sum(self, pairs: Sequence[tuple[Array, Array]]) -> Array:
        total: Any = np.bitwise_and(*pairs[0])
        for a, b in pairs[1:]:
            total = np.bitwise_xor(total, np.bitwise_and(a, b))
        return total


RING: Algebra = _Ring64()
BITS: Algebra = _Bits()
