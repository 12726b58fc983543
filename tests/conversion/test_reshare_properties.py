"""Every ordered pair of registered protocols, on many generated values: what arrives is what was
sent, bit by bit.

Shapes (0-d and empty ones, too), ring edges, scales, bits, hosts of their own, shared and permuted
ones, and every path that applies. `make test-nightly` runs 10,000 cases per pair
(WWFL_RESHARE_CASES); WWFL_SEED repeats a run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from helpers import EDGES
from reshare import Side, reshare
from reshare.modulus_change import bits as bits_
from reshare.modulus_change import numbers as numbers_
from reshare.paths import PATHS
from wwfl_core import Handle, LocalCluster, Session, SharedBits, SharedTensor
from wwfl_core.kernels import expand
from wwfl_core.numbers.algebra import BITS
from wwfl_core.numbers.arrays import numel
from wwfl_core.protocol.derived import packed
from wwfl_core.protocol.registry import backends
from wwfl_core.sharing.share import Share, concat, split
from wwfl_core.testing.strategies import shapes

SEED = int(os.environ.get("WWFL_SEED", "0")) or int.from_bytes(os.urandom(4), "little")
FEW = 60
MANY = int(os.environ.get("WWFL_RESHARE_CASES", "1000"))
BATCH = 20  # cases per Hypothesis example: they are dealt by one command and opened by one

FACTORIES = {name: entry.factory for name, entry in backends().items() if entry.factory is not None}
PAIRS = list(product(FACTORIES, FACTORIES))
# Other runtimes take seconds to start and to compute: the bounded run meets them with one partner
# only, on one set of hosts (some shared with the partner, some of their own).
BOUNDED = [
    pair
    for pair in PAIRS
    if not any(getattr(FACTORIES[p], "runtime", "") for p in pair) or "3pc" in pair
]
SOURCE_HOSTS = "ABCDEFGH"
TARGET_HOSTS = {
    "own": "STUVWXYZ",
    "same": "ABCDEFGH",
    "permuted": "BDACHGFE",
    "overlapping": "WBXAYCZD",
}


@dataclass(frozen=True)
class Case:
    """One value on one way. `frac_bits` is None for bits, whose shape is flat; `bounded` where the
    modulus changes."""

    shape: tuple[int, ...]
    frac_bits: int | None
    values: int
    hosts: str
    path: str | None
    bounded: bool = False

    def array(self) -> np.ndarray:
        """Uniform and edge elements; packed bytes for bits."""
        g = np.random.default_rng(self.values)
        if self.frac_bits is None:
            return g.integers(0, 256, packed(numel(self.shape)), np.uint8)
        uniform = g.integers(0, 2**64, self.shape, np.uint64)
        words = np.where(g.random(self.shape) < 0.5, g.choice(EDGES, self.shape), uniform).astype(
            np.uint64
        )
        return (words.view(np.int64) >> np.int64(2)).view(np.uint64) if self.bounded else words

    def elements(self, mpc: Session) -> np.ndarray:
        """The array where the protocol shares numbers and bits."""
        if self.frac_bits is not None:
            return mpc.protocol.numbers.from_words(self.array())
        if mpc.protocol.bits.algebra == BITS:
            return self.array()
        return mpc.protocol.bits.from_bools(
            expand(self.array(), numel(self.shape)).astype(np.bool_)
        )

    def arrived(self, found: np.ndarray) -> bool:
        """Whether what was opened (words; a word or a packed bit per bit) is this array."""
        if self.frac_bits is None and self.bounded:  # padding bits have no place in a field
            n = numel(self.shape)
            bits = found if found.dtype == np.uint64 else expand(np.ascontiguousarray(found), n)
            return np.array_equal(bits, expand(self.array(), n))
        return np.array_equal(found, self.array())


scales = st.sampled_from((0, 8, 20, 40))
hosts = st.sampled_from(sorted(TARGET_HOSTS))
paths = st.sampled_from((None, *PATHS.names()))
numbers = st.builds(Case, shapes(max_dims=3, max_side=5), scales, st.just(0), hosts, paths)
flags = st.builds(
    Case, st.integers(0, 300).map(lambda n: (n,)), st.none(), st.just(0), hosts, paths
)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Case, ...]:
    """BATCH cases, each with values of its own (Hypothesis likes to repeat the elements of a
    list)."""
    base = draw(st.integers(0, 2**64 - 1))
    found = draw(st.lists(numbers | flags, min_size=BATCH, max_size=BATCH))
    seeds = (hashlib.sha256(f"{base}|{i}|{found}".encode()).digest()[:8] for i in range(BATCH))
    return tuple(
        replace(c, values=int.from_bytes(s, "little")) for c, s in zip(found, seeds, strict=True)
    )


# ----------------------------------------------------------- programs: all cases of a batch at once


def deal_all(mpc: Session, wanted: tuple[Case, ...]) -> list[SharedTensor | SharedBits]:
    """The first party that holds shares deals all arrays: one deal of ring elements, one of
    bits."""
    dealer = mpc.sharing.evaluators[0]
    found: dict[Case, SharedTensor | SharedBits] = {}
    for bits in (False, True):
        mine = [case for case in dict.fromkeys(wanted) if (case.frac_bits is None) == bits]
        if not mine:
            continue
        arrays = [case.elements(mpc) for case in mine]
        flat = np.concatenate([a.reshape(-1) for a in arrays])
        value = flat if mpc.me == dealer else None
        dealt = mpc.protocol.deal(
            value, [dealer], flat.shape, mpc.protocol.bits.algebra if bits else mpc.protocol.numbers
        )
        for case, share in zip(mine, split(dealt, [a.shape for a in arrays]), strict=True):
            if case.frac_bits is None:
                found[case] = SharedBits(mpc, share, case.shape)
            else:
                found[case] = SharedTensor(mpc, share, case.frac_bits)
    return [found[case] for case in wanted]


def open_all(mpc: Session, tensors: list[SharedTensor | SharedBits]) -> list[np.ndarray | None]:
    """Everything in two opens, in order."""
    results: dict[int, np.ndarray] = {}
    for kind in (SharedTensor, SharedBits):
        mine = [(i, t.data) for i, t in enumerate(tensors) if isinstance(t, kind)]
        if not mine:
            continue
        flat: Share = concat([share.map(np.ravel) for _, share in mine])
        elements = mpc.protocol.open(flat, "test")
        opened = None if elements is None else flat.algebra.to_words(elements)
        at = 0
        for i, share in mine:
            size = numel(share.shape)
            results[i] = (
                np.zeros(0) if opened is None else opened[at : at + size].reshape(share.shape)
            )
            at += size
    return [results[i] for i in range(len(tensors))]


# ---------------------------------------------------------------------- running them


class Clusters:
    """One source and four targets per protocol, started when first used."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], LocalCluster] = {}

    def get(self, kind: str, hosts: str) -> LocalCluster:
        if (kind, hosts) not in self._made:
            protocol = FACTORIES[kind]()
            names = {"source": SOURCE_HOSTS, **TARGET_HOSTS}[hosts]
            self._made[kind, hosts] = LocalCluster(
                protocol,
                name=f"{hosts}-{kind}",
                hosts=tuple(names[: protocol.sharing.parties]),
                deadline_s=60,
            )
        return self._made[kind, hosts]

    def close(self) -> None:
        for made in self._made.values():
            made.close()


@pytest.fixture(scope="module")
def clusters() -> Iterator[Clusters]:
    made = Clusters()
    yield made
    made.close()


def usable(case: Case, handle: Handle, b: LocalCluster) -> str | None:
    """The path that the case asks for, if it applies."""
    if case.path is None:
        return None
    kind, there = (bits_, b.protocol.bits) if case.frac_bits is None else (numbers_, b.protocol)
    change = kind(
        handle.ref.algebra, there.algebra if case.frac_bits is None else there.numbers, case.shape
    )
    algebras = (change.source, change.target)
    sides = [
        Side(c.sharing, c.addresses, c.hosts, algebra)
        for c, algebra in zip((handle.cluster, b), algebras, strict=True)
    ]
    path = next(p for p in PATHS._known.values() if p.name == case.path)
    return case.path if path.applies(sides[0], sides[1], change.value_bytes) else None


convert: Callable[..., Handle] = reshare


def convert_all(clusters: Clusters, source: str, target: str, batch: tuple[Case, ...]) -> None:
    """Converts a batch and compares every element."""
    a = clusters.get(source, "source")
    changes = a.protocol.numbers != FACTORIES[target]().numbers
    batch = tuple(
        replace(case, bounded=changes or a.protocol.bits.algebra != BITS) for case in batch
    )
    handles: list[Handle] = a.run(deal_all, batch)
    arrived: dict[str, list[tuple[Case, Handle]]] = {}
    for case, handle in zip(batch, handles, strict=True):
        b = clusters.get(target, case.hosts)
        path = usable(case, handle, b)
        moved = convert(handle, b, path=path, allow_weaker=True)
        assert moved.shape == case.shape
        arrived.setdefault(case.hosts, []).append((case, moved))
    for hosts, moved_cases in arrived.items():
        b = clusters.get(target, hosts)
        opened = b.run(open_all, [handle for _, handle in moved_cases])
        for (case, _), found in zip(moved_cases, opened, strict=True):
            assert case.arrived(found), case


def run_cases(
    label: str,
    wanted: int,
    check: Callable[[tuple[Case, ...]], Any],
    start: int = SEED,
    shrink: bool = True,
) -> int:
    """Generates at least `wanted` cases and checks them; returns how many. A failure tells the seed
    that repeats it."""
    done = 0
    mixed = int.from_bytes(hashlib.sha256(f"{start}|{label}".encode()).digest()[:8], "little")

    @seed(mixed)
    @settings(
        max_examples=-(-wanted // BATCH),
        deadline=None,
        database=None,  # the seed alone decides
        print_blob=True,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(batch=batches())
    def generated(batch: tuple[Case, ...]) -> None:
        nonlocal done
        check(batch)
        done += len(batch)

    try:
        generated()
    except BaseException as error:
        error.add_note(f"{label}: repeat with WWFL_SEED={start}")
        raise
    return done


@pytest.mark.parametrize(("source", "target"), BOUNDED)
def test_what_arrives_is_what_was_sent(clusters: Clusters, source: str, target: str) -> None:
    started = getattr(FACTORIES[target], "runtime", "") and "overlapping"

    def check(batch: tuple[Case, ...]) -> None:
        hosted = tuple(replace(case, hosts=started or case.hosts) for case in batch)
        convert_all(clusters, source, target, hosted)

    assert run_cases(f"{source}-{target}", FEW, check) >= FEW


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_what_arrives_is_what_was_sent_many_times(
    clusters: Clusters, source: str, target: str
) -> None:
    done = run_cases(
        f"{source}-{target}", MANY, lambda batch: convert_all(clusters, source, target, batch)
    )
    assert done >= MANY
    print(f"{source} -> {target}: {done} cases")


# -------------------------------------------------- the runner can fail, and tells how to repeat it


def plus_one(mpc: Session, x: SharedTensor | SharedBits) -> SharedTensor | SharedBits:
    """The first element or bit is altered."""
    one = np.zeros(x.data.shape, x.data.algebra.dtype)
    one.reshape(-1)[0] = 1
    spoiled = mpc.protocol.add_public(x.data, one)
    if isinstance(x, SharedBits):
        return SharedBits(mpc, spoiled, x.shape)
    return SharedTensor(mpc, spoiled, x.frac_bits)


def test_a_wrong_element_is_noticed(clusters: Clusters, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = (
        Case((3,), 0, 1, "own", None),
        Case((2, 2), 20, 2, "same", None),
        Case((9,), None, 3, "own", None),
    )
    for wrong in batch:
        turn = iter(batch)

        def spoiling(
            x: Handle, to: LocalCluster, wrong: Case = wrong, turn: Any = turn, **how: Any
        ) -> Handle:
            moved = reshare(x, to, **how)
            return to.run(plus_one, moved) if next(turn) == wrong else moved

        with monkeypatch.context() as patched:
            patched.setitem(globals(), "convert", spoiling)
            with pytest.raises(AssertionError, match=f"values={wrong.values}"):
                convert_all(clusters, "3pc", "2pc", batch)


def test_a_failure_prints_the_seed_that_repeats_it() -> None:
    """The same seed fails on the same batch, another one on another; both the seed and Hypothesis'
    blob are shown."""

    def failing(start: int) -> tuple[list[Case], str]:
        seen: list[Case] = []

        def check(batch: tuple[Case, ...]) -> None:
            seen.extend(batch)
            assert all(
                case.values % 1000 >= 5 for case in batch
            )  # (not the simplest batch, which always comes first)

        with pytest.raises(AssertionError) as raised:
            run_cases("some pair", 1000, check, start, shrink=False)
        return seen, "\n".join(raised.value.__notes__)

    first, again, other = failing(1), failing(1), failing(2)
    assert first[0] == again[0] and first[0] != other[0]
    assert "some pair: repeat with WWFL_SEED=1" in first[1] and "WWFL_SEED=2" in other[1]
    assert "@reproduce_failure" in first[1]


def test_the_generator_reaches_what_it_should() -> None:
    seen: list[Case] = []
    assert run_cases("coverage", 600, seen.extend, 1) >= 600
    assert len(set(seen)) > 0.9 * len(seen)
    assert {case.hosts for case in seen} == set(TARGET_HOSTS) and {case.path for case in seen} == {
        None,
        *PATHS.names(),
    }
    assert {case.frac_bits for case in seen} == {None, 0, 8, 20, 40}
    assert any(case.shape == () for case in seen) and any(0 in case.shape for case in seen)
    assert {int(e) for e in EDGES} <= {
        int(v) for case in seen if case.frac_bits is not None for v in case.array().flat
    }
