"""Exact truncation between two parties on device arrays: the steps of `PairTruncation`, one kernel
each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wwfl_core.accelerate import LazyMask, LazyStep
from wwfl_core.accelerate.cuda import (
    DeviceArray,
    Launcher,
    Stream,
    check_int,
    check_length,
    launcher_for,
    over,
    packed_bits,
    packed_words,
    plain,
    same_kind,
    source_args,
    stream_args,
)
from wwfl_core.errors import Misuse

from ..correlated.truncation import PairTruncation
from . import SOURCES

SOURCE = str(SOURCES / "pair.cu")
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
    over(SOURCE, "wrap_message", 32 * -(-n // 512), args, first)
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
    over(SOURCE, "truncate_left", -(-n // 8), [*args, *stream_args(hiding)], first)
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
    over(SOURCE, "truncate_right", -(-n // 8), [*args, *stream_args(hiding)], first)
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
    over(SOURCE, "correction", -(-n // 8), args, out)
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


class FusedPairTruncation(PairTruncation):
    """`PairTruncation`, whose masks are drawn in the kernels that use them."""

    def _correction(self, alpha: Any, beta: Any, c0: Any, n: int, bits: int) -> DeviceArray:
        streams = (*alpha.streams, *beta.streams, *c0.streams)
        return correction(*streams, n=n, width=bits, launcher=alpha.launcher)

    def _left_message(self, a: DeviceArray, alpha: Any) -> DeviceArray:
        return wrap_message((a,), source(alpha), left=True)

    def _right_message(self, b: DeviceArray, beta: Any) -> DeviceArray:
        return wrap_message((b,), source(beta), left=False)

    def _left_share(
        self, a: DeviceArray, bits: int, da: DeviceArray, db: DeviceArray, c0: Any
    ) -> Any:
        def make(hiding: Stream | None) -> DeviceArray:
            return truncate_left((a,), bits, da, db, source(c0), hiding)

        return LazyStep(launcher_for(a), a.dtype, a.shape, make)

    def _right_share(
        self, b: DeviceArray, bits: int, da: DeviceArray, db: DeviceArray, beta: Any, c1: Any
    ) -> Any:
        def make(hiding: Stream | None) -> DeviceArray:
            return truncate_right((b,), bits, da, db, source(beta), c1, hiding)

        return LazyStep(launcher_for(b), b.dtype, b.shape, make)


def source(mask: Any) -> Any:
    """A mask as kernels take it: its stream, or an array."""
    single = isinstance(mask, LazyMask) and len(mask.streams) == 1
    return mask.plus[0] if single and mask.plus else mask
