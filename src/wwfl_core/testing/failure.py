"""Failures: a party that dies, stalls or runs another program ends the run everywhere, soon, with
its name."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from wwfl_core.channel import Frame
from wwfl_core.cluster import Outcome
from wwfl_core.errors import DeadlineExceeded, Desync, PeerAborted, PeerLost, WwflError
from wwfl_core.numbers.arrays import Array
from wwfl_core.numbers.bilinear import Mul
from wwfl_core.tensors import Session

from . import programs
from .bench import Bench, Wiretap, succeeded
from .verdict import Failed

DEADLINE_S = 0.4
BOUND_S = 10.0


def _program(mpc: Session, x: Array, y: Array) -> list[Array | None]:
    a = programs.deal_words(mpc, x, mpc.sharing.evaluators[0])
    b = programs.deal_words(mpc, y, mpc.sharing.evaluators[-1])
    z = mpc.protocol.bilinear(Mul(), a, b, mpc.format.frac_bits)
    s = mpc.protocol.sign(z, 40)
    return programs.open_all(mpc, [mpc.protocol.inject(s, a), z])


def _messages(bench: Bench, secrets: tuple[Array, Array]) -> tuple[list[Any], dict[int, list[int]]]:
    """What every party opens, and the messages that each sends."""
    with bench.cluster() as c:
        c.memory.tamper = tap = Wiretap()
        values = succeeded(c.submit(_program, *secrets).outcomes())
    sent: dict[int, list[int]] = {}
    for sender, _, i, _ in tap.frames:
        sent.setdefault(sender, []).append(i)
    return values, sent


def _points(bench: Bench, sent: list[int]) -> list[int]:
    if bench.thorough or len(sent) <= 3:
        return sent
    return [sent[0], sent[len(sent) // 2], sent[-1]]


def _secrets(bench: Bench) -> tuple[Array, Array]:
    g = bench.samples("failure")
    return g.integers(24, 5), g.integers(24, 5)


class _Seen(NamedTuple):
    """How many parties raised an error, and whether one of them names the victim."""

    raised: int
    named: bool


def _judge(
    where: str, victim: int, outcomes: list[Outcome], want: list[Any], *kinds: type[Exception]
) -> _Seen:
    """Every party but the victim raised one of the errors, or finished with the right values."""
    raised: list[str] = []
    for party, outcome in enumerate(outcomes):
        error = outcome.error
        if party == victim:
            continue
        if error is None:
            if not all(_close(a, b) for a, b in zip(outcome.value, want[party], strict=True)):
                raise Failed(f"{where}: party {party} went on and accepted a wrong value")
        elif not isinstance(error, kinds):
            raise Failed(f"{where}: party {party} raised {type(error).__name__}: {error}")
        else:
            raised.append(str(error))
    return _Seen(len(raised), any(f"/{victim}" in text for text in raised))


def _close(a: Array | None, b: Array | None) -> bool:
    """Equal up to the rounding of a truncation."""
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and bool((a - b + np.uint64(1) <= 2).all())


def lost(bench: Bench) -> str:
    """Party p dies before its message i: all others get PeerLost or PeerAborted with its name, or
    had all they need."""
    bench.needs_peers("no other party can be lost")
    secrets = _secrets(bench)
    want, sent = _messages(bench, secrets)
    cases = ended = 0
    for victim, messages in sorted(sent.items()):
        for index in _points(bench, messages):
            where = f"party {victim} dies at its message {index}"
            with bench.cluster(deadline_s=20.0) as c:

                def die(
                    sender: int, i: int, frame: Frame, victim: int = victim, at: int = index
                ) -> Frame | None:
                    if (sender, i) == (victim, at):
                        raise _Killed(f"party {victim} was killed on purpose")
                    return frame

                c.memory.tamper = Wiretap(die)
                begun = time.monotonic()
                outcomes = c.submit(_program, *secrets).outcomes()
                took = time.monotonic() - begun
                if took > BOUND_S:
                    raise Failed(f"{where}: the others noticed after {took:.1f} s")
                if not isinstance(outcomes[victim].error, _Killed):
                    raise Failed(
                        f"{where}: its error is hidden, it reports {outcomes[victim].error!r}"
                    )
                seen = _judge(where, victim, outcomes, want, PeerLost, PeerAborted)
                if seen.raised and not seen.named:
                    raise Failed(f"{where}: no error names it")
                ended += seen.raised > 0
            cases += 1
    if cases and not ended:
        raise Failed("nobody ever noticed that a party was gone")
    return f"{cases} deaths of {len(sent)} parties"


class _Killed(RuntimeError):
    """The death of a party, inside it."""


def stalled(bench: Bench) -> str:
    """Party p sends nothing from its message i on: the others stop at the deadline, with a name."""
    bench.needs_peers("no other party can stall")
    secrets = _secrets(bench)
    want, sent = _messages(bench, secrets)
    cases = named = 0
    for victim, messages in sorted(sent.items()):
        for index in messages if bench.thorough else sorted({messages[0], messages[-1]}):
            where = f"party {victim} is silent from its message {index} on"
            with bench.cluster(deadline_s=DEADLINE_S) as c:

                def silence(
                    sender: int, i: int, frame: Frame, victim: int = victim, at: int = index
                ) -> Frame | None:
                    return None if sender == victim and i >= at else frame

                c.memory.tamper = Wiretap(silence)
                begun = time.monotonic()
                outcomes = c.submit(_program, *secrets).outcomes()
                took = time.monotonic() - begun
                if took > DEADLINE_S + BOUND_S:
                    raise Failed(f"{where}: the others noticed after {took:.1f} s")
                seen = _judge(
                    where, victim, outcomes, want, DeadlineExceeded, PeerAborted, PeerLost
                )
                if not seen.raised:
                    raise Failed(f"{where}: nobody noticed")
                named += seen.named
            cases += 1
    # Whose deadline ends first is a race: a party may name one that itself waits for the silent
    # one.
    if cases and not named:
        raise Failed("no error ever names the silent party")
    return (
        f"{cases} silences of {len(sent)} parties, {named} named the silent one itself, else one "
        "that waited for it"
    )


def _diverging(mpc: Session, x: Array, who: int, how: str) -> Any:
    odd = mpc.me == who
    if how == "shape":
        x = x[:-1] if odd else x
    shares = [programs.deal_words(mpc, x, p) for p in mpc.sharing.evaluators]
    total = shares[0]
    for other in shares[1:]:
        total = total + other
    if how == "extra operation" and odd:
        total = mpc.protocol.bilinear(Mul(), total, total)
    if how == "other operation":
        total = (
            mpc.protocol.truncate(total, 3) if odd else mpc.protocol.bilinear(Mul(), total, total)
        )
    return mpc.protocol.open(total, "test")


def diverged(bench: Bench) -> str:
    """Parties that run different programs find out in bounded time, and two that disagree are
    named."""
    bench.needs_peers("it cannot disagree with itself")
    x = bench.samples("diverged").integers(20, 6)
    cases = 0
    for how in ("extra operation", "other operation", "shape"):
        for who in bench.sharing.evaluators:
            where = f"party {who} runs another program ({how})"
            with bench.cluster(deadline_s=1.0) as c:
                begun = time.monotonic()
                outcomes = c.submit(_diverging, x, who, how).outcomes()
                took = time.monotonic() - begun
                errors = [o.error for o in outcomes if o.error is not None]
                if not errors:
                    raise Failed(f"{where}: nobody noticed")
                untyped = next((e for e in errors if not isinstance(e, WwflError)), None)
                if untyped is not None:
                    raise Failed(f"{where}: {untyped!r}")
                if took > 1.0 + BOUND_S:
                    raise Failed(f"{where}: noticed only after {took:.1f} s")
                # Mostly a Desync; a deadline where each waits for the other and nobody reads the
                # odd message.
                first = [e for e in errors if isinstance(e, Desync | DeadlineExceeded)]
                named = [
                    sum(a in str(e) for a in c.addresses)
                    for e in first
                    if c.addresses[who] in str(e)
                ]
                if max(named, default=0) < 2:
                    raise Failed(f"{where}: no error names it and the other party: {errors[0]!r}")
            cases += 1
    return f"{cases} cases"
