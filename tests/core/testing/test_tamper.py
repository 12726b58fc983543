"""One corrupt party of Tetrad: whatever message it alters or drops, no honest party ever opens a
wrong value.

The program is run once as it should be; then, with the same (public) keys, once per message of
every party with that message changed. Whether a change is noticed may depend on the message, never
on the secrets (selective failure)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from backends import TETRAD_4PC, Replicated3PC, Tetrad4PC
from helpers import Wiretap, product, rng
from wwfl_core import LocalCluster, MatMul, MPCBackend, Session, SharedTensor, WwflError
from wwfl_core.channel.frames import Frame
from wwfl_core.cluster.client import accept, client_shares
from wwfl_core.cluster.local import PerParty
from wwfl_core.errors import (
    DeadlineExceeded,
    Desync,
    PeerAborted,
    ProtocolError,
    VerificationFailed,
)
from wwfl_core.numbers.algebra import RING
from wwfl_core.party.verification import CHECK_LABELS

SECRETS = (np.array([[3.5, -2.0], [0.25, 1.0]]), np.array([[-1.5, 4.0], [2.0, -0.75]]))
OTHER_SECRETS = (np.array([[-7.0, 8.5], [0.0, -1.0]]), np.array([[0.5, -6.0], [-3.0, 9.75]]))


def program(mpc: Session, x: np.ndarray, y: np.ndarray) -> list[np.ndarray | None]:
    """Every gate and every owner; returns what this party sees opened."""
    a, b = mpc.share(x, 0), mpc.share(y, 3)
    a2, b2 = mpc.share(x, 1), mpc.share(y, 2)
    gates = [
        product(mpc, a, b),
        a * b2,
        SharedTensor(mpc, mpc.protocol.bilinear(MatMul(), a.data, b.data), 40),
        a.truncate(5),
    ]
    first = [mpc.reveal(g) for g in (*gates, a, b, a2, b2)]
    sign = (a2 - b).negative(30)
    bits = [sign, sign & b2.negative(27)]
    later = [mpc.reveal(s) for s in (*bits, sign.to_integers(), sign.times(b))]
    return [*first, *later, mpc.reveal(a2 @ b2, to=[0, 3])]


class Attack(NamedTuple):
    """What party `party` does to the `index`-th message that it sends."""

    party: int
    index: int
    change: Callable[[np.ndarray], np.ndarray] | None


def flip(bit: int, element: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    def change(payload: np.ndarray) -> np.ndarray:
        altered = np.array(payload).reshape(-1)
        altered[element % altered.size] ^= altered.dtype.type(1 << (bit % (8 * altered.itemsize)))
        return altered.reshape(payload.shape)

    change.__name__ = f"flip bit {bit} of element {element}"
    return change


def zeros(payload: np.ndarray) -> np.ndarray:
    return np.zeros_like(payload)


def start(protocol: MPCBackend, deadline_s: float = 20.0) -> LocalCluster:
    return LocalCluster(protocol, name="tampered", insecure_seed=7, deadline_s=deadline_s)


def tap(attack: Attack | None) -> Wiretap:
    def alter(sender: int, i: int, frame: Frame) -> Frame | None:
        if attack is None or (sender, i) != (attack.party, attack.index):
            return frame
        if attack.change is None:
            return None
        return dataclasses.replace(frame, payload=attack.change(frame.payload))

    return Wiretap(alter)


def execute(
    attack: Attack | None,
    secrets: tuple[np.ndarray, np.ndarray] = SECRETS,
    deadline_s: float = 20.0,
) -> Any:
    with start(Tetrad4PC(), deadline_s) as c:
        c.memory.tamper = wiretap = tap(attack)
        outcomes = c.submit(program, *secrets).outcomes()
    return outcomes, wiretap.frames


def same(a: list[np.ndarray | None], b: list[np.ndarray | None]) -> bool:
    return all(
        (x is None) == (y is None) and (x is None or np.array_equal(x, y))
        for x, y in zip(a, b, strict=True)
    )


def noticed(
    attack: Attack, reference: list[Any], secrets: tuple[np.ndarray, np.ndarray] = SECRETS
) -> bool:
    """Runs the attack; fails the test if an honest party sees a wrong value. Whether any honest
    party complained."""
    outcomes, _ = execute(attack, secrets)
    complaints = 0
    for party, outcome in enumerate(outcomes):
        if party == attack.party:
            continue
        if outcome.error is None:
            assert same(outcome.value, reference[party]), (
                f"{attack}: party {party} opened a wrong value"
            )
        else:
            assert isinstance(outcome.error, WwflError), f"{attack}: {outcome.error!r}"
            complaints += 1
    return complaints > 0


@pytest.fixture(scope="module")
def honest() -> tuple[list[Any], list[tuple[int, int, int, Frame]]]:
    outcomes, frames = execute(None)
    assert [o.error for o in outcomes] == [None] * 4
    return [o.value for o in outcomes], frames


def test_the_honest_run_is_right_and_reproducible(honest: Any) -> None:
    reference, frames = honest
    (x, y), values = SECRETS, reference[0]
    assert all(same(v[:-1], values[:-1]) for v in reference) and reference[1][-1] is None
    gates = (
        x * y,
        x * y,
        x @ y,
        x,
        x,
        y,
        x,
        y,
        x < y,
        (x < y) & (y < 0),
        x < y,
        (x < y) * y,
        x @ y,
    )
    for got, want in zip(values, gates, strict=True):
        assert np.abs(got.astype(float) - want).max() < 2**-14
    again = execute(None)[1]
    order = [
        {s: [f.payload.tobytes() for p, _, _, f in run if p == s] for s in range(4)}
        for run in (frames, again)
    ]
    assert order[0] == order[1]
    assert {s for s, _, _, _ in frames} == {0, 1, 2, 3}


def kinds(
    frames: list[tuple[int, int, int, Frame]],
) -> dict[tuple[Any, ...], list[tuple[int, int]]]:
    """Messages (sender, index) by kind."""
    found: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
    for sender, receiver, i, frame in frames:
        key = sender, receiver, frame.tag.name, frame.tag.phase, frame.payload.dtype.str
        found.setdefault(key, []).append((sender, i))
    return found


def test_no_altered_message_of_any_kind_makes_an_honest_party_accept_a_wrong_value(
    honest: Any,
) -> None:
    """One message of every kind (sender, receiver, operation, phase); the slow test below does all
    of them."""
    g, (reference, frames) = rng(), honest
    by_kind = kinds(frames)
    assert {kind[0] for kind in by_kind} == {0, 1, 2, 3} and len(by_kind) > 60
    unnoticed = []
    for kind, messages in by_kind.items():
        party, index = messages[g.integers(len(messages))]
        attack = Attack(party, index, flip(int(g.integers(64)), 0))
        if not noticed(attack, reference):
            unnoticed.append((kind, attack))
    # A flip goes unnoticed only where it changes nothing: one digest of two in an opening.
    assert {kind[2] for kind, _ in unnoticed} <= {"open"}, unnoticed


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "change", [flip(0), flip(63), flip(1, -1), flip(62, 1), zeros], ids=lambda f: f.__name__
)
def test_no_altered_message_at_all_makes_an_honest_party_accept_a_wrong_value(
    honest: Any, change: Any
) -> None:
    reference, frames = honest
    unnoticed = set()
    for sender, _, i, frame in frames:
        if not np.array_equal(change(frame.payload), frame.payload) and not noticed(
            Attack(sender, i, change), reference
        ):
            unnoticed.add((frame.tag.name, frame.payload.dtype.str))
    allowed = {("open", "|u1")}
    if change.__name__ == "flip bit 1 of element -1":
        allowed |= {
            ("truncate", "|u1"),
            ("mul", "|u1"),
        }  # padding bits of packed words, which nobody reads
    assert unnoticed <= allowed


def test_whether_an_attack_is_noticed_does_not_depend_on_the_secrets(honest: Any) -> None:
    """CS4 knows all lambdas and sends words that only the check value vouches for: the top bit is
    its best try."""
    reference, frames = honest
    outcomes, _ = execute(None, OTHER_SECRETS)
    other = [o.value for o in outcomes]
    assert not same(reference[0], other[0])
    words = [
        (s, i)
        for s, r, i, f in frames
        if (s, r) == (3, 0) and f.tag.phase == "offline" and f.tag.name not in CHECK_LABELS
    ]
    assert len(words) >= 8
    for party, index in words:
        for change in (flip(63), flip(0, 1)):
            verdicts = [
                noticed(Attack(party, index, change), v, s)
                for v, s in ((reference, SECRETS), (other, OTHER_SECRETS))
            ]
            assert verdicts[0] == verdicts[1], (party, index, change.__name__)


@pytest.mark.parametrize("party", range(4))
def test_a_party_that_alters_many_messages_at_once_is_no_stronger(honest: Any, party: int) -> None:
    g, (reference, frames) = rng(), honest
    noise = g.integers(0, 256, 4096, np.uint8)
    for _ in range(12):
        chosen = {i for s, _, i, _ in frames if s == party and g.random() < 0.2}

        def alter(sender: int, i: int, frame: Frame, chosen: set[int] = chosen) -> Frame | None:
            if sender != party or i not in chosen:
                return frame
            raw = (
                noise[: frame.payload.nbytes].view(frame.payload.dtype).reshape(frame.payload.shape)
            )
            return dataclasses.replace(frame, payload=frame.payload ^ raw)

        with start(Tetrad4PC()) as c:
            c.memory.tamper = Wiretap(alter)
            outcomes = c.submit(program, *SECRETS).outcomes()
        for other, outcome in enumerate(outcomes):
            assert (
                other == party or outcome.error is not None or same(outcome.value, reference[other])
            )


def one_gate(
    mpc: Session, x: np.ndarray, y: np.ndarray, gate: str, liar: int, component: int
) -> Any:
    """One gate and its opening; `liar` computes with a wrong copy of one component from the
    start."""
    a, b = mpc.share(x, 0), mpc.share(y, 3)
    s = b.negative(30)
    mpc.verify()
    for operand in (a.data, s.data):
        if mpc.me == liar:
            held = operand.parts[component]
            operand.parts[component] = held ^ held.dtype.type(
                0x5BD1E995A7C3F061 % (1 << 8 * held.itemsize)
            )
    result = {
        "product": lambda: product(mpc, a, b),
        "truncated product": lambda: a * b,
        "matrix product": lambda: a @ b,
        "truncation": lambda: a.truncate(5),
        "comparison": lambda: a.negative(26),
        "and": lambda: s & b.negative(27),
        "bit to ring": s.to_integers,
        "injection": lambda: s.times(a),
        "nothing": lambda: a,
    }[gate]()
    return mpc.reveal(result)


GATES = (
    "product",
    "truncated product",
    "matrix product",
    "truncation",
    "comparison",
    "and",
    "bit to ring",
    "injection",
)


@pytest.mark.parametrize("gate", [*GATES, "nothing"])
def test_a_party_that_consistently_computes_with_a_wrong_copy_is_no_stronger(gate: str) -> None:
    """Its messages and its digests fit each other, but not those of the others."""
    with start(Tetrad4PC()) as c:
        right = c.run(one_gate, *SECRETS, gate, -1, 0)
    complaints = 0
    for liar in range(4):
        for component in TETRAD_4PC.held_by(liar):
            with start(Tetrad4PC()) as c:
                outcomes = c.submit(one_gate, *SECRETS, gate, liar, component).outcomes()
            for other, outcome in enumerate(outcomes):
                assert (
                    other == liar
                    or outcome.error is not None
                    or np.array_equal(outcome.value, right)
                )
                complaints += other != liar and outcome.error is not None
    assert complaints > 0


def test_a_dropped_message_ends_the_run_at_every_honest_party(honest: Any) -> None:
    g, (reference, frames) = rng(), honest
    for party in range(4):
        mine = [i for s, _, i, _ in frames if s == party]
        for index in (mine[0], int(g.choice(mine)), mine[-1]):
            outcomes, _ = execute(Attack(party, index, None), deadline_s=0.4)
            for other, outcome in enumerate(outcomes):
                if other != party and outcome.error is None:
                    assert same(outcome.value, reference[other])
                elif other != party:
                    assert isinstance(outcome.error, DeadlineExceeded | PeerAborted | Desync), (
                        outcome.error
                    )
            assert any(o.error is not None for o in outcomes)


def test_a_failed_verification_names_nobody_and_ends_the_cluster(honest: Any) -> None:
    _, frames = honest
    index = next(i for s, _, i, f in frames if s == 1 and f.tag.name == "mul")
    with start(Tetrad4PC()) as c:
        c.memory.tamper = tap(Attack(1, index, flip(5)))
        with pytest.raises(VerificationFailed, match="another party does not vouch for") as caught:
            c.run(program, *SECRETS)
        assert "Nothing was opened" in str(caught.value)
        assert len(caught.value.__notes__) >= 4  # the others' reactions
        assert not list(c.ledger)
        c.memory.tamper = None
        for _ in range(2):
            with pytest.raises(
                ProtocolError, match=r"cannot continue: VerificationFailed.*make a new cluster"
            ):
                c.run(program, *SECRETS)


def share_and_open(mpc: Session, x: np.ndarray, owner: int) -> Any:
    return mpc.reveal(mpc.share(x, owner))


@pytest.mark.parametrize("owner", range(4))
def test_an_owner_that_deals_different_copies_is_noticed_even_if_nothing_is_computed(
    owner: int,
) -> None:
    for index in range(len(TETRAD_4PC.deal_plan((owner,)).receivers)):
        with start(Tetrad4PC()) as c:
            c.memory.tamper = tap(Attack(owner, index, flip(7)))
            outcomes = c.submit(share_and_open, SECRETS[0], owner).outcomes()
        assert all(o.error is not None for party, o in enumerate(outcomes) if party != owner)
        assert any(
            isinstance(o.error, VerificationFailed)
            for party, o in enumerate(outcomes)
            if party != owner
        )


@pytest.mark.parametrize("elements", [3, 9], ids=["masks in full", "masks as seeds"])
def test_a_client_that_hands_out_different_copies_is_noticed(elements: int) -> None:
    ring = np.arange(elements, dtype=np.uint64)
    for victim in range(4):
        for component in TETRAD_4PC.held_by(victim):
            with start(Tetrad4PC()) as c:
                parts, _ = client_shares(c.sharing, RING, ring, b"k" * 32)
                given = parts[victim][component]
                parts[victim][component] = bytes(32) if isinstance(given, bytes) else flip(9)(given)
                handle = c.run(accept, PerParty(tuple(parts)), ring.shape, 0)
                with pytest.raises(VerificationFailed, match="does not vouch for"):
                    c.reveal(handle)


class Tapped(LocalCluster):
    """A cluster that is tampered with from its very first message."""

    attack: Attack

    def _start(self) -> None:
        super()._start()
        self.memory.tamper = self.tap = tap(self.attack)


def test_a_leader_that_hands_out_different_keys_is_noticed() -> None:
    Tapped.attack = Attack(99, 0, None)
    with Tapped(Tetrad4PC()) as c:
        sent = [(s, i) for s, _, i, f in c.tap.frames if f.tag.name == "keys"]
    assert len(sent) == 17  # every set of two, three and four parties
    for party, index in sent:
        Tapped.attack = Attack(party, index, flip(3))
        with pytest.raises(VerificationFailed, match="does not vouch for"):
            Tapped(Tetrad4PC(), deadline_s=10.0)


# ------------------------------------------------------------------- what the others do not promise


def multiply(mpc: Session, x: np.ndarray, y: np.ndarray) -> Any:
    return mpc.protocol.open(product(mpc, mpc.share(x, 0), mpc.share(y, 1)).data, "test")


def test_a_semi_honest_protocol_does_not_notice_an_additive_attack() -> None:
    """Documents the limit of 3PC: a party that adds 1 to a message changes the result, and nobody
    sees it."""
    x, y = SECRETS
    with start(Replicated3PC()) as c:
        c.memory.tamper = wiretap = tap(None)
        right = c.run(multiply, x, y)
        index = next(i for s, _, i, f in wiretap.frames if s == 1 and f.tag.name == "mul")
    with start(Replicated3PC()) as c:
        c.memory.tamper = tap(Attack(1, index, lambda a: a + np.uint64(1)))
        outcomes = c.submit(multiply, x, y).outcomes()
    assert [o.error for o in outcomes] == [None] * 3
    assert any((o.value == right + np.uint64(1)).all() for p, o in enumerate(outcomes) if p != 1)
