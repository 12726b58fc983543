"""Joint sends and their verification (jsnd of Tetrad, NDSS'22, Section III).

When parties i and j both know a value that k needs, i sends it and j only vouches: it appends the value to a running
digest that it will show to k at the next check point. k appends what it received to its own copy. One corrupt party
among the three is caught, at an amortised cost of nothing. Digests cover the operation number and the length, so that
content cannot be shifted between operations.
"""

from __future__ import annotations

import numpy as np
from blake3 import blake3

from .arrays import U8, Array, to_wire

DIGEST_BYTES = 32


def digest(value: Array) -> U8:
    """BLAKE3 of an array's bytes."""
    return np.frombuffer(blake3(_bytes(value)).digest(), np.uint8)


def _bytes(value: Array) -> memoryview:
    return np.ascontiguousarray(to_wire(value)).reshape(-1).view(np.uint8).data


class Transcript:
    """What this party vouched for to every other party, and what it expects every other party to vouch for."""

    def __init__(self) -> None:
        self._said: dict[int, blake3] = {}
        self._heard: dict[int, blake3] = {}

    @staticmethod
    def _append(streams: dict[int, blake3], peer: int, op: int, value: Array) -> None:
        data = _bytes(value)
        stream = streams.setdefault(peer, blake3())
        stream.update(op.to_bytes(8, "little") + len(data).to_bytes(8, "little"))
        stream.update(data)

    def vouch(self, peer: int, op: int, value: Array) -> None:
        """I tell `peer` that this is the value of operation `op`."""
        self._append(self._said, peer, op, value)

    def expect(self, peer: int, op: int, value: Array) -> None:
        """`peer` ought to vouch to me that this is the value of operation `op`."""
        self._append(self._heard, peer, op, value)

    def said(self, peer: int) -> U8:
        """Digest of everything vouched for to `peer` since the last check point."""
        return np.frombuffer(self._said.get(peer, blake3()).digest(), np.uint8)

    def heard(self, peer: int) -> U8:
        """Digest of everything that `peer` ought to have vouched for since the last check point."""
        return np.frombuffer(self._heard.get(peer, blake3()).digest(), np.uint8)

    def clear(self) -> None:
        """Starts the next interval after a check point that passed."""
        self._said.clear()
        self._heard.clear()
