"""Aggregation in the clear, on float64: the very same rule classes as on shares (engine "plain" of
a federation)."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence

import numpy as np
import numpy.typing as npt

from backends.real import Real
from wwfl_core.errors import ConfigError
from wwfl_core.numbers.arrays import F64, as_float
from wwfl_core.tensors import Session, SharedTensor

from .rules import Aggregation, Inputs


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
    """The next global model by `rule`, from flat models [parameters].

    Nothing is rounded to fixed point; what a rule computes by a polynomial (norms, reciprocals) has
    a relative error of 1e-6, as on shares. `memory` is updated in place. `at` is the server that
    computes, by default a new one: a rule that counts what it released, or draws noise as servers
    do (`wwfl.privacy`), needs the same one every time.

    Raises:
        ConfigError: models that are not flat arrays of one length, a rule that does not fit their
            number, a missing root model or coin.
    """
    given = {"current": current, **{f"models[{i}]": m for i, m in enumerate(models)}}
    if root is not None:
        given["root"] = root
    arrays = {name: as_float(value, name) for name, value in given.items()}
    _check(rule, arrays, len(models), weights, coin)
    mpc = at or Real.alone()
    for name in given.keys() - {"current", "root"}:
        update = arrays[name] - arrays["current"]
        short = rule.in_range(update, mpc.format.frac_bits)
        if short is not update:  # otherwise it stays what it is, to the bit
            arrays[name] = arrays["current"] + short
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
    result = rule.aggregate(inputs)
    if memory is not None:
        memory.clear()
        memory.update({k: _floats(v) for k, v in inputs.memory.items()})
    return _floats(result)


def _floats(x: SharedTensor) -> F64:
    """The numbers of a tensor that nobody hides."""
    return np.asarray(x.mpc.reveal(x, "aggregation in the clear"), np.float64)


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
