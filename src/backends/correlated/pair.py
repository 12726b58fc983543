"""What two parties X and Y do online with their correlated randomness, whoever made it (a helper or
OT)."""

from __future__ import annotations

from functools import partial

import numpy as np

from wwfl_core import kernels
from wwfl_core.accelerate.fused import Components, Mask, one_pass
from wwfl_core.errors import Misuse
from wwfl_core.numbers.algebra import RING
from wwfl_core.numbers.arrays import U8, U64, Array
from wwfl_core.party.party import Op
from wwfl_core.protocol import truncation
from wwfl_core.protocol.dealing import Made

Pair = tuple[int, int]


def exchange(op: Op, pair: Pair, value: Array) -> Array:
    """X and Y swap equally shaped arrays: one round. Returns what the other sent."""
    x, y = pair
    other = y if op.party.index == x else x
    op.send(other, value)
    return op.recv(other, value.dtype, value.shape)


def truncate(op: Op, pair: Pair, word: Components, bits: int, mask: Mask, c: Mask) -> Made:
    """Exact truncation of x = A + B with A at X and B at Y (Lemma W): this party's additive share
    of x / 2^bits, as a function of a mask to take from it (`dealing.Made`). `word` is A or B as the
    sum of one or two arrays.

    Gadget PBP multiplies the private bits a and b: with masks alpha at X and beta at Y and c0 + c1
    = alpha beta,
        X opens da = a ^ alpha, Y opens db = b ^ beta; s_X = db a + (-1)^(da ^ db) c0,  s_Y = (1 - 2
        db) da beta + (-1)^(da ^ db) c1,  s_X + s_Y = a b mod 2^bits.
    `mask` is alpha or beta, packed; `c` is c0 at X, and c1 at Y, of which `bits` bits each are
    packed. Online 1 bit each way, 1 round."""
    if not isinstance(word, tuple):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise Misuse(
            f"truncate: the word is given as a tuple of its summands, not as {type(word).__name__}"
        )
    left = op.party.index == pair[0]
    mine = truncation.wrap_message(word, mask, left=left)
    theirs = exchange(op, pair, mine)
    if left:
        return partial(_left_share, word, bits, mine, theirs, c)
    return partial(_right_share, word, bits, theirs, mine, mask, c)


@one_pass("truncation.truncate_left")
def _left_share(word: Components, bits: int, da: U8, db: U8, c: U64, hiding: Mask | None) -> U64:
    """X's share after the exchange."""
    a = RING.sum(word)
    s = kernels.expand(db, a.size) * kernels.star_bits(a).reshape(-1) + _signed(da ^ db, c, a.size)
    return RING.unmasked(kernels.shift_left_half(a, bits, s.reshape(a.shape)), hiding)


@one_pass("truncation.truncate_right")
def _right_share(
    word: Components, bits: int, da: U8, db: U8, beta: U8, c: U8, hiding: Mask | None
) -> U64:
    """Y's share after the exchange."""
    b = RING.sum(word)
    n = b.size
    s = _signed(db, kernels.expand(da & beta, n), n) + _signed(
        da ^ db, kernels.unpack_words(c, n, bits), n
    )
    return RING.unmasked(truncation.shifted_plus_one(b, bits, s.reshape(b.shape)), hiding)


def conjoin(op: Op, pair: Pair, bits: U8, mask: U8, c: U8) -> U8:
    """XOR shares of a AND b for packed bits a at X and b at Y: d_a = a ^ alpha and d_b = b ^ beta
    are opened, then a b = d_b a ^ d_a beta ^ alpha beta. `mask` is alpha or beta, `c` an XOR share
    of alpha beta. 2 bits, 1 round."""
    mine = bits ^ mask
    theirs = exchange(op, pair, mine)
    return (theirs & (bits if op.party.index == pair[0] else mask)) ^ c


def _signed(negative: U8, value: U64, n: int) -> U64:
    """value or -value, by packed sign bits."""
    return value * (np.uint64(1) - (kernels.expand(negative, n) << np.uint64(1)))
