"""Models with branches: what torch.fx traces, what is refused, and that descriptions compute the
same function."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from layer_reference import forward
from wwfl.nn import ResNet9, resnet9, spec
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


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# ---- ResNet9


@pytest.mark.parametrize(
    ("norm", "parameters_", "statistics"), [("batch", 4_903_242, 5_760), ("none", 4_899_466, 0)]
)
def test_resnet9_has_the_parameters_of_the_paper(
    norm: str, parameters_: int, statistics: int
) -> None:
    module = resnet9(norm)
    assert count(module) == parameters_
    layers, params = trace(module)
    assert sum(value.size for value in params.values()) == parameters_ + statistics
    assert list(params) == list(spec.parameter_shapes(layers))
    assert output_shape(layers, (3, 32, 32)) == (10,)
    kinds = [type(layer).__name__ for layer in layers]
    assert [kinds.count(kind) for kind in ("Conv2d", "Add", "ReLU", "Linear")] == [12, 4, 9, 1]
    sizes = [
        s
        for layer, s in zip(layers, layer_shapes(layers, (3, 32, 32)), strict=True)
        if isinstance(layer, spec.Add)
    ]
    assert sizes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]


def test_resnet9_depends_on_its_seed_and_scales_with_its_width() -> None:
    one, again, other = (parameters(resnet9(width=3, seed=seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not np.array_equal(one["0.weight"], other["0.weight"])
    assert (
        count(ResNet9(width=3))
        == 27 * 3
        + sum(
            9 * 9 * (1 + 1)
            if stage == 0
            else 9 * (3 << stage) * (3 << stage) * 3 // 2 + (3 << stage) ** 2 // 2
            for stage in range(4)
        )
        + 2 * 3 * (3 + 2 * 3 + 4 * 3 + 8 * 3)
        + 10 * 24
        + 10
    )
    for wrong in (0, 2.0, True):
        with pytest.raises(Misuse, match="width"):
            resnet9(width=wrong)  # type: ignore[arg-type]
    with pytest.raises(Misuse, match="norm"):
        resnet9("layer")


# ---- the same function


class Functional(nn.Module):
    """The style of many public ResNets: functional forms, view with the batch size, a sum in
    place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.Conv2d(4, 4, 1)
        self.bn, self.head = nn.BatchNorm2d(4), nn.Linear(4 * 2 * 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn(self.conv1(x)))
        out = self.conv2(x)
        out += x
        out = F.avg_pool2d(F.max_pool2d(out.relu(), 2), 2)
        return self.head(out.view(out.size(0), -1))


class Block(nn.Module):
    """A residual block; `plan` says how."""

    def __init__(self, before: int, after: int, plan: tuple[bool, bool, bool]) -> None:
        super().__init__()
        self.named, norm, self.early = plan
        self.inner = nn.Conv2d(before, after, 3, padding=1)
        self.norm = nn.BatchNorm2d(after, momentum=0.3) if norm else nn.Identity()
        self.shortcut = (
            nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False)
        )
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        aside = self.shortcut(x) if self.early else None
        y = self.norm(self.inner(x))
        y = self.relu(y) if self.named else torch.relu(y)
        return torch.add(self.shortcut(x), y) if aside is None else y + aside


@st.composite
def residual(draw: st.DrawFn) -> nn.Module:
    torch.manual_seed(draw(st.integers(0, 99)))
    channels, body = 2, []
    for _ in range(draw(st.integers(1, 3))):
        width = draw(st.sampled_from([2, 3]))
        body.append(
            Block(channels, width, (draw(st.booleans()), draw(st.booleans()), draw(st.booleans())))
        )
        if draw(st.booleans()):
            body.append(nn.ReLU())
        channels = width
        body.append(draw(st.sampled_from([nn.Identity(), nn.MaxPool2d(3, 1), nn.AvgPool2d(2, 1)])))
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(channels, 3))


def check_same_function(module: nn.Module, shape: tuple[int, ...]) -> None:
    """Outputs, gradients and running statistics, in training and evaluation, with and without
    pooling first."""
    module = module.double()
    layers, params = trace(module)
    x = torch.randn(3, *shape, dtype=torch.float64)
    for training in (True, False):
        module.train(training)
        load_parameters(module, params)
        module.zero_grad()
        expected = module(x)
        expected.square().sum().backward()
        after = parameters(module)
        for order in (layers, pool_first(layers)):
            assert output_shape(order, shape) == expected.shape[1:]
            leaves = {
                n: torch.tensor(v, requires_grad="running" not in n) for n, v in params.items()
            }
            result = forward(order, leaves, x, training)
            torch.testing.assert_close(result, expected)
            result.square().sum().backward()
            for name, parameter in module.named_parameters():
                torch.testing.assert_close(leaves[name].grad, parameter.grad)
            for name in params:
                np.testing.assert_allclose(leaves[name].detach().numpy(), after[name], rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(residual())
def test_descriptions_of_residual_models_compute_the_same_function(module: nn.Module) -> None:
    check_same_function(module, (2, 9, 9))


def test_functional_forms_and_small_resnets_compute_the_same_function() -> None:
    torch.manual_seed(5)
    check_same_function(Functional(), (2, 8, 8))
    for norm in ("batch", "none"):
        check_same_function(resnet9(norm, width=3), (3, 16, 16))


def test_names_are_paths_and_sources_are_said_where_the_layer_before_is_not_meant() -> None:
    layers, _ = trace(nn.Sequential(nn.Conv2d(3, 2, 1), Block(2, 2, (True, False, False))))
    assert layers == [
        spec.Conv2d("0", (2, 3, 1, 1), 1, 0, True),
        spec.Conv2d("1.inner", (2, 2, 3, 3), 1, 1, True),
        spec.ReLU("1.relu"),
        spec.Add("1.add", "0"),
    ]
    relu = nn.ReLU()
    assert [layer.name for layer in trace(nn.Sequential(relu, relu))[0]] == ["0", "0#2"]
    assert [layer.name for layer in trace(Functional())[0]] == [
        "conv1",
        "bn",
        "relu",
        "conv2",
        "add",
        "relu#2",
        "max_pool2d",
        "avg_pool2d",
        "flatten",
        "head",
    ]


def test_descriptions_are_read_without_torch() -> None:
    layers, _ = trace(resnet9(width=1))
    code = (
        "import pickle, sys; layers = pickle.loads(sys.stdin.buffer.read()); print(len(layers), "
        "'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(layers), capture_output=True, check=True
    )
    assert done.stdout.decode().split() == [str(len(layers)), "False"]


def test_a_relu_that_others_take_stays_before_the_pool() -> None:
    relu, pool = spec.ReLU("r"), spec.MaxPool2d("p", 2, 1)
    other = spec.MaxPool2d("q", 2, 1, source="r")
    assert pool_first([relu, pool, other, spec.Add("a", "p")]) == [
        relu,
        pool,
        other,
        spec.Add("a", "p"),
    ]
    named = [relu, pool, spec.AvgPool2d("m", 2, 2, source=spec.INPUT), spec.Add("a", "p")]
    assert pool_first(named) == [pool, relu, named[2], spec.Add("a", "r")]


# ---- refusals


class Wrong(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.weight = nn.Parameter(torch.ones(2))
        self.inner = nn.Conv2d(2, 2, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        match self.what:
            case "function":
                return torch.sigmoid(x)
            case "parameter":
                return x + self.weight
            case "constant":
                return x + 1.0
            case "branch":
                return x if x.sum() > 0 else self.relu(x)
            case "mode":
                return self.inner(x) if self.training else self.relu(x)
            case "scaled":
                return torch.add(x, self.inner(x), alpha=2)
            case "in place":
                return self.inner(x) + self.relu(x)
            case "view":
                flat = torch.flatten(x, 1)
                return self.relu(flat) + torch.flatten(x, 1)
            case "reshape":
                return x.view(-1, 8)
            case "unused":
                self.relu(x)
                return self.inner(x)
            case "pair":
                return self.inner(x), x  # type: ignore[return-value]
        raise AssertionError(self.what)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("function", r"^1: Wrong: sigmoid is not supported; supported are Conv2d"),
        ("parameter", r"^1: Wrong: the use of (1\.)?weight outside of a layer"),
        ("constant", r"^1: Wrong: add of something that is not a layer's output"),
        ("branch", r"^1: Wrong: its forward cannot be traced: .*control flow"),
        (
            "mode",
            r"^\(the model\): Sequential: its forward differs between training and evaluation",
        ),
        ("scaled", r"^1: Wrong: add with these arguments"),
        ("in place", r"^1\.relu: ReLU works in place on the output of 0, which is used elsewhere"),
        ("view", r"^1\.relu: ReLU works in place on the output of 0, which is used elsewhere"),
        ("reshape", r"^1: Wrong: view is not supported; supported are"),
        ("unused", r"^1\.relu: ReLU: no layer takes its output"),
        ("pair", r"an output that is not one layer's"),
    ],
)
def test_what_cannot_be_described_is_refused_by_name(what: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trace(nn.Sequential(nn.Conv2d(2, 2, 1), Wrong(what)))


class TwoInputs(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


def test_whole_models_that_are_refused() -> None:
    with pytest.raises(ConfigError, match="a model with more than one input"):
        trace(TwoInputs())
    module = nn.Sequential(nn.Linear(2, 2))
    module.spare = nn.Linear(3, 3)
    module.forward = module[0].forward  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="has a forward of its own"):
        trace(module)
    modes = nn.Sequential(nn.BatchNorm2d(2).eval(), nn.ReLU())
    trace(modes)
    assert [part.training for part in modes.modules()] == [True, False, True]  # left as it was


def test_lists_of_layers_that_do_not_fit_are_refused() -> None:
    relu = spec.ReLU("r")
    for layers, message in (
        ([relu, relu], "r: ReLU: another layer has the same name"),
        (
            [spec.ReLU("s", source="r"), relu],
            "takes the output of 'r', which is no layer before it",
        ),
        ([relu, spec.ReLU("s", source=spec.INPUT)], "r: ReLU: no layer takes its output"),
        (
            [spec.GlobalAvgPool2d("g"), spec.Add("a", spec.INPUT)],
            r"a: Add: its inputs have different shapes",
        ),
        (
            [spec.BatchNorm2d("b", 3, 1e-5, 0.1)],
            "b: BatchNorm2d takes 3 channels, gets 2; set num_features=2",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            output_shape(layers, (2, 4, 4))
