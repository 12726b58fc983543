"""A secret random selection: some of n rows, in random order, nobody knows which.

Parties permute, one after the other: each of a few *permuters* (sets of parties with a key of their
own) draws a permutation and deals its matrix. Their product is a permutation that no permitted
coalition knows, since it lacks the key of one permuter: whatever the others drew, the product with
one uniform permutation is uniform."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np

from wwfl_core.channel import Phase
from wwfl_core.errors import Misuse
from wwfl_core.numbers import BITS, to_host
from wwfl_core.randomness import permutation
from wwfl_core.sharing import SharingSemantics

from .session import Session
from .tensor import SharedTensor

SEED_BYTES = 32


@lru_cache(maxsize=64)
def permuters(sharing: SharingSemantics) -> tuple[tuple[int, ...], ...]:
    """The fewest sets of parties such that every permitted coalition is disjoint from one of them.

    Against parties that follow the protocol (at most t corrupt) t + 1 single parties; against
    parties that deviate, sets of t + 1, each with an honest member that vouches for what its set
    deals (Tetrad: {1, 2} and {3, 4}).

    Raises:
        Misuse: when there are no such sets (parties that deviate, and hardly an honest majority).
    """
    corruptions = sharing.security.corruptions
    size = corruptions + 1 if sharing.security.malicious else 1
    sets = list(combinations(sharing.evaluators, size))
    coalitions = list(combinations(sharing.evaluators, corruptions))
    for count in range(
        corruptions + 1, len(coalitions) + 1
    ):  # fewer sets are met by a member of each
        for family in combinations(sets, count):
            if all(
                any(not {*chosen} & {*coalition} for chosen in family) for coalition in coalitions
            ):
                return family
    raise Misuse(
        f"sharing {sharing.name!r}: no sets of {size} parties can draw a permutation that nobody "
        "knows"
    )


def secret_selection(mpc: Session, n: int, k: int) -> SharedTensor:
    """A matrix [k, n] of secret integers 0 and 1: k different unit vectors, uniform among all
    ordered choices.

    Distance from uniform, for every permitted coalition: 0, but for the PRG. (Ranks of n secret
    random keys of b bits would cost n (n - 1) / 2 comparisons, their conversion to integers, k n
    tests for equality, and ties: a distance of up to n (n - 1) / 2^(b + 1).) Security is the
    protocol's: in a malicious-secure one, what a corrupt permuter deals instead of its permutation
    is caught at the next check point.

    Cost: the matrices are dealt offline ([k, n] and, by every further permuter, [n, n]), then as
    many products of matrices less one, each of k n elements, online. Opens nothing. Times rows [n,
    width] it selects k of them: exactly, at the rows' scale, in one product of k width elements.

    Raises:
        Misuse: unless 0 < k <= n; or see `permuters`. Nothing is sent then.
    """
    if not 0 < k <= n:
        raise Misuse(f"cannot select {k} of {n} rows")
    first, *others = permuters(mpc.sharing)
    with mpc.scope("permute"):
        dealt = [_dealt(mpc, first, k, n), *(_dealt(mpc, dealers, n, n) for dealers in others)]
        chosen = dealt[0]
        for matrix in dealt[1:]:
            chosen = chosen @ matrix
        return chosen


def _dealt(mpc: Session, dealers: tuple[int, ...], k: int, n: int) -> SharedTensor:
    """The first k rows of the matrix of a permutation of range(n) that exactly `dealers` know."""
    op, matrix = mpc.party.op("permute"), None
    if mpc.me in dealers:
        seed = op.random(dealers, "seed", BITS, (SEED_BYTES,))
        words = np.zeros((k, n), np.uint64)
        words[np.arange(k), permutation(to_host(seed).tobytes(), n)[:k]] = 1
        matrix = mpc.protocol.numbers.from_words(words)
    return SharedTensor(
        mpc, mpc.protocol.deal(matrix, dealers, (k, n), phase=Phase.OFFLINE, name="permute"), 0
    )
