"""Prime fields, narrow rings and Shamir's sharing: what needs no foreign engine."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import Replicated3PC
from points import Points
from wwfl_core import LocalCluster, Session
from wwfl_core.errors import Misuse, RangeError
from wwfl_core.numbers.algebra import BITS, RING, RING32
from wwfl_core.numbers.arrays import Array, from_wire, to_wire, wire_form
from wwfl_core.numbers.bilinear import Bilinear, Conv2d, MatMul, Mul
from wwfl_core.numbers.field import MERSENNE_127, PrimeField
from wwfl_core.protocol.bit_format import PACKED
from wwfl_core.sharing.points import lagrange, shamir
from wwfl_core.tensors import SharedTensor

F = PrimeField()
P = MERSENNE_127
WORDS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=9).map(
    lambda v: np.array(v, np.int64)
)


@given(WORDS)
def test_every_word_has_a_representative_and_comes_back(values: Any) -> None:
    for algebra in (RING, F):
        assert np.array_equal(
            algebra.to_words(algebra.from_words(values.view(np.uint64))).view(np.int64), values
        )
    narrow = RING32.to_words(RING32.from_words(values.view(np.uint64))).view(np.int64)
    assert np.array_equal(narrow, values.astype(np.int32).astype(np.int64))


def test_a_number_beyond_64_bits_is_refused_when_it_leaves_the_field() -> None:
    with pytest.raises(RangeError, match="not a 64-bit number"):
        F.to_words(np.array([2**63], object))


@given(st.lists(st.integers(0, P - 1), max_size=5))
def test_elements_travel_as_two_words_each(values: list[int]) -> None:
    a = np.array(values, object)
    wire = to_wire(a)
    assert (wire.dtype, wire.shape) == wire_form(object, a.shape)
    assert wire.nbytes == F.nbytes(a.shape)
    assert from_wire(wire, object).tolist() == values


def test_uniform_elements_cover_the_field() -> None:
    draws = F.from_bytes(
        np.frombuffer(np.random.default_rng(1).bytes(24 * 4000), np.uint8), (4000,)
    )
    assert draws.min() >= 0 and draws.max() < P
    assert abs(sum(int(d) for d in draws) / 4000 / P - 0.5) < 0.03


MAPS = [
    (Mul(), (3, 1), (4,)),
    (MatMul(), (2, 3), (3, 4)),
    (MatMul(True, True), (3, 2), (4, 3)),
    (Conv2d(1, 0), (2, 2, 5, 4), (3, 2, 3, 2)),
    (Conv2d(2, 1), (2, 1, 6, 5), (2, 1, 3, 3)),
]


@pytest.mark.parametrize(("f", "x", "y"), MAPS, ids=str)
@pytest.mark.parametrize("algebra", [F, RING32], ids=str)
def test_bilinear_maps_and_gradients_agree_with_the_64_bit_ring(
    algebra: Any, f: Bilinear, x: Any, y: Any
) -> None:
    rng = np.random.default_rng(2)
    a, b, dz = (rng.integers(-1000, 1000, s).view(np.uint64) for s in (x, y, f.shape(x, y)))
    for g, u, v in ((f, a, b), (f.grad_x(x, y), dz, b), (f.grad_y(x, y), a, dz)):
        want = g.apply(RING, [(u, v), (u, v)])
        got = g.apply(algebra, [(algebra.from_words(u), algebra.from_words(v))] * 2)
        assert np.array_equal(algebra.to_words(got), want)


@pytest.mark.parametrize("thing", [RING, RING32, BITS, PACKED])
def test_algebras_are_the_same_object_in_another_process(thing: Any) -> None:
    assert pickle.loads(pickle.dumps(thing)) is thing
    assert pickle.loads(pickle.dumps(F)) == F


@given(st.integers(1, 4), st.integers(-(2**80), 2**80), st.data())
def test_lagrange_reconstructs_from_any_enough_points(
    t: int, secret: int, data: st.DataObject
) -> None:
    coefficients = [secret, *data.draw(st.lists(st.integers(0, P - 1), min_size=t, max_size=t))]
    points = tuple(data.draw(st.permutations(range(1, 2 * t + 2)))[: t + 1])
    values = [sum(c * x**k for k, c in enumerate(coefficients)) for x in points]
    assert sum(w * v for w, v in zip(lagrange(points, 0, P), values, strict=True)) % P == secret % P


def _points(mpc: Session, x: SharedTensor, own: Array, owner: int) -> list[Any]:
    y = mpc.share(own, owner)
    total = x * 2 - y + 1.5
    return [mpc.reveal(total), mpc.reveal(x.sum(0)), int(total.data.parts[mpc.me].size)]


@pytest.mark.parametrize("parties", [3, 4, 5, 7])
def test_sharing_linear_operations_and_opening_need_only_the_points(parties: int) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.integers(-99, 99, (2, 3)) / 4, rng.integers(-99, 99, (2, 3)) / 4
    with LocalCluster(Points(parties)) as c:
        shared = c.share(x)
        for owner in range(parties):
            total, column, _ = c.run(_points, shared, y, owner)
            assert np.array_equal(total, x * 2 - y + 1.5)
            assert np.array_equal(column, x.sum(0))
        assert np.array_equal(c.reveal(shared), x)


def test_dealing_sends_to_those_without_a_mask_only() -> None:
    with LocalCluster(Points(5)) as c:
        c.run(_deal, (0,))
        assert c.last_cost.bytes_sent() == 16 * 7 * (5 - 1 - 2)
        c.run(_deal, (1, 3))
        assert c.last_cost.bytes_sent() == 16 * 7 * 1
        c.run(_deal, (0, 1, 2))
        assert c.last_cost.bytes_sent() == 0


def _deal(mpc: Session, dealers: Any) -> None:
    value = F.from_words(np.arange(7, dtype=np.uint64))
    dealt = mpc.protocol.deal(value if mpc.me in dealers else None, dealers, (7,))
    assert dealt.parts.keys() == {mpc.me}


def test_what_the_permitted_coalition_sees_does_not_depend_on_the_value() -> None:
    """Exactly: for fixed masks, the points of t parties reach every value once as the masks run
    through the field."""
    sharing = shamir(5)
    small = PrimeField.__new__(PrimeField)
    small.modulus, small.name = 11, "F_11"
    for c in range(5):
        for secret in (0, 7):
            seen = set()
            for m0 in range(11):
                for m1 in range(11):
                    known = {
                        0: np.array(secret, object),
                        1: np.array(m0, object),
                        2: np.array(m1, object),
                    }
                    weights = lagrange(tuple(known), c + 1, 11)
                    seen.add(
                        int(
                            sum(w * int(v) for w, v in zip(weights, known.values(), strict=True))
                            % 11
                        )
                    )
            assert seen == set(range(11))
    assert sharing.reveals((0, 1, 4)) and not sharing.reveals((0, 4))


def _narrow(mpc: Session, ring: Array) -> Any:
    x = mpc.protocol.deal(RING32.from_words(ring) if mpc.me == 0 else None, [0], ring.shape, RING32)
    return mpc.protocol.open(mpc.protocol.bilinear(Mul(), x, x) + x, "test")


@settings(max_examples=5)
@given(WORDS)
def test_protocols_compute_in_the_narrow_ring_as_they_are(values: Any) -> None:
    ring = values.view(np.uint64)
    with LocalCluster(Replicated3PC()) as c:
        got = c.run(_narrow, ring)
        assert got.dtype == np.uint32
        assert np.array_equal(got, (ring * ring + ring).astype(np.uint32))
        assert c.last_cost.bytes_sent() == 4 * ring.size * (1 + 3 + 3)


def test_shamir_needs_an_honest_majority() -> None:
    with pytest.raises(Misuse, match="at least 3"):
        shamir(2)
