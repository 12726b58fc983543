"""Hosts in both clusters: permitted coalitions learn nothing, broken plans are refused, and the
model is reality."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from helpers import EVERY, local_parts
from reshare import Plan, Side, reshare
from reshare.convert import Dealing, expand
from reshare.joint_knowledge import coalitions, openers, reveals, servers
from reshare.paths import PATHS, Detect, Generic, Path, Small, Together
from reshare.plan import Form, component
from wwfl_core import LocalCluster, Session, SharedTensor, SharingSemantics
from wwfl_core.channel.frames import Frame
from wwfl_core.errors import InsecureNotAllowed, Misuse
from wwfl_core.numbers.algebra import RING, Algebra
from wwfl_core.numbers.arrays import Shape
from wwfl_core.randomness.prg import KEY_BYTES
from wwfl_core.sharing.share import Share
from wwfl_core.testing.statistics import Span
from wwfl_core.testing.strategies import sharings
from wwfl_core.testing.streams import Recorder, recorded

HOSTS = "ABCDEF"
KINDS = sorted(EVERY)


def side(name: str, sharing: SharingSemantics, hosts: Iterable[str]) -> Side:
    return Side(
        sharing,
        tuple(f"{name}/{i}" for i in range(sharing.parties)),
        tuple(hosts)[: sharing.parties],
    )


def sharing_of(kind: str) -> SharingSemantics:
    return EVERY[kind]().sharing


# ---------------------------------------------------------------------- the linear algebra


@settings(max_examples=150, deadline=None)
@given(
    ring=st.sampled_from([(2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (5, 1)]),
    rows=st.lists(st.lists(st.integers(0, 8), min_size=3, max_size=3), max_size=3),
    secret=st.permutations([1, -1, 0]) | st.just([1, 1, 1]),
)
@example(ring=(2, 3), rows=[[2, 0, 0]], secret=[1, 0, 0])
@example(ring=(2, 3), rows=[[2, 1, 0], [0, 4, 0]], secret=[1, 0, 0])
def test_elimination_over_a_local_ring_agrees_with_counting(
    ring: tuple[int, int], rows: list[list[int]], secret: list[int]
) -> None:
    """Independence of the secret, by going through all values of three variables."""
    p, k = ring
    counts: dict[tuple[int, ...], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for values in itertools.product(range(p**k), repeat=3):
        view = tuple(sum(a * v for a, v in zip(row, values, strict=True)) % p**k for row in rows)
        counts[view][sum(a * v for a, v in zip(secret, values, strict=True)) % p**k] += 1
    independent = all(len(c) == p**k and len(set(c.values())) == 1 for c in counts.values())
    forms = [{f"v{i}": a for i, a in enumerate(row)} for row in rows]
    assert reveals(forms, {f"v{i}": a for i, a in enumerate(secret)}, p, k) == (not independent)


def test_the_largest_coalitions_respect_both_clusters() -> None:
    two, four = sharing_of("2pc"), sharing_of("4pc")
    found = set(coalitions(side("a", two, "ABC"), side("b", four, "BDAE")))
    # A and B serve both clusters, so neither may be joined by anybody; C serves the source only, D
    # and E the target.
    assert found == {("A",), ("B",), ("C", "D"), ("C", "E")}
    assert set(coalitions(side("a", two, "ABC"), side("b", sharing_of("plain"), "A"))) == {
        ("B",),
        ("C",),
    }


# ---------------------------------------------------------------------- sound plans pass

arrangements = st.tuples(st.permutations(HOSTS), st.permutations(HOSTS))
kinds = st.sampled_from(KINDS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=kinds, target=kinds, hosts=arrangements)
def test_no_permitted_coalition_learns_the_value_on_any_path(
    source: str, target: str, hosts: tuple[list[str], list[str]]
) -> None:
    here, there = side("a", sharing_of(source), hosts[0]), side("b", sharing_of(target), hosts[1])
    for path in (Generic(), Small(), Together(), Detect()):
        if path.applies(here, there, 8):
            assert openers(path.plan(here, there)) is None, path.name


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=sharings(max_parties=4), target=sharings(max_parties=4), hosts=arrangements)
def test_nor_between_generated_sharings(
    source: SharingSemantics, target: SharingSemantics, hosts: tuple[list[str], list[str]]
) -> None:
    here, there = side("a", source, hosts[0]), side("b", target, hosts[1])
    for path in (Generic(), Together()):
        if path.applies(here, there, 64):
            assert openers(path.plan(here, there)) is None, path.name


# ---------------------------------------------------------------------- broken plans are refused


class Unmasked(Dealing):
    """A generic plan without fresh masks: words travel in the clear."""

    @property
    def masks(self) -> tuple[int, ...]:
        return ()


@pytest.mark.parametrize(
    ("source", "target"), list(itertools.product(["2pc", "3pc", "4pc"], repeat=2))
)
def test_a_plan_without_fresh_masks_is_refused(source: str, target: str) -> None:
    """Even between clusters that share no host: one target server gets all words."""
    here, there = side("a", sharing_of(source), "ABCD"), side("b", sharing_of(target), "WXYZ")
    for vouchers in (1, 2) if source != "4pc" else (1, 2, 3):
        if vouchers <= min(map(len, here.sharing.holders)):
            hosts = openers(Unmasked(here, there, vouchers))
            assert hosts is not None and {*hosts} & {*there.hosts}


class HandOver(Plan):
    """As SecretFlow does: server i of the target gets the components of server i as they are."""

    def send(self, mpc: Session, x: Share) -> int:
        raise AssertionError("a refused plan must not run")

    def receive(
        self, mpc: Session, algebra: Algebra, shape: Shape
    ) -> tuple[Share, tuple[str, ...]]:
        raise AssertionError("a refused plan must not run")

    def bytes_sent(self, value_bytes: int) -> int:
        return 0

    def learned(self) -> Mapping[str, tuple[Form, ...]]:
        return {
            address: tuple({component(c): 1} for c in self.source.held_by(i))
            for i, address in enumerate(self.targets)
        }


class HandingOver(Path):
    name = "hand over"
    when = "both clusters have the same sharing"

    def applies(self, source: Side, target: Side, value_bytes: int) -> bool:
        return source.sharing == target.sharing

    def plan(self, source: Side, target: Side) -> Plan:
        return HandOver(source, target)


@pytest.mark.parametrize("kind", ["2pc", "3pc", "4pc"])
def test_handing_shares_over_is_sound_only_on_the_same_hosts_in_the_same_order(kind: str) -> None:
    sharing = sharing_of(kind)
    same = side("a", sharing, "ABCD")
    assert openers(HandOver(same, side("b", sharing, "ABCD"))) is None
    permuted = openers(HandOver(same, side("b", sharing, "BADC" if kind == "4pc" else "BAC")))
    assert permuted is not None and len(permuted) == 1  # one host that completes the value
    disjoint = openers(HandOver(same, side("b", sharing, "WXYZ")))
    assert disjoint is not None and len(disjoint) == 2


def test_a_refused_plan_names_the_hosts_and_sends_nothing() -> None:
    made = EVERY["2pc"]
    with (
        LocalCluster(made(), name="a", hosts=("alice", "bob", "carol")) as a,
        LocalCluster(made(), name="b", hosts=("bob", "alice", "carol")) as b,
    ):
        x = a.share(np.arange(3.0))
        cost = a.cost
        with pytest.raises(
            InsecureNotAllowed,
            match=r"'alice' may be corrupt .* a/0, b/1 .*components \[0\] of 2 at",
        ):
            reshare(x, b, path=HandingOver(), allow_weaker=True)
        assert (a.cost, b.cost.links) == (cost, {})
        assert np.array_equal(
            b.reveal(reshare(x, b)), np.arange(3.0)
        )  # every path of ours is sound there


def test_a_host_with_two_positions_is_refused_before_any_server_starts() -> None:
    for kind, hosts in (("2pc", "AAB"), ("2pc", "ABA"), ("3pc", "ABA"), ("4pc", "ABCB")):
        repeated = max(hosts, key=hosts.count)
        first, second = (i for i, h in enumerate(hosts) if h == repeated)
        with pytest.raises(
            Misuse, match=f"host '{repeated}' would run the servers c/{first}, c/{second}"
        ):
            LocalCluster(EVERY[kind](), name="c", hosts=tuple(hosts))
    with pytest.raises(Misuse, match="hold every component"):
        LocalCluster(EVERY["3pc"](), name="c", hosts=("A", "A", "B"))
    for bad in (("A", "B"), ("A", "B", ""), ()):
        with pytest.raises(Misuse, match="name one host for each"):
            LocalCluster(EVERY["3pc"](), name="c", hosts=bad)


def test_servers_have_hosts_of_their_own_by_default() -> None:
    with LocalCluster(EVERY["3pc"](), name="c") as c:
        assert c.hosts == c.addresses == ("c/0", "c/1", "c/2")


# ---------------------------------------------------------------- the model is what the programs do

N = 2048


class InFull(Small):
    """The small path for values of any size."""

    name = "in full"

    def applies(self, source: Side, target: Side, value_bytes: int) -> bool:
        return True


def low_bits(array: np.ndarray) -> int:
    """The lowest bit of every element as one row over GF(2); sums of words are XORs of rows."""
    bits = np.packbits((np.asarray(array).reshape(-1) & np.uint64(1)).astype(np.uint8))
    return int.from_bytes(bits.tobytes(), "little")


def views(a: LocalCluster, b: LocalCluster, x: np.ndarray, path: Path) -> dict[str, list[int]]:
    """Per server: rows of its components, of all it drew and of all it received."""
    seen: dict[str, list[np.ndarray]] = defaultdict(list)
    recorders = Recorder(), Recorder()
    for c, recorder in zip((a, b), recorders, strict=True):
        c.run(recorded, recorder)

    def tap(sender: str, receiver: str, frame: Frame) -> Frame:
        seen[receiver].append(frame.payload)
        return frame

    handle = a.share_ring(x, 0)
    for recorder in recorders:
        recorder.draws.clear()
    a.memory.tamper = b.memory.tamper = tap
    moved = reshare(handle, b, path=path, allow_weaker=True)
    a.memory.tamper = b.memory.tamper = None
    for c, held, recorder in ((a, handle, recorders[0]), (b, moved, recorders[1])):
        for address, outcome in zip(
            c.addresses, c.submit(components, held).outcomes(), strict=True
        ):
            seen[address].extend(outcome.value[0].values())
        for draw in recorder.draws:
            seen[c.addresses[draw.party]].append(draw.value)
    return {
        address: [row for array in arrays for row in rows(array)]
        for address, arrays in seen.items()
    }


def components(mpc: Session, x: SharedTensor) -> list[dict[int, np.ndarray]]:
    return local_parts(mpc, x.data)


def rows(array: np.ndarray) -> list[int]:
    """Elements, packed elements, or the elements that seeds stand for; digests and verdicts say
    nothing (linear)."""
    if array.dtype == np.uint64:
        return [low_bits(array)]
    if array.size >= 8 * N:
        return [low_bits(part) for part in np.frombuffer(array.tobytes(), np.uint64).reshape(-1, N)]
    return (
        [low_bits(expand(s, RING, (N,))) for s in array.reshape(-1, KEY_BYTES)]
        if array.size % 32 == 0
        else []
    )


@dataclass(frozen=True)
class Case:
    source: str
    target: str
    hosts: tuple[str, str]
    path: Path


CASES = [
    Case(source, target, hosts, path)
    for source, target in itertools.product(["2pc", "3pc", "4pc"], repeat=2)
    for hosts in (("ABCD", "WXYZ"), ("ABCD", "BADC"), ("ABCD", "CEAF"))
    for path in (Generic(), InFull(), Together(), Detect())
    if path.applies(
        side("a", sharing_of(source), hosts[0]), side("b", sharing_of(target), hosts[1]), 8 * N
    )
]


@pytest.mark.parametrize(
    "case", CASES, ids=lambda c: f"{c.source}-{c.target} {c.hosts[1]} {c.path.name}"
)
def test_exactly_those_hosts_that_the_plan_says_can_open_do_span_the_secret(case: Case) -> None:
    """For every set of up to three hosts, permitted or not: the declared forms span the secret
    exactly when the arrays that the hosts' servers really saw do (lowest bits, over GF(2))."""
    x = np.random.default_rng(7).integers(0, 2**64, N, np.uint64)
    a_kind, b_kind = EVERY[case.source](), EVERY[case.target]()
    here, there = case.hosts[0][: a_kind.sharing.parties], case.hosts[1][: b_kind.sharing.parties]
    with (
        LocalCluster(a_kind, name="a", hosts=here) as a,
        LocalCluster(b_kind, name="b", hosts=there) as b,
    ):
        seen = views(a, b, x, case.path)
        sides = (Side(c.sharing, c.addresses, c.hosts) for c in (a, b))
        plan: Any = case.path.plan(*sides)
    knowledge, secret = plan.knowledge(), plan.word(tuple(plan.source.components))
    hosts = sorted({*here, *there})
    answers = set()
    for size in (1, 2, 3):
        for coalition in itertools.combinations(hosts, size):
            addresses = servers(plan, coalition)
            span = Span()
            for row in (row for address in addresses for row in seen[address]):
                span.add(row)
            really = span.reduce(low_bits(x)) == 0
            assert really == reveals([f for s in addresses for f in knowledge[s]], secret, 2, 1), (
                coalition
            )
            answers.add(really)
    assert answers == {True, False}


def test_all_registered_paths_are_tested() -> None:
    assert {path.name for path in (Generic(), Small(), Together(), Detect())} == set(PATHS.names())
