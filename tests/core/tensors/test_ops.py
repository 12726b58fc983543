"""Operations on shared tensors against NumPy, for every protocol, over their whole documented
domains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from wwfl_core.channel.cost import Phase
from wwfl_core.cluster.local import LocalCluster
from wwfl_core.errors import Misuse
from wwfl_core.numbers.algebra import BITS
from wwfl_core.numbers.fixed_point import FixedPoint
from wwfl_core.tensors import SharedBits, SharedTensor, ops

Fn = Callable[..., Any]
BACKENDS = [Plain, Additive2PC, Replicated3PC, Tetrad4PC]
few = settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 2**32 - 1)
POINTS = 3000


FORMATS = [pytest.param((b, f), id=f"{b.name}-{f}") for f in (20, 16) for b in BACKENDS]


@pytest.fixture(scope="module", params=FORMATS)
def cluster(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    protocol, frac_bits = request.param
    with LocalCluster(protocol(frac_bits=frac_bits), deadline_s=60) as c:
        yield c


@pytest.fixture(scope="module", params=BACKENDS, ids=lambda b: b.name)
def exact(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    """For operations without an error, the format does not matter."""
    with LocalCluster(request.param(), deadline_s=60) as c:
        yield c


def program(mpc: Any, fn: Fn, values: tuple[np.ndarray, ...]) -> Any:
    return mpc.reveal(fn(*(mpc.share(v, owner=0) for v in values)))


def compute(c: LocalCluster, fn: Fn, *values: np.ndarray) -> np.ndarray:
    return np.asarray(c.run(program, fn, tuple(np.asarray(v, np.float64) for v in values)))


def rounded(c: LocalCluster, x: np.ndarray) -> np.ndarray:
    """x as the cluster's format represents it: bounds are about the operation, not about its
    input's rounding."""
    fixed: FixedPoint = c.protocol.format
    return fixed.decode(fixed.encode(x))


def ulp(c: LocalCluster) -> float:
    return 2.0**-c.protocol.format.frac_bits


def worst(got: np.ndarray, want: np.ndarray, bound: Any) -> float:
    """The largest error as a fraction of the bound."""
    return float(np.max(np.abs(got - want) / bound, initial=0.0))


def neighbours(points: Any, c: LocalCluster, low: float, high: float) -> np.ndarray:
    """The points and the representable numbers next to them, inside [low, high]."""
    near = (np.asarray(points)[:, None] + np.array([-1, 0, 1]) * ulp(c)).reshape(-1)
    return near[(near >= low) & (near <= high)]


def positives(c: LocalCluster, seed: int, low: float, high: float) -> np.ndarray:
    """Log-uniform points, all powers of two and the segment borders of ratio at most 1.7, with
    their neighbours."""
    count = int(np.ceil(np.log(high / low) / np.log(1.7)))
    edges = low * (high / low) ** (np.arange(count + 1) / count)
    twos = 2.0 ** np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1)
    random = np.exp(np.random.default_rng(seed).uniform(np.log(low), np.log(high), POINTS))
    all_points = np.concatenate([neighbours(np.concatenate([edges, twos]), c, low, high), random])
    return np.clip(rounded(c, all_points), low, high)


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def tied(seed: int, *shape: int) -> np.ndarray:
    """Numbers with many ties and both signs, some of them large."""
    rng = np.random.default_rng(seed)
    return rng.integers(-3, 4, shape) * rng.choice([2.0**-16, 0.5, 1.0, 1e6], shape)


# ---------------------------------------------------------------------- approximations


@few
@given(seeds)
def test_exp_keeps_its_bound_on_its_whole_domain(cluster: LocalCluster, seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = neighbours([-128, -64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8], cluster, -128, 8)
    x = rounded(
        cluster, np.concatenate([edges, rng.uniform(-128, 8, POINTS), rng.uniform(-12, 8, POINTS)])
    )
    bound = 1e-6 * np.maximum(1, np.exp(x)) + 1.5 * ulp(cluster)
    assert worst(compute(cluster, ops.exp, x), np.exp(x), bound) <= 1
    below = x[x <= 0]
    got = compute(cluster, lambda t: ops.exp(t, high=0), below)
    assert worst(got, np.exp(below), 1e-6 + 1.5 * ulp(cluster)) <= 1


@pytest.mark.parametrize(
    "low, high", [(2.0**-6, 2.0**6), (1.0, 10.0), (0.9, 1.2), (2.0**-10, 2.0**10), (1.0, 2.0**16)]
)
@few
@given(seeds)
def test_reciprocal_roots_and_log_keep_their_bounds(
    cluster: LocalCluster, low: float, high: float, seed: int
) -> None:
    x = positives(cluster, seed, low, high)
    for op, want in ((ops.reciprocal, 1 / x), (ops.inv_sqrt, x**-0.5), (ops.sqrt, x**0.5)):
        got = compute(cluster, lambda t, op=op: op(t, low=low, high=high), x)
        assert worst(got, want, 1e-6 * want + 2 * ulp(cluster)) <= 1, op.__name__
    got = compute(cluster, lambda t: ops.log(t, low=low, high=high), x)
    assert worst(got, np.log(x), 1e-6 + 2 * ulp(cluster)) <= 1


@few
@given(seeds)
def test_divide_keeps_its_bound_and_broadcasts(cluster: LocalCluster, seed: int) -> None:
    b = positives(cluster, seed, 2.0**-6, 2.0**6).reshape(-1, 1)
    a = rounded(
        cluster,
        np.concatenate([[0, 1, -1, 100, -100], np.random.default_rng(seed).uniform(-100, 100, 3)]),
    )
    got = compute(cluster, ops.divide, a, b)
    assert worst(got, a / b, 1e-6 * np.abs(a / b) + (np.abs(a) / 4 + 1) * ulp(cluster)) <= 1


@few
@given(seeds)
def test_sigmoid_keeps_its_bound(cluster: LocalCluster, seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = neighbours([-128, -16, -8, -1, 0, 1, 8, 16, 128], cluster, -128, 128)
    x = rounded(
        cluster, np.concatenate([edges, rng.uniform(-128, 128, POINTS), rng.uniform(-8, 8, POINTS)])
    )
    assert (
        worst(compute(cluster, ops.sigmoid, x), 1 / (1 + np.exp(-x)), 2e-6 + 2 * ulp(cluster)) <= 1
    )


@few
@given(
    seeds,
    st.sampled_from([(40, 10), (40, 2), (30, 3), (5, 4, 17), (3, 40)]),
    st.sampled_from([0.1, 3, 20, 64]),
)
def test_softmax_keeps_its_bound(
    cluster: LocalCluster, seed: int, shape: tuple[int, ...], spread: float
) -> None:
    x = np.random.default_rng(seed).uniform(-spread, spread, shape)
    x[0] = 0  # all classes equal
    x[-1] = -spread
    x[-1, ..., 0] = spread  # one class certain
    x = rounded(cluster, x + 1000)
    for axis in (-1, 0):
        got = compute(cluster, lambda t, axis=axis: ops.softmax(t, axis), x)
        assert worst(got, softmax(x, axis), 5e-7 * (x.shape[axis] + 1) + 1.5 * ulp(cluster)) <= 1


@pytest.mark.parametrize("n", [2, 10, 17, 100])
def test_softmax_keeps_its_bound_where_the_errors_of_all_exponentials_agree(
    cluster: LocalCluster, n: int
) -> None:
    x = np.zeros((400, n))
    x[:, 1:] = -np.linspace(0, 20, 400)[:, None]
    x = rounded(cluster, x)
    got = compute(cluster, ops.softmax, x)
    assert worst(got, softmax(x, -1), 5e-7 * (n + 1) + 1.5 * ulp(cluster)) <= 1


def test_softmax_of_80_by_10_takes_the_documented_rounds(cluster: LocalCluster) -> None:
    compute(cluster, ops.softmax, np.zeros((80, 10)))
    if cluster.protocol.format.frac_bits == 20:
        most = {"plain": 0, "2pc": 37, "3pc": 53, "4pc": 48}[
            cluster.protocol.name
        ]  # sharing and revealing included
        assert cluster.last_cost.rounds[Phase.ONLINE] <= most


def test_approximations_accept_empty_scalar_and_integer_tensors(cluster: LocalCluster) -> None:
    unary = (ops.exp, ops.reciprocal, ops.sqrt, ops.inv_sqrt, ops.log, ops.sigmoid)
    for op in unary:
        assert compute(cluster, op, np.zeros((0, 3))).shape == (0, 3)
        assert compute(cluster, op, np.array(1.0)).shape == ()
        whole = compute(cluster, lambda x, op=op: op((x < 2.0).to_integers()), np.ones(3))
        assert np.allclose(whole, compute(cluster, op, np.ones(3)), atol=4 * ulp(cluster))
    assert compute(cluster, ops.softmax, np.zeros((0, 3))).shape == (0, 3)
    assert np.array_equal(compute(cluster, ops.softmax, np.array([[5.0], [-7.0]])), [[1], [1]])
    assert compute(cluster, ops.divide, np.zeros((2, 0)), np.zeros((2, 0))).shape == (2, 0)


# ---------------------------------------------------------------------- selection


@few
@given(seeds, st.sampled_from([(1, 7), (2, 50), (3, 50), (4, 40), (5, 40), (10, 30), (17, 10)]))
def test_max_min_and_argmax_are_exact_with_ties_to_the_first(
    exact: LocalCluster, seed: int, shape: tuple[int, int]
) -> None:
    x = rounded(exact, tied(seed, *shape))
    for fanin in (2, 4, 32):
        assert np.array_equal(
            compute(exact, lambda t, k=fanin: ops.max(t, 0, fanin=k), x), x.max(0)
        )
        assert np.array_equal(
            compute(exact, lambda t, k=fanin: ops.argmax(t, 0, fanin=k), x), x.argmax(0)
        )
    assert np.array_equal(compute(exact, lambda t: ops.min(t, 0), x), x.min(0))
    hot = np.arange(shape[0])[:, None] == x.argmax(0)
    assert np.array_equal(compute(exact, lambda t: ops.one_hot_argmax(t, 0), x), hot)
    assert np.array_equal(compute(exact, ops.one_hot_argmax, x.T), hot.T)


@few
@given(seeds)
def test_elementwise_selection_is_exact(exact: LocalCluster, seed: int) -> None:
    a, b = rounded(exact, tied(seed, 60, 5)), rounded(exact, tied(seed + 1, 60, 5))
    assert np.array_equal(compute(exact, ops.maximum, a, b), np.maximum(a, b))
    assert np.array_equal(compute(exact, ops.minimum, a, b), np.minimum(a, b))
    assert np.array_equal(compute(exact, lambda t: ops.maximum(t, 0.5), a), np.maximum(a, 0.5))
    assert np.array_equal(compute(exact, lambda t: ops.minimum(t, -0.5), a), np.minimum(a, -0.5))
    assert np.array_equal(compute(exact, ops.abs, a), np.abs(a))
    for low, high in ((-0.5, 1.0), (0.0, 0.0), (-2e6, 0.25)):
        got = compute(exact, lambda t, low=low, high=high: ops.clip(t, low, high), a)
        assert np.array_equal(got, np.clip(a, low, high))
    assert np.array_equal(
        compute(exact, lambda s, t: ops.where(s < t, s, t), a, b), np.where(a < b, a, b)
    )
    got = compute(exact, lambda s, t: ops.where(s[0] < t[0], s, 2.0), a, b)
    assert np.array_equal(got, np.where(a[0] < b[0], a, 2))
    assert np.array_equal(
        compute(exact, lambda s, t: ops.where(s < t, 1.0, t[0]), a, b), np.where(a < b, 1, b[0])
    )


def test_comparisons_of_declared_width_suffice(exact: LocalCluster) -> None:
    x = np.random.default_rng(0).uniform(-3, 3, (9, 20))
    x = rounded(exact, x)
    bits = exact.protocol.format.frac_bits + 4
    assert np.array_equal(compute(exact, lambda t: ops.max(t, 0, bits=bits), x), x.max(0))
    assert np.array_equal(compute(exact, lambda t: ops.argmax(t, 0, bits=bits), x), x.argmax(0))
    assert np.array_equal(
        compute(exact, lambda t: ops.clip(t, -1, 1, bits=bits), x), np.clip(x, -1, 1)
    )
    assert np.array_equal(compute(exact, lambda t: ops.sort(t, 0, bits=bits), x), np.sort(x, 0))


def test_selection_keeps_empty_and_scalar_shapes(exact: LocalCluster) -> None:
    assert compute(exact, lambda t: ops.max(t, 0), np.zeros((3, 0))).shape == (0,)
    assert compute(exact, lambda t: ops.argmax(t, 0), np.zeros((3, 0))).shape == (0,)
    assert compute(exact, lambda t: ops.max(t, 0), np.array([3.0, 4.0])).shape == ()
    assert compute(exact, ops.abs, np.array(-2.0)) == 2
    assert compute(exact, ops.abs, np.zeros((0,))).shape == (0,)
    assert compute(exact, lambda t: ops.clip(t, 0, 1.5), np.array(7.0)) == 1.5
    assert compute(exact, ops.maximum, np.array(1.0), np.array(2.0)) == 2
    assert compute(exact, ops.minimum, np.array(1.0), np.array(2.0)) == 1


def test_integers_clip_to_mixed_bounds(exact: LocalCluster) -> None:
    got = compute(
        exact, lambda t: ops.clip((t > 0).to_integers() * 5, 1, 2.5), np.array([-1.0, 1.0])
    )
    assert np.array_equal(got, [1, 2.5])


# ---------------------------------------------------------------------- ranks


@few
@given(seeds, st.sampled_from([(1, 9), (2, 40), (3, 40), (6, 30), (11, 10), (16, 5)]))
def test_ranks_are_a_stable_permutation(
    exact: LocalCluster, seed: int, shape: tuple[int, int]
) -> None:
    x = rounded(exact, tied(seed, *shape))
    want = np.argsort(np.argsort(x, 0, kind="stable"), 0, kind="stable")
    assert np.array_equal(compute(exact, ops.ranks, x), want)
    assert np.array_equal(compute(exact, lambda t: ops.ranks(t, axis=1), x.T), want.T)


@few
@given(seeds, st.sampled_from([(1, 9), (2, 40), (5, 30), (8, 20), (11, 10)]))
def test_sort_median_and_sums_of_ranks_agree_with_numpy(
    exact: LocalCluster, seed: int, shape: tuple[int, int]
) -> None:
    x = rounded(exact, tied(seed, *shape))
    n, order = shape[0], np.sort(x, 0)
    assert np.array_equal(compute(exact, lambda t: ops.sort(t, 0), x), order)
    assert np.array_equal(
        compute(exact, lambda t: ops.sort(t, descending=True), x.T), order[::-1].T
    )
    assert worst(compute(exact, ops.median, x), np.median(x, 0), ulp(exact)) <= 1
    for low, high in {(0, n), (0, n - 1), (1, n), (n // 3, n - n // 3), (n // 2, n // 2)}:
        got = compute(
            exact, lambda t, low=low, high=high: ops.sum_of_ranks_between(t, low, high), x
        )
        assert np.array_equal(got, order[low:high].sum(0)), (low, high)


@few
@given(seeds)
def test_top_k_prefers_the_first_of_equals(exact: LocalCluster, seed: int) -> None:
    x = rounded(exact, tied(seed, 30, 7))
    place = np.argsort(np.argsort(-x, 1, kind="stable"), 1, kind="stable")
    for k in (0, 1, 3, 7):
        assert np.array_equal(compute(exact, lambda t, k=k: ops.top_k_mask(t, k), x), place < k)


def test_order_statistics_accept_empty_tensors(exact: LocalCluster) -> None:
    assert compute(exact, ops.ranks, np.zeros((0, 2))).shape == (0, 2)
    assert compute(exact, ops.sort, np.zeros((2, 0))).shape == (2, 0)
    assert compute(exact, ops.median, np.zeros((3, 0))).shape == (0,)


# ---------------------------------------------------------------------- misuse


def ones(x: SharedTensor) -> SharedBits:
    packed = x.mpc.protocol.public(np.full((x.size + 7) // 8, 255, np.uint8), BITS)
    return SharedBits(x.mpc, packed, x.shape)


@pytest.mark.parametrize(
    "fn, says",
    [
        (lambda x: ops.max(x, 2), "axis 2"),
        (lambda x: ops.argmax(x[:0], 0), "no entries"),
        (lambda x: ops.max(x, 0, fanin=1), "fanin"),
        (lambda x: ops.softmax(x, -3), "axis -3"),
        (lambda x: ops.exp(x, high=9), "high=9"),
        (lambda x: ops.exp(x, high=float("nan")), "high"),
        (lambda x: ops.reciprocal(x, low=0, high=1), "domain"),
        (lambda x: ops.log(x, low=2, high=1), "domain"),
        (lambda x: ops.sqrt(x, low=1, high=2.0**45), "domain"),
        (lambda x: ops.inv_sqrt(x, low=2.0**-17), "units"),
        (lambda x: ops.reciprocal(x, low=2.0**-14), "precision"),
        (lambda x: ops.clip(x, 1, 0), "above"),
        (lambda x: ops.where(ones(x), 1.0, 2.0), "shared tensor"),
        (lambda x: ops.where(ones(x), x[:, 0], 0.0), "broadcast"),
        (lambda x: ops.median(x[:0], 0), "no entries"),
        (lambda x: ops.sum_of_ranks_between(x, 2, 1), "ranks 2..1"),
        (lambda x: ops.top_k_mask(x, 3), "k=3"),
        (lambda x: ops.sort(x, 5), "axis 5"),
    ],
)
def test_a_wrong_domain_or_axis_is_misuse_and_the_cluster_goes_on(
    exact: LocalCluster, fn: Fn, says: str
) -> None:
    with pytest.raises(Misuse, match=says):
        exact.run(
            lambda mpc: fn(mpc.public_tensor(np.ones((3, 2))))
        )  # nothing was sent when the operation refuses
    assert np.array_equal(compute(exact, ops.abs, np.array([-1.0])), [1])
