"""Tensors behave like NumPy arrays: operators, shapes, methods, in every protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from wwfl_core import LocalCluster, Session, SharedTensor
from wwfl_core.errors import Misuse
from wwfl_core.tensors import concatenate, stack_tensors

KINDS = {"plain": Plain, "2pc": Additive2PC, "3pc": Replicated3PC, "4pc": Tetrad4PC}
ULP = 2.0**-20


@pytest.fixture(scope="module", params=list(KINDS))
def cluster(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    with LocalCluster(KINDS[request.param](), deadline_s=30) as made:
        yield made


Expression = Callable[[Any, Any], Any]
LINEAR: dict[str, Expression] = {
    "add": lambda x, y: x + y,
    "add public": lambda x, y: 1.5 + x + 2,
    "subtract": lambda x, y: x - y,
    "reverse subtract": lambda x, y: 3 - x,
    "negate": lambda x, y: -x,
    "times integer": lambda x, y: 3 * x * np.array([1, -2, 5]),
    "transpose": lambda x, y: x.T,
    "reshape": lambda x, y: x.reshape(3, 4).reshape(2, -1),
    "index": lambda x, y: x[1:, ::2],
    "fancy index": lambda x, y: x[[2, 0, 2]],
    "sum": lambda x, y: x.sum(),
    "sum over an axis": lambda x, y: x.sum(axis=0, keepdims=True),
    "broadcast": lambda x, y: x[0] + y,
}
APPROXIMATE: dict[str, tuple[Expression, float]] = {
    "times public": (lambda x, y: x * 0.3, 2),
    "times a small factor": (lambda x, y: x * 1e-4, 2),
    "divide": (lambda x, y: x / 7, 2),
    "times a power of two": (lambda x, y: x * 0.25, 2),
    "product": (lambda x, y: x * y, 16),
    "broadcast product": (lambda x, y: x[:, :1] * y, 16),
    "mean": (lambda x, y: x.mean(axis=1), 3),
    "matrix product": (lambda x, y: x @ y.T, 64),
}


def evaluate(mpc: Session, expression: Expression, x: SharedTensor, y: SharedTensor) -> Any:
    return mpc.reveal(expression(x, y))


def operands() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    return tuple(np.round(rng.normal(size=(4, 3)) * 3 / ULP) * ULP for _ in range(2))


@pytest.mark.parametrize("name", list(LINEAR))
def test_linear_expressions_are_exact(cluster: LocalCluster, name: str) -> None:
    x, y = operands()
    found = cluster.run(evaluate, LINEAR[name], cluster.share(x), cluster.share(y))
    assert np.array_equal(found, LINEAR[name](x, y))


@pytest.mark.parametrize("name", list(APPROXIMATE))
def test_products_are_within_their_rounding(cluster: LocalCluster, name: str) -> None:
    expression, ulps = APPROXIMATE[name]
    x, y = operands()
    found = cluster.run(evaluate, expression, cluster.share(x), cluster.share(y))
    expected = expression(x, y)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= ulps * ULP


METHODS: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], np.ndarray], float]] = {
    "relu": (lambda t: t.relu(), lambda a: np.maximum(a, 0), 0),
    "relu in a window": (lambda t: t.relu(bits=32), lambda a: np.maximum(a, 0), 0),
    "abs": (lambda t: t.abs(), np.abs, 0),
    "max": (lambda t: t.max(axis=0), lambda a: a.max(axis=0), 0),
    "min": (lambda t: t.min(axis=1), lambda a: a.min(axis=1), 0),
    "argmax": (lambda t: t.argmax(axis=1), lambda a: a.argmax(axis=1), 0),
    "clip": (lambda t: t.clip(-1.0, 2.0), lambda a: a.clip(-1, 2), 0),
    "maximum": (lambda t: t.maximum(0.5), lambda a: np.maximum(a, 0.5), 0),
    "minimum": (lambda t: t.minimum(-t), lambda a: np.minimum(a, -a), 0),
    "exp": (lambda t: t.clip(-8, 8).exp(), lambda a: np.exp(a.clip(-8, 8)), 1e-2),
    "reciprocal": (
        lambda t: (t.abs() + 0.5).reciprocal(0.25, 32),
        lambda a: 1 / (np.abs(a) + 0.5),
        1e-4,
    ),
    "sqrt": (lambda t: (t.abs() + 0.5).sqrt(0.25, 32), lambda a: np.sqrt(np.abs(a) + 0.5), 1e-4),
    "inv_sqrt": (
        lambda t: (t.abs() + 0.5).inv_sqrt(0.25, 32),
        lambda a: 1 / np.sqrt(np.abs(a) + 0.5),
        1e-4,
    ),
    "log": (lambda t: (t.abs() + 0.5).log(0.25, 32), lambda a: np.log(np.abs(a) + 0.5), 1e-4),
    "sigmoid": (lambda t: t.sigmoid(), lambda a: 1 / (1 + np.exp(-a)), 1e-4),
    "softmax": (
        lambda t: t.softmax(),
        lambda a: np.exp(a) / np.exp(a).sum(-1, keepdims=True),
        1e-4,
    ),
    "where": (lambda t: t.where(t > 0, -t), np.abs, 0),
}


def method(mpc: Session, name: str, x: SharedTensor) -> Any:
    return mpc.reveal(METHODS[name][0](x))


@pytest.mark.parametrize("name", list(METHODS))
def test_methods_are_the_operations_of_numpy(cluster: LocalCluster, name: str) -> None:
    x = operands()[0]
    expected = METHODS[name][1](x)
    found = cluster.run(method, name, cluster.share(x))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= METHODS[name][2]


def logic(mpc: Session, x: SharedTensor, y: SharedTensor) -> Any:
    less, same = x < y, x.equals(x)
    return [
        mpc.reveal(bits)
        for bits in (
            less,
            x > y,
            x <= y,
            x >= y,
            less & same,
            less | ~same,
            less ^ same,
            less[1:, 0],
            less.reshape(-1),
        )
    ]


def test_comparisons_and_logic_on_bits(cluster: LocalCluster) -> None:
    x, y = operands()
    y[0] = x[0]
    less = x < y
    expected = [less, x > y, x <= y, x >= y, less, less, ~less, less[1:, 0], less.reshape(-1)]
    for found, wanted in zip(
        cluster.run(logic, cluster.share(x), cluster.share(y)), expected, strict=True
    ):
        assert np.array_equal(found, wanted)


def joined(mpc: Session, x: SharedTensor, y: SharedTensor) -> Any:
    return mpc.reveal(concatenate([x, y], axis=1)), mpc.reveal(stack_tensors([x, y], axis=2))


def test_concatenate_and_stack(cluster: LocalCluster) -> None:
    x, y = operands()
    a, b = cluster.run(joined, cluster.share(x), cluster.share(y))
    assert np.array_equal(a, np.concatenate([x, y], axis=1))
    assert np.array_equal(b, np.stack([x, y], axis=2))


def scales(mpc: Session, x: SharedTensor) -> Any:
    return mpc.reveal(x.rescale(8)), mpc.reveal(x.rescale(24)), mpc.reveal(x.rescale(24) + x)


@pytest.mark.parametrize("frac_bits", [8, 16, 20, 26])
def test_any_format_from_8_to_26_fractional_bits(frac_bits: int) -> None:
    x = np.round(operands()[0] * 4) / 4
    for make in KINDS.values():
        with LocalCluster(make(frac_bits=frac_bits)) as c:
            assert (
                np.abs(c.run(evaluate, lambda a, b: a * b, c.share(x), c.share(x)) - x * x).max()
                <= 2.0**-frac_bits
            )
    with pytest.raises(Misuse, match=r"outside 8\.\.26"):
        Plain(frac_bits=27)


def test_rescaling_keeps_the_value(cluster: LocalCluster) -> None:
    x = np.round(operands()[0] * 4) / 4
    coarse, fine, both = cluster.run(scales, cluster.share(x))
    assert np.abs(coarse - x).max() <= 2.0**-8
    assert np.array_equal(fine, x)
    assert np.array_equal(both, 2 * x)
