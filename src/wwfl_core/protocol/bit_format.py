"""How secret bits lie in shares: packed over GF(2), where XOR is addition, or one field element
each.

Protocols over rings share bits over GF(2) (`PACKED`). A protocol over a prime field has no cheap
GF(2) sharing beside it; its bits are the field elements 0 and 1, and XOR costs a product
(`FieldBits`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core import kernels
from wwfl_core.numbers import BITS, Algebra, Array, Mul, Shape, numel
from wwfl_core.sharing import Share

from .derived import DerivedOperations

Bools = npt.NDArray[np.bool_]


class BitFormat(ABC):
    """How an array of secret bits of logical shape `shape` lies in a `Share`."""

    algebra: Algebra

    @abstractmethod
    def shape(self, shape: Shape) -> Shape:
        """The shape of the share."""

    @abstractmethod
    def from_bools(self, bits: Bools) -> Array:
        """Public bits as elements."""

    @abstractmethod
    def to_bools(self, elements: Array, shape: Shape) -> Bools:
        """Opened elements as bits."""

    @abstractmethod
    def xor(self, protocol: DerivedOperations, a: Share, b: Share) -> Share:
        """a XOR b."""

    @abstractmethod
    def flip(self, protocol: DerivedOperations, a: Share, mask: Bools) -> Share:
        """a XOR a public mask of the logical shape; local."""

    def invert(self, protocol: DerivedOperations, a: Share, shape: Shape) -> Share:
        """a XOR 1; local."""
        return self.flip(protocol, a, np.ones(shape, np.bool_))

    @abstractmethod
    def pick(self, a: Share, shape: Shape, index: Any) -> Share:
        """a[index]; local."""


class _Packed(BitFormat):
    """Eight bits to a byte in C order, over GF(2)."""

    algebra = BITS

    def __reduce__(self) -> str:
        return "PACKED"

    def shape(self, shape: Shape) -> Shape:
        return ((numel(shape) + 7) // 8,)

    def from_bools(self, bits: Bools) -> Array:
        return kernels.pack(bits.astype(np.uint64).reshape(-1))

    def to_bools(self, elements: Array, shape: Shape) -> Bools:
        return kernels.expand(elements, numel(shape)).astype(np.bool_).reshape(shape)

    def xor(self, protocol: DerivedOperations, a: Share, b: Share) -> Share:
        return a + b

    def flip(self, protocol: DerivedOperations, a: Share, mask: Bools) -> Share:
        return protocol.add_public(a, self.from_bools(mask))

    def invert(self, protocol: DerivedOperations, a: Share, shape: Shape) -> Share:
        """Padding bits, which mean nothing, are inverted with the others."""
        return protocol.add_public(a, np.asarray(255, np.uint8))

    def pick(self, a: Share, shape: Shape, index: Any) -> Share:
        return a.map(lambda bits: kernels.pick(bits, shape, index))


PACKED: BitFormat = _Packed()


class FieldBits(BitFormat):
    """One element 0 or 1 per bit: a XOR b = a + b - 2 a b."""

    def __init__(self, algebra: Algebra) -> None:
        self.algebra = algebra

    def shape(self, shape: Shape) -> Shape:
        return shape

    def from_bools(self, bits: Bools) -> Array:
        return self.algebra.from_words(bits.astype(np.uint64))

    def to_bools(self, elements: Array, shape: Shape) -> Bools:
        return self.algebra.to_words(elements).astype(np.bool_).reshape(shape)

    def xor(self, protocol: DerivedOperations, a: Share, b: Share) -> Share:
        both = protocol.bilinear(Mul(), a, b)
        return a + b - both - both

    def flip(self, protocol: DerivedOperations, a: Share, mask: Bools) -> Share:
        sign = 1 - 2 * mask.astype(np.int64)
        turned = a.map(lambda s: self.algebra.times(s, sign.view(np.uint64)))
        return protocol.add_public(turned, mask.astype(np.uint64))

    def pick(self, a: Share, shape: Shape, index: Any) -> Share:
        return a[index]
