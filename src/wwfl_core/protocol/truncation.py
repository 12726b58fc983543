"""Lemma W: the wrap of a two-word sharing of a bounded value costs one product of two privately
known bits.

Let L = 2^64, |x| < L/4 and x = A + B mod L with A, B in [0, L). With
    a    = [A < L/4 or A >= 3L/4],  base = [A >= L/4]   (from A alone),
    b    = [B >= L/2]                                    (from B alone)
the integers satisfy A + B = x + L (a b + base). Hence, with shifts of unsigned words,
    (A >> f) + (B >> f) - 2^(64-f) (a b + base) + 1  in  {floor(x / 2^f), floor(x / 2^f) + 1} mod L,
stochastic rounding for uniform A, and never a huge error. (Guo et al., ePrint 2025/200; the exact
test is tests/core/protocol/test_truncation.py.) The randomness of the rounding is the low bits of A
and B, which their holders know: someone who opens a truncated value and holds a share of the
product learns slightly more about the dropped bits than the rounded value says (at most one unit in
the last place). `left` and `right` are the parts that the holder of A and of B can compute
alone."""

from __future__ import annotations

import numpy as np

from wwfl_core import kernels
from wwfl_core.numbers import U64


def star_bits(a: U64) -> U64:
    """a of the word A, as 0/1 words."""
    return kernels.star_bits(a)


def left_bits(a: U64) -> tuple[U64, U64]:
    """(a, base) of the word A, as 0/1 words."""
    return kernels.left_bits(a)


def right_bits(b: U64) -> U64:
    """b of the word B, as 0/1 words."""
    return kernels.right_bits(b)


def shifted(word: U64, bits: int, wrap: U64) -> U64:
    """(word >> bits) - 2^(64 - bits) * wrap."""
    return kernels.shift_correct(word, bits, wrap)


def shifted_plus_one(word: U64, bits: int, wrap: U64) -> U64:
    """`shifted(...) + 1`: the right half carries the +1 that turns floor - 1 into floor."""
    return kernels.shift_correct(word, bits, wrap) + np.uint64(1)


def low_mask(bits: int) -> np.uint64:
    """2^bits - 1."""
    return np.uint64((1 << bits) - 1)
