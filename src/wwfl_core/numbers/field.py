"""Prime fields as algebras. Elements are Python integers in [0, p) in object arrays; two 64-bit
words on the wire.

Object arrays make this the slow algebra. It exists for protocols that need a field (Shamir's secret
sharing); what it costs is measured in docs/reference/matrix.md and
tests/core/sharing/test_shamir.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import Misuse, RangeError

from .algebra import Algebra
from .arrays import U64, Array, Shape, numel

SLACK_BYTES = 8
"""Uniform bytes beyond the 16 of an element: reducing 192 bits modulo p < 2^127 has a bias below
2^-65."""
MAX_BITS = 127
MERSENNE_127 = 2**127 - 1


class PrimeField(Algebra):
    """The integers modulo a prime 2^66 < p < 2^127; numbers are centred: p - 1 is -1.

    All 64-bit words have a representative, so words convert without loss; the caller vouches for
    primality."""

    dtype = np.dtype(object)

    def __init__(self, modulus: int = MERSENNE_127) -> None:
        if not 66 < modulus.bit_length() <= MAX_BITS or modulus % 2 == 0:
            raise Misuse(
                f"a prime field needs an odd prime of 67 to {MAX_BITS} bits, got {modulus}"
            )
        self.modulus = modulus
        self.name = f"F_{modulus}" if modulus != MERSENNE_127 else "F_(2^127-1)"

    def __reduce__(self) -> tuple[type[PrimeField], tuple[int]]:
        return PrimeField, (self.modulus,)

    def zeros(self, shape: Shape) -> Array:
        return np.full(shape, 0, object)

    def nbytes(self, shape: Shape) -> int:
        return numel(shape) * 16

    def random_bytes(self, shape: Shape) -> int:
        return numel(shape) * (16 + SLACK_BYTES)

    def from_bytes(self, data: npt.NDArray[np.uint8], shape: Shape) -> Array:
        low, middle, high = (
            data.view(np.uint64).reshape(-1, 3)[:, i].astype(object) for i in range(3)
        )
        return self.normal(low + (middle << 64) + (high << 128)).reshape(shape)

    def from_integers(self, a: Array) -> Array:
        return self.normal(a.astype(object))

    def from_words(self, words: Array) -> Array:
        return self.normal(np.asarray(words).view(np.int64).astype(object))

    def to_words(self, a: Array) -> U64:
        centred = np.where(a > self.modulus // 2, a - self.modulus, a)
        if a.size and not (-(2**63) <= centred.min() and centred.max() < 2**63):
            raise RangeError(
                f"a field element of {self.name} is not a 64-bit number: a computation left its "
                "range"
            )
        return np.asarray(centred, object).astype(np.int64).view(np.uint64).reshape(a.shape)

    def normal(self, a: Array) -> Array:
        return np.asarray(a % self.modulus, object)

    def add(self, a: Array, b: Array) -> Array:
        return self.normal(a + b)

    def sub(self, a: Array, b: Array) -> Array:
        return self.normal(a - b)

    def neg(self, a: Array) -> Array:
        return self.normal(-a)

    def times(self, a: Array, words: Array) -> Array:
        return self.normal(a * self.from_words(words))

    def scale(self, coefficient: int, a: Array) -> Array:
        return a if coefficient == 1 else self.normal(a * coefficient)

    def mul_sum(self, pairs: Sequence[tuple[Array, Array]]) -> Array:
        return self.normal(reduce(np.add, [np.asarray(a * b, object) for a, b in pairs]))

    def matmul(self, pairs: Sequence[tuple[Array, Array]]) -> Array:
        total: Any = reduce(np.add, [np.asarray(a @ b, object) for a, b in pairs])
        return self.normal(total)

    def im2col(self, x: Array, window: tuple[int, int], stride: int, padding: int) -> Array:
        return _patches(_padded(x, padding), window, stride).reshape(
            x.shape[1] * window[0] * window[1], -1
        )

    def col2im(
        self, columns: Array, image: Shape, window: tuple[int, int], stride: int, padding: int
    ) -> Array:
        b, c, h, w = image
        out = self.zeros((b, c, h + 2 * padding, w + 2 * padding))
        oh, ow = (out.shape[2] - window[0]) // stride + 1, (out.shape[3] - window[1]) // stride + 1
        pieces = columns.reshape(c, window[0], window[1], b, oh, ow)
        for i in range(window[0]):
            for j in range(window[1]):
                out[:, :, i : i + stride * oh : stride, j : j + stride * ow : stride] += pieces[
                    :, i, j
                ].swapaxes(0, 1)
        return self.normal(out[:, :, padding : padding + h, padding : padding + w])

    def inverse(self, a: int) -> int:
        """1 / a."""
        return pow(a, -1, self.modulus)


def _padded(x: Array, padding: int) -> Array:
    b, c, h, w = x.shape
    wide = np.full((b, c, h + 2 * padding, w + 2 * padding), 0, object)
    wide[:, :, padding : padding + h, padding : padding + w] = x
    return wide


def _patches(x: Array, window: tuple[int, int], stride: int) -> Array:
    """[b, c, h, w] -> [c, kh, kw, b, oh, ow]."""
    oh, ow = (x.shape[2] - window[0]) // stride + 1, (x.shape[3] - window[1]) // stride + 1
    rows = [
        [
            x[:, :, i : i + stride * oh : stride, j : j + stride * ow : stride]
            for j in range(window[1])
        ]
        for i in range(window[0])
    ]
    return np.ascontiguousarray(np.array(rows, object).transpose(3, 0, 1, 2, 4, 5))
