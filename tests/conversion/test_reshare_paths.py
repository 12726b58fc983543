"""Paths: which one is taken, what each costs exactly, and what happens when somebody lies or is
lost on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from helpers import EVERY, opened
from reshare import Plan, Side, plan_for, register, reshare, reshare_with_report
from reshare.paths import PATHS, Generic
from wwfl_core import LocalCluster, Session
from wwfl_core.channel.frames import Frame
from wwfl_core.errors import Misuse, ProtocolError, VerificationFailed
from wwfl_core.party.verification import CHECK_LABELS

OWN = ("ABCD", "WXYZ")
SAME = ("ABCD", "ABCD")


@contextmanager
def pair(
    source: str, target: str, hosts: tuple[str, str] = OWN, deadline_s: float = 20
) -> Iterator[tuple[LocalCluster, LocalCluster]]:
    a, b = EVERY[source](), EVERY[target]()
    with (
        LocalCluster(
            a, name="a", hosts=tuple(hosts[0])[: a.sharing.parties], deadline_s=deadline_s
        ) as here,
        LocalCluster(
            b, name="b", hosts=tuple(hosts[1])[: b.sharing.parties], deadline_s=deadline_s
        ) as there,
    ):
        yield here, there


# ---------------------------------------------------------------------- bytes

N = 1000


@pytest.mark.parametrize(
    ("source", "target", "hosts", "network", "local"),
    [
        ("3pc", "2pc", ("ABC", "ABX"), 0, 16),  # A knows x1 + x2, B knows x3
        ("3pc", "2pc", ("ABC", "BCX"), 0, 16),
        (
            "3pc",
            "2pc",
            ("ABC", "XAB"),
            8,
            16,
        ),  # A is the helper: it deals its word to B's partner X
        ("2pc", "3pc", ("ABX", "ABC"), 16, 16),  # the generic path: 32 and six seeds
        ("3pc", "3pc", ("ABC", "BCA"), 0, 48),
        ("3pc", "3pc", ("ABC", "CBA"), 0, 48),
        ("3pc", "3pc", ("ABC", "ABX"), 16, 16),
        ("2pc", "2pc", ("ABC", "BAC"), 0, 16),
        ("4pc", "4pc", ("ABCD", "ABCD"), 24, 96),
        ("4pc", "4pc", ("ABCD", "DCBA"), 24, 96),
        ("2pc", "4pc", ("ABX", "ABCD"), 32, 16),
        ("plain", "3pc", ("A", "ABC"), 8, 8),
    ],
)
def test_words_of_shared_hosts_stay_inside_hosts(
    source: str, target: str, hosts: tuple[str, str], network: int, local: int
) -> None:
    x = np.random.default_rng(1).integers(0, 2**64, N, np.uint64)
    with pair(source, target, hosts) as (a, b):
        handle = a.share_ring(x, 20)
        report = reshare_with_report(handle, b)
        plan = plan_for(a, b, 8 * N)
        assert report.path == "same hosts"
        assert report.local_bytes == plan.local_bytes(8 * N) == local * N
        assert report.cost.bytes_sent(label="reshare") == plan.bytes_sent(8 * N) == network * N
        checks = sum(report.cost.bytes_sent(label=label) for label in CHECK_LABELS)
        assert report.cost.bytes_sent() == network * N + checks
        assert np.array_equal(b.run(opened, report.handle), x)


@pytest.mark.parametrize("target", ["2pc", "3pc", "4pc", "plain"])
def test_detection_needs_half_the_words(target: str) -> None:
    with pair("4pc", target) as (a, b):
        handle = a.share(np.ones(N))
        costs = [
            reshare_with_report(handle, b, path=path, allow_weaker=True)
            for path in ("generic", "detect")
        ]
        majority, detect = (report.cost.bytes_sent(label="reshare") for report in costs)
        assert detect == plan_for(a, b, 8 * N, "detect").bytes_sent(8 * N)
        copies = len(b.sharing.holders[b.sharing.cheapest])
        assert detect // (8 * N) == 2 * copies and majority // (8 * N) == 4 * copies
        assert 0.49 < detect / majority < 0.5
        assert np.array_equal(b.reveal(costs[1].handle), np.ones(N))


@pytest.mark.parametrize("target", ["2pc", "3pc", "4pc"])
@pytest.mark.parametrize("source", ["2pc", "3pc", "4pc", "plain"])
@pytest.mark.parametrize("size", [0, 1, 3, 4])
def test_small_values_travel_with_masks_instead_of_seeds(
    source: str, target: str, size: int
) -> None:
    with pair(source, target) as (a, b):
        handle = a.share_ring(np.arange(size, dtype=np.uint64), 0)
        report = reshare_with_report(handle, b, allow_weaker=True)
        generic = reshare_with_report(handle, b, path="generic", allow_weaker=True)
        mine, theirs = (r.cost.bytes_sent(label="reshare") for r in (report, generic))
        assert mine == plan_for(a, b, 8 * size).bytes_sent(8 * size)
        assert (report.path, generic.path) == ("small" if size < 4 else "generic", "generic")
        assert mine < theirs if size < 4 else mine == theirs
        words = 4 if source == "4pc" else 1 if source == "plain" else 2
        if source != "4pc":  # 8 bytes for every component at every holder, and nothing else
            held = sum(map(len, b.sharing.holders))
            assert size == 4 or mine == words * held * 8 * size
        assert np.array_equal(b.run(opened, report.handle), np.arange(size))


# ---------------------------------------------------------------------- choosing


def test_a_path_that_is_unknown_or_does_not_apply_gets_a_helpful_error() -> None:
    with pair("3pc", "2pc") as (a, b):
        x = a.share(np.ones(N))
        with pytest.raises(
            Misuse,
            match=r"no path named 'genric'; did you mean 'generic'\? known are 'generic', 'sm",
        ):
            reshare(x, b, path="genric")
        for name, why in (
            ("detect", "malicious-secure"),
            ("same hosts", "also run servers"),
            ("small", "32 bytes"),
        ):
            with pytest.raises(
                Misuse, match=f"'{name}' does not apply here: it needs that .*{why}"
            ):
                reshare(x, b, path=name)


class Mine(Generic):
    """A path of a third party that claims to be cheaper."""

    name = "mine"

    def plan(self, source: Side, target: Side) -> Plan:
        return dataclasses.replace(super().plan(source, target), masks_in_full=True)


def test_third_parties_register_paths_or_pass_them() -> None:
    with pair("2pc", "3pc") as (a, b):
        x = a.share(np.arange(5.0))
        assert reshare_with_report(x, b, path=Mine()).path == "mine"
        with pytest.raises(Misuse, match="no path named 'mine'"):
            reshare(x, b, path="mine")
        unregister = register(Mine())
        try:
            report = reshare_with_report(x, b, path="mine")
            assert (report.path, report.cost.bytes_sent()) == ("mine", 2 * 6 * 40)
            assert (
                reshare_with_report(x, b).path == "generic"
            )  # it is not cheaper: masks of 40 instead of 32 bytes
            with pytest.raises(Misuse, match="registered already"):
                register(Mine())
        finally:
            unregister()
        assert "mine" not in PATHS.names()
        assert np.array_equal(b.reveal(report.handle), np.arange(5.0))


def test_the_chosen_path_works_between_processes() -> None:
    from wwfl_core.channel.certificates import Authority

    authority = Authority()
    with (
        LocalCluster(
            EVERY["3pc"](), name="a", hosts="ABC", processes=True, authority=authority
        ) as a,
        LocalCluster(
            EVERY["2pc"](), name="b", hosts="ABX", processes=True, authority=authority
        ) as b,
    ):
        report = reshare_with_report(a.share(np.arange(100.0)), b)
        assert (report.path, report.cost.bytes_sent(), report.local_bytes) == (
            "same hosts",
            0,
            1600,
        )
        assert np.array_equal(b.reveal(report.handle), np.arange(100.0))


# ---------------------------------------------------------------------- lies


def lying(sender: str, receivers: str = "b/") -> Callable[[str, str, Frame], Frame]:
    def lie(frm: str, to: str, frame: Frame) -> Frame:
        if (
            frm == sender
            and to.startswith(receivers)
            and frame.tag.name == "reshare"
            and frame.payload.size
        ):
            return dataclasses.replace(
                frame, payload=np.array(frame.payload) ^ frame.payload.dtype.type(1)
            )
        return frame

    return lie


@pytest.mark.parametrize("target", ["2pc", "3pc", "4pc"])
@pytest.mark.parametrize("liar", range(4))
def test_with_two_dealers_a_lie_is_detected_and_nothing_is_converted(
    liar: int, target: str
) -> None:
    with pair("4pc", target, deadline_s=5) as (a, b):
        handle = a.share(np.arange(50.0))
        a.memory.tamper = lying(f"a/{liar}")
        with pytest.raises(
            VerificationFailed, match=r"reshare: a/\d does not vouch .* a/\d sent .*generic"
        ) as raised:
            reshare(handle, b, path="detect", allow_weaker=True)
        assert f"a/{liar}" in str(raised.value)
        with pytest.raises(ProtocolError, match="cannot continue"):
            b.share(np.ones(1))


@pytest.mark.parametrize("liar", range(4))
def test_a_corrupt_host_that_deals_another_word_is_caught_before_anything_is_opened(
    liar: int,
) -> None:
    """Same hosts, both Tetrad: the corrupt host's target server deals what no other dealer vouches
    for."""
    with pair("4pc", "4pc", SAME, deadline_s=5) as (a, b):
        handle = a.share(np.arange(50.0))
        a.memory.tamper = lying(f"a/{liar}")
        report = reshare_with_report(handle, b)
        assert report.path == "same hosts"
        opened_before = len(list(b.ledger))
        with pytest.raises(VerificationFailed, match="does not vouch"):
            b.reveal(report.handle)
        assert len(list(b.ledger)) == opened_before


def test_a_malicious_source_takes_the_same_hosts_path_only_to_a_target_that_compares() -> None:
    with pair("4pc", "3pc", SAME) as (a, b):
        x = a.share(np.ones(N))
        assert reshare_with_report(x, b, allow_weaker=True).path == "generic"
        with pytest.raises(Misuse, match="does not apply"):
            reshare(x, b, path="same hosts", allow_weaker=True)
    with pair("4pc", "4pc", ("ABCD", "ABCX")) as (
        a,
        b,
    ):  # one of the three dealers of most words has no server there
        assert reshare_with_report(a.share(np.ones(N)), b).path == "generic"


# ---------------------------------------------------------------------- parties lost on the way

ROUTES = [
    ("3pc", "2pc", OWN, "generic"),
    ("4pc", "4pc", OWN, "generic"),
    ("2pc", "3pc", OWN, "small"),
    ("4pc", "3pc", OWN, "small"),
    ("2pc", "3pc", SAME, "same hosts"),
    ("4pc", "4pc", SAME, "same hosts"),
    ("4pc", "2pc", OWN, "detect"),
    ("4pc", "4pc", OWN, "detect"),
]


def nothing(mpc: Session) -> None:
    return


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("victim", ["a/1", "b/0", "b/1"])
@pytest.mark.parametrize(
    ("source", "target", "hosts", "path"), ROUTES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_party_lost_on_the_way_is_a_typed_error_and_nothing_is_half_converted(
    source: str, target: str, hosts: tuple[str, str], path: str, victim: str, after: int
) -> None:
    """The victim vanishes after it sent `after` frames of the conversion, or as soon as one is sent
    to it."""
    with pair(source, target, hosts, deadline_s=2) as (a, b):
        handle = a.share(np.ones(2))
        a.connect(b)
        gone = (a if victim[0] == "a" else b).workers[int(victim[-1])]
        sent = 0

        def vanish(frm: str, to: str, frame: Frame) -> Frame:
            nonlocal sent
            if victim in (frm, to):
                if sent >= after:
                    gone._endpoint.close()
                sent += frm == victim or victim[0] == "b"
            return frame

        kept = [dict(worker._server._store) for worker in b.workers]
        a.memory.tamper = b.memory.tamper = vanish
        if after == 0:
            gone._endpoint.close()
        try:
            moved = reshare(handle, b, path=path, allow_weaker=True)
        except (ProtocolError, Misuse) as error:
            assert victim in str(error) + "".join(error.__notes__)
        else:
            assert after, "the victim was gone before it began"
            # It had done its part before it vanished; then the conversion is whole.
            a.memory.tamper = b.memory.tamper = None
            assert moved.cluster is b
            return
        a.memory.tamper = b.memory.tamper = None
        try:
            b.run(nothing)
        except (ProtocolError, Misuse) as refused:
            assert "cannot continue" in str(refused) or victim in str(refused) + "".join(
                refused.__notes__
            )
        else:
            assert [dict(worker._server._store) for worker in b.workers] == kept


def test_servers_that_had_finished_drop_what_the_others_could_not_finish() -> None:
    """One receiver of 2PC gets no message from a source server; the other one had everything, and
    must forget it."""
    with pair("3pc", "2pc", deadline_s=1) as (a, b):
        handle = a.share(np.ones(N))

        def drop(frm: str, to: str, frame: Frame) -> Frame | None:
            return None if to == "b/1" and frame.tag.name == "reshare" else frame

        a.memory.tamper = drop
        with pytest.raises(ProtocolError, match="b/1"):
            reshare(handle, b)
        a.memory.tamper = None
        assert any(worker._server._store for worker in b.workers)  # the helper and b/0 had finished
        b.run(nothing)
        assert not any(worker._server._store for worker in b.workers)
        assert np.array_equal(
            b.reveal(reshare(handle, b)), np.ones(N)
        )  # and the conversion can be tried again
