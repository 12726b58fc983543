"""Aggregation in float64: the very same rule classes as on shares, without rounding.

Here belongs what floats need beside the rules: updates that on shares would wrap around are
shortened (`Aggregation.in_range`), which only numbers in the clear can show. `aggregate` runs a
rule on arrays; the float engine of a federation runs `InRange(rule)` in the servers' program."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from backends import Real
from wwfl_core.errors import ConfigError
from wwfl_core.numbers import F64, as_float
from wwfl_core.sharing import Share
from wwfl_core.tensors import Computation, Session, SharedTensor

from .rule_interface import Aggregation, Inputs


def floats(x: SharedTensor) -> F64:
    """The numbers of a tensor of `Real`, whose one party has them in the clear; no opening.

    >>> from backends.float_reference import Real
    >>> floats(Real.alone().public_tensor([0.1, -2.0])).tolist()
    [0.1, -2.0]
    """
    return np.asarray(x.data.parts[0] * 2.0**-x.frac_bits, np.float64)


def held(mpc: Computation, value: npt.ArrayLike) -> SharedTensor:
    """An array as a tensor of a session of `Real`, the inverse of `floats`. It gives what
    `public_tensor` gives, with one pass over the memory instead of four: all data of a grid goes
    this way in every round."""
    frac_bits = mpc.format.frac_bits
    words = np.multiply(value, 2.0**frac_bits, dtype=np.float64)
    return SharedTensor(mpc, Share(mpc.protocol.numbers, words.shape, {0: words}), frac_bits)


@dataclass(frozen=True)
class InRange(Aggregation):
    """`base` on float64: an update beyond the range of its arithmetic is replaced by one within it
    that the rule treats alike. On shares such an update wraps around (`Aggregation.norm_limit`)."""

    base: Aggregation

    @property
    def inner(self) -> Aggregation:
        return self.base

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        self.check(len(inputs.models))
        models = [self._shortened(model, inputs.current) for model in inputs.models]
        return self.base.aggregate(replace(inputs, models=models))

    def _shortened(self, model: SharedTensor, current: SharedTensor) -> SharedTensor:
        start = floats(current)
        update = floats(model) - start
        short = self.base.in_range(update, current.mpc.format.frac_bits)
        # A model that is in range stays what it is, to the bit.
        return model if short is update else held(current.mpc, start + short)


def aggregate(
    rule: Aggregation,
    models: Sequence[npt.ArrayLike],
    weights: Sequence[float],
    current: npt.ArrayLike,
    root: npt.ArrayLike | None = None,
    coin: bytes | None = None,
    memory: MutableMapping[str, F64] | None = None,
    at: Session | None = None,
) -> F64:
    """The next global model [parameters], float64, by `rule`, from flat models [parameters].

    Nothing is rounded to fixed point; what a rule computes by a polynomial (norms, reciprocals) has
    a relative error of 1e-6, as on shares. `memory` is updated in place. `at` is the server that
    computes, by default a new one: a rule that counts what it released, or draws noise as servers
    do (`wwfl.privacy`), needs the same one every time. Nothing is sent, and nothing is secret.

    Raises:
        ConfigError: models that are not flat arrays of one length, a rule that does not fit their
            number, a missing root model or coin.

    >>> from wwfl.aggregation import TrimmedMean
    >>> aggregate(TrimmedMean(trim=1), [[1.0], [2.0], [90.0]], [1, 1, 1], [0.0]).tolist()
    [2.0]
    """
    given = {"current": current, **{f"models[{i}]": m for i, m in enumerate(models)}}
    if root is not None:
        given["root"] = root
    arrays = {name: as_float(value, name) for name, value in given.items()}
    _check(rule, arrays, len(models), weights, coin)
    mpc = at or Real.alone()
    tensors = {name: mpc.public_tensor(a) for name, a in arrays.items()}
    kept = {} if memory is None else {k: mpc.public_tensor(v) for k, v in memory.items()}
    inputs = Inputs(
        [tensors[f"models[{i}]"] for i in range(len(models))],
        weights,
        tensors["current"],
        tensors.get("root"),
        coin,
        kept,
    )
    result = InRange(rule).aggregate(inputs)
    if memory is not None:
        memory.clear()
        memory.update({k: floats(v) for k, v in inputs.memory.items()})
    return floats(result)


def _check(
    rule: Aggregation,
    arrays: Mapping[str, F64],
    models: int,
    weights: Sequence[float],
    coin: bytes | None,
) -> None:
    shapes = {name: a.shape for name, a in arrays.items()}
    if len(set(shapes.values())) != 1 or arrays["current"].ndim != 1:
        raise ConfigError(f"models must be flat arrays of one length, got {shapes}")
    if len(weights) != models:
        raise ConfigError(f"{models} models need as many weights, got {len(weights)}")
    if rule.needs_root and "root" not in arrays:
        raise ConfigError(f"{rule!r} needs a root model")
    if rule.needs_coin and coin is None:
        raise ConfigError(f"{rule!r} needs a coin")
    rule.check(models)
