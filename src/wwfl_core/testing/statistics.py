"""The statistics of the kit: is this uniform, are these two alike, does this space contain that
row.

Every test statistic is turned into a standard normal score, and a check fails at `LIMIT` (a false
alarm once in 10^11 or so), so that thousands of tests in one report raise none by chance."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from wwfl_core.kernels import pack, unpack_words
from wwfl_core.numbers import F64, U8, U64, Array

LIMIT = 7.0


def normal_score(statistic: float, freedom: int) -> float:
    """A chi-square statistic as a standard normal score (Wilson and Hilferty, 1931)."""
    if freedom < 1:
        return 0.0
    spread = 2.0 / (9.0 * freedom)
    return ((statistic / freedom) ** (1.0 / 3.0) - (1.0 - spread)) / math.sqrt(spread)


def byte_columns(array: Array) -> U8:
    """The bytes of an array by their place in the word: [itemsize, elements]. A leak often shows in
    the lowest only."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return np.ascontiguousarray(flat.view(np.uint8).reshape(flat.size, flat.itemsize).T)


MANY = 2048


def _histograms(sample: U8) -> list[F64]:
    """How often each byte occurs (if there are enough of them), each low and each high half.

    A bias of one bit shows far more clearly in 16 cells than in 256.
    """
    table = np.bincount(sample, minlength=256).astype(np.float64).reshape(16, 16)
    halves = [table.sum(0), table.sum(1)]
    return [table.reshape(-1), *halves] if sample.size >= MANY else halves


def uniformity(array: Array) -> float:
    """The worst score of any byte place against uniform bytes; at least 256 elements make it
    meaningful."""
    worst = -math.inf
    for column in byte_columns(array):
        for counts in _histograms(column):
            expected = column.size / counts.size
            worst = max(
                worst,
                normal_score(float(((counts - expected) ** 2 / expected).sum()), counts.size - 1),
            )
    return worst


def alike(first: U8, second: U8) -> float:
    """The score of two byte samples of equal size against having one distribution."""
    worst = -math.inf
    for a, b in zip(_histograms(first), _histograms(second), strict=True):
        seen = a + b > 0
        statistic = float(((a - b)[seen] ** 2 / (a + b)[seen]).sum())
        worst = max(worst, normal_score(statistic, int(seen.sum()) - 1))
    return worst


def bit_row(bits: U64) -> int:
    """The low bits of words as one integer, a row over GF(2)."""
    return int.from_bytes(pack(np.ascontiguousarray(bits & np.uint64(1))).tobytes(), "little")


WATCHED_BITS = (0, 1, 2, 31, 62, 63)


def bit_rows(array: Array, n: int) -> Iterable[int]:
    """The bits of an array about n elements as rows of n bits: chosen bits of words, bit planes,
    packed words."""
    if array.dtype == np.uint64:
        if array.size % n == 0:
            for row in array.reshape(-1, n):
                for bit in WATCHED_BITS:
                    yield bit_row(row >> np.uint64(bit))
    elif (
        array.ndim == 1
        and array.size % (n // 8) == 0
        and array.size > n // 8
        and array.size * 8 // n <= 64
    ):
        bits = array.size * 8 // n
        words = unpack_words(np.ascontiguousarray(array), n, bits)
        for bit in range(bits):
            yield bit_row(words >> np.uint64(bit))
    elif array.size % (n // 8) == 0:
        for row in array.reshape(-1, n // 8):
            yield int.from_bytes(row.tobytes(), "little")


class Span:
    """A row space over GF(2), rows as integers."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}

    def reduce(self, row: int) -> int:
        """What is left of a row after elimination; 0 if the space contains it."""
        while row and (top := row.bit_length()) in self._rows:
            row ^= self._rows[top]
        return row

    def add(self, row: int) -> bool:
        """Adds a row; whether it was new."""
        row = self.reduce(row)
        if row:
            self._rows[row.bit_length()] = row
        return row != 0

    def __len__(self) -> int:
        return len(self._rows)
