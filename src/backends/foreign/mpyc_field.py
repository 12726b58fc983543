"""The prime field of `backends.shamir` as MPyC wants it: its elements as bytes, and fast inverse
square roots.

p = 2^127 - 1. Arrays of elements are NumPy object arrays of ints in [0, p) in MPyC and `words` (two
little-endian uint64 limbs, last axis 2) between processes and on the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numba
import numpy as np

from wwfl_core.numbers import U64, Array

P = 2**127 - 1
ELEMENT_BYTES = 16
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_TOP = np.uint64(63)
_TOP_MASK = np.uint64(2**63 - 1)
_ONE = np.uint64(1)


def to_words(elements: Array) -> U64:
    """Field elements (object array, any shape) as uint64 limbs [..., 2]."""
    data = b"".join(
        [value.to_bytes(ELEMENT_BYTES, "little") for value in elements.reshape(-1).tolist()]
    )
    return np.frombuffer(data, np.uint64).reshape(*elements.shape, 2)


def from_words(limbs: U64) -> Array:
    """The inverse of `to_words`.

    Raises:
        ValueError: for limbs that are not a field element, which no honest party sends.
    """
    flat = limbs.reshape(-1, 2)
    low, high = flat[:, 0], flat[:, 1]
    if np.any((high > _TOP_MASK) | ((high == _TOP_MASK) & (low == np.uint64(2**64 - 1)))):
        raise ValueError(
            "not an element of the field: a message of another field or version, or a corrupt one"
        )
    values = [(h << 64) | l for h, l in zip(high.tolist(), low.tolist(), strict=True)]
    return np.fromiter(values, object, count=len(values)).reshape(limbs.shape[:-1])


class WireFormat:
    """Stands in for `pickle` in MPyC's runtime, which (un)pickles what it sends to and gets from
    its peers.

    16 bytes per element: a peer's message can only ever be numbers, and every message has the same
    length."""

    @staticmethod
    def dumps(elements: Array) -> bytes:
        return to_words(elements).tobytes()

    @staticmethod
    def loads(data: bytes) -> Array:
        return from_words(np.frombuffer(data, np.uint64).reshape(-1, 2))


# ---------------------------------------------------------------------- arithmetic on limbs


@numba.njit(cache=True, inline="always")
def _wide(a, b):  # type: ignore[no-untyped-def]
    """The 128-bit product of two words: (low, high)."""
    a0, a1, b0, b1 = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    low, cross, other, high = a0 * b0, a0 * b1, a1 * b0, a1 * b1
    middle = (low >> _HALF) + (cross & _LOW) + (other & _LOW)
    return (low & _LOW) | (middle << _HALF), high + (cross >> _HALF) + (other >> _HALF) + (
        middle >> _HALF
    )


@numba.njit(cache=True, inline="always")
def _mul(a0, a1, b0, b1):  # type: ignore[no-untyped-def]
    """a * b mod 2^127 - 1 for limbs with a1, b1 < 2^63. The result may be p itself, which stands
    for 0.

    The 254-bit product is H 2^127 + L with 2^127 = 1, hence H + L, folded once more.
    """
    r0, h00 = _wide(a0, b0)
    l01, h01 = _wide(a0, b1)
    l10, h10 = _wide(a1, b0)
    l11, h11 = _wide(a1, b1)
    r1 = h00 + l01
    carry = np.uint64(r1 < l01)
    r1 += l10
    carry += np.uint64(r1 < l10)
    r2 = h01 + carry  # h01, h10 < 2^63: no overflow with the small carry
    carry = np.uint64(0)
    r2 += h10
    carry += np.uint64(r2 < h10)
    r2 += l11
    carry += np.uint64(r2 < l11)
    r3 = h11 + carry
    high0, high1 = (r2 << _ONE) | (r1 >> _TOP), (r3 << _ONE) | (r2 >> _TOP)
    s0 = r0 + high0
    s1 = (r1 & _TOP_MASK) + high1 + np.uint64(s0 < r0)
    top = s1 >> _TOP
    s1 &= _TOP_MASK
    s0 += top
    s1 += np.uint64(s0 < top)
    return s0, s1


@numba.njit(cache=True, inline="always")
def _squarings(a0, a1, times):  # type: ignore[no-untyped-def]
    for _ in range(times):
        a0, a1 = _mul(a0, a1, a0, a1)
    return a0, a1


@numba.njit(cache=True, nogil=True)
def _inverse_roots(limbs, out):  # type: ignore[no-untyped-def]
    """a^(2^125 - 1), which is 1 / sqrt(a) for a nonzero square a, by a^(2^(2k) - 1) = (a^(2^k -
    1))^(2^k + 1)."""
    for i in range(limbs.shape[0]):
        a0, a1 = limbs[i, 0], limbs[i, 1]
        x0, x1, ones = a0, a1, 1  # x = a^(2^ones - 1); 125 = 0b1111101
        for bit in (1, 1, 1, 1, 0, 1):
            y0, y1 = _squarings(x0, x1, ones)
            x0, x1 = _mul(x0, x1, y0, y1)
            ones *= 2
            if bit:
                y0, y1 = _mul(x0, x1, x0, x1)
                x0, x1 = _mul(y0, y1, a0, a1)
                ones += 1
        if x1 == _TOP_MASK and x0 == np.uint64(2**64 - 1):
            x0, x1 = np.uint64(0), np.uint64(0)
        out[i, 0], out[i, 1] = x0, x1


@numba.njit(cache=True, inline="always")
def _add(a0, a1, b0, b1):  # type: ignore[no-untyped-def]
    """a + b mod 2^127 - 1 for limbs with a1, b1 < 2^63; p may stand for 0."""
    s0 = a0 + b0
    s1 = a1 + b1 + np.uint64(s0 < a0)
    top = s1 >> _TOP
    s1 &= _TOP_MASK
    s0 += top
    s1 += np.uint64(s0 < top)
    return s0, s1


@numba.njit(cache=True, nogil=True)
def _accumulate(digests, weights, out):  # type: ignore[no-untyped-def]
    """out[i] += sum_j digests[i, j] * weights[j], for 256-bit digests."""
    for i in range(digests.shape[0]):
        s0, s1 = out[i, 0], out[i, 1]
        for j in range(digests.shape[1]):
            d0, d1, d2, d3 = digests[i, j, 0], digests[i, j, 1], digests[i, j, 2], digests[i, j, 3]
            x0, x1 = d0, d1 & _TOP_MASK
            x0, x1 = _add(
                x0, x1, (d1 >> _TOP) | (d2 << _ONE), ((d2 >> _TOP) | (d3 << _ONE)) & _TOP_MASK
            )
            x0, x1 = _add(x0, x1, d3 >> np.uint64(62), np.uint64(0))
            x0, x1 = _mul(x0, x1, weights[j, 0], weights[j, 1])
            s0, s1 = _add(s0, s1, x0, x1)
        if s1 == _TOP_MASK and s0 == np.uint64(2**64 - 1):
            s0, s1 = np.uint64(0), np.uint64(0)
        out[i, 0], out[i, 1] = s0, s1


DIGEST_BYTES = 32
"""What MPyC draws per element of the field: 16 bytes, and 16 of its key's length against the
bias."""


def weighted_digests(terms: Sequence[tuple[bytes, Sequence[int]]], n: int) -> Array:
    """sum over terms of the n rows of digests (bytes of uint256 [n, d]), times the d weights, mod
    p."""
    out = np.zeros((n, 2), np.uint64)
    for data, weights in terms:
        factors = to_words(np.array([w % P for w in weights], object))
        _accumulate(np.frombuffer(data, np.uint64).reshape(n, len(weights), 4), factors, out)
    return from_words(out)


def inverse_roots(squares: Array) -> Array:
    """1 / sqrt(a) for nonzero squares a (object array): the root that is a square itself or minus
    it, by a formula.

    All parties get the same of the two roots. Some 25 times faster than Python's pow.
    """
    limbs = to_words(squares).reshape(-1, 2)
    out = np.empty_like(limbs)
    _inverse_roots(limbs, out)
    return from_words(out).reshape(squares.shape)


def faster_roots(fallback: Callable[..., Array]) -> Callable[..., Array]:
    """MPyC's `_sqrt` for arrays over the field, with the common case replaced."""

    def sqrt(a: Array, INV: bool = False) -> Array:
        if INV and a.size and not np.any(a == 0):
            return inverse_roots(a)
        return fallback(a, INV=INV)

    return sqrt
