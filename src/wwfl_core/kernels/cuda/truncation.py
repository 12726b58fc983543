"""Local steps of exact truncation by f bits in Z_2^64 on device arrays (Lemma W, `wwfl_core.truncation`)."""

from __future__ import annotations

import numpy as np

from wwfl_core.errors import Misuse
from wwfl_core.kernels._lazy import check_int

from .bits import packed_bits
from .launch import DeviceArray, launcher_for, over, plain


def left_bits(a: DeviceArray) -> tuple[DeviceArray, DeviceArray]:
    """For each element of a (uint64, any shape): star = [a < 2^62 or a >= 2^64 - 2^62], base = [a >= 2^62].

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
    """(a >> f) - 2^(64 - f) * wrap modulo 2^64, with a logical shift; a and wrap uint64 of one shape.

    f is from 1 to 62; wrap may hold any value. Returns a new uint64 array of that shape.
    """
    word, wraps = plain(a, "a", np.uint64), plain(wrap, "wrap", np.uint64)
    f = check_int(f, "f", 1, 62)
    if wraps.shape != word.shape:
        raise Misuse(f"wrap must have shape {word.shape} like a, not {wraps.shape}")
    out = launcher_for(word).empty(word.shape, np.uint64)
    over("truncation.cu", "shift_correct", word.size, [word, wraps, out, word.size, f], word)
    return out


def wrap_message(word: DeviceArray, mask: DeviceArray, *, left: bool) -> DeviceArray:
    """The masked wrap bits that a side opens: pack(star bit of A, or top bit of B) ^ mask, uint8 (ceil(n / 8),).

    word: uint64, any shape; mask: uint8 (ceil(n / 8),). `left` says whose word it is. The padding bits of the last byte
    are those of the mask.
    """
    source = plain(word, "word", np.uint64)
    hidden = packed_bits(mask, source.size, "mask")
    out = launcher_for(source).empty(hidden.shape, np.uint8)
    over("truncation.cu", "wrap_message", source.size, [source, hidden, out, source.size, int(left)], source)
    return out


def truncate_left(a: DeviceArray, f: int, da: DeviceArray, db: DeviceArray, c: DeviceArray) -> DeviceArray:
    """X's share of the truncated value: `pair.truncate` of the backends after the exchange, in one pass.

    a: uint64, any shape; da, db: the opened messages, uint8 (ceil(n / 8),); c: uint64 (n,), X's share of alpha beta.
    """
    word, f = plain(a, "a", np.uint64), check_int(f, "f", 1, 62)
    n = word.size
    bits = [packed_bits(da, n, "da"), packed_bits(db, n, "db")]
    out = launcher_for(word).empty(word.shape, np.uint64)
    over("truncation.cu", "truncate_left", n, [word, *bits, _correlation(c, n), out, n, f], word)
    return out


def truncate_right(
    b: DeviceArray, f: int, da: DeviceArray, db: DeviceArray, beta: DeviceArray, c: DeviceArray
) -> DeviceArray:
    """Y's share: as `truncate_left`, with Y's mask beta (uint8 (ceil(n / 8),)) and share c."""
    word, f = plain(b, "b", np.uint64), check_int(f, "f", 1, 62)
    n = word.size
    bits = [packed_bits(da, n, "da"), packed_bits(db, n, "db"), packed_bits(beta, n, "beta")]
    out = launcher_for(word).empty(word.shape, np.uint64)
    over("truncation.cu", "truncate_right", n, [word, *bits, _correlation(c, n), out, n, f], word)
    return out


def _correlation(c: DeviceArray, n: int) -> DeviceArray:
    share = plain(c, "c", np.uint64)
    if share.size != n:
        raise Misuse(f"c must have {n} elements, not {share.size}")
    return share
