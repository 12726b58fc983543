"""One server of a cluster: its channel to the others, its PRG keys, its operation counter."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from wwfl_core.accelerate import Device
from wwfl_core.channel import Endpoint, Phase
from wwfl_core.errors import Misuse
from wwfl_core.numbers import (
    Algebra,
    Array,
    LazyArray,
    Shape,
    computed,
    from_wire,
    to_host,
    to_wire,
    wire_form,
)
from wwfl_core.randomness import KEY_BYTES, Prg, derive_key, fresh_key, subset_name
from wwfl_core.sharing import Security, SharingSemantics

from .ledger import Ledger
from .transcript import Transcript

OFFLINE = Phase.OFFLINE
ONLINE = Phase.ONLINE


class Guard(Protocol):
    """Decides at one server what may leave the sharing. Installed by a program, it stays until the
    server stops."""

    def admit(self, reason: str, to: str, shape: Shape) -> str:
        """The grounds on which an opening is permitted, for the ledger; raises Refused before
        anything is sent."""
        ...

    def admit_move(self, to: Sequence[str]) -> None:
        """Whether values may be converted to the servers of these addresses; raises Refused if
        not."""
        ...


class Party:
    """What protocol code sees of its surroundings. `index` counts from 0 within the cluster.

    `addresses[i]` is the channel address of party i. `ops` counts operations in program order; it
    is equal at all parties because they run the same program, and it is part of every nonce and of
    every message header."""

    def __init__(self, index: int, addresses: Sequence[str], endpoint: Endpoint) -> None:
        self.index = index
        self.addresses = tuple(addresses)
        self.endpoint = endpoint
        self.ops = 0
        self.run = 0
        # Servers of another cluster that take part in the current run; they learn of an abort, too.
        self.guests: tuple[str, ...] = ()
        # What all that this run computes is protected against: the weakest of the cluster and the
        # run's arguments.
        self.guarantee = Security(corruptions=0)
        self.ledger = Ledger()
        self.transcript = Transcript()
        self.guard: Guard | None = None
        # What programs keep at this server between commands, by name; it never leaves the server.
        self.notes: dict[str, Any] = {}
        # Programs that this party has recorded (`wwfl_core.recording`), the one used last at the
        # end.
        self.recordings: dict[Any, Any] = {}
        self._prgs: dict[frozenset[int], Prg] = {}
        self._scope = ""

    @property
    def size(self) -> int:
        """Number of parties in the cluster."""
        return len(self.addresses)

    def op(self, name: str) -> Op:
        """The next operation in program order."""
        self.ops += 1
        return Op(self, self.ops, name)

    @contextmanager
    def scope(self, label: str) -> Generator[None]:
        """Costs and openings inside are reported under `label`."""
        outer = self._scope
        self._scope = f"{outer}/{label}" if outer else label
        try:
            yield
        finally:
            self._scope = outer

    @property
    def device(self) -> Device:
        """Where this party's arrays live."""
        return self.endpoint.device

    def put(self, array: Array) -> Array:
        """The array where this party's arrays live."""
        return array if isinstance(array, LazyArray) else self.device.put(array)

    def zeros(self, shape: Shape, dtype: npt.DTypeLike) -> Array:
        """A new array of zeros where this party's arrays live."""
        return self.device.zeros(shape, dtype)

    def label(self, name: str) -> str:
        return f"{self._scope}/{name}" if self._scope else name

    def prg(self, subset: frozenset[int]) -> Prg:
        """The streams of the key that exactly the parties of `subset` hold.

        Raises:
            Misuse: when this party is not one of them.
        """
        try:
            return self._prgs[subset]
        except KeyError:
            raise Misuse(
                f"party {self.index} does not hold the key of parties {{{subset_name(subset)}}}"
            ) from None

    def agree_on_keys(self, sharing: SharingSemantics, insecure_seed: bytes | None = None) -> None:
        """Every set of at least two parties gets a PRG key: its lowest member samples and sends it.

        In a malicious-secure sharing all holders vouch for the key to each other, so a member that
        handed out different keys is caught at the first check point. With `insecure_seed` the keys
        are derived from it instead (reproducible runs; everybody who knows the seed knows every
        mask)."""
        op = self.op("keys")
        own = (
            fresh_key()
            if insecure_seed is None
            else derive_key(insecure_seed, "party", str(self.index))
        )
        self._prgs[frozenset({self.index})] = Prg(own)
        for subset in sharing.key_subsets():
            if self.index not in subset:
                continue
            if insecure_seed is not None:
                self._prgs[subset] = Prg(derive_key(insecure_seed, "subset", subset_name(subset)))
                continue
            leader, *others = sorted(subset)
            if self.index == leader:
                key = np.frombuffer(fresh_key(), np.uint8)
                for other in others:
                    op.send(other, key, OFFLINE)
            else:
                key = np.frombuffer(op.recv_bytes(leader, KEY_BYTES, OFFLINE), np.uint8)
            if sharing.security.malicious:
                for other in subset - {self.index}:
                    self.transcript.vouch(other, op.number, key)
                    self.transcript.expect(other, op.number, key)
            self._prgs[subset] = Prg(key.tobytes())

    def admit(self, reason: str, to: str, shape: Shape) -> str:
        """Asks the guard, if there is one, before an opening; returns its grounds."""
        return "" if self.guard is None else self.guard.admit(reason, to, shape)

    def admit_move(self, to: Sequence[str]) -> None:
        """Asks the guard, if there is one, before a conversion to other servers."""
        if self.guard is not None:
            self.guard.admit_move(to)

    def record_opening(self, op: Op, reason: str, to: str, shape: Shape, grounds: str = "") -> None:
        label = self.label(op.name)
        self.ledger.record(
            run=self.run,
            op=op.number,
            label=label,
            reason=reason,
            to=to,
            shape=shape,
            grounds=grounds,
        )

    def invite(self, guests: Sequence[str]) -> None:
        """Servers of another cluster take part in the current run: they may abort it, and learn if
        this one does."""
        self.guests = tuple(guests)
        self.endpoint.invite(guests)

    def abort(self, reason: str) -> None:
        """Tells all other parties of the run why this one stops."""
        others = [a for i, a in enumerate(self.addresses) if i != self.index]
        self.endpoint.abort(reason, peers=[*others, *self.guests])


class Op:
    """One operation: a number in program order, a name, and the messages and masks that belong to
    it."""

    __slots__ = ("name", "number", "party")

    def __init__(self, party: Party, number: int, name: str) -> None:
        self.party = party
        self.number = number
        self.name = name

    def random(self, subset: Iterable[int], label: str, algebra: Algebra, shape: Shape) -> Array:
        """Uniform elements known to exactly the parties of `subset`, of which this is one.

        `label` (at most 4 ASCII characters) tells the draws of one operation apart.

        Raises:
            Misuse: if this was drawn before, or if a later operation has drawn from the same
                parties' key already.
        """
        party = self.party
        return party.device.draw(party.prg(frozenset(subset)), self.number, label, algebra, shape)

    def mask(self, subset: Iterable[int], label: str, algebra: Algebra, shape: Shape) -> Array:
        """`random`, for what will be added to other values or subtracted from them.

        Always an array, though it may be drawn only where it is used
        (`wwfl_core.numbers.lazy_array`); the stream is reserved now. `random` is for what is
        multiplied or sent."""
        party = self.party
        return party.device.mask(party.prg(frozenset(subset)), self.number, label, algebra, shape)

    def send(self, to: int, value: Array, phase: Phase = ONLINE) -> None:
        """Sends an array to a party of the cluster; never waits for it."""
        party = self.party
        label = party.label(self.name)
        words = to_wire(computed(value))
        party.endpoint.send(party.addresses[to], self.number, self.name, phase, words, label=label)

    def recv(self, frm: int, dtype: npt.DTypeLike, shape: Shape, phase: Phase = ONLINE) -> Array:
        """Waits for the array that party `frm` sends in this operation; it is on this party's
        device.

        Raises:
            Desync, DeadlineExceeded, PeerLost, PeerAborted: see `wwfl_core.errors`.
        """
        return self.party.device.put(self._recv(frm, dtype, shape, phase))

    def recv_bytes(self, frm: int, size: int, phase: Phase = ONLINE) -> bytes:
        """Like `recv`, for `size` bytes that are compared or hashed rather than computed with: they
        stay on the host.

        Raises:
            Desync, DeadlineExceeded, PeerLost, PeerAborted: see `wwfl_core.errors`.
        """
        return to_host(self._recv(frm, np.uint8, (size,), phase)).tobytes()

    def _recv(self, frm: int, dtype: npt.DTypeLike, shape: Shape, phase: Phase) -> Array:
        party, (wire_dtype, wire_shape) = self.party, wire_form(dtype, shape)
        words = party.endpoint.recv(
            party.addresses[frm], self.number, self.name, phase, dtype=wire_dtype, shape=wire_shape
        )
        return from_wire(words, dtype)

    def joint_send(
        self,
        senders: Sequence[int],
        receiver: int,
        value: Array | None,
        dtype: npt.DTypeLike,
        shape: Shape,
        phase: Phase = ONLINE,
        *,
        vouched: bool,
    ) -> Array | None:
        """`senders` all know `value`: the first sends it to `receiver`; if `vouched`, the others
        vouch for it.

        Returns the value at senders and receiver, None elsewhere. Cost: one message; digests at the
        next check point."""
        me, transcript = self.party.index, self.party.transcript
        if me == receiver:
            value = self.recv(senders[0], dtype, shape, phase)
            if vouched:
                for sender in senders[1:]:
                    transcript.expect(sender, self.number, value)
        elif me in senders:
            assert value is not None
            if me == senders[0]:
                self.send(receiver, value, phase)
            elif vouched:
                transcript.vouch(receiver, self.number, value)
        return value
