"""What two parties X and Y do online with their correlated randomness, whoever made it (a helper or
OT)."""

from __future__ import annotations

from wwfl_core.numbers import U8, Array
from wwfl_core.party import Op

Pair = tuple[int, int]


def exchange(op: Op, pair: Pair, value: Array) -> Array:
    """X and Y swap equally shaped arrays: one round. Returns what the other sent."""
    x, y = pair
    other = y if op.party.index == x else x
    op.send(other, value)
    return op.recv(other, value.dtype, value.shape)


def conjoin(op: Op, pair: Pair, bits: U8, mask: U8, c: U8) -> U8:
    """XOR shares of a AND b for packed bits a at X and b at Y: d_a = a ^ alpha and d_b = b ^ beta
    are opened, then a b = d_b a ^ d_a beta ^ alpha beta. `mask` is alpha or beta, `c` an XOR share
    of alpha beta. 2 bits, 1 round."""
    mine = bits ^ mask
    theirs = exchange(op, pair, mine)
    return (theirs & (bits if op.party.index == pair[0] else mask)) ^ c
