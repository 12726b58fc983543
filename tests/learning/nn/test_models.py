"""Models, their layer descriptions, and the torch reference of a federated run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from layer_reference import forward
from wwfl.data.datasets import Dataset, mnist
from wwfl.data.partition import iid, sgd_schedule
from wwfl.federation import torch_reference
from wwfl.nn import models, spec
from wwfl.nn.tracing import (
    layer_shapes,
    load_parameters,
    output_shape,
    parameters,
    pool_first,
    trace,
)
from wwfl_core.errors import ConfigError, Misuse


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small() -> tuple[Dataset, Dataset]:
    return mnist()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# ---- models


def test_parameter_counts() -> None:
    assert count(models.lenet5()) == 61_706
    assert [tuple(p.shape) for p in models.lenet5().parameters()][::2] == [
        (6, 1, 5, 5), (16, 6, 5, 5), (120, 16, 5, 5), (84, 120), (10, 84),
    ]  # fmt: skip
    assert count(models.mlp(784, [64, 32], 10)) == 784 * 64 + 64 + 64 * 32 + 32 + 32 * 10 + 10
    assert count(models.logistic_regression(784, 10)) == 7_850
    images = torch.zeros(3, 1, 32, 32)
    for module in (
        models.lenet5(),
        models.mlp(1024, (8,), 10),
        models.logistic_regression(1024, 10),
    ):
        assert module(images).shape == (3, 10)
    for wrong in ((0, [3], 2), (3, [0], 2), (3, [2.0], 2)):
        with pytest.raises(Misuse, match="at least 1"):
            models.mlp(*wrong)  # type: ignore[arg-type]


def test_initial_model_depends_on_the_seed_only() -> None:
    reference = parameters(models.lenet5(3))
    torch.manual_seed(11)
    expected = torch.rand(4)
    torch.manual_seed(11)
    torch.set_default_dtype(torch.float64)
    try:
        again = models.LeNet(3)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.rand(4), expected)  # the caller's generator did not move
    assert all(parameter.dtype == torch.float32 for parameter in again.parameters())
    for name, value in parameters(again).items():
        np.testing.assert_array_equal(value, reference[name])
    assert (parameters(models.lenet5(4))["0.weight"] != reference["0.weight"]).any()
    torch.manual_seed(3)  # torch's own default initialisation, nothing else
    np.testing.assert_array_equal(nn.Conv2d(1, 6, 5).weight.detach().numpy(), reference["0.weight"])
    for seed in (-1, None, 1.0, True):
        with pytest.raises(Misuse, match="seed"):
            models.lenet5(seed)  # type: ignore[arg-type]


# ---- tracing


def test_trace_lenet() -> None:
    module = models.lenet5()
    layers, params = trace(module)
    kinds = "Conv2d ReLU MaxPool2d Conv2d ReLU MaxPool2d Conv2d ReLU Flatten Linear ReLU Linear"
    assert [type(layer).__name__ for layer in layers] == kinds.split()
    assert layers[0] == spec.Conv2d("0", (6, 1, 5, 5), 1, 0, True)
    assert layers[2] == spec.MaxPool2d("2", 2, 2)
    assert (
        list(params)
        == list(spec.parameter_shapes(layers))
        == [n for n, _ in module.named_parameters()]
    )
    assert all(value.dtype == np.float64 for value in params.values())
    assert layer_shapes(layers, (1, 32, 32))[:3] == [(6, 28, 28), (6, 28, 28), (6, 14, 14)]
    assert (
        output_shape(layers, (1, 32, 32)) == (10,) == output_shape(pool_first(layers), (1, 32, 32))
    )
    params["0.weight"][:] = 0  # a copy
    assert parameters(module)["0.weight"].any()


def test_trace_nested_and_bare_modules() -> None:
    inner = nn.Sequential(nn.Linear(6, 4, bias=False), nn.Identity(), nn.Dropout(0.0))
    layers, params = trace(
        nn.Sequential(nn.Flatten(), nn.Sequential(inner, nn.ReLU()), nn.Linear(4, 2))
    )
    assert layers == [
        spec.Flatten("0"),
        spec.Linear("1.0.0", (4, 6), False),
        spec.ReLU("1.1"),
        spec.Linear("2", (2, 4), True),
    ]
    assert list(params) == ["1.0.0.weight", "2.weight", "2.bias"]
    layers, params = trace(nn.Linear(3, 2))
    assert layers == [spec.Linear("", (2, 3), True)] and list(params) == ["weight", "bias"]
    relu = nn.ReLU(inplace=True)
    assert len(trace(nn.Sequential(relu, relu))[0]) == 2  # nothing to share in a ReLU
    assert trace(nn.Sequential()) == ([], {}) and output_shape([], (3,)) == (3,)


class Odd(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return -super().forward(input)


def hooked() -> nn.Module:
    module = nn.Linear(2, 2)
    module.register_forward_hook(lambda m, a, out: 2 * out)
    return module


def frozen() -> nn.Module:
    return nn.Linear(2, 2).requires_grad_(False)


def tied() -> nn.Module:
    layer = nn.Linear(2, 2)
    return nn.Sequential(layer, nn.ReLU(), layer)


def broken() -> nn.Module:
    module = nn.Linear(2, 2)
    with torch.no_grad():
        module.weight[0, 0] = float("nan")
    return module


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.BatchNorm1d(3), "BatchNorm1d is not supported; supported are Conv2d, Linear"),
        (nn.BatchNorm2d(3, affine=False), "BatchNorm2d with affine=False"),
        (
            nn.BatchNorm2d(3, track_running_stats=False),
            "BatchNorm2d with track_running_stats=False",
        ),
        (nn.BatchNorm2d(3, momentum=None), "BatchNorm2d with momentum=None"),
        (nn.AdaptiveAvgPool2d(2), "AdaptiveAvgPool2d with output_size=2"),
        (nn.Sigmoid(), "Sigmoid"),
        (Odd(2, 2), "Odd is not supported"),
        (
            nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
            "ParametrizedLinear is not supported",
        ),
        (nn.LazyLinear(2), "LazyLinear is not supported"),
        (nn.Conv2d(2, 2, 3, groups=2), "Conv2d with groups=2"),
        (nn.Conv2d(2, 2, 3, dilation=2), r"Conv2d with dilation=\(2, 2\)"),
        (nn.Conv2d(2, 2, 3, stride=(1, 2)), r"Conv2d with stride=\(1, 2\)"),
        (nn.Conv2d(2, 2, 3, padding=(1, 0)), r"Conv2d with padding=\(1, 0\)"),
        (nn.Conv2d(2, 2, 3, padding="same"), "Conv2d with padding='same'"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), "padding_mode='reflect'"),
        (nn.MaxPool2d(3, (2, 1)), r"MaxPool2d with stride=\(2, 1\)"),
        (nn.MaxPool2d(2, padding=1), "MaxPool2d with padding=1"),
        (nn.MaxPool2d(2, dilation=2), "MaxPool2d with dilation=2"),
        (nn.MaxPool2d(2, ceil_mode=True), "MaxPool2d with ceil_mode=True"),
        (nn.MaxPool2d(2, return_indices=True), "MaxPool2d with return_indices=True"),
        (nn.MaxPool2d((2, 1)), r"MaxPool2d with kernel_size=\(2, 1\)"),
        (nn.AvgPool2d(2, padding=1), "AvgPool2d with padding=1"),
        (nn.AvgPool2d(2, ceil_mode=True), "AvgPool2d with ceil_mode=True"),
        (nn.AvgPool2d(2, divisor_override=3), "AvgPool2d with divisor_override=3"),
        (nn.Flatten(0), "Flatten with start_dim=0"),
        (nn.Flatten(1, 2), "Flatten with end_dim=2"),
        (nn.Dropout(0.5), "Dropout with p=0.5"),
        (hooked(), "Linear has hooks"),
    ],
)
def test_trace_names_what_it_refuses(module: nn.Module, message: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.ReLU(), nn.Sequential(nn.ReLU(), module))
    with pytest.raises(ConfigError, match=rf"^3\.1: .*{message}"):
        trace(model)
    with pytest.raises(ConfigError, match=r"^\(the model\): "):
        trace(module)


def test_trace_refuses_unusual_parameters() -> None:
    with pytest.raises(ConfigError, match=r"1\.0\.weight: requires_grad=False"):
        trace(nn.Sequential(nn.ReLU(), nn.Sequential(frozen())))
    with pytest.raises(ConfigError, match=r"^0: Linear is used twice"):
        trace(tied())
    with pytest.raises(ConfigError, match=r"0.weight: contains NaN"):
        trace(nn.Sequential(broken()))
    with pytest.raises(ConfigError, match="complex64"):
        trace(nn.Linear(2, 2, dtype=torch.complex64))


def test_output_shape_errors_name_the_layer() -> None:
    layers, _ = trace(models.lenet5())
    with pytest.raises(
        ConfigError, match=r"^0: Conv2d takes 1 channels, gets 3; set in_channels=3"
    ):
        output_shape(layers, (3, 32, 32))
    with pytest.raises(ConfigError, match=r"^6: Conv2d: its 5x5 window does not fit into 4x4"):
        output_shape(layers, (1, 28, 28))
    with pytest.raises(ConfigError, match=r"^9: Linear takes 120 inputs, gets 480"):
        output_shape(layers, (1, 36, 36))
    with pytest.raises(ConfigError, match=r"^0: Conv2d takes inputs \(channels, height, width\)"):
        output_shape(layers, (1024,))
    with pytest.raises(ConfigError, match=r"^0: Linear takes flat inputs.*put a Flatten before it"):
        output_shape(trace(nn.Sequential(nn.Linear(4, 2)))[0], (2, 4))
    for shape in ((), (1, 0, 32)):
        with pytest.raises(ConfigError, match="input shape"):
            output_shape(layers, shape)


def test_pool_first_on_descriptions() -> None:
    relu, pool, mean = spec.ReLU("r"), spec.MaxPool2d("p", 2, 2), spec.AvgPool2d("a", 2, 2)
    assert pool_first([relu, pool]) == [pool, relu]
    assert pool_first([relu, relu, pool, pool]) == [pool, pool, relu, relu]
    assert pool_first([relu, mean, pool, relu]) == [relu, mean, pool, relu]
    assert pool_first([]) == []
    lenet = [type(layer).__name__ for layer in pool_first(trace(models.lenet5())[0])]
    assert lenet[:6] == ["Conv2d", "MaxPool2d", "ReLU"] * 2


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Sequential, tuple[int, int, int]]:
    """A random convolutional net without head, and an input shape (which may be too small for
    it)."""
    torch.manual_seed(draw(st.integers(0, 99)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(5, 14)), draw(st.integers(5, 14)))
    channels, body = shape[0], []
    for _ in range(draw(st.integers(1, 2))):
        width, bias = draw(st.integers(1, 4)), draw(st.booleans())
        stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, 2))
        body += [
            nn.Conv2d(
                channels, width, draw(st.sampled_from([1, 3, (3, 2)])), stride, padding, bias=bias
            )
        ]
        body += [nn.ReLU()] * draw(st.integers(0, 2))
        body += [
            draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d, nn.Identity]))(
                draw(st.integers(1, 2))
            )
        ]
        channels = width
    return nn.Sequential(*body), shape


@settings(max_examples=60, deadline=None)
@given(networks())
def test_descriptions_compute_the_same_function(
    case: tuple[nn.Sequential, tuple[int, int, int]],
) -> None:
    body, shape = case
    try:
        features = body(torch.zeros(1, *shape)).numel()
    except RuntimeError:  # torch finds it too small; so must we
        with pytest.raises(ConfigError, match="does not fit"):
            output_shape(trace(body)[0], shape)
        return
    module = nn.Sequential(body, nn.Sequential(nn.Flatten(), nn.Linear(features, 3))).double()
    layers, params = trace(module)
    x = torch.randn(2, *shape, dtype=torch.float64)
    expected = module(x)
    expected.square().sum().backward()
    for order in (layers, pool_first(layers)):
        assert output_shape(order, shape) == (3,)
        leaves = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
        result = forward(order, leaves, x)
        torch.testing.assert_close(result, expected)
        result.square().sum().backward()  # pool first: the same gradients too
        for name, parameter in module.named_parameters():
            torch.testing.assert_close(leaves[name].grad, parameter.grad)


# ---- parameters


def test_load_parameters_round_trip_and_errors() -> None:
    source, target = models.lenet5(1), models.lenet5(2)
    params = parameters(source)
    load_parameters(target, params)
    for name, value in parameters(target).items():
        np.testing.assert_array_equal(value, params[name])
    before = parameters(target)
    for change, message in (
        (
            {"9.weight": np.zeros((84, 119))},
            r"9.weight: shape \(84, 119\), the module needs \(84, 120\)",
        ),
        ({"11.bias": np.full(10, np.inf)}, "11.bias: NaN or infinity"),
        ({"11.bias": np.full(10, 1e300)}, "too large for torch.float32"),
        ({"11.bias": np.array(["x"] * 10)}, "11.bias: dtype"),
        ({"12.bias": np.zeros(3)}, "no parameter 12.bias"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_parameters(target, params | {"0.bias": np.zeros(6)} | change)
    with pytest.raises(ConfigError, match=r"missing for 0\.bias"):
        load_parameters(target, {name: value for name, value in params.items() if name != "0.bias"})
    for name, value in parameters(target).items():
        np.testing.assert_array_equal(value, before[name])  # an error writes nothing


# ---- the torch reference


def test_train_cluster_is_plain_mean_gradient_descent() -> None:
    generator = np.random.default_rng(0)
    images = generator.normal(size=(30, 1, 2, 3)).astype(np.float32)
    labels = generator.integers(0, 4, 30)
    module = models.logistic_regression(6, 4).double()
    w, b = (parameters(module)[name] for name in ("1.weight", "1.bias"))
    velocity = [np.zeros_like(w), np.zeros_like(b)]
    batches = [np.array([1, 2, 3]), np.arange(10, 30), np.array([5])]
    for batch in batches:
        x, y = images[batch].reshape(len(batch), 6).astype(np.float64), np.eye(4)[labels[batch]]
        p = np.exp(x @ w.T + b)
        error = (p / p.sum(axis=1, keepdims=True) - y) / len(batch)
        velocity = [0.5 * velocity[0] + error.T @ x, 0.5 * velocity[1] + error.sum(axis=0)]
        w, b = w - 0.1 * velocity[0], b - 0.1 * velocity[1]
    trained = torch_reference.train_cluster(module, images, labels, batches, 0.1, momentum=0.5)
    np.testing.assert_allclose(trained["1.weight"], w, rtol=1e-12)
    np.testing.assert_allclose(trained["1.bias"], b, rtol=1e-12)
    np.testing.assert_array_equal(parameters(module)["1.bias"], trained["1.bias"])


def test_train_cluster_errors() -> None:
    images, labels = np.zeros((5, 1, 2, 2), np.float32), np.zeros(5, np.int64)
    module = models.logistic_regression(4, 3)
    for batch in (
        np.array([5]),
        np.array([-1]),
        np.array([], np.int64),
        np.array([0.5]),
        np.zeros((1, 1), int),
    ):
        with pytest.raises(Misuse, match="batch 0"):
            torch_reference.train_cluster(module, images, labels, [batch], 0.1)
    for lr, momentum in ((0.0, 0.0), (-1.0, 0.0), (float("nan"), 0.0), (0.1, 1.0), (0.1, -0.1)):
        with pytest.raises(Misuse, match=r"lr|momentum"):
            torch_reference.train_cluster(module, images, labels, [np.array([0])], lr, momentum)
    with pytest.raises(ConfigError, match=r"0\.steps: a buffer of torch.int64 cannot be averaged"):
        counting = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        counting[0].register_buffer("steps", torch.zeros((), dtype=torch.int64))
        torch_reference.train_cluster(counting, images, labels, [np.array([0, 1])], 0.1)
    with pytest.raises(ConfigError, match="1: momentum=None counts batches"):
        norm = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4, momentum=None))
        torch_reference.train_cluster(norm, images, labels, [np.array([0, 1])], 0.1)
    for option in ("weight_decay", "prox"):
        with pytest.raises(Misuse, match=option):
            torch_reference.train_cluster(
                module, images, labels, [np.array([0])], 0.1, **{option: -1.0}
            )
    with pytest.raises(ConfigError, match="no parameters"):
        torch_reference.train_cluster(nn.ReLU(), images, labels, [np.array([0])], 0.1)


def test_fedavg() -> None:
    a, b = {"x": np.array([1.0, 2.0])}, {"x": np.array([3.0, 6.0])}
    np.testing.assert_array_equal(torch_reference.fedavg([a, b])["x"], [2, 4])
    np.testing.assert_array_equal(torch_reference.fedavg([a, b], [3, 1])["x"], [1.5, 3])
    np.testing.assert_array_equal(torch_reference.fedavg([a, b], [0, 2])["x"], [3, 6])
    for models_, weights in (
        ([], None),
        ([a], [1, 2]),
        ([a, b], [0, 0]),
        ([a, b], [-1, 2]),
        ([a], [np.nan]),
    ):
        with pytest.raises(Misuse):
            torch_reference.fedavg(models_, weights)
    with pytest.raises(Misuse, match="model 1 has parameters"):
        torch_reference.fedavg([a, {"y": a["x"]}])
    with pytest.raises(Misuse, match="x: model 1 has shape"):
        torch_reference.fedavg([a, {"x": np.zeros(3)}])


def test_accuracy(small: tuple[Dataset, Dataset]) -> None:
    _, test = small
    module = models.logistic_regression(1024, 10)
    load_parameters(module, {"1.weight": np.zeros((10, 1024)), "1.bias": np.eye(10)[3]})
    assert torch_reference.accuracy(module, test) == np.mean(test.labels == 3)
    assert torch_reference.accuracy(module, test, batch=7) == np.mean(test.labels == 3)
    with pytest.raises(Misuse, match="no images"):
        torch_reference.accuracy(module, test[:0])


def test_run_is_train_cluster_and_fedavg(small: tuple[Dataset, Dataset]) -> None:
    train, test = small[0][:300], small[1][:100]
    plan = sgd_schedule(
        iid(train, 2, 2, 20, 0), rounds=2, clients_per_round=1, epochs=1, batch=8, seed=0
    )
    plan[1][0] = []  # cluster 0 is absent in the second round
    initial = models.mlp(1024, [8], 10)
    before = parameters(initial)
    module = models.mlp(1024, [8], 10)
    first = []
    for batches in plan[0]:
        load_parameters(module, before)
        first.append(
            torch_reference.train_cluster(module, train.images, train.labels, batches, 0.1)
        )
    load_parameters(module, torch_reference.fedavg(first))
    expected = [torch_reference.accuracy(module, test)]
    torch_reference.train_cluster(module, train.images, train.labels, plan[1][1], 0.1)
    expected.append(torch_reference.accuracy(module, test))

    accuracies, params = torch_reference.run(initial, train, test, plan, 0.1)
    assert accuracies == expected
    for name, value in parameters(module).items():
        np.testing.assert_array_equal(value, params[name])
        np.testing.assert_array_equal(parameters(initial)[name], before[name])  # not touched
    assert (
        torch_reference.run(lambda: models.mlp(1024, [8], 10), train, test, plan, 0.1, 1)[0]
        == expected[:1]
    )
    double = torch_reference.run(initial, train, test, plan, 0.1, dtype=torch.float64)[1]
    for name in params:
        np.testing.assert_allclose(double[name], params[name], atol=1e-5)
    with pytest.raises(Misuse, match=r"rounds must be in 0\.\.2"):
        torch_reference.run(initial, train, test, plan, 0.1, 3)
    with pytest.raises(Misuse, match="float16"):
        torch_reference.run(initial, train, test, plan, 0.1, dtype=torch.float16)


def test_running_statistics_are_averaged_like_parameters() -> None:
    generator = np.random.default_rng(4)
    images = generator.normal(3, 2, (40, 1, 4, 4)).astype(np.float32)
    data = Dataset(images, generator.integers(0, 3, 40), "noise", "this test", "00")
    module = nn.Sequential(nn.BatchNorm2d(1, momentum=0.5), nn.Flatten(), nn.Linear(16, 3)).double()
    halves = [np.arange(20), np.arange(20, 40)]
    _, params = torch_reference.run(module, data, data, [[[half] for half in halves]], 0.1)
    means = [data.images[half].astype(np.float64).mean() for half in halves]
    variances = [data.images[half].astype(np.float64).var(ddof=1) for half in halves]
    np.testing.assert_allclose(params["0.running_mean"], [0.5 * np.mean(means)], rtol=1e-6)
    np.testing.assert_allclose(params["0.running_var"], [0.5 + 0.5 * np.mean(variances)], rtol=1e-6)


def test_the_proximal_term_pulls_towards_the_model_at_the_start() -> None:
    generator = np.random.default_rng(5)
    images, labels = generator.normal(size=(20, 1, 2, 3)), generator.integers(0, 4, 20)
    start = parameters(models.logistic_regression(6, 4).double())
    w, batches = dict(start), [np.arange(10), np.arange(10, 20), np.arange(5, 15)]
    for batch in batches:
        module = models.logistic_regression(6, 4).double()
        load_parameters(module, w)
        plain = torch_reference.train_cluster(module, images, labels, [batch], 0.1)
        w = {
            name: plain[name] - 0.1 * 0.7 * (w[name] - start[name]) - 0.1 * 0.2 * w[name]
            for name in w
        }
    module = models.logistic_regression(6, 4).double()
    found = torch_reference.train_cluster(
        module, images, labels, batches, 0.1, prox=0.7, weight_decay=0.2
    )
    for name in w:
        np.testing.assert_allclose(found[name], w[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))]
)
def test_tiny_federation_learns_mnist(small: tuple[Dataset, Dataset], seed: int) -> None:
    """3 clusters x 4 clients x 50 digits, 2 clients per round: measured 89.5 to 92.3 % over seeds
    0..9."""
    train, test = small
    plan = sgd_schedule(
        iid(train, 3, 4, 50, seed), rounds=10, clients_per_round=2, epochs=5, batch=20, seed=seed
    )
    accuracies, _ = torch_reference.run(models.lenet5(seed), train, test, plan, lr=0.05)
    assert len(accuracies) == 10
    assert accuracies[-1] >= 0.83
