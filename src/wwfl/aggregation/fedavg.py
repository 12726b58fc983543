"""Federated averaging, and momentum at the server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add

import numpy as np

from wwfl_core.errors import ConfigError
from wwfl_core.numbers import F64
from wwfl_core.tensors import SharedTensor

from .rule_interface import Aggregation, Inputs
from .updates import SHARE_BITS, at_scale


@dataclass(frozen=True)
class FedAvg(Aggregation):
    """The weighted mean (McMahan et al., AISTATS'17). Local: 0 bytes, 0 rounds, in every protocol.

    Weights become integers that add up to 2^24 exactly, so the mean is a sum of integer multiples
    at a scale of 24 more fractional bits (k more for 2^k equal weights), and equal models stay what
    they are. Weights are exact to 2^-24. Bringing the mean back to the format of the cluster is a
    truncation, which is not free in any protocol that is exact (2PC: 2 bits online, 3PC: 130, and
    offline): whoever stores the model pays it, once per round.

    One malicious input moves the mean as far as it likes; see `NormClipping` and the robust rules.

    >>> from wwfl.aggregation import FedAvg, in_floats
    >>> in_floats.aggregate(FedAvg(), [[0.0], [4.0]], weights=[3, 1], current=[0.0]).tolist()
    [1.0]
    """

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        self.check(len(inputs.models))
        portions, bits = _portions(inputs.weights)
        terms = [model * portion for model, portion in zip(inputs.models, portions, strict=True)]
        mean = reduce(add, terms)
        return at_scale(mean, mean.frac_bits + bits)


def _portions(weights: Sequence[float]) -> tuple[list[int], int]:
    """Weights as integers that add up to 2^bits: largest remainders are rounded up. Common factors
    2 are cancelled.

    Raises:
        ConfigError: weights that are negative, not finite, or all zero.
    """
    given = np.asarray(weights, np.float64)
    if not (np.isfinite(given).all() and (given >= 0).all() and given.sum() > 0):
        raise ConfigError(f"weights {list(weights)} must be finite, not negative, and not all zero")
    wanted = given / given.sum() * 2.0**SHARE_BITS
    whole = np.floor(wanted).astype(np.int64)
    order = np.argsort(whole - wanted, kind="stable")  # the largest remainders first
    whole[order[: 2**SHARE_BITS - int(whole.sum())]] += 1
    common = int(np.bitwise_or.reduce(whole))
    spare = (common & -common).bit_length() - 1
    return [int(w) >> spare for w in whole], SHARE_BITS - spare


@dataclass(frozen=True)
class FedAvgM(Aggregation):
    """Momentum at the server around any rule (Hsu et al., 2019): v <- momentum v + (rule's model -
    current), and the next model is current + rate v.

    The velocity is in `Inputs.memory`. Linear: beyond the rule, one truncation for the momentum and
    one for the rate.

    Raises:
        ConfigError: a momentum outside [0, 1), a rate that is not positive and finite.

    >>> from wwfl.aggregation import FedAvgM, in_floats
    >>> rule, memory = FedAvgM(momentum=0.5), {}
    >>> first = in_floats.aggregate(rule, [[1.0]], [1], [0.0], memory=memory)
    >>> in_floats.aggregate(rule, [first], [1], first, memory=memory).tolist()
    [1.5]
    """

    base: Aggregation = field(default_factory=FedAvg)
    momentum: float = 0.9
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.momentum < 1 and 0 < self.rate < math.inf):
            raise ConfigError(f"{self!r}: momentum must be in [0, 1), rate above 0 and finite")

    @property
    def inner(self) -> Aggregation:
        return self.base

    def in_range(self, update: F64, frac_bits: int) -> F64:
        return self.base.in_range(update, frac_bits)

    def affords(self, round_number: int) -> None:
        self.base.affords(round_number)

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        inner = replace(
            inputs, memory={k[5:]: v for k, v in inputs.memory.items() if k.startswith("base.")}
        )
        step = self.base.aggregate(inner).rescale(inputs.current.frac_bits) - inputs.current
        if "velocity" in inputs.memory:
            step = step + inputs.memory["velocity"] * self.momentum
        inputs.memory.clear()
        inputs.memory.update({"velocity": step} | {f"base.{k}": v for k, v in inner.memory.items()})
        return inputs.current + (step if self.rate == 1 else step * self.rate)
