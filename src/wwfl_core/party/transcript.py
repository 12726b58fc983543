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

import numpy as np
from blake3 import blake3

from wwfl_core.numbers import U8, Array, contiguous, on_host, to_host, to_wire

DIGEST_BYTES = 32
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
