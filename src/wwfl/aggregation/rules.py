"""Aggregation rules: how the global servers combine the clusters' models, on shares. A rule is one class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from wwfl_core.arrays import Array
from wwfl_core.errors import ConfigError
from wwfl_core.ops import sum_of_ranks_between
from wwfl_core.tensor import SharedTensor, stack_tensors


@dataclass
class Inputs:
    """What a rule combines. Every tensor is a flat model [parameters], shared at the servers that aggregate.

    `weights` are public, for example sample counts. `current` is the model that this round started from. `root` is
    that model trained on the servers' own root set (rules with `needs_root`). `coin` is public randomness that no
    party controls, drawn after all inputs were shared (rules with `needs_coin`). `memory` is what the rule keeps from
    round to round: it may replace entries, and finds them there the next time.
    """

    models: Sequence[SharedTensor]
    weights: Sequence[float]
    current: SharedTensor
    root: SharedTensor | None = None
    coin: bytes | None = None
    memory: dict[str, SharedTensor] = field(default_factory=dict)


class Aggregation(ABC):
    """Combines flat models of equal shape into one. Instances are immutable and picklable."""

    needs_root: ClassVar[bool] = False
    needs_coin: ClassVar[bool] = False

    @abstractmethod
    def aggregate(self, inputs: Inputs) -> SharedTensor:
        """The next global model."""

    def check(self, inputs: int) -> None:
        """Raises ConfigError if the rule cannot work with this many inputs."""
        if inputs < 1:
            raise ConfigError(f"{type(self).__name__} needs at least one model")

    def affords(self, round_number: int) -> None:  # noqa: B027 (an optional hook)
        """Raises Refused before a round whose result the rule would not release (a spent privacy budget)."""


@dataclass(frozen=True)
class FedAvg(Aggregation):
    """The weighted mean (McMahan et al., AISTATS'17). Linear: one truncation, no other communication."""

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        models, weights = inputs.models, inputs.weights
        self.check(len(models))
        mpc = models[0].mpc
        if len(set(weights)) == 1:  # one public factor, one truncation
            return _total(models) * (1.0 / len(models))
        f, total = mpc.fixed.frac_bits, float(sum(weights))
        factors = [mpc.constant(weight / total, f) for weight in weights]
        return _total([_times(m, k, f) for m, k in zip(models, factors, strict=True)]).truncate(f)


def _total(models: Sequence[SharedTensor]) -> SharedTensor:
    total = models[0]
    for model in models[1:]:
        total = total + model
    return total


def _times(model: SharedTensor, factor: Array, frac_bits: int) -> SharedTensor:
    """model * factor without truncation: `frac_bits` more fractional bits."""
    return SharedTensor(
        model.mpc, model.data.map(lambda a: model.data.algebra.times(a, factor)), model.frac_bits + frac_bits
    )


@dataclass(frozen=True)
class TrimmedMean(Aggregation):
    """Per coordinate, drops the `trim` lowest and highest values and averages the rest (Yin et al., ICML'18).

    Weights are not used: a robust rule must not trust what an input says about itself.
    """

    trim: int = 1

    def check(self, inputs: int) -> None:
        if self.trim < 0 or inputs <= 2 * self.trim:
            raise ConfigError(f"TrimmedMean(trim={self.trim}) needs more than {2 * self.trim} models, got {inputs}")

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        n = len(inputs.models)
        self.check(n)
        kept = sum_of_ranks_between(stack_tensors(list(inputs.models)), self.trim, n - self.trim, axis=0)
        return kept * (1.0 / (n - 2 * self.trim))
