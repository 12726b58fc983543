"""Operations that follow from any sharing and its product, written once.

All of them rest on one fact: a value shared by components is a sum of a few words, each known to
some parties, and `deal` turns a word known to some parties into a shared one. Protocols override
these where they have something cheaper."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, cast

import numpy as np

from wwfl_core import kernels
from wwfl_core.accelerate.fused import Components, Mask, one_pass
from wwfl_core.errors import Misuse
from wwfl_core.numbers.algebra import BITS, RING
from wwfl_core.numbers.arrays import U8, U64, Array, Shape, numel
from wwfl_core.numbers.bilinear import Mul
from wwfl_core.sharing.share import Share, concat, together

from . import modulus, truncation
from .modulus import Words, words

if TYPE_CHECKING:
    from .backend import MPCBackend

AND = Mul()
MUL = Mul()
CARRY_BITS = 12


def truncate(mpc: MPCBackend, x: Share, bits: int) -> Share:
    """Lemma W with a shared product of the two wrap bits; for more words see `_truncate_words`."""
    found = words(mpc, x)
    if len(found) != 2:
        return _truncate_words(mpc, found, x.shape, bits)
    (g0, a), (g1, b) = found
    star = base = high = left = right = None
    if a is not None:
        star, base = truncation.left_bits(a)
        left = truncation.shifted(a, bits, base)
    if b is not None:
        high = truncation.right_bits(b)
        right = truncation.shifted_plus_one(b, bits, np.zeros_like(b))
    jobs = [(star, g0.dealers), (high, g1.dealers), (left, g0.dealers), (right, g1.dealers)]
    first, second, *halves = mpc.deal_many(jobs, x.shape, name="truncate")
    wrap, scale = mpc.bilinear(MUL, first, second), np.uint64(64 - bits)
    return halves[0] + halves[1] - wrap.map(lambda w: w << scale)


def _truncate_words(mpc: MPCBackend, found: Words, shape: Shape, bits: int) -> Share:
    """sum_i (w_i >> f) - 2^(64-f) k + c, where k counts the words' wraps and c the carry out of
    their low parts.

    With x' = x + 2^(f-1) (added to the first word, so that results are rounded to nearest), both
    counts follow from the words' top bits: k as in `wwfl_core.protocol.modulus`, and c =
    floor(sum_i v_i / 2^s + n / 2^s) from the top s bits v_i of the low parts, which is the carry
    or, within n / 2^s of the next one, one more."""
    n, s = len(found), min(bits, CARRY_BITS)
    half, low = np.uint64(1 << (bits - 1)), truncation.low_mask(bits)
    jobs: list[tuple[Array | None, Sequence[int]]] = []
    for i, (group, word) in enumerate(found):
        known = None
        if word is not None:
            w = word if i else word + half
            top = w >> np.uint64(64 - modulus.top_bits(n))
            known = np.stack([w >> np.uint64(bits), top, (w & low) >> np.uint64(bits - s)])
        jobs.append((known, group.dealers))
    dealt = mpc.deal_many(jobs, (3, *shape), name="truncate")
    shifted, tops, lows = (reduce(operator.add, [d[i] for d in dealt]) for i in range(3))
    exact = bits <= CARRY_BITS  # then v_i are the low parts themselves
    wraps, carries = modulus.count_above(
        mpc,
        [
            (tops, 1 << (modulus.top_bits(n) - 1), modulus.top_bits(n), n),
            (lows, 0 if exact else n, s, n),
        ],
    )
    return shifted + carries - wraps.map(lambda k: k << np.uint64(64 - bits))


def planes(word: Array | None, bits: int) -> Array | None:
    """The low `bits` bits of a word as planes [bits, ceil(n/8)]."""
    return None if word is None else kernels.to_planes(word, 0, bits)


@one_pass("bits.planes_of")
def planes_of(parts: Components, signs: Sequence[int], bits: int) -> U8:
    """`planes` of the sum of one or two words, with signs."""
    return kernels.to_planes(
        RING.sum([RING.scale(s, part) for s, part in zip(signs, parts, strict=True)]), 0, bits
    )


@one_pass("prg.conjunction")
def conjunction(x: U8, y: U8, *terms: Mask | None) -> U8:
    """x AND y XOR all terms, of packed bits; a term that is None is left out."""
    return BITS.sum([x & y, *(cast(U8, term) for term in terms if term is not None)])


def plane_shape(shape: Shape, bits: int) -> Shape:
    return bits, packed(numel(shape))


def packed(n: int) -> int:
    """Bytes that n bits take."""
    return (n + 7) // 8


def carry_inputs(mpc: MPCBackend, x: Share, bits: int) -> tuple[Share, Share]:
    """The words' bits enter the Boolean sharing of the same parties: g = a AND b, p = a XOR b for
    the last two."""
    first, second = _two_numbers(mpc, words(mpc, x), x.shape, bits)
    generate = mpc.bilinear(AND, first[: bits - 1], second[: bits - 1])
    return generate, first + second


def _two_numbers(mpc: MPCBackend, found: Words, shape: Shape, bits: int) -> tuple[Share, Share]:
    """Bit planes of two shared numbers that add up to the words modulo 2^bits: carry-save adders,
    one AND depth each.

    (a, b, c) -> (a ^ b ^ c, majority << 1) with majority = ((a ^ c) & (b ^ c)) ^ c.
    """
    size = plane_shape(shape, bits)
    rows = [
        mpc.deal(planes(word, bits), group.dealers, size, BITS, name="bits")
        for group, word in found
    ]
    while len(rows) > 2:
        a, b, c = rows[:3]
        majority = mpc.bilinear(AND, (a + c)[: bits - 1], (b + c)[: bits - 1]) + c[: bits - 1]
        rows = [*rows[3:], a + b + c, concat([a[:1] - a[:1], majority])]
    return rows[0], rows[1]


def carry_out(mpc: MPCBackend, g: Share, p: Share) -> Share:
    """The carry out of k positions: a carry-only tree of depth ceil(log2 k), `carry_products` and
    `carry_merged`.

    Neighbours merge to (g_hi ^ p_hi g_lo, p_hi p_lo), from the bottom, so that an odd one is left
    at the top. The lowest group never needs its P, so `p` is kept without it: g has k planes, p has
    k - 1. At 63 positions: 118 ANDs in 6 levels. What lies between two messages is one call of
    `mpc.carry_level`, so that a device can fuse it."""
    product = None
    while g.shape[0] > 1:
        g, p, product = mpc.carry_level(g, p, product)
    return g[0]


def carry_level(
    mpc: MPCBackend, g: Share, p: Share, product: Share | None
) -> tuple[Share, Share, Share | None]:
    """A level of `carry_out` for any protocol."""
    if product is not None:
        g, p = carry_merged(g, p, product)
    return g, p, mpc.bilinear(AND, *carry_products(g, p)) if carry_ands(g.shape[0]) else None


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
    """g and p of the next level."""
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


def check_window(bits: int) -> None:
    """Refuses a comparison window that no sign bit fits in."""
    if not 2 <= bits <= 64:
        raise Misuse(f"sign: bits={bits} is outside 2..64")


def sign(mpc: MPCBackend, x: Share, bits: int) -> Share:
    """Bit `bits - 1` of the sum of the words: the top propagate bit plus the carry into it."""
    check_window(bits)
    with mpc.party.scope("sign"):
        g, p = mpc.carry_inputs(x, bits)
        return p[bits - 1] + carry_out(mpc, g, p[1 : bits - 1])


def and_all(mpc: MPCBackend, x: Share) -> Share:
    """AND of all planes, a tree of depth ceil(log2 k)."""
    while (k := x.shape[0]) > 1:
        half = k // 2
        product = mpc.bilinear(AND, x[:half], x[half : 2 * half])
        x = concat([product, x[2 * half :]]) if k % 2 else product
    return x[0]


def is_zero(mpc: MPCBackend, x: Share, bits: int) -> Share:
    """A + B = 0 exactly when A and -B agree in every bit; more words are added to two numbers
    first."""
    with mpc.party.scope("is_zero"):
        found = words(mpc, x)
        if len(found) != 2:
            return _sum_is_zero(mpc, *_two_numbers(mpc, found, x.shape, bits))
        (g0, a), (g1, b) = found
        shape = plane_shape(x.shape, bits)
        first = mpc.deal(planes(a, bits), g0.dealers, shape, BITS, name="bits")
        negated = None if b is None else RING.neg(b)
        second = mpc.deal(planes(negated, bits), g1.dealers, shape, BITS, name="bits")
        same = mpc.add_public(first + second, np.asarray(255, np.uint8))
        return and_all(mpc, same)


def _sum_is_zero(mpc: MPCBackend, a: Share, b: Share) -> Share:
    """A + B = 0 modulo 2^k exactly when A ^ B = (A | B) << 1, modulo 2^k, without carries."""
    bits = a.shape[0]
    either = (a + b)[: bits - 1] + mpc.bilinear(AND, a[: bits - 1], b[: bits - 1])
    differs = a + b + concat([a[:1] - a[:1], either])
    return and_all(mpc, mpc.add_public(differs, np.asarray(255, np.uint8)))


def bit_to_ring(mpc: MPCBackend, b: Share, shape: Shape) -> Share:
    """b = u ^ v ^ .. with each known to some parties: all are dealt as ring elements, u ^ v = u + v
    - 2 u v."""
    n = numel(shape)
    jobs = [
        (None if w is None else kernels.expand(w, n).reshape(shape), group.dealers)
        for group, w in words(mpc, b)
    ]
    rest = mpc.deal_many(jobs, shape, name="bit_to_ring")
    while len(rest) > 1:
        both = mpc.bilinear(MUL, rest[0], rest[1])
        rest = [*rest[2:], rest[0] + rest[1] - both - both]
    return rest[0]


@one_pass("replicated.times_sign")
def times_sign(value: U64, bit: U8, *, add_bit: bool = False) -> U64:
    """(1 - 2 bit) value for packed bits, plus the bit if `add_bit`."""
    b = kernels.expand(bit, value.size).reshape(value.shape)
    flipped = value - ((b * value) << np.uint64(1))
    return flipped + b if add_bit else flipped


@one_pass("replicated.lift")
def lifted(b: Components, n: int, mask: Mask, x: Components | None = None) -> U64:
    """u - mask for u = b1 ^ b2 as a ring element, or (u, u (x1 + x2)) - mask."""
    u = kernels.expand(BITS.add(b[0], b[1]), n)
    return RING.unmasked(u if x is None else np.stack([u, u * (x[0] + x[1]).reshape(-1)]), mask)


def inject(mpc: MPCBackend, b: Share, x: Share) -> Share:
    """The bit as a ring element, then one product."""
    return mpc.bilinear(MUL, mpc.bit_to_ring(b, x.shape), x)
