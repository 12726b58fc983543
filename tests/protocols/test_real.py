"""The float64 reference `Real`, and functions over the whole range of the ring (`ops.wide`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backends.float_reference import Real
from helpers import EVERY, cluster, rng
from wwfl_core import Phase, Session, SharedTensor
from wwfl_core.errors import Misuse
from wwfl_core.tensors import ops
from wwfl_core.tensors.ops.wide_range import wide_inv_sqrt, wide_reciprocal


def test_real_computes_as_numpy_does_without_rounding() -> None:
    g, mpc = rng(), Real.alone()
    a, b = g.normal(size=(2, 5, 4)) * 10.0 ** g.integers(-12, 12, (2, 5, 4))
    x, y = mpc.public_tensor(a), mpc.share(b, 0)
    exact = {
        "sum": (x + y - 3.5, a + b - 3.5),
        "product": (x * y, a * b),
        "matmul": (x @ y.T, a @ b.T),
        "public factor": (x * 0.1, a * 0.1),
        "integers": (x * np.arange(4), a * np.arange(4)),
        "truncation": (x.rescale(44).truncate(30), a),
        "sort": (ops.sort(x, 0), np.sort(a, 0)),
        "where": (ops.where(x < y, x, y), np.minimum(a, b)),
        "equality": (x.equals(x).to_integers(), np.ones_like(a)),
    }
    for name, (got, want) in exact.items():
        atol = 1e-12 * np.abs(b).max() if name == "where" else 0  # y + [x < y] (x - y)
        assert np.allclose(mpc.reveal(got), want, rtol=1e-12, atol=atol), name
    assert np.array_equal(mpc.reveal(x < y), a < b)
    assert np.array_equal(mpc.reveal(ops.ranks(x)), np.argsort(np.argsort(a, 0), 0))


def test_real_has_one_party() -> None:
    with pytest.raises(Misuse, match="party 0 shares a value"):
        Real.alone().share(None, 0, shape=(2,))
    with pytest.raises(Misuse, match="owner=1 is not a party"):
        Real.alone().share(np.ones(2), 1)


def words(mpc: Session, values: np.ndarray) -> SharedTensor:
    owner = mpc.sharing.evaluators[0]
    mine = mpc.protocol.numbers.from_words(values.view(np.uint64)) if mpc.me == owner else None
    return SharedTensor(mpc, mpc.protocol.deal(mine, [owner], values.shape, name="share"), 0)


def normalised(mpc: Session, values: np.ndarray) -> Any:
    u = words(mpc, values)
    return [[mpc.reveal(t) for t in normal] for normal in (wide_inv_sqrt(u), wide_reciprocal(u))]


def check(found: Any, u: np.ndarray) -> None:
    for (four, two, back, value, result), power in zip(found, (-0.5, -1.0), strict=True):
        assert np.array_equal(four, two * two) and np.all(back * two == 2**30)
        v = np.maximum(u, 1).astype(np.float64) * four.astype(np.float64) / 2.0**62
        assert 0.25 <= v.min() and v.max() <= 1
        assert np.abs(value - v).max() <= 2.0**-28
        assert np.abs(result / v**power - 1).max() <= 1e-7


@pytest.mark.parametrize("protocol", list(EVERY))
def test_wide_functions_are_exact_to_their_bound_from_1_to_2_to_the_62(protocol: str) -> None:
    g, powers = rng(), 2 ** np.arange(2, 62)
    random = (2.0 ** g.uniform(0, 61.9, 60)).astype(np.int64)
    u = np.concatenate([np.arange(40), powers - 1, powers, powers + 1, random, [2**62 - 1]])
    with cluster(protocol) as c:
        check(c.run(normalised, u), u)
        if protocol == "3pc":
            c.run(lambda mpc, x: wide_inv_sqrt(SharedTensor(mpc, x.data, 0)), c.share(np.ones(3)))
            assert c.last_cost.rounds[Phase.ONLINE] == 23
    if protocol == "plain":
        check(normalised(Real.alone(), u), u)


def test_wide_functions_take_vectors() -> None:
    mpc = Real.alone()
    with pytest.raises(Misuse, match="vector"):
        wide_reciprocal(words(mpc, np.ones((2, 2), np.int64)))
