"""Uniform integers and permutations that follow from a key: exact, by rejection, without modulo
bias."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .keystream import KeyStreams
from .prg import derive_key


def permutation(seed: bytes, n: int, *context: str) -> list[int]:
    """A uniform permutation of range(n): Fisher-Yates on a ChaCha20 stream, rejection sampling, no
    modulo bias."""
    stream = Uniform(derive_key(seed, "permutation", *context))
    order = list(range(n))
    for last in range(n - 1, 0, -1):
        other = stream.below(last + 1)
        order[last], order[other] = order[other], order[last]
    return order


class Uniform:
    """64-bit words of a ChaCha20 stream, drawn one at a time. A key is for one such stream."""

    _BLOCK = 4096

    def __init__(self, key: bytes) -> None:
        self._keyed = KeyStreams(key)
        self._block = 0
        self._words: Sequence[int] = ()
        self._at = 0

    def _next(self) -> int:
        if self._at == len(self._words):
            nonce = self._block.to_bytes(12, "little")
            self._words = self._keyed.stream(nonce, self._BLOCK).view(np.uint64).tolist()
            self._block += 1
            self._at = 0
        self._at += 1
        return self._words[self._at - 1]

    def below(self, bound: int) -> int:
        """A uniform integer in [0, bound)."""
        limit = 2**64 - 2**64 % bound
        while (word := self._next()) >= limit:
            pass
        return word % bound


__all__ = ["Uniform", "permutation"]
