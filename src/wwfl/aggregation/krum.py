"""Krum and Multi-Krum: take the inputs whose neighbours are nearest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wwfl_core.errors import ConfigError
from wwfl_core.tensors import SharedTensor, sum_of_ranks_between, top_k_mask

from .rule_interface import Aggregation, Inputs
from .updates import (
    SHARE_BITS,
    check_norm_bound,
    diagonal,
    gram,
    mixture,
    norm_limit,
    scaled,
    updates,
)


@dataclass(frozen=True)
class MultiKrum(Aggregation):
    """The mean of the `selected` inputs with the smallest scores (Blanchard et al., NeurIPS'17).

    An input's score is the sum of its n - byzantine - 2 smallest squared distances to others, exact
    (`norm_limit`; see `updates` for `norm_bound`); of equal scores the smaller index is preferred.
    By default n - byzantine are selected. Weights are not used, and which inputs were selected
    stays secret. It needs 2 byzantine + 3 inputs.

    Costs one product of matrices for the distances, the ranks of each input's n - 1 distances and
    of n scores, and one inner product per coordinate.

    >>> from wwfl.aggregation import MultiKrum, in_floats
    >>> models = [[1.0], [2.0], [3.0], [2.0], [900.0]]
    >>> in_floats.aggregate(MultiKrum(byzantine=1), models, [1] * 5, [0.0]).round(4).tolist()
    [2.0]
    """

    byzantine: int = 2
    selected: int | None = None
    norm_bound: float | None = None

    def check(self, inputs: int) -> None:
        least = 2 * self.byzantine + 3
        if self.byzantine < 0 or inputs < least:
            raise ConfigError(
                f"{self!r} needs at least {least} models (2 byzantine + 3), got {inputs}"
            )
        if not 1 <= self._count(inputs) <= inputs:
            raise ConfigError(f"{self!r} cannot select {self.selected} of {inputs} models")
        check_norm_bound(self._bound(inputs))

    def _count(self, inputs: int) -> int:
        return inputs - self.byzantine if self.selected is None else self.selected

    def _bound(self, inputs: int) -> float | None:
        return None if self.norm_bound is None else 2 * self.norm_bound * math.sqrt(inputs)

    def norm_limit(self, inputs: int, frac_bits: int) -> float:
        return (
            norm_limit(None, frac_bits) / (2 * math.sqrt(inputs))
            if self.norm_bound is None
            else self.norm_bound
        )

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        n = len(inputs.models)
        self.check(n)
        gaps = updates(inputs.models, inputs.current, self._bound(n))
        chosen = top_k_mask(-self.scores(gaps), self._count(n))
        if self._count(n) > 1:
            chosen = scaled(chosen, 1.0 / self._count(n), SHARE_BITS)
        return inputs.current + mixture(chosen, gaps)

    def scores(self, gaps: SharedTensor) -> SharedTensor:
        """[n] sums of squared distances, at twice the scale of the updates."""
        products, n = gram(gaps), gaps.shape[0]
        squares = diagonal(products)
        distances = squares.reshape(n, 1) + squares.reshape(1, n) - products * 2
        others = np.array([[j for j in range(n) if j != i] for i in range(n)])
        return sum_of_ranks_between(distances[np.arange(n), others.T], 0, n - self.byzantine - 2)


@dataclass(frozen=True)
class Krum(MultiKrum):
    """The one input with the smallest score, unchanged; otherwise as `MultiKrum`.

    >>> from wwfl.aggregation import Krum, in_floats
    >>> models = [[1.0], [2.0], [3.0], [2.0], [900.0]]
    >>> in_floats.aggregate(Krum(byzantine=1), models, [1] * 5, [0.0]).tolist()
    [2.0]
    """

    selected: int | None = 1
