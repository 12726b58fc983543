"""The whole verdict on a protocol: the kit's checks, conversion to and from every other protocol,
and training.

from wwfl.testing import conformance
print(conformance(MyProtocol))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import wwfl_core.testing as kit
from reshare.testing import conversion
from wwfl.data import Dataset
from wwfl.nn import SGD, Network, Params, count_correct, mlp, spec, trace, train
from wwfl_core.protocol import Factory, backends
from wwfl_core.tensors import Session, SharedTensor
from wwfl_core.testing import Bench, Check, Failed, Provider, Report, claim

from .data import datasets
from .federation import torch_reference

HIDDEN, BATCH, RATE = 16, 20, 0.1
DIGITS, TESTED = 600, 200
FEW = 1
DEADLINE_S = 120.0
SEED = 53
"""Of the model: no pre-activation of the float64 run is closer to 0 than 0.0008, so fixed point
takes the same side of every ReLU. (With most seeds one is, its flip grows over the steps, and no
useful bound holds.)"""


def providers(others: Mapping[str, Factory] | None = None) -> list[Provider]:
    """What the kit cannot check itself: conversion (by default with every registered protocol but
    those of other runtimes, which take seconds to start; `wwfl matrix` converts to and from those)
    and training."""
    if others is None:
        factories = {
            name: entry.factory for name, entry in backends().items() if entry.factory is not None
        }
        others = {
            name: factory
            for name, factory in factories.items()
            if not getattr(factory, "runtime", "")
        }
    return [conversion(others), training]


def conformance(
    factory: Factory,
    thorough: bool = False,
    *,
    seed: int = 0,
    only: str = "",
    others: Mapping[str, Factory] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """`wwfl_core.testing.conformance` with the checks of `providers(others)`; what `wwfl
    conformance` runs."""
    return kit.conformance(
        factory, thorough, seed=seed, only=only, extra=providers(others), progress=progress
    )


# ---------------------------------------------------------------------- training


class _Trained(NamedTuple):
    """What one run of training gave: parameters, and how many test digits they classify right."""

    params: dict[str, Any]
    hits: int


def _program(
    mpc: Session,
    layers: Sequence[spec.Layer],
    params: Params,
    data: tuple[SharedTensor, SharedTensor],
    test: tuple[SharedTensor, SharedTensor],
    batches: Sequence[Sequence[int]],
) -> Any:
    """Trains; reveals the model (it is public data here) and the number of hits."""
    network = Network(layers)
    trained = train(mpc, network, params, *data, batches, SGD(RATE))[0]
    hits = mpc.reveal(count_correct(network, trained, *test), "hits")
    return {name: mpc.reveal(value, name) for name, value in trained.items()}, hits


def _privately(bench: Bench, digits: Dataset, test: Dataset, batches: Sequence[Any]) -> _Trained:
    layers, initial = trace(_model())
    with bench.cluster(name="training", insecure_seed=bench.seed, deadline_s=DEADLINE_S) as c:
        shared = {name: c.share(value) for name, value in initial.items()}
        sets = [(c.share(part.images), c.share(np.eye(10)[part.labels])) for part in (digits, test)]
        found, hits = c.run(_program, layers, shared, *sets, [batch.tolist() for batch in batches])
    return _Trained(found, round(float(hits)))


def _model() -> Any:
    return mlp(28 * 28, [HIDDEN], 10, seed=SEED).double()


def bound(frac_bits: int) -> float:
    """How far training may be from float64, relative to what it changed: about 20 times what
    rounding makes.

    0.4 % at 20 fractional bits, 5 % at 16; coarser formats flip ReLUs and get up to 30 %.
    """
    return min(0.3, 0.001 + 2.0 ** (11.6 - frac_bits))


def demo(bench: Bench) -> str:
    """SGD on real digits follows float64 within `bound`: every parameter's change in the L2 norm;
    hits within 3 %."""
    digits, test = datasets.mnist(pad=0)
    digits, test = digits[:DIGITS], test[:TESTED]
    batches = [np.arange(i, i + BATCH) for i in range(0, len(digits), BATCH)]
    if (
        bench.runtime
    ):  # other runtimes take seconds for what takes the native protocols milliseconds
        batches = batches[:FEW]
    reference = _model()
    initial = torch_reference.parameters(reference)
    exact = torch_reference.train_cluster(reference, digits.images, digits.labels, batches, RATE)
    want = round(torch_reference.accuracy(reference, test) * TESTED)
    found = _privately(bench, digits, test, batches)
    allowed, worst = bound(bench.frac_bits), 0.0
    for name, value in exact.items():
        off = float(
            np.linalg.norm(found.params[name] - value) / np.linalg.norm(value - initial[name])
        )
        if not off <= allowed:
            raise Failed(
                f"{name}: training is off by {off:.2%} of what float64 changes, allowed is "
                f"{allowed:.2%}"
            )
        worst = max(worst, off)
    if abs(found.hits - want) > 0.03 * TESTED:
        raise Failed(
            f"the trained model classifies {found.hits} of {TESTED} digits right, float64 {want}"
        )
    return (
        f"{len(batches)} steps on {len(digits)} digits: {found.hits} of {TESTED} test digits "
        f"right (float64: {want}), parameters within {_rounded_up(worst)}"
    )


def _rounded_up(share: float) -> str:
    """The next of a few round figures: the exact one depends on the build of NumPy."""
    for figure in (0.001, 0.004, 0.01, 0.05):
        if share <= figure:
            return f"{figure:.1%}"
    return f"{share:.1%}"


def training(bench: Bench) -> Iterator[Check]:
    """The check "trains/demo", last since it needs everything else."""
    yield Check("trains/demo", claim(demo), partial(demo, bench))
