"""Conversion between every ordered pair of sharings: exact, fresh, hidden, and robust against one
lying dealer."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from reshare import plan_for, reshare, reshare_with_report
from wwfl_core import LocalCluster, Phase, Session, SharedTensor
from wwfl_core.channel.frames import Frame
from wwfl_core.errors import Misuse, ProtocolError, VerificationFailed

KINDS = {"2pc": Additive2PC, "3pc": Replicated3PC, "4pc": Tetrad4PC, "plain": Plain}
PAIRS = list(itertools.product(KINDS, KINDS))
EDGES = np.array([0, 1, 2**64 - 1, 2**63, 2**63 - 1, 2**63 + 1, 2**62], np.uint64)


@pytest.fixture(scope="module")
def clusters() -> Iterator[dict[str, dict[str, LocalCluster]]]:
    made = {
        side: {
            kind: LocalCluster(make(), name=f"{side}-{kind}", deadline_s=20)
            for kind, make in KINDS.items()
        }
        for side in ("from", "to")
    }
    yield made
    for side in made.values():
        for cluster in side.values():
            cluster.close()


def ring(mpc: Session, x: SharedTensor) -> np.ndarray | None:
    return mpc.protocol.open(x.data, "test")


def parts(mpc: Session, x: SharedTensor) -> dict[int, np.ndarray]:
    return {c: np.array(a) for c, a in x.data.parts.items()}


def all_parts(cluster: LocalCluster, handle: object) -> list[dict[int, np.ndarray]]:
    return [outcome.value for outcome in cluster.submit(parts, handle).outcomes()]


@pytest.mark.parametrize(("source", "target"), PAIRS)
@settings(max_examples=5, deadline=None)
@given(
    shape=st.sampled_from([(), (0,), (1,), (7,), (3, 5), (2, 3, 4), (2, 0, 3)]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_pair_preserves_every_ring_element_of_any_shape(
    clusters: dict[str, dict[str, LocalCluster]],
    source: str,
    target: str,
    shape: tuple[int, ...],
    seed: int,
) -> None:
    a, b = clusters["from"][source], clusters["to"][target]
    rng = np.random.default_rng(seed)
    x = np.where(
        rng.random(shape) < 0.5, rng.choice(EDGES, shape), rng.integers(0, 2**64, shape, np.uint64)
    )
    moved = reshare(a.share_ring(x.astype(np.uint64), 20), b, allow_weaker=True)
    opened = b.run(ring, moved)
    assert opened.shape == shape
    assert np.array_equal(opened, x)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_bytes_and_rounds_are_those_of_the_plan(
    clusters: dict[str, dict[str, LocalCluster]], source: str, target: str
) -> None:
    a, b = clusters["from"][source], clusters["to"][target]
    n = 1000
    report = reshare_with_report(a.share(np.ones(n)), b, allow_weaker=True)
    reshared = report.cost.bytes_sent(label="reshare")
    assert reshared == plan_for(a, b, 8 * n).bytes_sent(8 * n)
    malicious = a.sharing.security.malicious
    # A malicious source passes a check point (2 rounds) first; its receivers answer with a verdict
    # (1 round).
    assert report.cost.rounds[Phase.ONLINE] == (4 if malicious else 1)
    assert report.cost.bytes_sent(phase=Phase.OFFLINE) == 0
    assert (report.outvoted, report.path, report.local_bytes) == ((), "generic", 0)


@pytest.mark.parametrize("target", ["2pc", "3pc", "4pc"])
@pytest.mark.parametrize("source", ["2pc", "3pc", "4pc"])
def test_target_shares_are_fresh_and_uniform_whatever_the_value(
    clusters: dict[str, dict[str, LocalCluster]], source: str, target: str
) -> None:
    """The same sharing of zero, converted twice, gives unrelated shares whose bytes look uniform at
    every party."""
    a, b = clusters["from"][source], clusters["to"][target]
    zero = a.share_ring(np.zeros(20_000, np.uint64), 20)
    first, second = (all_parts(b, reshare(zero, b, allow_weaker=True)) for _ in range(2))
    for once, again in zip(first, second, strict=True):
        for component, array in once.items():
            assert not np.any(array == again[component])
            counts = np.bincount(array.view(np.uint8), minlength=256)
            expected = array.nbytes / 256
            chi2 = ((counts - expected) ** 2 / expected).sum()
            assert chi2 < 255 + 6 * np.sqrt(2 * 255), f"component {component}: chi^2 {chi2:.0f}"


@pytest.mark.parametrize(
    ("source", "target"), [("2pc", "3pc"), ("3pc", "4pc"), ("4pc", "2pc"), ("3pc", "2pc")]
)
def test_no_message_of_a_conversion_shows_the_value(source: str, target: str) -> None:
    """No message repeats for two secrets, and a constant secret never gives a constant message."""
    views: list[dict[tuple[str, str], list[bytes]]] = []
    a_kind, b_kind = KINDS[source](), KINDS[target]()
    with (
        LocalCluster(a_kind, name="a", insecure_seed=1) as a,
        LocalCluster(b_kind, name="b", insecure_seed=2) as b,
    ):
        seen: dict[tuple[str, str], list[bytes]] = {}

        def wiretap(sender: str, receiver: str, frame: Frame) -> Frame:
            if frame.tag.name == "reshare":
                seen.setdefault((sender, receiver), []).append(np.array(frame.payload).tobytes())
            return frame

        a.memory.tamper = wiretap
        for value in (np.zeros(512), np.full(512, 3.25)):
            reshare(a.share(value), b, allow_weaker=True)
            views.append(dict(seen))
            seen.clear()
        b.memory.tamper = None
    for link in views[0]:
        for first, second in zip(views[0][link], views[1][link], strict=True):
            if len(first) >= 512:
                assert first != second
                plain = np.frombuffer(second, np.uint64)
                assert len(np.unique(plain)) == 512, (
                    "a constant secret must not give a constant message"
                )


def test_shares_of_bits_are_converted_too(clusters: dict[str, dict[str, LocalCluster]]) -> None:
    x = np.random.default_rng(5).normal(size=77)
    a, b = clusters["from"]["3pc"], clusters["to"]["4pc"]
    bits = a.run(negative, a.share(x))
    assert np.array_equal(b.run(reveal_bits, reshare(bits, b)), x < 0)


def negative(mpc: Session, x: SharedTensor) -> object:
    return x.negative()


def reveal_bits(mpc: Session, x: SharedTensor) -> object:
    return mpc.reveal(x)


@pytest.mark.parametrize(("here", "there"), [(20, 16), (16, 20), (20, 20)])
def test_a_tensor_takes_the_format_of_its_new_cluster(here: int, there: int) -> None:
    x = np.random.default_rng(6).normal(size=100)
    with (
        LocalCluster(Replicated3PC(frac_bits=here), name="a") as a,
        LocalCluster(Tetrad4PC(frac_bits=there), name="b") as b,
    ):
        moved = reshare(a.share(x), b)
        assert moved.ref.frac_bits == there
        assert np.abs(b.reveal(moved) - x).max() <= 2.0 ** -min(here, there) + 2.0 ** -(here + 1)
        integers = reshare(a.share_ring(np.arange(5, dtype=np.uint64), 0), b)
        assert integers.ref.frac_bits == 0
        assert np.array_equal(b.reveal(integers), np.arange(5))


@pytest.mark.parametrize("liar", range(4))
@pytest.mark.parametrize("target", ["2pc", "3pc", "4pc"])
def test_a_tetrad_party_that_lies_in_any_message_is_outvoted_and_named(
    liar: int, target: str
) -> None:
    """Every message of the conversion that party `liar` sends is altered at once; the value still
    arrives."""
    x = np.arange(50, dtype=np.uint64)
    with (
        LocalCluster(Tetrad4PC(), name="a", deadline_s=10) as a,
        LocalCluster(KINDS[target](), name="b", deadline_s=10) as b,
    ):
        altered = 0

        def lie(sender: str, receiver: str, frame: Frame) -> Frame:
            nonlocal altered
            if sender == f"a/{liar}" and receiver.startswith("b/") and frame.tag.name == "reshare":
                if frame.payload.size:
                    altered += 1
                return dataclasses.replace(
                    frame, payload=np.array(frame.payload) ^ frame.payload.dtype.type(1)
                )
            return frame

        handle = a.share_ring(x, 20)
        a.memory.tamper = lie
        report = reshare_with_report(handle, b, allow_weaker=True)
        a.memory.tamper = None
        assert altered > 0
        assert np.array_equal(b.run(ring, report.handle), x)
        assert report.outvoted == (f"a/{liar}",)


def test_two_lying_dealers_are_too_many_and_nothing_is_converted() -> None:
    with (
        LocalCluster(Tetrad4PC(), name="a", deadline_s=10) as a,
        LocalCluster(Additive2PC(), name="b", deadline_s=10) as b,
    ):
        handle = a.share(np.ones(10))
        number = iter(range(1, 10**6))

        def lie(sender: str, receiver: str, frame: Frame) -> Frame:
            if sender in ("a/0", "a/1") and receiver.startswith("b/"):
                noise = frame.payload.dtype.type(next(number) % 251 + 1)
                return dataclasses.replace(frame, payload=np.array(frame.payload) ^ noise)
            return frame

        a.memory.tamper = lie
        with pytest.raises(VerificationFailed, match="disagree"):
            reshare(handle, b, allow_weaker=True)


@pytest.mark.parametrize("lost", ["a/1", "b/0"])
def test_a_party_lost_on_either_side_is_a_typed_error_in_bounded_time(lost: str) -> None:
    with (
        LocalCluster(Replicated3PC(), name="a", deadline_s=5) as a,
        LocalCluster(Tetrad4PC(), name="b", deadline_s=5) as b,
    ):
        handle = a.share(np.ones(10))
        side = a if lost.startswith("a") else b
        a.connect(b)
        side.workers[int(lost[-1])]._endpoint.close()
        with pytest.raises((ProtocolError, Misuse)) as raised:
            reshare(handle, b)
        assert lost in str(raised.value) + str(raised.value.__notes__)


def test_overlap_and_self_conversion_are_refused_before_anything_is_sent() -> None:
    with (
        LocalCluster(Replicated3PC(), name="same") as a,
        LocalCluster(Additive2PC(), name="same") as b,
    ):
        handle = a.share(np.ones(3))
        with pytest.raises(Misuse, match="have the same name"):
            reshare(handle, b)
        with pytest.raises(Misuse, match="already lives"):
            reshare(handle, a)
