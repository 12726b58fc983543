"""What protocol code sees of its surroundings while it is recorded: a party, its operations, device
and transcript."""

# pyright: reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from wwfl_core.accelerate import DRAWN_LATE, Device, Kernels, LazyMask
from wwfl_core.channel import Phase
from wwfl_core.errors import Misuse
from wwfl_core.numbers import (
    Algebra,
    Array,
    Shape,
    computed,
    contiguous,
    from_wire,
    to_wire,
    wire_form,
)
from wwfl_core.party import ONLINE, Op, Party, Transcript
from wwfl_core.randomness import Prg

from . import on_device
from .recorder import Recorder
from .traced import Traced


class RecordingParty(Party):
    """Party `party` while it records. It takes over where that one is in the program, and `leave`
    hands that back."""

    def __init__(self, party: Party) -> None:
        self.__dict__.update(vars(party))
        self.real = party
        self.recorder = Recorder(party.device, party.ops)
        self.transcript = _Transcript(self.recorder, party.transcript)
        self.notes: Any = _Closed("party.notes")
        self._here = _Device(self.recorder)
        if isinstance(party.device, Kernels):
            self.recorder.launcher = on_device.RecordingLauncher(self.recorder, party.device)

    def leave(self) -> int:
        """How many operations the program had."""
        self.real.ops = self.ops
        return self.ops - self.recorder.first

    @property
    def device(self) -> Device:
        return self._here

    def op(self, name: str) -> Op:
        self.ops += 1
        return _Op(self, self.ops, name)

    def admit(self, reason: str, to: str, shape: Shape) -> str:
        raise Misuse(
            f"a recorded program opens a value ({reason}); return it, and open it outside of the "
            "recorded part"
        )

    def admit_move(self, to: Sequence[str]) -> None:
        raise Misuse(
            "a recorded program converts a value to other servers; do that outside of the "
            "recorded part"
        )


class _Op(Op):
    """An operation whose messages and masks become lines."""

    __slots__ = ()
    party: RecordingParty

    def random(self, subset: Iterable[int], label: str, algebra: Algebra, shape: Shape) -> Array:
        prg, recorder = self.party.prg(frozenset(subset)), self.party.recorder
        number = recorder.number(self.number)
        return recorder.call(recorder.device.draw, prg, number, label, algebra, shape)

    def mask(self, subset: Iterable[int], label: str, algebra: Algebra, shape: Shape) -> Array:
        recorder = self.party.recorder
        if recorder.on_host or np.dtype(algebra.dtype) not in DRAWN_LATE:
            return self.random(subset, label, algebra, shape)
        prg = self.party.prg(frozenset(subset))
        stream = on_device.stream(recorder, prg, self.number, label)
        mask: Any = LazyMask(recorder.launcher, algebra.dtype, shape, [stream])
        return mask

    def send(self, to: int, value: Array, phase: Phase = ONLINE) -> None:
        party, recorder, value = self.party, self.party.recorder, computed(value)
        if not isinstance(value, Traced):
            raise Misuse(
                f"operation {self.name!r} of a recorded program sends what it did not compute "
                "from its arguments; the next run would send it again. Give it to the program as "
                "an argument"
            )
        if value.dtype.hasobject:
            value = recorder.call(to_wire, value)
        where = party.addresses[to], recorder.number(self.number), self.name, phase
        recorder.do(party.endpoint.send, *where, value, label=party.label(self.name))

    def recv(self, frm: int, dtype: npt.DTypeLike, shape: Shape, phase: Phase = ONLINE) -> Array:
        party, recorder = self.party, self.party.recorder
        wire_dtype, wire_shape = wire_form(dtype, shape)
        where = party.addresses[frm], recorder.number(self.number), self.name, phase
        words = recorder.call(party.endpoint.recv, *where, dtype=wire_dtype, shape=wire_shape)
        if wire_dtype != np.dtype(dtype):
            words = recorder.call(from_wire, words, dtype)
        return recorder.call(settled, recorder.device, words)

    def recv_bytes(self, frm: int, size: int, phase: Phase = ONLINE) -> bytes:
        raise Misuse(
            f"operation {self.name!r} of a recorded program compares or hashes a message; do not "
            "record it"
        )


class _Transcript(Transcript):
    """Vouches and expects in every run. Check points are where values are opened, so not here."""

    def __init__(self, recorder: Recorder, real: Transcript) -> None:
        super().__init__()
        self._recorder, self._real = recorder, real

    def vouch(self, peer: int, op: int, value: Array) -> None:
        self._recorder.do(self._real.vouch, peer, self._recorder.number(op), value)

    def expect(self, peer: int, op: int, value: Array) -> None:
        self._recorder.do(self._real.expect, peer, self._recorder.number(op), value)

    def tag(self, me: int, peer: int, key: bytes) -> NoReturn:
        raise Misuse(
            "a recorded program has a check point; it belongs outside of the recorded part"
        )


class _Device(Device):
    """The party's device, which makes its arrays anew in every run."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self.name = recorder, recorder.device.name

    def put(self, array: Array) -> Array:
        if isinstance(array, Traced):
            return array
        raise Misuse(
            "a recorded program shares a value that it did not compute from its arguments (a "
            "party's own data, or its noise), which every repetition would share again; share it "
            "outside, and pass it"
        )

    def zeros(self, shape: Shape, dtype: npt.DTypeLike) -> Array:
        return self._recorder.call(self._recorder.device.zeros, shape, dtype)

    def draw(
        self, prg: Prg, operation: int, label: str, algebra: Algebra, shape: Shape
    ) -> NoReturn:
        raise Misuse(
            "a recorded program draws a key stream that belongs to no operation; use op.random"
        )


class _Closed:
    """What a recorded program cannot use."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __getattr__(self, name: str) -> NoReturn:
        self._refuse()

    def _refuse(self, *args: Any) -> NoReturn:
        raise Misuse(f"a recorded program uses {self._what}; do that outside of the recorded part")

    __getitem__ = __setitem__ = __delitem__ = __contains__ = __iter__ = _refuse


def settled(device: Device, array: Array) -> Array:
    """A received or given array where the party works, in a form that does not depend on where it
    came from: what depends on strides and addresses was decided when the program was recorded."""
    if isinstance(device, Kernels):
        return on_device.settled(device, array)
    return contiguous(device.put(array))
