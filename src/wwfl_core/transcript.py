"""Joint sends and their verification (jsnd of Tetrad, NDSS'22, Section III).

When parties i and j both know a value that k needs, i sends it and j only vouches: it appends the value to a running
digest that it will show to k at the next check point. k appends what it received to its own copy. One corrupt party
among the three is caught, at an amortised cost of nothing. Digests cover the operation number and the length, so that
content cannot be shifted between operations.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np

from .arrays import Array

DIGEST_BYTES = 32


class _Stream(Protocol):
    """A running hash."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class Transcript:
    """What this party vouched for to every other party, and what it expects every other party to vouch for."""

    def __init__(self) -> None:
        self._said: dict[int, _Stream] = {}
        self._heard: dict[int, _Stream] = {}

    @staticmethod
    def _append(streams: dict[int, _Stream], peer: int, op: int, value: Array) -> None:
        stream = streams.get(peer)
        if stream is None:
            stream = streams[peer] = hashlib.sha256()
        data = np.ascontiguousarray(value)
        stream.update(op.to_bytes(8, "little") + data.nbytes.to_bytes(8, "little"))
        stream.update(data.reshape(-1).view(np.uint8).data)

    def vouch(self, peer: int, op: int, value: Array) -> None:
        """I tell `peer` that this is the value of operation `op`."""
        self._append(self._said, peer, op, value)

    def expect(self, peer: int, op: int, value: Array) -> None:
        """`peer` ought to vouch to me that this is the value of operation `op`."""
        self._append(self._heard, peer, op, value)

    def said(self) -> dict[int, bytes]:
        """Digest per peer of everything vouched for since the last check point."""
        return {peer: stream.digest() for peer, stream in self._said.items()}

    def heard(self) -> dict[int, bytes]:
        """Digest per peer of everything expected since the last check point."""
        return {peer: stream.digest() for peer, stream in self._heard.items()}

    def clear(self) -> None:
        """Starts the next interval after a check point that passed."""
        self._said.clear()
        self._heard.clear()
