"""Secret bits as planes: how many bytes they take, and the carry tree over them.

A plane holds one bit of every element, packed. Bits are shared over GF(2), so XOR is local and an
AND is a product. What is here is local; the products are a protocol's (`derived.py`)."""

from __future__ import annotations

import numpy as np

from wwfl_core import kernels
from wwfl_core.errors import Misuse
from wwfl_core.numbers import Array, Mul, Shape, numel
from wwfl_core.sharing import Share, together

AND = Mul()


def packed(n: int) -> int:
    """Bytes that n bits take."""
    return (n + 7) // 8


def plane_shape(shape: Shape, bits: int) -> Shape:
    """The shape of `bits` planes of an array of that shape."""
    return bits, packed(numel(shape))


def planes(word: Array | None, bits: int) -> Array | None:
    """The low `bits` bits of a word as planes [bits, ceil(n/8)]."""
    return None if word is None else kernels.to_planes(word, 0, bits)


def check_window(bits: int) -> None:
    """Refuses a comparison window that no sign bit fits in.

    Raises:
        Misuse: unless 2 <= bits <= 64.
    """
    if not 2 <= bits <= 64:
        raise Misuse(f"sign: bits={bits} is outside 2..64")


# ---------------------------------------------------------------------- the carry tree
#
# A position has (g, p): it makes a carry, or passes one on. Neighbours merge to
# (g_hi ^ p_hi g_lo, p_hi p_lo), from the bottom, so that an odd one is left at the top. Nobody asks
# for the P of the lowest group, so `p` is kept without it: g has k planes, p has k - 1.


def carry_ands(positions: int) -> int:
    """How many ANDs (of planes) the level above `positions` has."""
    return max(0, positions - positions % 2 - 1)


def carry_products(g: Share, p: Share) -> tuple[Share, Share]:
    """What is multiplied in a level of the tree: the upper p with the lower g, then with the lower
    p."""
    even = g.shape[0] - g.shape[0] % 2
    shape = (even - 1, *g.shape[1:])

    def upper(b: Array) -> Array:
        return np.concatenate([b[0 : even - 1 : 2], b[2 : even - 1 : 2]])

    def lower(a: Array, b: Array) -> Array:
        return np.concatenate([a[0:even:2], b[1 : even - 2 : 2]])

    return together(shape, upper, p), together(shape, lower, g, p)


def carry_merged(g: Share, p: Share, product: Share) -> tuple[Share, Share]:
    """g and p of the next level, from the product."""
    add, positions = g.algebra.add, (g.shape[0] + 1) // 2
    half, even = g.shape[0] // 2, g.shape[0] - g.shape[0] % 2

    def generate(a: Array, z: Array) -> Array:
        merged = add(a[1:even:2], z[:half])
        return merged if half == positions else np.concatenate([merged, a[even:]])

    def propagate(b: Array, z: Array) -> Array:
        return z[half:] if half == positions else np.concatenate([z[half:], b[even - 1 :]])

    rest = g.shape[1:]
    return together((positions, *rest), generate, g, product), together(
        (positions - 1, *rest), propagate, p, product
    )


__all__ = [
    "AND",
    "carry_ands",
    "carry_merged",
    "carry_products",
    "check_window",
    "packed",
    "plane_shape",
    "planes",
]
