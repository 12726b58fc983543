"""Batch norm on shares against float64 PyTorch: values, gradients, running statistics, range and
cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from helpers import REPOSITORY, rng
from wwfl import SGD, Cluster, Federation, Schedule
from wwfl.data.datasets import Dataset
from wwfl.federation import torch_reference
from wwfl.nn import Network, Params, gradients, parameters, pool_first, resnet9, spec, trace, train
from wwfl_core import LocalCluster, Phase, Session, SharedTensor
from wwfl_core.errors import ConfigError, Misuse

KINDS = {"plain": Plain, "2pc": Additive2PC, "3pc": Replicated3PC, "4pc": Tetrad4PC}
NORM = spec.BatchNorm2d("n", 3, 1e-5, 0.1)


def module(channels: int, momentum: float = 0.1) -> nn.BatchNorm2d:
    """A batch norm with parameters that are not the initial ones."""
    generator = np.random.default_rng(channels)
    made = nn.BatchNorm2d(channels, momentum=momentum).double()
    with torch.no_grad():
        for tensor, low in (
            (made.weight, 0.5),
            (made.bias, -1.0),
            (made.running_mean, -1.0),
            (made.running_var, 0.5),
        ):
            assert tensor is not None
            tensor.copy_(torch.tensor(generator.uniform(low, 2.0, channels)))
    return made


def both_ways(
    mpc: Session, layers: Any, params: Params, x: SharedTensor, gradient: SharedTensor
) -> dict[str, SharedTensor]:
    """Output, gradients of parameters and (through a product with a constant weight) of x, and new
    statistics."""
    network = Network(layers)
    y, tape = network.training_forward(x, params)
    grads: Params = {}
    moved = tape.statistics(params)
    dx = tape.layers[0].backward(gradient, params, grads, first=False)
    assert dx is not None
    return {"y": y, "dx": dx, **grads, **moved}


def compare(
    c: LocalCluster, x: np.ndarray, g: np.ndarray, momentum: float = 0.1, floor: float = 0.0
) -> dict[str, float]:
    """L2 errors against float64, relative to the exact value's norm plus `floor` (sums of noise can
    be any number)."""
    norm = module(x.shape[1], momentum)
    layers, initial = trace(norm)
    params = {name: c.share(value) for name, value in initial.items()}
    found = c.run(both_ways, layers, params, c.share(x), c.share(g))
    inputs = torch.tensor(x, requires_grad=True)
    y = norm(inputs)
    y.backward(torch.tensor(g))
    exact = {"y": y.detach().numpy(), "dx": inputs.grad.numpy()} | {
        name: value for name, value in parameters(norm).items() if "running" in name
    }
    exact |= {name: p.grad.numpy() for name, p in norm.named_parameters() if p.grad is not None}
    assert found.keys() == exact.keys()
    return {
        name: float(np.linalg.norm(c.reveal(found[name]) - value) / (np.linalg.norm(value) + floor))
        for name, value in exact.items()
    }


@pytest.mark.parametrize("kind", list(KINDS))
def test_training_is_that_of_float64(kind: str) -> None:
    g = rng()
    with LocalCluster(KINDS[kind](), deadline_s=60) as c:
        errors = compare(c, g.normal(0.5, 1.5, (5, 3, 4, 6)), g.normal(0, 0.1, (5, 3, 4, 6)), 0.25)
    assert max(errors.values()) < 5e-5, errors


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)).filter(
        lambda shape: shape[0] * shape[2] * shape[3] > 4
    ),
    st.integers(0, 2**32 - 1),
)
def test_any_shape_trains_as_float64(shape: tuple[int, ...], seed: int) -> None:
    g = np.random.default_rng(seed)
    with LocalCluster(Plain(), deadline_s=60) as c:
        # Spread out, so that no channel's variance is close to 0, where errors are divided by it.
        x = g.permuted(np.linspace(-2, 2, int(np.prod(shape))).reshape(shape[1], -1), axis=1) * 3
        x = x.reshape(shape[1], shape[0], *shape[2:]).swapaxes(0, 1)
        errors = compare(
            c, x / x.std(axis=(0, 2, 3), keepdims=True), g.normal(0, 0.1, shape), floor=0.1
        )
    assert max(errors.values()) < 2e-4, errors


@pytest.mark.parametrize(
    ("spread", "mean", "bound"),
    [
        (0.02, 0.0, 2e-2),
        (0.1, 1.0, 2e-3),
        (1.0, 0.0, 5e-4),
        (1.0, 500.0, 2e-3),
        (60.0, 0.0, 2e-2),
        (50.0, 1000.0, 2e-2),
    ],
)
def test_the_range_of_variances_and_means(spread: float, mean: float, bound: float) -> None:
    """Relative L2 errors; they grow with the deviation, its inverse, and mean / deviation (1/n is
    rounded)."""
    g = rng()
    with LocalCluster(Plain(), deadline_s=60) as c:
        errors = compare(
            c, g.normal(mean, spread, (20, 2, 16, 16)), g.normal(0, 0.01, (20, 2, 16, 16))
        )
    assert errors["y"] < bound and errors["dx"] < bound, errors


def test_a_dead_channel_gives_its_bias_and_moves_the_statistics() -> None:
    norm = module(2)
    layers, initial = trace(norm)
    x = np.zeros((4, 2, 3, 3))
    x[:, 1] = 7.0
    with LocalCluster(Replicated3PC(), deadline_s=60) as c:
        params = {name: c.share(value) for name, value in initial.items()}
        found = c.run(both_ways, layers, params, c.share(x), c.share(x))
        expected = norm(torch.tensor(x)).detach().numpy()
        assert (
            np.abs(c.reveal(found["y"]) - expected).max() < 2e-3
        )  # one unit of the mean, over sqrt(eps)
        assert np.abs(c.reveal(found["running_var"]) - 0.9 * initial["running_var"]).max() < 1e-5


# ---- evaluation


def evaluated(mpc: Session, layers: Any, params: Params, x: SharedTensor) -> Any:
    return mpc.reveal(Network(layers).forward(x, params)[0])


def frozen(mpc: Session, layers: Any, params: Params, x: SharedTensor, batches: int) -> Any:
    network = Network(layers)
    ready = network.freeze(params)
    assert network.freeze(ready) is ready
    return [network.forward(x, ready)[0] for _ in range(batches)]


@pytest.mark.parametrize("kind", list(KINDS))
def test_evaluation_uses_the_running_statistics(kind: str) -> None:
    model = nn.Sequential(module(2), nn.ReLU(), nn.Conv2d(2, 3, 1).double(), module(3)).eval()
    layers, initial = trace(model)
    x = rng().normal(size=(3, 2, 4, 4))
    with LocalCluster(KINDS[kind](), deadline_s=60) as c:
        params = {name: c.share(value) for name, value in initial.items()}
        found = c.run(evaluated, layers, params, c.share(x))
    assert np.abs(found - model(torch.tensor(x)).detach().numpy()).max() < 3e-5


def test_parameters_are_frozen_once_in_the_rounds_of_one_norm() -> None:
    with LocalCluster(Replicated3PC(), deadline_s=60) as c:
        rounds = []
        for norms, batches in ((1, 1), (3, 1), (3, 4)):
            layers = [spec.BatchNorm2d(str(i), 3, 1e-5, 0.1) for i in range(norms)]
            params = {name: c.share(np.ones(3)) for layer in layers for name in layer.parameters()}
            c.run(frozen, layers, params, c.share(np.zeros((2, 3, 2, 2))), batches)
            rounds.append(c.last_cost.rounds[Phase.ONLINE])
    product = 3
    assert rounds[1] - rounds[0] == 2 * product and rounds[2] - rounds[1] == 9 * product


def test_a_variance_that_rounding_made_negative_stays_in_the_domain() -> None:
    layers, initial = trace(nn.BatchNorm2d(2))
    ulp = 2.0**-20
    with LocalCluster(Replicated3PC(), deadline_s=60) as c:
        params = {name: c.share(value) for name, value in initial.items()}
        params["running_var"] = c.share(np.array([-2 * ulp, 0.0]))
        found = c.run(evaluated, layers, params, c.share(np.full((1, 2, 1, 1), 0.01)))
    expected = 0.01 / np.sqrt(np.array([-2 * ulp, 0.0]) + 1e-5)
    assert np.abs(found.reshape(-1) - expected).max() < 2e-3 * expected.max()


# ---- cost, errors


def test_only_two_products_have_the_size_of_the_activations() -> None:
    """3PC sends 194 bits per product with truncation; everything else is per channel, or per image
    and channel."""
    with LocalCluster(Replicated3PC(), deadline_s=60) as c:
        sent = []
        for side in (2, 4, 8):
            params = {name: c.share(np.ones(3)) for name in NORM.parameters()}
            x = rng().normal(size=(2, 3, side, side))
            c.run(both_ways, [NORM], params, c.share(x), c.share(x))
            sent.append(c.last_cost.bytes_sent(phase=Phase.ONLINE))
    assert sent[1] - sent[0] == 2 * 2 * 3 * (16 - 4) * 194 / 8
    assert sent[2] - sent[1] == 2 * 2 * 3 * (64 - 16) * 194 / 8


def forward_only(mpc: Session, layers: Any, params: Params, x: SharedTensor) -> None:
    Network(layers).training_forward(x, params)


def forward_and_back(mpc: Session, layers: Any, params: Params, x: SharedTensor) -> None:
    _, tape = Network(layers).training_forward(x, params)
    tape.layers[0].backward(x, params, {}, first=False)


def evaluate_only(mpc: Session, layers: Any, params: Params, x: SharedTensor) -> None:
    Network(layers).forward(x, params)


def test_rounds_are_those_of_the_documentation() -> None:
    page = (REPOSITORY / "docs" / "how-to" / "models.md").read_text()
    for kind in ("2pc", "3pc", "4pc"):
        with LocalCluster(KINDS[kind](), deadline_s=60) as c:
            rounds = []
            for program in (forward_only, forward_and_back, evaluate_only):
                params = {name: c.share(np.ones(3)) for name in NORM.parameters()}
                c.run(program, [NORM], params, c.share(rng().normal(size=(2, 3, 4, 4))))
                rounds.append(c.last_cost.rounds[Phase.ONLINE])
        assert f"| {kind} | {rounds[0]} | {rounds[1] - rounds[0]} | {rounds[2]} |" in page, rounds


def backward_after_evaluation(mpc: Session, layers: Any, params: Params, x: SharedTensor) -> None:
    network = Network(layers)
    y, tape = network.forward(x, params)
    network.backward(y, params, tape)


def test_errors_say_what_to_do() -> None:
    with LocalCluster(Plain(), deadline_s=60) as c:
        params = {name: c.share(np.ones(3)) for name in NORM.parameters()}
        x = c.share(np.ones((1, 3, 1, 1)))
        with pytest.raises(Misuse, match="needs the tape of a training_forward"):
            c.run(backward_after_evaluation, [NORM], params, x)
        with pytest.raises(
            Misuse, match="n: BatchNorm2d: a batch's variance needs at least two values"
        ):
            c.run(both_ways, [NORM], params, x, x)
        tiny = spec.BatchNorm2d("n", 3, 1e-7, 0.1)
        for program in (evaluated, frozen):
            with pytest.raises(
                ConfigError, match=r"eps=1e-07 needs at least 7\.6e-06 with 20 fractional bits"
            ):
                c.run(program, [tiny], params, x, *([1] if program is frozen else []))


# ---- whole models


def step(
    mpc: Session, layers: Any, params: Params, x: SharedTensor, one_hot: SharedTensor, sgd: SGD
) -> Any:
    return train(mpc, Network(layers), params, x, one_hot, [list(range(len(x)))], sgd)[0]


def grads_program(
    mpc: Session, layers: Any, params: Params, x: SharedTensor, one_hot: SharedTensor
) -> Params:
    return gradients(Network(layers), params, x, one_hot)


@pytest.mark.parametrize(
    ("kind", "norm", "width", "batch", "side"),
    [
        ("plain", "batch", 4, 16, 32),
        ("plain", "none", 4, 16, 32),
        ("3pc", "batch", 2, 4, 16),
        pytest.param("3pc", "batch", 8, 16, 32, marks=pytest.mark.slow),
        pytest.param("2pc", "batch", 8, 16, 32, marks=pytest.mark.slow),
        pytest.param("4pc", "none", 8, 16, 32, marks=pytest.mark.slow),
    ],
)
def test_a_step_of_resnet9_is_that_of_float64(
    kind: str, norm: str, width: int, batch: int, side: int
) -> None:
    generator = np.random.default_rng(6)
    x, y = generator.normal(size=(batch, 3, side, side)), generator.integers(0, 10, batch)
    model = resnet9(norm, width, seed=1).double()
    layers, initial = trace(model)
    with LocalCluster(KINDS[kind](), name="resnet9", deadline_s=240, insecure_seed=1) as c:
        params = {name: c.share(value) for name, value in initial.items()}
        data = c.share(x), c.share(np.eye(10)[y])
        found = c.run(step, pool_first(layers), params, *data, SGD(0.1))
        exact = torch_reference.train_cluster(model, x, y, [np.arange(batch)], 0.1)
        for name, value in exact.items():
            moved = np.linalg.norm(value - initial[name])
            # Gradients of single activations are some hundred units, and rounding flips a few of
            # the many ReLUs.
            assert np.linalg.norm(c.reveal(found[name]) - value) < 0.15 * moved + 1e-4, name


def test_running_statistics_travel_and_are_averaged_with_the_model() -> None:
    """A federation of two protocols ends with the statistics of the torch reference."""
    generator = np.random.default_rng(7)
    images = generator.normal(2.0, 1.5, (120, 1, 6, 6)).astype(np.float32)
    data = Dataset(images, generator.integers(0, 3, 120), "noise", "this test", "00")

    def model() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 2, 3),
            nn.BatchNorm2d(2, momentum=0.3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32, 3),
        )

    plan = Schedule(samples_per_client=20, clients_per_round=1, epochs=1, batch=10, sgd=SGD(0.1))
    clusters = [Cluster(Plain(), clients=2), Cluster(Replicated3PC(), clients=2)]
    with Federation(
        model(),
        Replicated3PC(),
        clusters,
        schedule=plan,
        deadline_s=60,
        insecure_seed=2,
        allow_weaker=True,
    ) as f:
        history = f.fit(data, data, rounds=2)
        revealed = parameters(f.reveal())
    theirs, params = torch_reference.run(
        model(), data, data, [r.batches for r in history], 0.1, dtype=torch.float64
    )
    for name, value in params.items():
        assert np.abs(revealed[name] - value).max() < 1e-3, name
    assert np.abs(params["1.running_mean"]).max() > 0.1  # they did move
    assert [r.accuracy for r in history] == pytest.approx(theirs, abs=0.03)
