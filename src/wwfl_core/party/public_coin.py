"""A public coin that no party controls: commit, confirm, open.

Blum's coin for n parties. What it draws is public randomness (which clients take part, which
challenge a check uses), never a mask or a key."""

from __future__ import annotations

import hashlib

import numpy as np

from wwfl_core.errors import VerificationFailed
from wwfl_core.numbers import BITS, to_host

from .party import Party

COIN_BYTES = 32


def coin(party: Party, reason: str) -> bytes:
    """Commit to r_i, confirm the commitments, open, hash everything: 32 bytes.

    Three rounds. One honest party suffices for uniformity; a party can only abort. Not an opening
    of a secret.

    Raises:
        VerificationFailed: when an opening does not match its commitment, or parties saw different
            commitments.
    """
    commit, confirm, reveal = party.op("coin"), party.op("coin.ok"), party.op("coin.r")
    me = party.index
    others = [p for p in range(party.size) if p != me]
    # The value and the commitment's blinding.
    drawn = commit.random([me], "coin", BITS, (2 * COIN_BYTES,))
    secret = to_host(drawn).tobytes()
    context = f"{party.run}|{commit.number}|{reason}".encode()

    def commitment(who: int, value: bytes) -> bytes:
        return hashlib.sha256(b"wwfl-coin|%d|" % who + context + value).digest()

    own = commitment(me, secret)
    for other in others:
        commit.send(other, np.frombuffer(own, np.uint8))
    seen = {other: commit.recv_bytes(other, COIN_BYTES) for other in others}
    seen[me] = own

    board = hashlib.sha256(b"".join(seen[p] for p in sorted(seen))).digest()
    for other in others:
        confirm.send(other, np.frombuffer(board, np.uint8))
    for other in others:
        if confirm.recv_bytes(other, COIN_BYTES) != board:
            raise VerificationFailed(
                f"coin ({reason}): party {other} saw other commitments than party {me}"
            )

    for other in others:
        reveal.send(other, np.frombuffer(secret, np.uint8))
    values = {me: secret}
    for other in others:
        values[other] = reveal.recv_bytes(other, 2 * COIN_BYTES)
        if commitment(other, values[other]) != seen[other]:
            raise VerificationFailed(
                f"coin ({reason}): party {other} opened something else than it committed to"
            )
    return hashlib.sha256(context + b"".join(values[p] for p in sorted(values))).digest()
