"""Local steps of exact truncation by f bits in Z_2^64 on device arrays (Lemma W,
`wwfl_core.protocol.truncation`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wwfl_core.errors import Misuse
from wwfl_core.kernels._lazy import check_int

from .bits import packed_bits, packed_words
from .launch import DeviceArray, Launcher, launcher_for, over, plain
from .prg import Stream, check_length, same_kind, source_args, stream_args


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


Word = Sequence[DeviceArray]
"""A word as the sum of one or two arrays: uint64 of one shape."""
Mask = DeviceArray | Stream


def wrap_message(word: Word, mask: Mask, *, left: bool) -> DeviceArray:
    """The masked wrap bits that a side opens: pack(star bit of A, or top bit of B) ^ mask, uint8
    (ceil(n / 8),).

    mask: uint8 (ceil(n / 8),), or its stream. `left` says whose word it is. The padding bits of the
    last byte are those of the mask."""
    first, second, n = _summands(word)
    hidden, stream = source_args(mask, lambda m: packed_bits(m, n, "mask"))
    out = launcher_for(first).empty((-(-n // 8),), np.uint8)
    args = [first, second, hidden, out, n, int(left), *stream]
    over("truncation.cu", "wrap_message", 32 * -(-n // 512), args, first)
    return out


def truncate_left(
    word: Word, f: int, da: DeviceArray, db: DeviceArray, c: Mask, hiding: Stream | None = None
) -> DeviceArray:
    """X's share of the truncated value: `pair.truncate` of the backends after the exchange, in one
    pass.

    da, db: the opened messages, uint8 (ceil(n / 8),); c: X's share of alpha beta, uint64 with n
    elements, or its stream. With `hiding` its stream is subtracted. Returns uint64 with the shape
    of the word."""
    first, second, n = _summands(word)
    bits = [packed_bits(da, n, "da"), packed_bits(db, n, "db")]
    share, stream = source_args(c, lambda c: _correlation(c, n))
    out = launcher_for(first).empty(first.shape, np.uint64)
    check_length(out.nbytes)
    args = [
        first,
        second,
        *bits,
        share,
        out,
        n,
        check_int(f, "f", 1, 62),
        int(hiding is not None),
        *stream,
    ]
    over("truncation.cu", "truncate_left", -(-n // 8), [*args, *stream_args(hiding)], first)
    return out


def truncate_right(
    word: Word,
    f: int,
    da: DeviceArray,
    db: DeviceArray,
    beta: Mask,
    c: DeviceArray,
    hiding: Stream | None = None,
) -> DeviceArray:
    """Y's share: as `truncate_left`, with Y's mask beta (uint8 (ceil(n / 8),) or its stream) and
    share c, of whose elements f bits each are packed: uint8 (ceil(n f / 8),)."""
    first, second, n = _summands(word)
    f = check_int(f, "f", 1, 62)
    bits = [packed_bits(da, n, "da"), packed_bits(db, n, "db")]
    own, stream = source_args(beta, lambda m: packed_bits(m, n, "beta"))
    out = launcher_for(first).empty(first.shape, np.uint64)
    check_length(out.nbytes)
    args = [
        first,
        second,
        *bits,
        own,
        packed_words(c, n, f, "c"),
        out,
        n,
        f,
        int(hiding is not None),
        *stream,
    ]
    over("truncation.cu", "truncate_right", -(-n // 8), [*args, *stream_args(hiding)], first)
    return out


def correction(
    alpha: Stream, beta: Stream, c0: Stream, n: int, width: int, *, launcher: Launcher
) -> DeviceArray:
    """The helper's message of n private products: F(alpha) F(beta) - F(c0), `width` bits each,
    packed. alpha and beta are packed bits; returns uint8 (ceil(n width / 8),)."""
    width = check_int(width, "width", 1, 64)
    out = launcher.empty((-(-n * width // 8),), np.uint8)
    check_length(8 * n)
    args = [out, n, width, *alpha.args(), *beta.args(), *c0.args()]
    over("truncation.cu", "correction", -(-n // 8), args, out)
    return out


def _summands(word: Word) -> tuple[DeviceArray, DeviceArray | int, int]:
    if not 1 <= len(word) <= 2:
        raise Misuse(f"a word has one or two summands, not {len(word)}")
    first, *rest = same_kind([plain(word[0], "word", np.uint64), *word[1:]], "word")
    return first, rest[0] if rest else 0, int(first.size)


def _correlation(c: DeviceArray, n: int) -> DeviceArray:
    share = plain(c, "c", np.uint64)
    if share.size != n:
        raise Misuse(f"c must have {n} elements, not {share.size}")
    return share
