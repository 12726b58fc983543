"""Check points: all parties find out whether what they vouched for agrees, and nothing else.

Digests (`transcript.py`) are compared here and never shown. Before anything is opened, a
malicious-secure protocol passes a check point; nobody goes on unless all digests agree."""

from __future__ import annotations

import numpy as np
from blake3 import blake3

from wwfl_core.errors import VerificationFailed
from wwfl_core.numbers import BITS, to_host

from .party import Party
from .transcript import DIGEST_BYTES

TAG_BYTES = 32
CHECK_LABELS = ("check", "check.open")
"""What the two rounds of a check point are called where messages are counted."""


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
                f"committed to at the check point of operation {commit.number}: it deviates. "
                "Nothing was opened; discard this cluster's keys"
            )
        total = total ^ np.frombuffer(opened, np.uint8)
    if total.any():
        raise VerificationFailed(
            f"party {party.index} ({party.addresses[party.index]}): somebody received a value "
            "that another party does not vouch for, so one party deviated before operation "
            f"{commit.number} (which one is not to be known without telling it about secrets). "
            "Nothing was opened; discard this cluster's keys"
        )
    party.transcript.clear()
