"""Public sampling from a joint coin: which clients take part, and in which order batches are
drawn."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from wwfl_core.errors import ConfigError
from wwfl_core.randomness import UniformIntegers, derive_key, permutation


def choose(
    seed: bytes,
    population: int,
    count: int,
    *context: str,
    present: Callable[[int], bool] = lambda _: True,
) -> list[int]:
    """`count` distinct members of range(population), uniformly; fewer if fewer are `present`.

    Whoever is absent is replaced by the next one of the same permutation, so that the sample
    follows from the coin and from who is there, and nobody else's place depends on it.

    Raises:
        ConfigError: when the population is smaller than `count`.
    """
    if not 0 < count <= population:
        raise ConfigError(f"cannot sample {count} of {population} clients")
    there = (person for person in permutation(seed, population, *context) if present(person))
    return sorted(islice(there, count))


def distinct(seed: bytes, population: int, count: int, *context: str) -> list[int]:
    """`count` distinct members of range(population), a uniform subset in ascending order, in
    O(count): Floyd's method.

    For large populations; the result differs from that of `choose`.

    Raises:
        ConfigError: when there are fewer than `count`.
    """
    if not 0 <= count <= population:
        raise ConfigError(f"cannot sample {count} of {population} coordinates")
    stream, found = UniformIntegers(derive_key(seed, "distinct", *context)), set[int]()
    for last in range(population - count, population):
        drawn = stream.below(last + 1)
        found.add(last if drawn in found else drawn)
    return sorted(found)


def draw_batches(seed: bytes, rows: int, size: int, epochs: int) -> list[list[int]]:
    """Row indices of every batch: each epoch is a fresh permutation, cut into batches (the last may
    be smaller)."""
    if rows < 1 or size < 1 or epochs < 1:
        raise ConfigError(f"cannot draw {epochs} epochs of batches of {size} from {rows} rows")
    drawn: list[list[int]] = []
    for epoch in range(epochs):
        order = permutation(seed, rows, "epoch", str(epoch))
        drawn += [order[i : i + size] for i in range(0, rows, size)]
    return drawn


__all__ = ["choose", "distinct", "draw_batches", "permutation"]
