"""Conversions between rings of different width and prime fields are exact, for numbers and bits,
from and to anyone."""

from __future__ import annotations

import operator
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from points import Points
from reshare import plan_for, reshare, reshare_with_report
from reshare.joint_knowledge import openers
from wwfl_core import LocalCluster, Session
from wwfl_core.errors import InsecureNotAllowed, Misuse
from wwfl_core.numbers.algebra import RING, RING32
from wwfl_core.numbers.bilinear import Bilinear
from wwfl_core.numbers.field import PrimeField
from wwfl_core.sharing.points import lagrange
from wwfl_core.sharing.share import Share
from wwfl_core.tensors import SharedBits, SharedTensor


class Multiplying(Points):
    """Shamir's sharing with the product of Gennaro, Rabin and Rabin (PODC'98): 2t + 1 parties share
    their products."""

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        algebra, enough = self.numbers, 2 * self.sharing.security.corruptions + 1
        mine = f.apply(algebra, [(x.parts[self.me], y.parts[self.me])])
        weights = lagrange(tuple(range(1, enough + 1)), 0, algebra.modulus)
        dealt = [self.deal(mine if self.me == p else None, [p], mine.shape) for p in range(enough)]
        scaled = [
            d.map(lambda a, w=w: algebra.scale(w, a)) for d, w in zip(dealt, weights, strict=True)
        ]
        return reduce(operator.add, scaled)


class FivePoints(Multiplying):
    def __init__(self) -> None:
        super().__init__(5)


RINGS = [Plain, Additive2PC, Replicated3PC, Tetrad4PC]
TOP = 2**62 - 1
EDGES = np.array([0, 1, -1, TOP, -TOP, 2**61, -(2**61), 12345, -(2**40)], np.int64)


@pytest.fixture(scope="module")
def clusters() -> Any:
    made = {p.__name__: LocalCluster(p()) for p in (*RINGS, Multiplying, FivePoints)}
    yield made
    for cluster in made.values():
        cluster.close()


def _bits(mpc: Session, packed: Any, n: int) -> SharedBits:
    dealt = mpc.protocol.deal(
        packed if mpc.me == 0 else None, [0], packed.shape, mpc.protocol.bits.algebra
    )
    return SharedBits(mpc, dealt, (n,))


def _opened(mpc: Session, x: SharedTensor) -> Any:
    return mpc.protocol.numbers.to_words(mpc.protocol.open(x.data, "test"))


CASES = [
    *((r.__name__, f.__name__) for r, f in product(RINGS[:3], (Multiplying,))),
    *((f.__name__, r.__name__) for r, f in product(RINGS[:3], (Multiplying,))),
    ("Multiplying", "Tetrad4PC"),
    ("Multiplying", "FivePoints"),
    ("FivePoints", "Multiplying"),
]


@pytest.mark.parametrize(("source", "target"), CASES)
def test_numbers_keep_their_value_between_rings_and_fields(
    clusters: Any, source: str, target: str
) -> None:
    a, b = clusters[source], clusters[target]
    for _ in range(4):
        moved = reshare(a.share_ring(EDGES.view(np.uint64), 0), b, allow_weaker=True)
        assert np.array_equal(b.run(_opened, moved).view(np.int64), EDGES)
    floats = EDGES[5:] / 2.0**20
    assert np.array_equal(b.reveal(reshare(a.share(floats), b, allow_weaker=True)), floats)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(-TOP, TOP), max_size=6), st.sampled_from(CASES))
def test_any_numbers_keep_their_value(
    clusters: Any, values: list[int], case: tuple[str, str]
) -> None:
    a, b = (clusters[name] for name in case)
    x = np.array(values, np.int64)
    moved = reshare(a.share_ring(x.view(np.uint64), 0), b, allow_weaker=True)
    assert np.array_equal(b.run(_opened, moved).view(np.int64), x)


def test_the_wraps_of_more_than_two_words_are_counted_by_comparisons(clusters: Any) -> None:
    """Five points with threshold 2 are three words; a target over a ring compares."""
    a, b = clusters["FivePoints"], clusters["Replicated3PC"]
    for _ in range(6):
        moved = reshare(a.share_ring(EDGES.view(np.uint64), 0), b, allow_weaker=True)
        assert np.array_equal(b.run(_opened, moved).view(np.int64), EDGES)


@pytest.mark.parametrize("target", ["Additive2PC", "Replicated3PC", "Tetrad4PC", "Multiplying"])
@pytest.mark.parametrize(
    "source", ["Additive2PC", "Replicated3PC", "Tetrad4PC", "Multiplying", "FivePoints"]
)
def test_bits_keep_their_value(clusters: Any, source: str, target: str) -> None:
    a, b = clusters[source], clusters[target]
    if a is b:
        return
    for n in (1, 13):
        bits = np.arange(n) % 3 == 0
        shared = a.run(_bits, a.protocol.bits.from_bools(bits), n)
        moved = reshare(shared, b, allow_weaker=True)
        assert np.array_equal(b.reveal(moved), bits)


def _narrowed(mpc: Session, x: SharedTensor) -> SharedTensor:
    return x.narrow()


def _widened(mpc: Session, x: SharedTensor) -> SharedTensor:
    return x.widen()


@pytest.mark.parametrize("target", ["Plain", "Additive2PC", "Tetrad4PC", "Multiplying"])
def test_narrow_tensors_travel_at_half_the_bytes_and_widen_on_either_side(
    clusters: Any, target: str
) -> None:
    a, b = clusters["Replicated3PC"], clusters[target]
    x = np.array([0, 1, -1, 2**30 - 1, 1 - 2**30, 77] * 50, np.int64)
    wide = a.share_ring(x.view(np.uint64), 0)
    low = a.run(_narrowed, wide)
    if b.protocol.numbers == RING:
        cheap, full = (reshare_with_report(h, b, allow_weaker=True) for h in (low, wide))
        assert cheap.handle.ref.algebra == RING32
        seeds = cheap.cost.bytes_sent() * 2 - full.cost.bytes_sent()
        assert seeds == plan_for(a, b).bytes_sent(0)
        assert np.array_equal(b.run(_opened, b.run(_widened, cheap.handle)).view(np.int64), x)
        assert np.array_equal(
            b.run(_opened, reshare(low, b, algebra=RING, allow_weaker=True)).view(np.int64), x
        )
        narrowed = reshare(wide, b, algebra=RING32, allow_weaker=True)
        assert np.array_equal(b.run(_opened, b.run(_widened, narrowed)).view(np.int64), x)
    else:
        assert np.array_equal(b.run(_opened, reshare(low, b, allow_weaker=True)).view(np.int64), x)


def test_a_target_says_where_it_can_share_numbers(clusters: Any) -> None:
    a, b = clusters["Replicated3PC"], clusters["Multiplying"]
    x = a.share([1.0])
    with pytest.raises(Misuse, match="cannot share numbers in Z_2\\^64; it can in F_"):
        reshare(x, b, algebra=RING)
    with pytest.raises(Misuse, match="cannot share numbers in F_"):
        reshare(b.share([1.0]), a, algebra=PrimeField())


def test_narrow_tensors_refuse_what_needs_the_whole_ring(clusters: Any) -> None:
    a = clusters["Replicated3PC"]
    x = a.share([1.0, -2.0])
    for program in (_compare, _truncate, _product, _mixed):
        with pytest.raises(Misuse, match="widen"):
            a.run(program, x)


def _compare(mpc: Session, x: SharedTensor) -> None:
    x.narrow().relu()


def _truncate(mpc: Session, x: SharedTensor) -> None:
    x.narrow() * 0.3


def _product(mpc: Session, x: SharedTensor) -> None:
    x.narrow() * x.narrow()


def _mixed(mpc: Session, x: SharedTensor) -> None:
    x.narrow() + x


def test_a_malicious_source_is_still_outvoted_when_the_modulus_changes(clusters: Any) -> None:
    """Tetrad's four words, each vouched for by three parties, become numbers of a field with a
    comparison: the target must be able to compare, which `Multiplying` is not."""
    a, b = clusters["Tetrad4PC"], clusters["Multiplying"]
    x = a.share([1.0, -2.5])
    assert len(plan_for(a, b).groups) == 4  # type: ignore[attr-defined]
    moved = reshare(x, b, path="detect", allow_weaker=True)
    assert np.array_equal(b.reveal(moved), [1.0, -2.5])


def test_shared_hosts_between_a_ring_and_a_field_are_checked() -> None:
    hosts = ("a", "b", "c")
    with (
        LocalCluster(Replicated3PC(), hosts=hosts) as a,
        LocalCluster(Multiplying(), hosts=hosts[::-1]) as b,
    ):
        assert openers(plan_for(a, b)) is None
        moved = reshare(a.share([3.5]), b)
        assert b.reveal(moved).tolist() == [3.5]
    with (
        LocalCluster(FivePoints(), hosts=("a", "b", "c", "d", "e")) as a,
        LocalCluster(Replicated3PC()) as b,
    ):
        with pytest.raises(InsecureNotAllowed, match="downgrade"):
            reshare(a.share([3.5]), b)
