"""Rules that order the values of every coordinate."""

from __future__ import annotations

from dataclasses import dataclass

from wwfl_core.errors import ConfigError
from wwfl_core.tensors import By, SharedTensor, median, stack_tensors, sum_of_ranks_between

from .rule_interface import WAN, Aggregation, Inputs
from .updates import check_width, divided, updates


@dataclass(frozen=True)
class TrimmedMean(Aggregation):
    """Per coordinate, drops the `trim` lowest and highest values and averages the rest (Yin et al.,
    ICML'18).

    Weights are not used: a robust rule must not trust what an input says about itself. `bits` is
    the comparison width: values must differ by less than 2^(bits - 1 - f), f the cluster's
    fractional bits. 64 holds for whatever is shared; a smaller one is cheaper, but only for inputs
    that are known to lie in that range, since a value outside of it can wrap around and be kept.
    `by` is "pairs" (fewest rounds), "exchange" (fewest comparisons), or the network for which the
    faster of both is chosen.

    >>> from wwfl.aggregation import TrimmedMean, in_floats
    >>> in_floats.aggregate(TrimmedMean(1), [[1.0], [2.0], [4.0], [99.0]], [1] * 4, [0.0]).tolist()
    [3.0]
    """

    trim: int = 1
    bits: int = 64
    by: By = WAN

    def check(self, inputs: int) -> None:
        if self.trim < 0 or inputs <= 2 * self.trim:
            raise ConfigError(
                f"TrimmedMean(trim={self.trim}) needs more than {2 * self.trim} models, got "
                f"{inputs}"
            )
        check_width(self, self.bits)

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        n = len(inputs.models)
        self.check(n)
        gaps = updates(inputs.models, inputs.current)
        kept = sum_of_ranks_between(gaps, self.trim, n - self.trim, bits=self.bits, by=self.by)
        return inputs.current + divided(kept, n - 2 * self.trim)


@dataclass(frozen=True)
class Median(Aggregation):
    """The median of every coordinate; of an even number the mean of the middle two (Yin et al.,
    ICML'18).

    `bits` and `by` as in `TrimmedMean`; weights are not used.

    >>> from wwfl.aggregation import Median, in_floats
    >>> in_floats.aggregate(Median(), [[1.0], [2.0], [99.0]], [1] * 3, [0.0]).tolist()
    [2.0]
    """

    bits: int = 64
    by: By = WAN

    def check(self, inputs: int) -> None:
        super().check(inputs)
        check_width(self, self.bits)

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        self.check(len(inputs.models))
        return median(stack_tensors(list(inputs.models)), bits=self.bits, by=self.by)
