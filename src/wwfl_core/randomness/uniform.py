"""Uniform integers and permutations that follow from a key: exact, by rejection, without modulo
bias.

A 64-bit word w of a ChaCha20 stream is uniform in [0, 2^64). For a bound b that is no power of two,
w mod b is not uniform; so words outside a range that b divides are thrown away, and the next ones
are taken (von Neumann, 1951). There are two ways to choose that range, and results depend on which:

    UniformIntegers  w < 2^64 - (2^64 mod b), then w mod b: hardly a word is lost; one at a time
    UniformWords     w mod 2^k < b, 2^k >= b: at most half are lost on average; arrays

A key is for one object of either class: both begin their streams at the first nonce."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from wwfl_core.numbers import U64

from .keystream import KeyStreams, chacha20
from .prg import derive_key

NONCE_BYTES = 12
Drawn = TypeVar("Drawn", bound=np.generic)


def permutation(seed: bytes, n: int, *context: str) -> list[int]:
    """A uniform permutation of range(n), from a seed and what it is for: Fisher-Yates (Durstenfeld,
    CACM 1964), which swaps element i with a uniform one of the first i + 1.

    >>> sorted(permutation(bytes(32), 5, "example"))
    [0, 1, 2, 3, 4]
    """
    stream = UniformIntegers(derive_key(seed, "permutation", *context))
    order = list(range(n))
    for last in range(n - 1, 0, -1):
        other = stream.below(last + 1)
        order[last], order[other] = order[other], order[last]
    return order


class UniformIntegers:
    """Integers from 64-bit words of a ChaCha20 stream, drawn one at a time."""

    _BLOCK_BYTES = 4096

    def __init__(self, key: bytes) -> None:
        self._keyed = KeyStreams(key)
        self._block = 0
        self._words: Sequence[int] = ()
        self._at = 0

    def _next(self) -> int:
        if self._at == len(self._words):
            nonce = self._block.to_bytes(NONCE_BYTES, "little")
            self._words = self._keyed.stream(nonce, self._BLOCK_BYTES).view(np.uint64).tolist()
            self._block += 1
            self._at = 0
        self._at += 1
        return self._words[self._at - 1]

    def below(self, bound: int) -> int:
        """A uniform integer in [0, bound), 0 < bound <= 2^64."""
        limit = 2**64 - 2**64 % bound
        while (word := self._next()) >= limit:
            pass
        return word % bound


class UniformWords:
    """Arrays of words and integers under one key that only this party knows; every call takes a new
    nonce."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._calls = 0

    def words(self, n: int) -> U64:
        """n uniform 64-bit words."""
        nonce = self._calls.to_bytes(NONCE_BYTES, "little")
        self._calls += 1
        return chacha20(self._key, nonce, 8 * n).view(np.uint64)

    def below(self, bound: int, n: int) -> U64:
        """n uniform integers in [0, bound), 0 < bound < 2^63."""
        mask = np.uint64((1 << (bound - 1).bit_length()) - 1)

        def attempts(k: int) -> U64:
            drawn = self.words(k) & mask
            return drawn[drawn < np.uint64(bound)]

        return accepted(attempts, n)


def accepted(attempts: Callable[[int], npt.NDArray[Drawn]], n: int) -> npt.NDArray[Drawn]:
    """n values by rejection: `attempts(k)` tries k times and returns those that it keeps."""
    found = [attempts(n)]
    while (missing := n - sum(map(len, found))) > 0:
        found.append(attempts(missing))
    return np.concatenate(found)


__all__ = ["UniformIntegers", "UniformWords", "accepted", "permutation"]
