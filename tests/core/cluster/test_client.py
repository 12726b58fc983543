"""A value for a client: only it learns the value, one lying server of Tetrad is outvoted, every
byte is counted."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import (
    ADDITIVE_2PC,
    REPLICATED_3PC,
    TETRAD_4PC,
    Additive2PC,
    Additive2PCOT,
    Plain,
    Replicated3PC,
    Tetrad4PC,
)
from backends.shamir import Shamir
from helpers import Wiretap, rng, words
from wwfl_core import LocalCluster, MPCBackend, Session, SharedTensor
from wwfl_core.channel.cost import Phase
from wwfl_core.cluster.client import (
    _are_elements,
    accept,
    client_shares,
    combine,
    duties,
    hand_over,
)
from wwfl_core.cluster.local import PerParty
from wwfl_core.errors import Misuse, Refused, VerificationFailed
from wwfl_core.numbers.algebra import RING
from wwfl_core.numbers.field import PrimeField
from wwfl_core.party.transcript import digest
from wwfl_core.party.verification import CHECK_LABELS
from wwfl_core.sharing.points import shamir
from wwfl_core.sharing.semantics import Security, SharingSemantics

PROTOCOLS: dict[str, Callable[[], MPCBackend]] = {
    "plain": Plain,
    "2pc": Additive2PC,
    "3pc": Replicated3PC,
    "4pc": Tetrad4PC,
}
ELEMENTS = 12
# Every required component once; in Tetrad twice in full and once as a digest.
BYTES = {
    "plain": 8 * ELEMENTS,
    "2pc": 2 * 8 * ELEMENTS,
    "3pc": 3 * 8 * ELEMENTS,
    "4pc": 4 * (2 * 8 * ELEMENTS + 32),
}


def product(mpc: Session, x: SharedTensor) -> dict[str, Any]:
    return {"number": x * x, "bits": x < 0.0, "integer": (x < 0.0).to_integers()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_client_gets_the_value_and_the_servers_do_not(protocol: str) -> None:
    x = rng().normal(size=(3, 4))
    with LocalCluster(PROTOCOLS[protocol]()) as c:
        found = c.run(product, c.share(x))
        c.memory.tamper = tap = Wiretap()
        got = c.reveal_to_client(found["number"], "alice", "a test")
        sent = [frame.tag.name for *_, frame in tap.frames]
        assert set(sent) <= set(CHECK_LABELS), (
            "servers compare tags of digests and send nothing else"
        )
        assert np.abs(got.value - x * x).max() < 1e-4 and got.outvoted == ()
        assert (
            c.last_cost.bytes_sent() - sum(frame.payload.nbytes for *_, frame in tap.frames)
            == BYTES[protocol]
        )
        assert {link.receiver for link in c.last_cost.links if link.label == "answer"} == {"client"}
        assert np.array_equal(c.reveal_to_client(found["bits"], "alice", "bits").value, x < 0)
        assert np.array_equal(
            c.reveal_to_client(found["integer"], "alice", "integers").value, (x < 0).astype(int)
        )
        assert next((o.to, o.reason, o.count) for o in c.ledger) == (
            "client alice",
            "a test",
            ELEMENTS,
        )


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (5,)], ids=str)
@pytest.mark.parametrize("protocol", [*PROTOCOLS, "2pc-ot"])
def test_values_of_any_shape_go_from_client_to_client(
    protocol: str, shape: tuple[int, ...]
) -> None:
    x = rng().normal(size=shape)
    with LocalCluster({**PROTOCOLS, "2pc-ot": Additive2PCOT}[protocol]()) as c:
        shared = c.share(x)
        got = c.reveal_to_client(shared, "alice", "a test")
        assert (
            got.value.shape == shape
            and np.abs(got.value - x).max(initial=0) < 1e-5
            and got.outvoted == ()
        )
        assert np.abs(c.reveal(shared) - x).max(initial=0) < 1e-5


@pytest.mark.slow
def test_servers_that_are_processes_answer_clients_too() -> None:
    x = rng().normal(size=5)
    with LocalCluster(Tetrad4PC(), processes=True) as c:
        assert np.abs(c.reveal_to_client(c.share(x), "alice", "a test").value - x).max() < 1e-5


@pytest.mark.skipif(find_spec("mpyc") is None, reason="Shamir runs on MPyC")
def test_points_of_a_polynomial_reach_the_client() -> None:
    x = rng().normal(size=6)
    with LocalCluster(Shamir(5)) as c:
        assert np.abs(c.reveal_to_client(c.share(x), "bob", "a test").value - x).max() < 1e-5
        assert (
            sum(n for link, (n, _) in c.last_cost.links.items() if link.label == "answer")
            == 3 * 16 * 6
        )


def corrupt(cluster: LocalCluster, handle: Any, party: int) -> None:
    """Party `party` changes what it keeps of a tensor; the others do not notice before a check
    point."""
    share = cluster.workers[party]._server._store[handle.ref.id].data
    for component, array in share.parts.items():
        share.parts[component] = array + np.uint64(1)


@pytest.mark.parametrize("liar", range(4))
def test_one_lying_server_of_tetrad_is_outvoted_by_name(liar: int) -> None:
    x = rng().normal(size=(3, 4))
    with LocalCluster(Tetrad4PC(), name="g") as c:
        handle = c.share(x)
        c.run(pass_checkpoint)
        corrupt(c, handle, liar)
        got = c.reveal_to_client(handle, "alice", "a test")
        assert np.abs(got.value - x).max() < 1e-5
        assert got.outvoted == (f"g/{liar}",)


def test_two_lying_servers_of_tetrad_are_not_believed() -> None:
    with LocalCluster(Tetrad4PC()) as c:
        handle = c.share(np.ones(4))
        c.run(pass_checkpoint)
        corrupt(c, handle, 0)
        corrupt(c, handle, 1)
        corrupt(c, handle, 1)  # another lie than the first one's
        with pytest.raises(VerificationFailed, match="fewer than 2"):
            c.reveal_to_client(handle, "alice", "a test")


def pass_checkpoint(mpc: Session) -> None:
    mpc.verify()


TWO_HOLDERS = SharingSemantics(
    "three parties, two holders", 3, REPLICATED_3PC.holders, (1, 1, 1), Security(True)
)


@given(
    st.integers(0, 2),
    st.sampled_from(["value", "shape", "nothing", "text", "digest"]),
    st.integers(0, 2**32),
)
def test_with_two_holders_a_lie_is_detected(liar: int, how: str, seed: int) -> None:
    g = np.random.default_rng(seed)
    value = words(g, 5)
    parts = {0: words(g, 5), 1: words(g, 5)}
    parts[2] = value - parts[0] - parts[1]
    handed: list[Any] = [
        {c: parts[c] if full else digest(parts[c]).tobytes() for c, full in duties(TWO_HOLDERS, p)}
        for p in range(3)
    ]
    assert np.array_equal(combine(TWO_HOLDERS, RING, (5,), handed)[0], value)
    lies = {
        "value": {
            c: a + np.uint64(1) if isinstance(a, np.ndarray) else a for c, a in handed[liar].items()
        },
        "shape": {c: a[:-1] for c, a in handed[liar].items()},
        "nothing": None,
        "text": "hello",
        "digest": {c: bytes(32) for c in handed[liar]},
    }
    handed[liar] = lies[how]
    with pytest.raises(VerificationFailed, match=r"component \d of a value for a client"):
        combine(TWO_HOLDERS, RING, (5,), handed)


@given(st.sampled_from([ADDITIVE_2PC, REPLICATED_3PC, TETRAD_4PC, shamir(3), shamir(5)]))
def test_every_required_component_is_handed_over_and_each_by_a_holder(
    sharing: SharingSemantics,
) -> None:
    full = [c for p in range(sharing.parties) for c, whole in duties(sharing, p) if whole]
    copies = 2 if sharing.security.malicious else 1
    assert sorted(full) == sorted(c for c in sharing.required for _ in range(copies))
    assert all(
        p in sharing.holders[c] for p in range(sharing.parties) for c, _ in duties(sharing, p)
    )


def zeros_of(mpc: Session, n: int) -> dict[int, Any]:
    """What this party hands over of a constant, which is no secret and shared without any mask."""
    return hand_over(mpc, mpc.public_tensor(np.ones(n)), "alice", "a test")


@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
def test_what_a_client_sees_is_a_uniform_sharing_however_the_value_was_shared(
    protocol: str,
) -> None:
    rng()
    with LocalCluster(PROTOCOLS[protocol]()) as c:
        handed = [o.value for o in c.submit(zeros_of, 4096).outcomes()]
        parts = {k: a for pieces in handed for k, a in pieces.items()}
        value, _ = combine(c.sharing, RING, (4096,), handed)
        assert np.array_equal(value, np.full(4096, 1 << 20, np.uint64))
        for component, array in parts.items():
            counts = np.bincount(array.view(np.uint8), minlength=256)
            expected = array.nbytes / 256
            assert ((counts - expected) ** 2 / expected).sum() < 255 + 7 * np.sqrt(510), component


def test_a_field_element_of_a_foreign_form_is_a_missing_component() -> None:
    sharing, field = shamir(3), PrimeField()
    points = sharing.complete(
        field, field.from_words(np.arange(4, dtype=np.uint64)), {0: field.zeros((4,))}
    )
    handed: list[Any] = [{0: field.zeros((4,))}, {1: points[1]}, {}]
    assert list(combine(sharing, field, (4,), handed)[0]) == [0, 1, 2, 3]
    with pytest.raises(VerificationFailed, match="component 1"):
        combine(sharing, field, (4,), [handed[0], {1: points[1][:2]}, {}])


class Never:
    """A guard that permits nothing."""

    def admit(self, reason: str, to: str, shape: tuple[int, ...]) -> str:
        raise Refused(f"{reason} is not for {to}", "never")

    def admit_move(self, to: Any) -> None:
        raise Refused("values stay here", "never")


def install(mpc: Session) -> None:
    mpc.party.guard = Never()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_guard_refuses_before_anything_is_sent_and_the_cluster_goes_on(protocol: str) -> None:
    from reshare import reshare

    with LocalCluster(PROTOCOLS[protocol]()) as c, LocalCluster(PROTOCOLS[protocol]()) as other:
        x = c.share(np.ones(3))
        c.run(pass_checkpoint)
        c.run(install)
        c.memory.tamper = tap = Wiretap()
        for ask in (
            lambda: c.reveal(x, "curiosity"),
            lambda: c.reveal_to_client(x, "alice", "curiosity"),
            lambda: reshare(x, to=other, allow_weaker=True),
        ):
            with pytest.raises(Refused) as refusal:
                ask()
            assert refusal.value.rule == "never"
        assert not tap.frames and len(c.ledger) == 0
        assert c.run(product, x)["number"].shape == (3,)


def test_a_handle_of_another_cluster_is_not_revealed() -> None:
    with LocalCluster(Plain()) as a, LocalCluster(Plain()) as b, pytest.raises(Misuse):
        b.reveal_to_client(a.share([1.0]), "alice", "a test")


def test_rounds_of_the_check_point_are_all_that_an_answer_costs_the_servers() -> None:
    with LocalCluster(Tetrad4PC()) as c:
        x = c.share(np.ones(4))
        c.reveal_to_client(x, "alice", "a test")
        assert c.last_cost.rounds[Phase.ONLINE] == 2


def unlike(parts: list[dict[int, Any]], how: str) -> list[dict[int, Any]]:
    """What a client might send instead, to every server alike."""
    changes: dict[str, Callable[[dict[int, Any]], dict[int, Any]]] = {
        "a component is missing": lambda p: dict(list(p.items())[1:]),
        "one component too many": lambda p: p | {9: bytes(32)},
        "another shape": lambda p: {c: m if isinstance(m, bytes) else m[:-1] for c, m in p.items()},
        "another dtype": lambda p: {
            c: m if isinstance(m, bytes) else m.astype(np.float64) for c, m in p.items()
        },
        "a short seed": lambda p: {c: m[:-1] if isinstance(m, bytes) else m for c, m in p.items()},
        "a seed for all": lambda p: dict.fromkeys(p, bytes(32)),
        "no dictionary": lambda p: [*p.values()],  # type: ignore[return-value]
    }
    return [changes[how](p) if p else p for p in parts]


@pytest.mark.parametrize("protocol", ["2pc", "3pc", "4pc"])
def test_servers_refuse_a_clients_components_that_are_none(protocol: str) -> None:
    """Before they are used; if all servers refuse them, the cluster goes on."""
    ring = np.arange(ELEMENTS, dtype=np.uint64)
    with LocalCluster(PROTOCOLS[protocol]()) as c:
        parts, _ = client_shares(c.sharing, RING, ring, b"k" * 32)
        for how in ("a component is missing", "one component too many", "no dictionary"):
            with pytest.raises(Misuse, match="a client sent"):
                c.run(accept, PerParty(tuple(unlike(parts, how))), ring.shape, 0)
        assert np.array_equal(c.reveal(c.share_ring(ring, 0)), np.arange(ELEMENTS))
    for how in (
        "another shape",
        "another dtype",
        "a short seed",
        "a seed for all",
    ):  # some servers get only seeds
        with LocalCluster(PROTOCOLS[protocol]()) as c:
            outcomes = c.submit(
                accept, PerParty(tuple(unlike(parts, how))), ring.shape, 0
            ).outcomes()
        assert any(isinstance(o.error, Misuse) for o in outcomes), how
        assert all(isinstance(o.error, Misuse | type(None)) for o in outcomes), how


def test_a_field_has_no_elements_beyond_its_prime() -> None:
    field = PrimeField()
    assert _are_elements(np.array([0, field.modulus - 1], object), field, (2,))
    for wrong in (field.modulus, -1, 1.5, None):
        assert not _are_elements(np.array([0, wrong], object), field, (2,))
