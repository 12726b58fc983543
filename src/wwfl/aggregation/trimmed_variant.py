"""The Trimmed-Mean variant of WW-FL (Algorithm 4): trims whole inputs, judged by a sample of the
coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wwfl.data import distinct
from wwfl_core.errors import ConfigError, Misuse
from wwfl_core.tensors import SharedTensor, ranks, stack_tensors, top_k_mask

from .rule_interface import Aggregation, Inputs
from .updates import SHARE_BITS, check_width, divided, mixture, scaled, updates


@dataclass(frozen=True)
class TrimmedMeanVariant(Aggregation):
    """Averages all inputs but the 2 `trim` that are most often among the `trim` lowest or highest
    of a coordinate.

    Counted over `beta` coordinates that the coin draws after all inputs are fixed. Ties go to the
    smaller index, in the order of values (lower) and in the counts (removed). Who is removed stays
    secret; `reveal_outliers` opens it to the servers, which makes the last step local but for one
    truncation. `bits` as in `TrimmedMean`, for updates. Weights are not used. It needs
    `Inputs.coin`.

    Costs `ranks` of n inputs on beta coordinates (not on all of them), one selection among n
    counts, and one inner product per coordinate.

    >>> from wwfl.aggregation import TrimmedMeanVariant, in_floats
    >>> rule, models = TrimmedMeanVariant(trim=1, beta=1), [[1.0], [2.0], [3.0], [99.0]]
    >>> in_floats.aggregate(rule, models, [1] * 4, [0.0], coin=bytes(32)).round(4).tolist()
    [2.5]
    """

    trim: int = 2
    beta: int = 100
    reveal_outliers: bool = False
    bits: int = 64

    @property
    def needs_coin(self) -> bool:
        return True

    def check(self, inputs: int) -> None:
        if self.trim < 0 or self.beta < 1 or inputs <= 2 * self.trim:
            raise ConfigError(
                f"{self!r} needs beta >= 1, trim >= 0 and more than {2 * self.trim} models, got "
                f"{inputs}"
            )
        check_width(self, self.bits)

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        n = len(inputs.models)
        self.check(n)
        gaps = updates(inputs.models, inputs.current)
        outlier, count = self.outliers(gaps, inputs.coin), n - 2 * self.trim
        if not self.reveal_outliers:
            return inputs.current + mixture(scaled(1 - outlier, 1.0 / count, SHARE_BITS), gaps)
        opened = outlier.mpc.reveal(outlier, "inputs that the trimmed-mean variant removes")
        out = (
            np.zeros(n) if opened is None else np.rint(opened)
        )  # None: this party holds no shares to add up
        return inputs.current + divided(gaps[np.flatnonzero(out == 0)[:count]].sum(0), count)

    def outliers(self, gaps: SharedTensor, coin: bytes | None) -> SharedTensor:
        """1 for every input that is removed, as integers [n]."""
        if coin is None:
            raise Misuse("TrimmedMeanVariant draws coordinates from a coin: give Inputs.coin")
        n, d = gaps.shape
        sample = distinct(coin, d, min(self.beta, d), "trimmed-mean variant")
        order = ranks(gaps[:, sample], bits=self.bits)
        below = stack_tensors([order - self.trim, order - (n - self.trim)]).negative(
            n.bit_length() + 1
        )
        middle = below[0] ^ below[1]  # not among the lowest, and below the highest
        counts = (~middle).to_integers().sum(1)  # TM-List
        return top_k_mask(counts, 2 * self.trim, bits=len(sample).bit_length() + 1)  # TopK-Hitter
