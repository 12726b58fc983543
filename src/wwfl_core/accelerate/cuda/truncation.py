"""Local steps of exact truncation by f bits in Z_2^64 on device arrays (Lemma W,
`wwfl_core.protocol.truncation`)."""

from __future__ import annotations

import numpy as np

from wwfl_core.errors import Misuse
from wwfl_core.kernels import check_int

from .launch import DeviceArray, launcher_for, over, plain


def left_bits(a: DeviceArray) -> tuple[DeviceArray, DeviceArray]:
    """For each element of a (uint64, any shape): star = [a < 2^62 or a >= 2^64 - 2^62], base = [a
    >= 2^62].

    Both are uint64 arrays of 0 and 1 with the shape of a.
    """
    word = plain(a, "a", np.uint64)
    launcher = launcher_for(word)
    star, base = launcher.empty(word.shape, np.uint64), launcher.empty(word.shape, np.uint64)
    over("truncation.cu", "left_bits", word.size, [word, star, base, word.size], word)
    return star, base


def right_bits(b: DeviceArray) -> DeviceArray:
    """[b >= 2^63] for each element of b (uint64, any shape), as uint64 0 or 1."""
    word = plain(b, "b", np.uint64)
    high = launcher_for(word).empty(word.shape, np.uint64)
    over("truncation.cu", "right_bits", word.size, [word, high, word.size], word)
    return high


def shift_correct(a: DeviceArray, f: int, wrap: DeviceArray) -> DeviceArray:
    """(a >> f) - 2^(64 - f) * wrap modulo 2^64, with a logical shift; a and wrap uint64 of one
    shape.

    f is from 1 to 62; wrap may hold any value. Returns a new uint64 array of that shape.
    """
    word, wraps = plain(a, "a", np.uint64), plain(wrap, "wrap", np.uint64)
    f = check_int(f, "f", 1, 62)
    if wraps.shape != word.shape:
        raise Misuse(f"wrap must have shape {word.shape} like a, not {wraps.shape}")
    out = launcher_for(word).empty(word.shape, np.uint64)
    over("truncation.cu", "shift_correct", word.size, [word, wraps, out, word.size, f], word)
    return out


def star_bits(a: DeviceArray) -> DeviceArray:
    """The first of `left_bits`."""
    return left_bits(a)[0]


def shift_left_half(a: DeviceArray, f: int, wrap: DeviceArray) -> DeviceArray:
    """`shift_correct` with wrap + [a >= 2^62], the second of `left_bits`."""
    return shift_correct(a, f, wrap + left_bits(a)[1])
