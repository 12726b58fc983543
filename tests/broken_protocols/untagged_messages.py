"""Messages without a name: raw sockets and MPI, as in CrypTen, Piranha and HPMPC, read what comes
next.

Two parties that run different programs then compute with each other's unrelated values, and nothing
fails."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from backends import Replicated3PC
from wwfl_core.channel.clock import Stamp
from wwfl_core.channel.cost import Phase
from wwfl_core.channel.frames import Tag
from wwfl_core.numbers.arrays import Array
from wwfl_core.party.party import Party


class RawSocket:
    """An endpoint that takes the next bytes for what it waits for."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    def __getattr__(self, name: str) -> Any:
        return getattr(self._endpoint, name)

    def recv(self, frm: str, op: int, name: str, phase: Phase, *, dtype: Any, shape: Any) -> Array:
        run = self._endpoint._current(f"receive from {frm}")
        frame = self._endpoint._next(frm, run, Tag(run.run, op, name, phase))
        run.clock.receive(phase, Stamp(frame.stamp_round, frame.stamp_s))
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        octets = np.frombuffer(frame.payload.tobytes(), np.uint8)
        return np.resize(octets, size).view(dtype).reshape(shape)


class UntaggedMessages(Replicated3PC):
    """Neither operation nor shape of a message is compared."""

    def at(self, party: Party) -> Self:
        party.endpoint = RawSocket(party.endpoint)  # type: ignore[assignment]
        return super().at(party)
