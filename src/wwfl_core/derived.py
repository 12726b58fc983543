"""Operations that follow from any sharing and its product, written once.

All of them rest on one fact: a value shared by components is a sum of a few words, each known to some parties, and
`deal` turns a word known to some parties into a shared one. Protocols override these where they have something cheaper.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from . import kernels, truncation
from .algebra import BITS, RING
from .arrays import U64, Array, Shape, numel
from .bilinear import Mul
from .errors import Misuse, VerificationFailed
from .share import Share, concat
from .sharing import Group

if TYPE_CHECKING:
    from .backend import MPCBackend

AND = Mul()
MUL = Mul()
COIN_BYTES = 32


def words(mpc: MPCBackend, x: Share) -> list[tuple[Group, Array | None]]:
    """x as a sum of words, each with the parties who know it (the word itself at those parties)."""
    vouchers = 2 if mpc.sharing.security.malicious else 1
    groups = mpc.sharing.groups(vouchers)
    return [(g, mpc.partial(x, g.components) if mpc.me in g.dealers else None) for g in groups]


def _two_words(mpc: MPCBackend, x: Share, what: str) -> tuple[tuple[Group, Array | None], tuple[Group, Array | None]]:
    found = words(mpc, x)
    if len(found) != 2:
        raise Misuse(
            f"{mpc.name}: the generic {what} needs a sharing whose value is a sum of two words, this one has "
            f"{len(found)}; override {what} in the protocol"
        )
    return found[0], found[1]


def truncate(mpc: MPCBackend, x: Share, bits: int) -> Share:
    """Lemma W with a shared product of the two wrap bits."""
    (g0, a), (g1, b) = _two_words(mpc, x, "truncate")
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


def planes(word: Array | None, bits: int) -> Array | None:
    """The low `bits` bits of a word as planes [bits, ceil(n/8)]."""
    return None if word is None else kernels.to_planes(word, 0, bits)


def plane_shape(shape: Shape, bits: int) -> Shape:
    return bits, packed(numel(shape))


def packed(n: int) -> int:
    """Bytes that n bits take."""
    return (n + 7) // 8


def carry_inputs(mpc: MPCBackend, x: Share, bits: int) -> tuple[Share, Share]:
    """The two words' bits enter the Boolean sharing of the same parties: g = a AND b, p = a XOR b."""
    (g0, a), (g1, b) = _two_words(mpc, x, "carry_inputs")
    shape = plane_shape(x.shape, bits)
    first = mpc.deal(planes(a, bits), g0.dealers, shape, BITS, name="bits")
    second = mpc.deal(planes(b, bits), g1.dealers, shape, BITS, name="bits")
    generate = mpc.bilinear(AND, first[: bits - 1], second[: bits - 1])
    return generate, first + second


def carry_out(mpc: MPCBackend, g: Share, p: Share) -> Share:
    """The carry out of k positions: a carry-only tree of depth ceil(log2 k).

    Neighbours merge to (g_hi ^ p_hi g_lo, p_hi p_lo), from the bottom, so that an odd one is left at the top. The
    lowest group never needs its P, so `p` is kept without it: g has k planes, p has k - 1. At 63 positions: 118 ANDs
    in 6 levels.
    """
    while (k := g.shape[0]) > 1:
        even = k - k % 2
        p_high, p_low = p[0 : even - 1 : 2], p[1 : even - 2 : 2]
        product = mpc.bilinear(AND, concat([p_high, p_high[1:]]), concat([g[0:even:2], p_low]))
        merged = g[1:even:2] + product[: even // 2]
        p = concat([product[even // 2 :], p[even - 1 :]])
        g = concat([merged, g[even:]])
    return g[0]


def check_window(bits: int) -> None:
    """Refuses a comparison window that no sign bit fits in."""
    if not 2 <= bits <= 64:
        raise Misuse(f"sign: bits={bits} is outside 2..64")


def sign(mpc: MPCBackend, x: Share, bits: int) -> Share:
    """Bit `bits - 1` of the sum of the words: the top propagate bit plus the carry into it."""
    check_window(bits)
    with mpc.scope("sign"):
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
    """A + B = 0 exactly when A and -B agree in every bit."""
    with mpc.scope("is_zero"):
        (g0, a), (g1, b) = _two_words(mpc, x, "is_zero")
        shape = plane_shape(x.shape, bits)
        first = mpc.deal(planes(a, bits), g0.dealers, shape, BITS, name="bits")
        negated = None if b is None else RING.neg(b)
        second = mpc.deal(planes(negated, bits), g1.dealers, shape, BITS, name="bits")
        same = mpc.add_public(first + second, np.full(shape, 255, np.uint8))
        return and_all(mpc, same)


def bit_to_ring(mpc: MPCBackend, b: Share, shape: Shape) -> Share:
    """b = u ^ v with u and v known to some parties each: both are dealt as ring elements, b = u + v - 2 u v."""
    (g0, u), (g1, v) = _two_words(mpc, b, "bit_to_ring")
    n = numel(shape)
    words_ = [None if w is None else kernels.expand(w, n).reshape(shape) for w in (u, v)]
    first = mpc.deal(words_[0], g0.dealers, shape, name="bit_to_ring")
    second = mpc.deal(words_[1], g1.dealers, shape, name="bit_to_ring")
    both = mpc.bilinear(MUL, first, second)
    return first + second - both - both


def inject(mpc: MPCBackend, b: Share, x: Share) -> Share:
    """The bit as a ring element, then one product."""
    return mpc.bilinear(MUL, mpc.bit_to_ring(b, x.shape), x)


def expand_at(share: Share, component: int, n: int, shape: Shape) -> U64:
    """One component of a packed Boolean share as 0/1 words."""
    return kernels.expand(share.parts[component], n).reshape(shape)


def coin(mpc: MPCBackend, reason: str) -> bytes:
    """Blum's coin for n parties: commit to r_i, confirm the commitments, open, hash everything."""
    party = mpc.party
    commit, confirm, reveal = party.op("coin"), party.op("coin.ok"), party.op("coin.r")
    others = [p for p in range(party.size) if p != mpc.me]
    secret = commit.random([mpc.me], "coin", BITS, (2 * COIN_BYTES,))  # the value and the commitment's blinding
    context = f"{party.run}|{commit.number}|{reason}".encode()

    def commitment(who: int, value: Array) -> bytes:
        return hashlib.sha256(b"wwfl-coin|%d|" % who + context + value.tobytes()).digest()

    own = np.frombuffer(commitment(mpc.me, secret), np.uint8)
    for other in others:
        commit.send(other, own)
    seen = {other: commit.recv(other, np.uint8, (COIN_BYTES,)).tobytes() for other in others}
    seen[mpc.me] = own.tobytes()
    board = hashlib.sha256(b"".join(seen[p] for p in sorted(seen))).digest()
    for other in others:
        confirm.send(other, np.frombuffer(board, np.uint8))
    for other in others:
        if confirm.recv(other, np.uint8, (COIN_BYTES,)).tobytes() != board:
            raise VerificationFailed(f"coin ({reason}): party {other} saw other commitments than party {mpc.me}")
    for other in others:
        reveal.send(other, secret)
    values = {mpc.me: secret}
    for other in others:
        values[other] = reveal.recv(other, np.uint8, (2 * COIN_BYTES,))
        if commitment(other, values[other]) != seen[other]:
            raise VerificationFailed(f"coin ({reason}): party {other} opened something else than it committed to")
    return hashlib.sha256(context + b"".join(values[p].tobytes() for p in sorted(values))).digest()
