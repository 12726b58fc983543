"""What an aggregation rule is: how the global servers combine the clusters' models, on shares. A
rule is one class."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from wwfl_core.channel import NetworkModel
from wwfl_core.errors import ConfigError
from wwfl_core.numbers import F64
from wwfl_core.tensors import SharedTensor

WAN = NetworkModel(latency_s=0.1, bandwidth_bps=100e6)
"""Between global servers, as WW-FL assumes it: rules that may order values in two ways choose for
this network."""


@dataclass
class Inputs:
    """What a rule combines. Every tensor is a flat model [parameters], shared at the servers that
    aggregate.

    `weights` are public, for example sample counts. `current` is the model that this round started
    from. `root` is that model trained on the servers' own root set (rules with `needs_root`).
    `coin` is public randomness that no party controls, drawn after all inputs were shared (rules
    with `needs_coin`). `memory` is what the rule keeps from round to round: it may replace entries,
    and finds them there the next time."""

    models: Sequence[SharedTensor]
    weights: Sequence[float]
    current: SharedTensor
    root: SharedTensor | None = None
    coin: bytes | None = None
    memory: dict[str, SharedTensor] = field(default_factory=dict)


class Aggregation(ABC):
    """Combines flat models of equal shape into one. Instances are immutable and picklable.

    A rule is one class with one method, `aggregate`, written over shared tensors; every protocol,
    the simulation and the float engine run it. What it opens is in the ledger, and subject to the
    reveal policy's `other`. docs/aggregation.md shows how to add one.

    >>> from dataclasses import dataclass
    >>> from wwfl.aggregation import Aggregation, in_floats
    >>> @dataclass(frozen=True)
    ... class First(Aggregation):
    ...     def aggregate(self, inputs):
    ...         return inputs.models[0]
    >>> in_floats.aggregate(First(), [[7.0], [8.0]], [1, 1], current=[0.0]).tolist()
    [7.0]
    """

    @property
    def inner(self) -> Aggregation | None:
        """The rule that this one changes, if it is one around another."""
        return None

    @property
    def needs_root(self) -> bool:
        """Whether it compares with a model that was trained on the servers' root set
        (`Inputs.root`)."""
        return self.inner is not None and self.inner.needs_root

    @property
    def needs_coin(self) -> bool:
        """Whether it needs public randomness (`Inputs.coin`)."""
        return self.inner is not None and self.inner.needs_coin

    @abstractmethod
    def aggregate(self, inputs: Inputs) -> SharedTensor:
        """The next global model [parameters]; it may have more fractional bits than the cluster's
        format (see `FedAvg`)."""

    def check(self, inputs: int) -> None:
        """Raises ConfigError if the rule cannot work with this many inputs."""
        if inputs < 1:
            raise ConfigError(f"{type(self).__name__} needs at least one model")
        if self.inner is not None:
            self.inner.check(inputs)

    def in_range(self, update: F64, frac_bits: int) -> F64:
        """An update [parameters] in the clear that the rule treats as this one, within the range of
        its arithmetic at `frac_bits`. Only float64 asks: there a longer one is known to be longer,
        on shares it wraps around."""
        return update

    def norm_limit(self, inputs: int, frac_bits: int) -> float:
        """The Euclidean norm that no update may reach, or its arithmetic at `frac_bits` wraps
        around; inf where norms do not matter."""
        return math.inf if self.inner is None else self.inner.norm_limit(inputs, frac_bits)

    def affords(self, round_number: int) -> None:  # noqa: B027 (an optional hook)
        """Raises Refused before a round whose result the rule would not release (a spent privacy
        budget)."""
