"""The Hypothesis strategies of the kit: what they generate, which clusters they run, what they
refuse."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from backends import Plain, Replicated3PC
from helpers import EVERY, cluster, one_party_raises
from reshare import reshare
from wwfl_core import LocalCluster
from wwfl_core.errors import Misuse, ProtocolError
from wwfl_core.testing import conformance, programs, strategies

BOUNDED = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module", params=EVERY)
def c(request: pytest.FixtureRequest) -> Any:
    with cluster(request.param) as started:
        yield started


@BOUNDED
@given(st.data())
def test_random_programs_equal_numpy(c: LocalCluster, data: st.DataObject) -> None:
    shape = data.draw(strategies.shapes(max_dims=2, max_side=4))
    inputs = [data.draw(strategies.ring_arrays(shape)) for _ in range(3)]
    expression = data.draw(strategies.expressions(3))
    handles = [c.share_ring(np.ascontiguousarray(a).reshape(a.shape), 0) for a in inputs]
    got = c.run(strategies.evaluate, expression, *handles)
    want = expression.in_numpy(inputs)
    assert got.shape == want.shape == shape and (got == want).all(), str(expression)


@given(strategies.broadcast_pairs())
def test_generated_pairs_broadcast(pair: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    np.broadcast_shapes(*pair)


@given(strategies.fixed_point_arrays(frac_bits=12), strategies.bit_arrays())
def test_generated_floats_are_exact_in_fixed_point(values: np.ndarray, bits: np.ndarray) -> None:
    from wwfl_core import FixedPoint

    fixed = FixedPoint(12)
    assert (fixed.decode(fixed.encode(values, "x")) == values).all() and bits.dtype == np.uint8


SMALL_SHAPES = strategies.shapes(max_dims=2, max_side=4)


def test_a_pool_runs_every_cluster_once_and_its_pairs_convert() -> None:
    pool = strategies.ClusterPool(EVERY)
    started: set[str] = set()
    pairs: set[tuple[str, str]] = set()

    @BOUNDED
    @given(pool.pairs(), strategies.ring_arrays(SMALL_SHAPES))
    def preserved(pair: tuple[LocalCluster, LocalCluster], ring: np.ndarray) -> None:
        source, target = pair
        started.update({source.name, target.name})
        pairs.add((source.protocol.name, target.protocol.name))
        moved = reshare(source.share_ring(ring, 0), target, allow_weaker=True)
        assert (target.run(programs.open_tensors, moved)[0] == ring).all()

    with pytest.raises(Misuse, match="only inside"):
        drawn(pool.clusters())
    before = threading.active_count()
    with pool:
        preserved()
        preserved()
    assert len(pairs) > 4 and len(started) <= 2 * len(EVERY)
    until = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.05)
    assert threading.active_count() <= before


def drawn(strategy: Any) -> Any:
    """Some example."""
    return find(strategy, lambda _: True)


def test_a_pool_survives_failed_runs_and_replaces_closed_clusters() -> None:
    with strategies.ClusterPool({"3pc": Replicated3PC}) as pool:
        first = drawn(pool.clusters())
        with pytest.raises(ProtocolError):
            first.run(one_party_raises, 1, ProtocolError("on purpose"))
        assert drawn(pool.clusters()) is first
        first.close()
        second = drawn(pool.clusters())
        assert second is not first and second.run(programs.open_tensors, second.share(np.ones(3)))
    with pytest.raises(ProtocolError):
        second.run(programs.open_tensors)


MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (lambda: strategies.shapes(max_dims=-1), "max_dims must be from 0 to 32, not -1"),
    (lambda: strategies.shapes(max_side=2.5), "max_side must be an integer, not 2.5"),  # type: ignore[arg-type]
    (lambda: strategies.shapes(max_side=0, empty=False), "max_side must be at least 1"),
    (lambda: strategies.broadcast_pairs(max_dims=40), "max_dims must be from 0 to 32, not 40"),
    (lambda: strategies.layouts(np.zeros(3)), "needs a strategy for arrays"),  # type: ignore[arg-type]
    (
        lambda: strategies.ring_arrays((2, -1)),
        "ring_arrays: side 1 of the shape must be at least 0, not -1",
    ),
    (lambda: strategies.ring_arrays([2]), "ring_arrays: shape must be a tuple"),  # type: ignore[arg-type]
    (lambda: strategies.fixed_point_arrays("3"), "fixed_point_arrays: shape must be a tuple"),  # type: ignore[arg-type]
    (lambda: strategies.fixed_point_arrays(frac_bits=50), "is 58, but a float holds 53 bits"),
    (lambda: strategies.fixed_point_arrays(frac_bits=-1), "frac_bits must be from 0 to 53"),
    (lambda: strategies.bit_arrays(-1), "max_bytes must be at least 0"),
    (lambda: strategies.sharings(max_parties=1), "max_parties must be from 2 to 10, not 1"),
    (lambda: strategies.expressions(0), "inputs must be at least 1"),
    (lambda: strategies.expressions(2, max_leaves=True), "max_leaves must be an integer"),
    (lambda: strategies.Expression("xor").on_shares([]), "unknown operation 'xor'"),
    (lambda: strategies.Expression("xor").in_numpy([]), "unknown operation 'xor'"),
    (lambda: strategies.ClusterPool({}), "needs factories of protocols by name"),
    (lambda: strategies.ClusterPool({"a": 3}), "'a' must be a class or function"),  # type: ignore[dict-item]
    (lambda: strategies.ClusterPool({"a": Plain}, deadline_s=0), "deadline_s must be positive"),
]


@pytest.mark.parametrize(
    ("call", "message"), MISTAKES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_arguments_that_cannot_be_are_refused_with_the_reason(
    call: Callable[[], Any], message: str
) -> None:
    with pytest.raises(Misuse) as raised:
        call()
    assert message in str(raised.value)


def test_an_expression_says_which_operands_it_lacks() -> None:
    leaf = strategies.Expression("leaf", (), 2)
    with LocalCluster(Plain()) as c:
        with pytest.raises(Misuse, match="has 3 operands, 1 tensors were given"):
            c.run(strategies.evaluate, leaf, c.share_ring(np.arange(3, dtype=np.uint64), 0))
        with pytest.raises(Misuse, match="over integers"):
            c.run(strategies.evaluate, leaf, c.share(np.ones(3)))


@given(strategies.sharings())
def test_generated_sharings_are_private_and_reconstruct(sharing: Any) -> None:
    class Generated(Plain):
        pass

    Generated.sharing = sharing
    assert conformance(Generated, only="table/privacy").ok
    assert conformance(Generated, only="table/reconstruct").ok
