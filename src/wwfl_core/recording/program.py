"""Programs that are recorded and repeated: the protocol's Python runs a few times, its operations
ever after.

What parties do never depends on secrets, so a program does the same for all arguments of one shape:
the same operations on arrays and the same messages, with masks from streams that bear the numbers
of new operations. Most of the time of a small program is the Python that finds this out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from wwfl_core.errors import Misuse
from wwfl_core.tensors import Session

from .replay import Recording
from .stand_ins import RecordingParty, settled
from .trees import Form, taken_apart

P = ParamSpec("P")
R = TypeVar("R")
KEPT = 32
"""Recordings that a party keeps; the one that was used least recently makes room."""


@dataclass
class _Known:
    """What a party knows of a program for arguments of one form."""

    mpc: Session  # kept, since it is known by its id
    run_before: bool = False
    recording: Recording | None = None
    returned: Form | None = None
    confirmed: bool = False  # by a second recording


class Recorded(Generic[P, R]):
    """A program as `recorded` makes it."""

    def __init__(self, program: Callable[Concatenate[Session, P], R]) -> None:
        self.program = program
        update_wrapper(self, program)

    def __call__(self, mpc: Session, *args: P.args, **kwargs: P.kwargs) -> R:
        protocol = mpc.protocol
        if protocol.numpy_only or protocol.keeps_state or isinstance(mpc.party, RecordingParty):
            return self.program(mpc, *args, **kwargs)
        form, arrays = taken_apart((args, kwargs))
        arrays = [settled(mpc.party.device, array) for array in arrays]
        known = self._known(mpc, form)
        if known.confirmed and known.recording and known.returned:
            return known.returned.build(mpc, known.recording.repeat(mpc.party, arrays))
        if known.run_before:
            return self._record(mpc, form, arrays, known)
        known.run_before = True  # many programs run once, and recording takes longer than running
        return self.program(mpc, *args, **kwargs)

    def recording(self, mpc: Session, *args: P.args, **kwargs: P.kwargs) -> Recording | None:
        """What this party does for such arguments; None before it was recorded."""
        known = mpc.party.recordings.get(self._key(mpc, taken_apart((args, kwargs))[0]))
        return None if known is None else known.recording

    def _key(self, mpc: Session, form: Form) -> tuple[Any, ...]:
        return self.program, id(mpc), mpc.party.label(""), form

    def _known(self, mpc: Session, form: Form) -> _Known:
        kept: dict[Any, _Known] = mpc.party.recordings
        key = self._key(mpc, form)
        try:
            known = kept.pop(key) if key in kept else _Known(mpc)
        except TypeError as error:
            raise Misuse(
                f"{self.program.__name__} is recorded for each value of its public arguments, so "
                f"they must be hashable ({error}): pass tuples for lists of numbers, and share "
                "arrays"
            ) from error
        kept[key] = known
        while len(kept) > KEPT:
            del kept[next(iter(kept))]
        return known

    def _record(self, mpc: Session, form: Form, arrays: list[Any], known: _Known) -> R:
        """Runs the program and writes it down. A second time, too: one that then does something
        else is refused."""
        party = RecordingParty(mpc.party)
        recorder = party.recorder
        try:
            bound = mpc.at(party)
            inputs: list[Any] = [recorder.input(array) for array in arrays]
            args, kwargs = form.build(bound, inputs)
            result = cast(Callable[..., R], self.program)(bound, *args, **kwargs)
        finally:
            operations = party.leave()
        returned, found = taken_apart(result)
        outputs = [recorder.output(array) for array in found]
        made = Recording.of(recorder, len(arrays), [output.index for output in outputs], operations)
        known.confirmed = (
            known.recording is not None
            and made.same(known.recording)
            and returned == known.returned
        )
        if known.recording is not None and not known.confirmed:
            raise Misuse(
                f"{self.program.__name__} did something else than in its last run, for arguments "
                "of the same form: it depends on what is not among its arguments (a counter, a "
                "random number, an array that changes), so it cannot be recorded. Pass that, or "
                "leave out `recorded`"
            )
        known.recording, known.returned = made, returned
        return returned.build(mpc, [output.value for output in outputs])


def recorded(program: Callable[Concatenate[Session, P], R]) -> Recorded[P, R]:
    """A program (mpc, *args) -> result that is recorded at each party and repeated.

    Arguments and results are shared tensors and bits, and hashable public values, in tuples, lists
    and dicts. For arguments of one form (shapes, scales, public values) the first run is an
    ordinary one, the next two are recorded while they compute and must do the same, and all later
    ones repeat the recording: the messages and costs of an ordinary run, with masks of their own,
    but none of the Python in between. What the program does beside that (a counter, a log line)
    happens only in the first runs. What protocols keep with a tensor (2PC its opened mask) is kept
    within a run, not from run to run.

    It must not open values or have check points, convert them to other servers, or share a party's
    own data: that belongs outside. Protocols whose shares must be NumPy arrays
    (`MPCBackend.numpy_only`), or that keep a state of their own (`keeps_state`), just run the
    program.

    Raises:
        Misuse: for what cannot be recorded, while recording; an argument that is not hashable.
    """
    return Recorded(program)


__all__ = ["KEPT", "Recorded", "recorded"]
