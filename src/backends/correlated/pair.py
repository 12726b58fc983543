"""What two parties X and Y do online with their correlated randomness, whoever made it (a helper or OT)."""

from __future__ import annotations

import numpy as np

from wwfl_core import kernels, truncation
from wwfl_core.arrays import U8, U64, Array
from wwfl_core.fused import one_pass
from wwfl_core.party import Op

Pair = tuple[int, int]


def exchange(op: Op, pair: Pair, value: Array) -> Array:
    """X and Y swap equally shaped arrays: one round. Returns what the other sent."""
    x, y = pair
    other = y if op.party.index == x else x
    op.send(other, value)
    return op.recv(other, value.dtype, value.shape)


def truncate(op: Op, pair: Pair, word: U64, bits: int, mask: U8, c: U64) -> U64:
    """Exact truncation of x = A + B with A at X and B at Y (Lemma W): this party's additive share of x / 2^bits.

    Gadget PBP multiplies the private bits a and b: with masks alpha at X and beta at Y and c0 + c1 = alpha beta,
        X opens da = a ^ alpha, Y opens db = b ^ beta;
        s_X = db a + (-1)^(da ^ db) c0,  s_Y = (1 - 2 db) da beta + (-1)^(da ^ db) c1,  s_X + s_Y = a b mod 2^bits.
    `mask` is alpha or beta, packed; `c` is c0 or c1, right mod 2^bits. Online 1 bit each way, 1 round.
    """
    flat, left = word.reshape(-1), op.party.index == pair[0]
    mine = truncation.wrap_message(flat, mask, left=left)
    theirs = exchange(op, pair, mine)
    if left:
        return _left_share(flat, bits, mine, theirs, c).reshape(word.shape)
    return _right_share(flat, bits, theirs, mine, mask, c).reshape(word.shape)


@one_pass("truncation.truncate_left")
def _left_share(word: U64, bits: int, da: U8, db: U8, c: U64) -> U64:
    """X's share after the exchange."""
    s = kernels.expand(db, word.size) * kernels.star_bits(word) + _signed(da ^ db, c, word.size)
    return kernels.shift_left_half(word, bits, s)


@one_pass("truncation.truncate_right")
def _right_share(word: U64, bits: int, da: U8, db: U8, beta: U8, c: U64) -> U64:
    """Y's share after the exchange."""
    n = word.size
    s = _signed(db, kernels.expand(da & beta, n), n) + _signed(da ^ db, c, n)
    return truncation.shifted_plus_one(word, bits, s)


def conjoin(op: Op, pair: Pair, bits: U8, mask: U8, c: U8) -> U8:
    """XOR shares of a AND b for packed bits a at X and b at Y: d_a = a ^ alpha and d_b = b ^ beta are opened, then
    a b = d_b a ^ d_a beta ^ alpha beta. `mask` is alpha or beta, `c` an XOR share of alpha beta. 2 bits, 1 round.
    """
    mine = bits ^ mask
    theirs = exchange(op, pair, mine)
    return (theirs & (bits if op.party.index == pair[0] else mask)) ^ c


def _signed(negative: U8, value: U64, n: int) -> U64:
    """value or -value, by packed sign bits."""
    return value * (np.uint64(1) - (kernels.expand(negative, n) << np.uint64(1)))
