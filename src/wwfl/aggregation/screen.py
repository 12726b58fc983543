"""Screening: inputs that move the model too far count for nothing, whatever words they are made of.

By public coefficients from the coin, drawn when all inputs are fixed (b_j in {0, 1} uniform):

1. Pieces of at most 2^13 coordinates: |sum b_j g_j| <= sqrt(2^13) `limit`, 40 times. If one word is
   larger than twice that (modulo 2^64), then of b_j = 0 and b_j = 1 at most one passes. A short g
   always passes, since |sum b_j g_j| <= sqrt(2^13) |g|.
2. Now no sum over all coordinates wraps around, so s = sum (1 - 2 b_j) g_j is exact:
   |s| <= `limit` / 2, 134 times. E s^2 = |g|^2 and E s^4 <= 3 |g|^4, so s^2 >= |g|^2 / 4 with
   probability at least (3/4)^2 / 3 = 3/16 (Paley and Zygmund); for |g| <= `limit` / 16.4,
   |s| > `limit` / 2 has probability at most 2 exp(-8.2^2 / 2) (Hoeffding).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from wwfl_core.errors import ConfigError, Misuse
from wwfl_core.numbers import U64, Array, beside
from wwfl_core.randomness import chacha20, derive_key
from wwfl_core.tensors import SharedBits, SharedTensor, all_of, concatenate

from .krum import Krum
from .rule_interface import Aggregation, Inputs
from .updates import norm_limit, updates

PIECE = 1 << 13
"""Coordinates that are summed together at first."""
NEAR = 40
"""Sums per piece, each of which a word that is too large passes with probability 1/2."""
FAR = 134
"""Signed sums per update, each of which one that is too long passes with probability 13/16."""


@dataclass(frozen=True)
class Screened(Aggregation):
    """`base`, on the inputs whose updates are short; an input with a longer update counts as the
    current model.

    Where inner products wrap around, a huge update looks like a small one
    (`Aggregation.norm_limit`). Screening assumes nothing about inputs: it refuses an update g with
    |g| >= `limit` except with probability 2^-40, and accepts one with |g| <= `limit` / 16.4 except
    with the same probability; between the two it may do either. Which inputs were refused stays
    secret. `limit`, if not given, is the bound of `base`, and at most 2^(31 - f).

    Costs two comparisons per sum in one sign depth, their conjunction, and one product per
    coordinate; sums are local. It needs `Inputs.coin`.

    Raises:
        ConfigError: a limit that is not a positive finite norm.

    >>> from wwfl.aggregation import FedAvg, Screened, in_floats
    >>> huge, small = [1e9, 0.0], [0.5, 0.5]
    >>> rule = Screened(FedAvg(), limit=100.0)
    >>> in_floats.aggregate(rule, [huge, small], [1, 1], [0.0, 0.0], coin=bytes(32)).tolist()
    [0.25, 0.25]
    """

    base: Aggregation = field(default_factory=Krum)
    limit: float | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and not 0 < self.limit < math.inf:
            raise ConfigError(f"{self!r}: limit is a norm, above 0 and finite")

    @property
    def inner(self) -> Aggregation:
        return self.base

    @property
    def needs_coin(self) -> bool:
        return True

    def norm_limit(self, inputs: int, frac_bits: int) -> float:
        return math.inf

    def affords(self, round_number: int) -> None:
        self.base.affords(round_number)

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        n = len(inputs.models)
        self.check(n)
        if inputs.coin is None:
            raise Misuse("Screened draws coefficients from a coin: give Inputs.coin")
        gaps = updates(inputs.models, inputs.current)
        borne = self.limit or min(
            self.base.norm_limit(n, gaps.frac_bits), norm_limit(None, gaps.frac_bits)
        )
        kept = short(gaps, inputs.coin, borne).to_integers().reshape(n, 1) * gaps
        return self.base.aggregate(
            replace(inputs, models=[inputs.current + kept[i] for i in range(n)])
        )


def short(gaps: SharedTensor, coin: bytes, limit: float) -> SharedBits:
    """[n] bits: 1 for an update [n, parameters] that is accepted.

    Raises:
        ConfigError: a limit that leaves no room for sums of so many parameters.
    """
    (n, d), f = gaps.shape, gaps.frac_bits
    near = math.sqrt(min(PIECE, d)) * limit
    if (2 * d * near + limit) * 2.0**f >= 2.0**63:
        raise ConfigError(
            f"screening by norm {limit:g}: sums of {d} parameters do not fit 64 bits; give a "
            "lower limit"
        )
    pieces = [_sums(gaps[:, at : at + PIECE], coin, at) for at in range(0, d, PIECE)]
    signed = (
        gaps.sum(1).reshape(n, 1) - sum((p[:, NEAR:] for p in pieces[1:]), pieces[0][:, NEAR:]) * 2
    )
    first = concatenate([p[:, :NEAR] for p in pieces], axis=1)
    # Where one of the two differences wraps around, the other one is negative.
    sides = [near - first, first + near, limit / 2 - signed, signed + limit / 2]
    return all_of(~concatenate(sides, axis=1).negative(), 1)


def _sums(piece: SharedTensor, coin: bytes, at: int) -> SharedTensor:
    """[n, NEAR + FAR] sums of the coordinates of a piece that starts at coordinate `at`, each over
    a random half of them. Local."""
    chosen, algebra = coefficients(coin, at, piece.shape[1]), piece.data.algebra

    def product(a: Array) -> Array:
        return algebra.matmul([(a, beside(algebra.from_words(chosen), a))])

    return piece.linear(product)


def coefficients(coin: bytes, at: int, size: int) -> U64:
    """Public uniform bits as words [size, NEAR + FAR] for the coordinates from `at`."""
    count = size * (NEAR + FAR)
    stream = chacha20(derive_key(coin, "screened", str(at)), bytes(12), -(-count // 8))
    return np.unpackbits(stream, count=count).astype(np.uint64).reshape(size, NEAR + FAR)


__all__ = ["Screened"]
