"""Private training: every layer's gradient, updates, and whole runs, against float64 PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from wwfl.nn import (
    SGD,
    BasicBlock,
    Network,
    Params,
    PooledConvLayer,
    count_correct,
    gradients,
    lenet5,
    logistic_regression,
    mlp,
    pool_first,
    trace,
    train,
)
from wwfl_core import LocalCluster, Phase, Session, SharedTensor
from wwfl_core.errors import ConfigError, Misuse

KINDS = {"plain": Plain, "2pc": Additive2PC, "3pc": Replicated3PC, "4pc": Tetrad4PC}


@pytest.fixture(scope="module", params=list(KINDS))
def cluster(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    # Seeded: a rounding that flips one ReLU would move a gradient by more than any useful bound.
    with LocalCluster(KINDS[request.param](), name="train", deadline_s=60, insecure_seed=1) as made:
        yield made


def small_conv() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=1, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 3, 3, stride=2, padding=1, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3 * 2 * 2, 5),
    )


def average_pooled() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.AvgPool2d(2),
        nn.ReLU(),
        nn.AvgPool2d(3),
        nn.Flatten(),
        nn.Linear(4, 5),
    )


def odd_pooled() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 3, 2), nn.MaxPool2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5)
    )


def overlapping() -> nn.Module:
    torch.manual_seed(8)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=False),
        nn.MaxPool2d(3, 2),
        nn.ReLU(),
        nn.AvgPool2d(2, 1),
        nn.Conv2d(3, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )


MODELS = {
    "overlapping and global pools": overlapping,
    "residual": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3), BasicBlock(4, 6, 2, "none"), nn.Flatten(), nn.Linear(54, 5)
    ),
    "conv": small_conv,
    "average-pooled": average_pooled,
    "3x3 max-pool with a remainder": odd_pooled,
    "mlp": lambda: mlp(128, [9, 7], 5, seed=4),
    "logistic regression": lambda: logistic_regression(128, 5, seed=5),
}


def batch(seed: int, n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2, 8, 8)), rng.integers(0, 5, n)


def torch_gradients(model: nn.Module, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    model = model.double()
    loss = nn.functional.cross_entropy(model(torch.tensor(x)), torch.tensor(y), reduction="sum")
    loss.backward()
    return {n: p.grad.numpy().copy() for n, p in model.named_parameters() if p.grad is not None}


def grads_program(
    mpc: Session, layers: Any, params: Params, x: SharedTensor, one_hot: SharedTensor
) -> Params:
    return gradients(Network(layers), params, x, one_hot)


@pytest.mark.parametrize("name", list(MODELS))
def test_the_gradient_of_every_layer_is_that_of_float64(cluster: LocalCluster, name: str) -> None:
    x, y = batch(7)
    model = MODELS[name]()
    layers, initial = trace(model)
    exact = torch_gradients(model, x, y)
    params = {k: cluster.share(v) for k, v in initial.items()}
    found = cluster.run(
        grads_program, pool_first(layers), params, cluster.share(x), cluster.share(np.eye(5)[y])
    )
    assert found.keys() == exact.keys()
    for key, value in exact.items():
        error = np.linalg.norm(cluster.reveal(found[key]) - value) / np.linalg.norm(value)
        assert error < 0.02, f"{key}: relative L2 error {error:.4f}"


def sgd_program(
    mpc: Session,
    layers: Any,
    params: Params,
    x: SharedTensor,
    one_hot: SharedTensor,
    batches: Any,
    sgd: SGD,
) -> Params:
    return train(mpc, Network(layers), params, x, one_hot, batches, sgd, anchor=params)[0]


@pytest.mark.parametrize(
    "sgd",
    [SGD(0.05), SGD(0.05, 0.9), SGD(0.05, prox=2.0), SGD(0.05, 0.9, weight_decay=0.1, prox=0.5)],
    ids=str,
)
def test_ten_steps_of_sgd_follow_pytorch(cluster: LocalCluster, sgd: SGD) -> None:
    x, y = batch(8, 30)
    model = mlp(128, [16], 5, seed=6).double()
    layers, initial = trace(model)
    batches = [list(range(i, i + 10)) for i in (0, 10, 20)] * 3 + [[3, 1, 4]]
    optimiser = torch.optim.SGD(
        model.parameters(), lr=sgd.lr, momentum=sgd.momentum, weight_decay=sgd.weight_decay
    )
    start = [p.detach().clone() for p in model.parameters()]
    for rows in batches:
        optimiser.zero_grad()
        away = sum((p - p0).square().sum() for p, p0 in zip(model.parameters(), start, strict=True))
        loss = nn.functional.cross_entropy(model(torch.tensor(x[rows])), torch.tensor(y[rows]))
        (loss + sgd.prox / 2 * away).backward()
        optimiser.step()
    params = {k: cluster.share(v) for k, v in initial.items()}
    found = cluster.run(
        sgd_program, layers, params, cluster.share(x), cluster.share(np.eye(5)[y]), batches, sgd
    )
    for key, p in model.named_parameters():
        assert np.abs(cluster.reveal(found[key]) - p.detach().numpy()).max() < 1e-3, key


def test_regularisers_cost_nothing(cluster: LocalCluster) -> None:
    x, y = batch(8, 10)
    layers, initial = trace(logistic_regression(128, 5))
    costs = []
    for sgd in (SGD(0.05), SGD(0.05, prox=0.1), SGD(0.05, weight_decay=0.1, prox=0.1)):
        # Fresh shares: 2PC opens a masked operand once.
        args = (
            {k: cluster.share(v) for k, v in initial.items()},
            cluster.share(x),
            cluster.share(np.eye(5)[y]),
        )
        cluster.run(sgd_program, layers, *args, [list(range(10))], sgd)
        costs.append(
            (cluster.last_cost.bytes_sent(phase=Phase.ONLINE), dict(cluster.last_cost.rounds))
        )
    assert costs[0][1] == costs[1][1] == costs[2][1]
    # 4PC sends two bits per bit that is cut off, and trailing zeros of a public factor need not be
    # cut off.
    allowed = 645 * 8 // 8 if cluster.protocol.name == "4pc" else 0
    assert max(abs(sent - costs[0][0]) for sent, _ in costs) <= allowed


def unanchored(
    mpc: Session, layers: Any, params: Params, x: SharedTensor, one_hot: SharedTensor
) -> Params:
    return train(mpc, Network(layers), params, x, one_hot, [[0]], SGD(0.1, prox=0.1))[0]


def test_a_proximal_term_needs_its_anchor() -> None:
    for options in ({"prox": -1.0}, {"weight_decay": -1.0}, {"prox": float("nan")}):
        with pytest.raises(ConfigError, match="must be at least 0"):
            SGD(0.1, **options)
    layers, initial = trace(logistic_regression(128, 5))
    with LocalCluster(Plain()) as c:
        params = {k: c.share(v) for k, v in initial.items()}
        x, y = batch(8, 2)
        with pytest.raises(Misuse, match="needs anchor="):
            c.run(unanchored, layers, params, c.share(x), c.share(np.eye(5)[y]))


def test_average_pooling_after_a_convolution_sends_only_the_pooled_output() -> None:
    layers, initial = trace(average_pooled())
    with LocalCluster(Replicated3PC()) as c:
        x = c.share(batch(1)[0])
        params = {k: c.share(v) for k, v in initial.items()}
        c.run(conv_program, layers[:2], params, x)
        pooled_outputs = 6 * 4 * 4 * 4
        sent = (
            c.last_cost.bytes_sent(phase=Phase.ONLINE, label="0/conv2d")
            + c.last_cost.bytes_sent(phase=Phase.ONLINE, label="0/truncate")
            + c.last_cost.bytes_sent(phase=Phase.ONLINE, label="0/reclose")
        )
        assert sent == pooled_outputs * 194 / 8


def conv_program(mpc: Session, layers: Any, params: Params, x: SharedTensor) -> None:
    _, tape = Network(layers).training_forward(x, params)
    assert [type(layer) for layer in tape.layers] == [PooledConvLayer]


def correct_program(
    mpc: Session, layers: Any, params: Params, x: SharedTensor, one_hot: SharedTensor
) -> Any:
    return mpc.reveal(count_correct(Network(layers), params, x, one_hot), "hits")


def test_the_number_of_hits_is_exact(cluster: LocalCluster) -> None:
    x, y = batch(9, 40)
    model = MODELS["conv"]().double()
    layers, initial = trace(model)
    with torch.no_grad():
        expected = int((model(torch.tensor(x)).argmax(1).numpy() == y).sum())
    params = {k: cluster.share(v) for k, v in initial.items()}
    hits = cluster.run(
        correct_program, pool_first(layers), params, cluster.share(x), cluster.share(np.eye(5)[y])
    )
    assert hits == expected
    assert cluster.ledger.summary()["hits"] == (1, 1)


def test_lenet_gradients_on_real_digits_are_within_two_percent() -> None:
    from wwfl.data.datasets import mnist

    digits, _ = mnist()
    x, y = digits.images[:20].astype(np.float64), digits.labels[:20]
    model = lenet5(0)
    layers, initial = trace(model)
    exact = torch_gradients(model, x, y)
    with LocalCluster(Replicated3PC(), name="digits", insecure_seed=1) as c:
        params = {k: c.share(v) for k, v in initial.items()}
        found = c.run(grads_program, pool_first(layers), params, c.share(x), c.share(np.eye(10)[y]))
        for key, value in exact.items():
            assert np.linalg.norm(c.reveal(found[key]) - value) < 0.02 * np.linalg.norm(value), key
