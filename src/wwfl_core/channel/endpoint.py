"""A party's end of all its channels: typed, ordered messages with a deadline, metered.

Party code runs in one thread and calls `send` and `recv`; a transport delivers frames from any
thread. Channels are strictly first-in first-out per peer and `recv` names what it expects, so two
parties that execute different operations find out at the first message, with both sides named,
instead of computing on each other's wrong data."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Lock, RLock
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from wwfl_core.accelerate import HOST, Device
from wwfl_core.errors import DeadlineExceeded, Desync, Misuse, PeerAborted, PeerLost
from wwfl_core.numbers import freeze

from .clock import ORIGIN, Clock, Stamp
from .cost import Cost, Link, NetworkModel, Phase
from .frames import Abort, Array, Frame, Tag, check_payload

PATIENCE_S = 1.0
MAX_WAITING_BYTES = 1 << 30
"""What may wait from one peer for the party to take it; a transport that reads ahead pauses
there."""
MAX_ABORTED_RUNS = 64
"""Of how many runs a peer may say ahead that they are aborted."""
FRAME_BYTES = 1 << 10
"""What a waiting frame counts beside its payload."""


class Transport(Protocol):
    """Carries frames from one endpoint to the others."""

    def post(self, to: str, frame: Frame | Abort) -> None:
        """Hand a frame over without waiting for the peer; raises PeerLost if it cannot be
        delivered."""
        ...

    def close(self) -> None:
        """Deliver what was posted (within a bounded time), then disconnect."""
        ...


@dataclass
class _Run:
    """What an endpoint knows about the run it is in."""

    run: int
    deadline_s: float
    clock: Clock
    members: set[str] | None
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True)
class _Told:
    """An abort, who told of it, and when."""

    teller: str
    abort: Abort
    at: float


class Endpoint:
    """One party's side of its channels to all others.

    Everything happens in a run: `begin` it first. All methods but `deliver` and `lost` belong to
    the one thread of the party; `close` may be called from any thread and wakes a waiting `recv`.
    """

    def __init__(
        self, address: str, transport: Transport, *, max_waiting_bytes: int = MAX_WAITING_BYTES
    ) -> None:
        self.address = address
        self._max_waiting = max_waiting_bytes
        self.device: Device = HOST  # where the party works
        self._transport = transport
        self._lock = RLock()
        self._room = Condition(
            self._lock
        )  # for transports that wait until the party has taken something
        # Held, except when the party's wait is over: with one waiting thread this does what a
        # Condition does, in half the time, and a step has hundreds of waits.
        self._wake = Lock()
        self._wake.acquire()
        # Written under _lock. `send` reads them without: what it does not know yet, it could as
        # well have missed.
        self._inbox: dict[str, deque[Frame]] = {}
        self._waiting: dict[str, int] = {}  # bytes per peer in the inbox
        self._lost: dict[str, str] = {}
        self._aborts: dict[
            int, list[_Told]
        ] = {}  # by run, at most one of each teller, in order of arrival
        self._awaited: str | None = None  # from whom the party waits for a frame, while it does
        self._closed = False
        self._run: _Run | None = None

    # The party's side.

    def begin(
        self,
        run: int,
        *,
        deadline_s: float,
        network: NetworkModel | None = None,
        members: Iterable[str] | None = None,
    ) -> None:
        """Start a run: fresh meters and clocks; whatever is left of older runs is dropped.

        `deadline_s` bounds each wait of `recv`. Run numbers only increase; all parties of a run use
        the same. Only `members` (and who is invited later) can abort the run; by default everybody
        who is connected."""
        if self._run is not None and run <= self._run.run:
            raise Misuse(
                f"{self.address}: run {run} after run {self._run.run}; run numbers must increase"
            )
        if run < 0 or not deadline_s > 0:
            raise Misuse(
                f"{self.address}: run {run}, deadline {deadline_s} s; give run >= 0, deadline > 0"
            )
        with self._lock:
            self._check_open()
            self._run = _Run(
                run, deadline_s, Clock(network), None if members is None else set(members)
            )
            for frm, frames in self._inbox.items():
                while frames and frames[0].tag.run < run:
                    self._take(frm, frames)
            self._aborts = {of: abort for of, abort in self._aborts.items() if of >= run}

    def invite(self, guests: Iterable[str]) -> None:
        """These peers take part in the current run, too, and can abort it."""
        run = self._current("invite peers")
        with self._lock:
            if run.members is not None:
                run.members |= set(guests)

    def send(
        self,
        to: str,
        tag_op: int,
        name: str,
        phase: Phase,
        payload: Array,
        *,
        label: str,
        control: bool = False,
    ) -> None:
        """Send an array; never waits for the peer.

        The array is handed over, not copied: it becomes read-only (a NumPy array does), and its
        memory must not be written through another view either. A device's array is copied to the
        host where the transport takes bytes. Every array counts as one message of `payload.nbytes`,
        an empty one included. `control` messages are not metered and advance no clock.

        Raises:
            PeerLost: if the connection to `to` is known to be gone.
            Misuse: for a payload that cannot travel, or outside a run.
        """
        run = self._current(f"send to {to}")
        check_payload(payload)
        if to == self.address:
            raise Misuse(
                f"{self.address}: operation {tag_op} {name!r} sends to itself; skip the own address"
            )
        self._check_open()
        if to in self._lost:
            raise self._peer_lost(to, _where(run.run, tag_op, name))
        freeze(payload)
        stamp = ORIGIN if control else run.clock.send(phase, payload.nbytes)
        frame = Frame(
            Tag(run.run, tag_op, name, phase),
            label,
            stamp.round,
            stamp.seconds,
            payload,
            self.device.mark(payload),
        )
        self._transport.post(to, frame)
        if not control:
            run.cost.record(Link(self.address, to, phase, label), payload.nbytes)

    def recv(
        self,
        frm: str,
        tag_op: int,
        name: str,
        phase: Phase,
        *,
        dtype: npt.DTypeLike,
        shape: tuple[int, ...],
    ) -> Array:
        """Wait for the next message from `frm`, which must be exactly the one described; it is
        read-only.

        Raises:
            Desync: if it is another one.
            DeadlineExceeded: if it does not come within the run's deadline.
            PeerLost: if the connection is gone and nothing that was sent before is left.
            PeerAborted: if `frm` has aborted this run and nothing that it sent before is left, or
                if another party has aborted it more than a second ago.
        """
        run = self._current(f"receive from {frm}")
        tag = Tag(run.run, tag_op, name, phase)
        frame = self._next(frm, run, tag)
        expected = np.dtype(dtype)
        if (
            frame.tag != tag
            or frame.payload.dtype != expected
            or frame.payload.shape != tuple(shape)
        ):
            raise self._desync(frm, tag, expected, tuple(shape), frame)
        # A peer that lies about its stamps spoils the accounting, nothing else.
        run.clock.receive(phase, Stamp(frame.stamp_round, frame.stamp_s))
        return self.device.adopt(frame.payload, frame.mark)

    def abort(self, reason: str, *, peers: Iterable[str]) -> None:
        """Tell `peers` that the current run cannot go on. Never raises.

        If the run was already aborted by another party, its name and reason are passed on instead,
        so that everybody reports the first failure."""
        run = self._run
        if run is None:
            return
        with self._lock:
            told = self._told(run)
            abort = told[0].abort if told else Abort(run.run, self.address, reason)
        for peer in peers:
            if peer != self.address:
                # A peer that cannot be told is gone already, whatever the transport says about it.
                with suppress(Exception):
                    self._transport.post(peer, abort)

    def cost(self) -> Cost:
        """What this endpoint sent in the current run, and its clock readings; a snapshot."""
        if self._run is None:
            return Cost()
        clock = self._run.clock
        return Cost(
            dict(self._run.cost.links),
            {phase: clock.now(phase).round for phase in Phase},
            {phase: clock.now(phase).seconds for phase in Phase},
        )

    def close(self) -> None:
        """Disconnect; what was sent before still arrives. Closing twice is fine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._rouse()
            self._room.notify_all()
        self._transport.close()

    # The transport's side; any thread.

    def deliver(self, frm: str, frame: Frame | Abort) -> None:
        """Called by the transport: `frame` arrived from `frm`."""
        with self._lock:
            if isinstance(frame, Abort):
                self._note(frm, frame)
                self._rouse()
            else:
                self._inbox.setdefault(frm, deque()).append(frame)
                self._waiting[frm] = self._waiting.get(frm, 0) + frame.payload.nbytes + FRAME_BYTES
                if frm == self._awaited:
                    self._rouse()

    def wait_for_room(self, frm: str) -> None:
        """Called by a transport that reads ahead, before it reads more from `frm`: returns when
        what waits from it is below the limit, or the endpoint was closed. A peer that floods this
        one is then slowed down by its connection.

        No party waits for ever: it takes messages from one peer in their order, so the one that it
        waits for is either here or what the transport reads next."""
        with self._lock:
            self._room.wait_for(
                lambda: self._closed or self._waiting.get(frm, 0) < self._max_waiting
            )

    def lost(self, frm: str, reason: str) -> None:
        """Called by the transport: nothing more will arrive from `frm`, because of `reason`."""
        with self._lock:
            self._lost.setdefault(frm, reason)
            self._rouse()

    # Internals.

    def _note(self, frm: str, abort: Abort) -> None:
        """Keeps an abort, if it can matter: the first of a peer for a run, and of no more than a
        few runs."""
        if self._run is not None and abort.run < self._run.run:
            return
        runs = [of for of, told in self._aborts.items() if any(t.teller == frm for t in told)]
        if abort.run not in runs and len(runs) < MAX_ABORTED_RUNS:
            self._aborts.setdefault(abort.run, []).append(_Told(frm, abort, time.monotonic()))

    def _told(self, run: _Run) -> list[_Told]:
        """Aborts of a run by those who take part in it. The first one counts, so that everybody
        reports the same cause where possible."""
        return [
            t
            for t in self._aborts.get(run.run, ())
            if run.members is None or t.teller in run.members
        ]

    def _next(self, frm: str, run: _Run, tag: Tag) -> Frame:
        """The next frame of this run (or a newer one) from `frm`."""
        until = time.monotonic() + run.deadline_s
        while True:
            with self._lock:
                self._check_open()
                frames = self._inbox.setdefault(frm, deque())
                while frames:
                    frame = self._take(frm, frames)
                    if frame.tag.run >= run.run:
                        return frame
                # Only now, and with a little patience for peers that did not abort themselves:
                # parties that fail at the same point of the same program then all get there and
                # report their own error.
                patience = self._patience(run, frm)
                if frm in self._lost:
                    raise self._peer_lost(frm, _where(run.run, tag.op, tag.name))
                left = until - time.monotonic()
                if left <= 0:
                    raise DeadlineExceeded(
                        f"{self.address}: {frm} did not send {_where(run.run, tag.op, tag.name)} "
                        f"within {run.deadline_s:g} s; look for the cause at {frm} (if it waits "
                        "in turn: send before you receive) or raise the deadline",
                        tag.op,
                    )
                self._wake.acquire(blocking=False)  # whatever a wait that timed out has left
                self._awaited = frm
            self._wake.acquire(timeout=min(left, patience))

    def _rouse(self) -> None:
        """Ends the party's wait, if it waits. Called with the lock held."""
        if self._awaited is not None:
            self._awaited = None
            self._wake.release()

    def _take(self, frm: str, frames: deque[Frame]) -> Frame:
        frame = frames.popleft()
        before = self._waiting[frm]
        self._waiting[frm] = after = before - frame.payload.nbytes - FRAME_BYTES
        if after < self._max_waiting <= before:
            self._room.notify_all()
        return frame

    def _desync(
        self, frm: str, tag: Tag, dtype: np.dtype[Any], shape: tuple[int, ...], frame: Frame
    ) -> Desync:
        got = frame.tag
        mine, theirs = f"operation {tag.op} {tag.name!r}", f"operation {got.op} {got.name!r}"
        if got.phase != tag.phase:
            mine, theirs = f"{mine} ({tag.phase})", f"{theirs} ({got.phase})"
        if got.run != tag.run:
            mine, theirs = f"{mine} of run {tag.run}", f"{theirs} of run {got.run}"
        return Desync(
            f"{self.address} is at {mine} and expected {dtype.name} {shape} from {frm}, which "
            f"sent {theirs} {frame.payload.dtype.name} {frame.payload.shape}: the two run "
            "different programs, versions or arguments; make them equal"
        )

    def _current(self, what: str) -> _Run:
        if self._run is None:
            raise Misuse(f"{self.address}: {what} outside a run; call begin() first")
        return self._run

    def _check_open(self) -> None:
        if self._closed:
            raise Misuse(f"{self.address}: this endpoint was closed; create a new one")

    def _patience(self, run: _Run, frm: str) -> float:
        """How much longer to wait for `frm` although somebody aborted; raises PeerAborted when it
        is time to stop."""
        told = self._told(run)
        if not told:
            return math.inf
        first = told[0]
        patience = first.at + PATIENCE_S - time.monotonic()
        if all(t.teller != frm for t in told) and frm not in self._lost and patience > 0:
            return patience
        abort = first.abort
        by = "" if first.teller == abort.origin else f" (told by {first.teller})"
        raise PeerAborted(
            f"{self.address}: run {run.run} was aborted by {abort.origin}{by}: {abort.reason}",
            abort.origin,
            abort.reason,
        )

    def _peer_lost(self, peer: str, where: str) -> PeerLost:
        return PeerLost(
            f"{self.address}: {peer} is gone at {where}: {self._lost[peer]}; look at {peer}'s own "
            "error, then restart the run",
            peer,
        )


def _where(run: int, op: int, name: str) -> str:
    return f"operation {op} {name!r} of run {run}"
