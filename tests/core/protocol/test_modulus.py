"""Changing the modulus of a shared number is exact, at every boundary and for any number of
words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from wwfl_core import LocalCluster, Session
from wwfl_core.errors import Misuse
from wwfl_core.numbers.algebra import BITS, RING, RING32, Algebra
from wwfl_core.numbers.arrays import Array
from wwfl_core.numbers.field import PrimeField
from wwfl_core.protocol import modulus
from wwfl_core.sharing.share import Share
from wwfl_core.tensors import SharedTensor

F = PrimeField()
SMALL = PrimeField(2**89 - 1)
PAIRS = [
    (RING32, RING),
    (RING, F),
    (RING32, F),
    (F, RING),
    (F, RING32),
    (F, SMALL),
    (SMALL, RING),
    (RING, RING32),
]


def edges(algebra: Algebra) -> list[int]:
    """Words where the cases of Lemma W begin and end."""
    size, quarter = algebra.modulus, algebra.modulus // 4
    marks = (0, quarter, size // 2, size - size // 2, size - quarter, size)
    return sorted({m + d for m in marks for d in (-1, 0, 1) if 0 <= m + d < size})


def numbers(source: Algebra, target: Algebra) -> list[int]:
    """The largest numbers that both sides represent, and small ones."""
    top = min(source.modulus // 4, target.modulus // 2, 2**62) - 1
    return [0, 1, -1, 12345, -top, top]


def elements(algebra: Algebra, integers: list[int]) -> Array:
    return algebra.from_integers(np.array([v % algebra.modulus for v in integers], object))


def integers(algebra: Algebra, a: Array) -> list[int]:
    return [int(v) for v in a.reshape(-1)]


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=str)
def test_two_words_at_every_boundary(source: Algebra, target: Algebra) -> None:
    firsts, xs = edges(source), numbers(source, target)
    grid = [(a, x) for a in firsts for x in xs]
    first = elements(source, [a for a, _ in grid])
    second = elements(source, [x - a for a, x in grid])
    left, right = (modulus.parts(w, i, 2, source, target) for i, w in enumerate((first, second)))
    if modulus.divides(target, source):
        got = target.add(left, right)
    else:
        wrap = target.scale(source.modulus % target.modulus, target.mul_sum([(left[1], right[1])]))
        got = target.sub(target.add(left[0], right[0]), wrap)
    assert integers(target, got) == [x % target.modulus for _, x in grid]


class Words(Plain):
    """One party that plays dealer of several words."""

    def __init__(self, numbers: Algebra = RING) -> None:
        super().__init__()
        self.numbers = numbers


def _combined(mpc: Session, words: list[Array], source: Algebra, target: Algebra) -> Any:
    count = len(words)
    dealt = [
        Share(target, p.shape, {0: p})
        for p in (modulus.parts(w, i, count, source, target) for i, w in enumerate(words))
    ]
    return mpc.protocol.open(mpc.protocol.combine(dealt, source, target), "test")


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from([RING32, F, SMALL]), st.integers(3, 6))
def test_any_number_of_words(data: st.DataObject, source: Algebra, count: int) -> None:
    word = st.integers(0, source.modulus - 1) | st.sampled_from(edges(source))
    rows = data.draw(
        st.lists(
            st.tuples(*[word] * (count - 1), st.sampled_from(numbers(source, RING))), min_size=1
        )
    )
    words = [elements(source, [r[i] for r in rows]) for i in range(count - 1)]
    last = elements(source, [r[-1] - sum(r[:-1]) for r in rows])
    with LocalCluster(Words()) as c:
        got = c.run(_combined, [*words, last], source, RING)
    assert integers(RING, got) == [r[-1] % 2**64 for r in rows]


def _round_trip(mpc: Session, x: SharedTensor) -> list[Any]:
    low = x.narrow()
    again = low.widen()
    return [
        mpc.protocol.open(low.data, "test"),
        mpc.protocol.open(again.data, "test"),
        mpc.reveal(again),
        mpc.reveal((low + low).widen()),
    ]


@pytest.mark.parametrize("protocol", [Plain, Additive2PC, Replicated3PC, Tetrad4PC])
def test_narrow_and_widen_are_exact_below_2_to_the_30(protocol: Any) -> None:
    top = 2**30 - 1
    values = np.array([0, 1, -1, top, -top, 77, -(2**29), 2**29, 3], np.int64)
    with LocalCluster(protocol()) as c:
        for _ in range(20):
            low, wide, real, doubled = c.run(_round_trip, c.share_ring(values.view(np.uint64), 20))
            assert np.array_equal(low.view(np.int32), values)
            assert np.array_equal(wide.view(np.int64), values)
            assert np.array_equal(real, values / 2.0**20)
            half = np.abs(values) < 2**29
            assert np.array_equal(doubled[half], 2 * values[half] / 2.0**20)


def _packed(mpc: Session, x: SharedTensor) -> Any:
    return mpc.protocol.open(modulus.reduce_modulus(x.data, BITS), "test")


def test_the_low_bits_of_ring_shares_are_shares_of_the_low_bits() -> None:
    values = np.arange(21, dtype=np.uint64) * 3
    for protocol in (Additive2PC(), Replicated3PC(), Tetrad4PC()):
        with LocalCluster(protocol) as c:
            got = c.run(_packed, c.share_ring(values, 0))
            assert np.array_equal(np.unpackbits(got, bitorder="little")[:21], values & 1)


def test_what_cannot_be_reduced_is_refused() -> None:
    with LocalCluster(Plain()) as c:
        with pytest.raises(Misuse, match="cannot be reduced"):
            c.run(_reduced, c.share_ring(np.arange(3, dtype=np.uint64), 0))
        with pytest.raises(Misuse, match="widen: this tensor is shared in"):
            c.run(_widened, c.share_ring(np.arange(3, dtype=np.uint64), 0))


def _reduced(mpc: Session, x: SharedTensor) -> None:
    modulus.reduce_modulus(x.data, F)


def _widened(mpc: Session, x: SharedTensor) -> None:
    x.widen()
