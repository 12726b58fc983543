"""Public sampling from a joint coin: which clients take part, and in which order batches are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from wwfl_core.errors import ConfigError
from wwfl_core.prg import chacha20, derive_key


def permutation(seed: bytes, n: int, *context: str) -> list[int]:
    """A uniform permutation of range(n): Fisher-Yates on a ChaCha20 stream, rejection sampling, no modulo bias."""
    stream = _Words(derive_key(seed, "permutation", *context))
    order = list(range(n))
    for last in range(n - 1, 0, -1):
        other = stream.below(last + 1)
        order[last], order[other] = order[other], order[last]
    return order


def choose(
    seed: bytes, population: int, count: int, *context: str, present: Callable[[int], bool] = lambda _: True
) -> list[int]:
    """`count` distinct members of range(population), uniformly; fewer if fewer are `present`.

    Whoever is absent is replaced by the next one of the same permutation, so that the sample follows from the coin and
    from who is there, and nobody else's place depends on it.

    Raises:
        ConfigError: when the population is smaller than `count`.
    """
    if not 0 < count <= population:
        raise ConfigError(f"cannot sample {count} of {population} clients")
    there = (person for person in permutation(seed, population, *context) if present(person))
    return sorted(islice(there, count))


def distinct(seed: bytes, population: int, count: int, *context: str) -> list[int]:
    """`count` distinct members of range(population), a uniform subset in ascending order, in O(count): Floyd's method.

    For large populations; the result differs from that of `choose`.

    Raises:
        ConfigError: when there are fewer than `count`.
    """
    if not 0 <= count <= population:
        raise ConfigError(f"cannot sample {count} of {population} coordinates")
    stream, found = _Words(derive_key(seed, "distinct", *context)), set[int]()
    for last in range(population - count, population):
        drawn = stream.below(last + 1)
        found.add(last if drawn in found else drawn)
    return sorted(found)


def batches(seed: bytes, rows: int, size: int, epochs: int) -> list[list[int]]:
    """Row indices of every batch: each epoch is a fresh permutation, cut into batches (the last may be smaller)."""
    if rows < 1 or size < 1 or epochs < 1:
        raise ConfigError(f"cannot draw {epochs} epochs of batches of {size} from {rows} rows")
    drawn: list[list[int]] = []
    for epoch in range(epochs):
        order = permutation(seed, rows, "epoch", str(epoch))
        drawn += [order[i : i + size] for i in range(0, rows, size)]
    return drawn


class _Words:
    """64-bit words of a ChaCha20 stream, drawn one at a time."""

    _BLOCK = 4096

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._block = 0
        self._words: Sequence[int] = ()
        self._at = 0

    def _next(self) -> int:
        if self._at == len(self._words):
            nonce = self._block.to_bytes(12, "little")
            self._words = chacha20(self._key, nonce, self._BLOCK).view(np.uint64).tolist()
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
