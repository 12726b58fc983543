"""A check point tells who deviated nothing but that the run ends.

A liar feeds an honest party a wrong value; what that party computes from it depends on secrets in a
way that the liar knows up to a few candidates. Whatever the liar then receives at the check point
must not single one of them out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import reduce
from itertools import chain, combinations
from typing import Any

import numpy as np
import pytest
from blake3 import blake3

from backends import Tetrad4PC
from helpers import Wiretap, product
from wwfl_core import LocalCluster, Session
from wwfl_core.channel.frames import Frame
from wwfl_core.errors import PeerAborted, VerificationFailed
from wwfl_core.party.verification import CHECK_LABELS

CS1, CS2, CS3, CS4 = range(4)
M, L3 = 0, 3
SECRET, CANDIDATES = 23, range(-40, 41)


class View:
    """What CS2 knows: what CS1 ought to vouch for to it, its components of x, its keys and tags of
    the check point."""

    def __init__(self, error: int) -> None:
        self.error = error  # what CS2 adds to the copy of y's m that it sends CS1
        self.heard: list[tuple[int, np.ndarray]] = []
        self.x: dict[int, np.ndarray] = {}
        self.keys: dict[int, bytes] = {}
        self.tags: dict[int, bytes] = {}
        self.said = b""

    def digest_if(self, secret: int) -> bytes:
        """The digest of what CS1 vouches for to CS2, if x is `secret`."""
        m, l3 = self.x[M], self.x[L3]
        words = (m - l3 - np.uint64(secret % 2**64)).reshape(
            -1
        )  # l1 + l2 of x, by which the error gets into v
        state = blake3()
        for position, (op, value) in enumerate(self.heard):
            check_value = position == len(self.heard) - 1
            data = (
                value.reshape(-1) - words * np.uint64(self.error) if check_value else value
            ).tobytes()
            state.update(op.to_bytes(8, "little") + len(data).to_bytes(8, "little") + data)
        return state.digest()

    def tag_if(self, secret: int) -> bytes:
        """CS1's tag for CS2."""
        ways = (CS1, self.digest_if(secret)), (CS2, self.said)
        return xor(
            blake3(who.to_bytes(4, "little") + of, key=self.keys[CS1]).digest() for who, of in ways
        )


VIEW = View(0)


def xor(values: Iterable[bytes]) -> bytes:
    return reduce(lambda a, b: bytes(p ^ q for p, q in zip(a, b, strict=True)), values)


def sums(values: Iterable[bytes]) -> set[bytes]:
    """Of every non-empty set of the values."""
    known = list(values)
    sets = chain.from_iterable(combinations(known, size) for size in range(1, len(known) + 1))
    return {xor(chosen) for chosen in sets}


def poisoned(mpc: Session, x: np.ndarray, y: np.ndarray) -> Any:
    """x of CS3 times y of CS2, who keeps a record."""
    if mpc.me == CS2:
        transcript = mpc.party.transcript
        expect, tag = transcript.expect, transcript.tag

        def recorded(peer: int, op: int, value: np.ndarray) -> None:
            if peer == CS1:
                VIEW.heard.append((op, np.array(value)))
            expect(peer, op, value)

        def tagged(me: int, peer: int, key: bytes) -> np.ndarray:
            found = tag(me, peer, key)
            VIEW.keys[peer], VIEW.tags[peer] = key, found.tobytes()
            if peer == CS1:
                VIEW.said = transcript.said(CS1).tobytes()
            return found

        transcript.expect, transcript.tag = recorded, tagged  # type: ignore[method-assign]
    a, b = mpc.share(x, CS3), mpc.share(y, CS2)
    if mpc.me == CS2:
        VIEW.x = a.data.parts
    return mpc.reveal(product(mpc, a, b))


def attacked(error: int) -> tuple[list[Any], dict[tuple[str, int], bytes]]:
    """Errors of all parties, and what CS2 received at the check point, by name and sender."""
    global VIEW
    VIEW = View(error)

    def alter(sender: int, i: int, frame: Frame) -> Frame | None:
        if sender == CS2 and i == 0:  # its first message: its input's m, to CS1
            return dataclasses.replace(frame, payload=frame.payload + np.uint64(error))
        return frame

    with LocalCluster(Tetrad4PC(frac_bits=8), name="poisoned", deadline_s=20.0) as c:
        c.memory.tamper = tap = Wiretap(alter)
        outcomes = c.submit(poisoned, np.array([SECRET / 256]), np.array([3.0])).outcomes()
    assert next((r, f.tag.name) for s, r, _, f in tap.frames if s == CS2) == (CS1, "share")
    shown = {
        (f.tag.name, s): f.payload.tobytes()
        for s, r, _, f in tap.frames
        if r == CS2 and "check" in f.tag.name
    }
    return [outcome.error for outcome in outcomes], shown


def told(shown: dict[tuple[str, int], bytes]) -> list[int]:
    """Candidates for x that fit what CS2 saw: a digest, or tags that it can compute, alone or added
    up."""
    seen = sums(shown.values())
    with_others = sums(VIEW.tags[p] for p in (CS3, CS4)) | {bytes(32)}
    return [
        v
        for v in CANDIDATES
        if VIEW.digest_if(v) in seen
        or any(xor([VIEW.tag_if(v), rest]) in seen for rest in with_others)
    ]


def test_a_liar_cannot_try_candidates_for_a_secret_on_what_a_check_point_shows_it() -> None:
    """CS2 sends CS1 a wrong copy of its own input: CS1's check value is then off by the lambdas of
    the other factor.

    A digest of it would tell the factor to whoever hashes the value that each candidate leads to.
    """
    errors, shown = attacked(1)
    assert all(
        isinstance(e, VerificationFailed | PeerAborted) for p, e in enumerate(errors) if p != CS2
    ), errors
    assert len(VIEW.heard) == 2 and len(shown) == 6
    assert told(shown) == [], f"x is {SECRET} / 256"


def test_without_a_lie_all_that_a_check_point_shows_follows_from_what_a_party_knows() -> None:
    """The same computation as in the attack, so that one that could not find anything would be
    noticed."""
    errors, shown = attacked(0)
    assert errors == [None] * 4
    assert told(shown) == list(CANDIDATES)  # which do not matter then


def checked(mpc: Session) -> None:
    mpc.share(np.zeros(2) if mpc.me == CS1 else None, CS1, shape=(2,))
    mpc.verify()


@pytest.mark.parametrize("liar", range(4))
@pytest.mark.parametrize("step", CHECK_LABELS)
def test_who_alters_its_messages_of_a_check_point_ends_the_run_at_whom_it_deceives(
    step: str, liar: int
) -> None:
    """Another commitment, or another opening: what was committed to before the others' sums were
    seen must fit."""
    others = [p for p in range(4) if p != liar]
    for victims in ([others[0]], [others[2]], others):

        def alter(sender: str, receiver: str, frame: Frame, victims: list[int] = victims) -> Frame:
            deceived = (
                sender == f"poisoned/{liar}"
                and frame.tag.name == step
                and int(receiver[-1]) in victims
            )
            return (
                dataclasses.replace(frame, payload=frame.payload ^ np.uint8(1))
                if deceived
                else frame
            )

        with LocalCluster(Tetrad4PC(), name="poisoned", deadline_s=20.0) as c:
            c.memory.tamper = alter
            outcomes = c.submit(checked).outcomes()
        assert all(isinstance(outcomes[v].error, VerificationFailed) for v in victims)
