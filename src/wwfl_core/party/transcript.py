"""Joint sends and their verification (jsnd of Tetrad, NDSS'22, Section III).

When parties i and j both know a value that k needs, i sends it and j only vouches: it appends the
value to a running digest that is compared with k's at the next check point. k appends what it
received to its own copy. One corrupt party among the three is caught, at an amortised cost of
nothing. Digests cover the operation number and the length, so that content cannot be shifted
between operations.

Digests are compared and never shown (`agree`). In the papers j sends its digest to k. That is safe
if values are checked as they come; if many are checked at once, j may have computed what it vouches
for from a wrong value that k sent it. The digest is then one of something that depends on a secret,
in a way that k knows up to a few candidates (the secret, times k's error), and k finds the right
one by hashing each (`tests/core/party/test_check_point.py` does it)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3

from wwfl_core.errors import VerificationFailed
from wwfl_core.numbers.algebra import BITS
from wwfl_core.numbers.arrays import U8, Array, contiguous, on_host, to_host, to_wire

if TYPE_CHECKING:
    from .party import Party

DIGEST_BYTES = 32
TAG_BYTES = 32
CHECK_LABELS = ("check", "check.open")
"""What the two rounds of a check point are called where messages are counted."""
KEPT_BYTES = 1 << 28
"""A device's arrays that wait to be hashed, at most."""


def digest(value: Array) -> U8:
    """BLAKE3 of an array's bytes."""
    return np.frombuffer(blake3(_bytes(value)).digest(), np.uint8)


def _bytes(value: Array) -> memoryview:
    return contiguous(to_host(to_wire(value))).reshape(-1).view(np.uint8).data


def _update(stream: blake3, op: int, data: memoryview) -> None:
    stream.update(op.to_bytes(8, "little") + len(data).to_bytes(8, "little"))
    stream.update(data)


class Transcript:
    """What this party vouched for to every other party, and what it expects every other party to
    vouch for."""

    def __init__(self) -> None:
        self._said: dict[int, blake3] = {}
        self._heard: dict[int, blake3] = {}
        self._waiting: list[tuple[blake3, int, Array]] = []
        self._waiting_bytes = 0

    def _append(self, streams: dict[int, blake3], peer: int, op: int, value: Array) -> None:
        """Hashes at once what is on the host. A device's arrays are kept until digests are asked
        for, or until they are many: bringing each home when it is made would stop the device at
        every operation."""
        stream = streams.get(peer)
        if stream is None:
            stream = streams[peer] = blake3()
        if on_host(value) and not self._waiting:
            _update(stream, op, _bytes(value))
            return
        self._waiting.append((stream, op, value))
        self._waiting_bytes += value.nbytes
        if on_host(value) or self._waiting_bytes > KEPT_BYTES:
            self._hash()

    def _hash(self) -> None:
        if not self._waiting:
            return
        copies: dict[int, memoryview] = {}  # one array is vouched for to several parties
        for stream, op, value in self._waiting:
            data = copies.get(id(value))
            if data is None:
                data = copies[id(value)] = _bytes(value)
            _update(stream, op, data)
        self._waiting, self._waiting_bytes = [], 0

    def vouch(self, peer: int, op: int, value: Array) -> None:
        """I tell `peer` that this is the value of operation `op`."""
        self._append(self._said, peer, op, value)

    def expect(self, peer: int, op: int, value: Array) -> None:
        """`peer` ought to vouch to me that this is the value of operation `op`."""
        self._append(self._heard, peer, op, value)

    def said(self, peer: int) -> U8:
        """Digest of everything vouched for to `peer` since the last check point."""
        self._hash()
        return np.frombuffer(self._said.get(peer, blake3()).digest(), np.uint8)

    def heard(self, peer: int) -> U8:
        """Digest of everything that `peer` ought to have vouched for since the last check point."""
        self._hash()
        return np.frombuffer(self._heard.get(peer, blake3()).digest(), np.uint8)

    def tag(self, me: int, peer: int, key: bytes) -> U8:
        """Both digests under a key that only `me` and `peer` have: equal at the two of them if
        their digests are."""
        ways = (me, self.said(peer)), (peer, self.heard(peer))
        tags = [
            blake3(who.to_bytes(4, "little") + of.tobytes(), key=key).digest() for who, of in ways
        ]
        return np.bitwise_xor(*(np.frombuffer(tag, np.uint8) for tag in tags))

    def clear(self) -> None:
        """Starts the next interval after a check point that passed."""
        self._waiting, self._waiting_bytes = [], 0
        self._said.clear()
        self._heard.clear()


def agree(party: Party) -> None:
    """Whether all digests since the last check point agree, at every party, and nothing else. Two
    rounds.

    Each two parties tag their digests under a fresh key of theirs, and each party adds up (XOR) its
    tags. If all agree, every tag is in two sums, so that all sums together are zero. All commit to
    their sums, then all open them.

    Security, against one corrupt party P of at least three: if two honest parties' digests differ,
    their tags are independent uniform values to P, in whose view the honest parties' sums are then
    uniform even in total: they tell nothing of tags that P could compute for a candidate, and P,
    who commits before it has seen the sums of the honest party that it wants to convince, cannot
    make up for the difference but with probability 2^-256. Tags and commitments are keyed BLAKE3
    and BLAKE3, as a pseudorandom function and as a random oracle. Which digests differ remains
    unknown: telling that would tell P which of its guesses was right.

    Bytes: 64 per ordered pair of parties.

    Raises:
        VerificationFailed: at every honest party.
    """
    commit, reveal = (party.op(label) for label in CHECK_LABELS)
    others = [p for p in range(party.size) if p != party.index]
    own = np.zeros(TAG_BYTES, np.uint8)
    for other in others:
        key = to_host(commit.random({party.index, other}, "tag", BITS, (TAG_BYTES,))).tobytes()
        own = own ^ party.transcript.tag(party.index, other, key)

    def commitment(who: int, opened: bytes) -> bytes:
        where = commit.number.to_bytes(8, "little") + who.to_bytes(4, "little")
        return blake3(b"wwfl check point|" + where + opened).digest()

    for other in others:
        commit.send(other, np.frombuffer(commitment(party.index, own.tobytes()), np.uint8))
    committed = {other: commit.recv_bytes(other, DIGEST_BYTES) for other in others}
    for other in others:
        reveal.send(other, own)
    total = own
    for other in others:
        opened = reveal.recv_bytes(other, TAG_BYTES)
        if commitment(other, opened) != committed[other]:
            raise VerificationFailed(
                f"party {other} ({party.addresses[other]}) opened something else than it "
                "committed to at the check "
                f"point of operation {commit.number}: it deviates. Nothing was opened; discard "
                "this cluster's keys"
            )
        total = total ^ np.frombuffer(opened, np.uint8)
    if total.any():
        raise VerificationFailed(
            f"party {party.index} ({party.addresses[party.index]}): somebody received a value "
            "that another party does "
            f"not vouch for, so one party deviated before operation {commit.number} (which one is "
            "not to be known "
            f"without telling it about secrets). Nothing was opened; discard this cluster's keys"
        )
    party.transcript.clear()
