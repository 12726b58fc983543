"""Checks of conversion when a party lies or is lost (`suite.py` runs them)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wwfl_core.channel import Frame
from wwfl_core.cluster import Handle, Outcome
from wwfl_core.errors import ProtocolError, WwflError
from wwfl_core.numbers.arrays import U64
from wwfl_core.tensors import Session
from wwfl_core.testing import (
    SEED,
    SLOWEST_S,
    Attack,
    Failed,
    Frames,
    NotPromised,
    altering,
    attacks,
    patience,
    succeeded,
)

from .pairs import Pair, Pairs, Tap, Watched, open_ring

BOUNDED = 24
DEADLINE_S = 0.3
BOUND_S = 6.0

# ---------------------------------------------------------------------- lies


@dataclass(frozen=True)
class _Attempt:
    """What became of a conversion and of the opening after it."""

    error: WwflError | None
    opened: list[Outcome]
    frames: Frames
    addresses: tuple[str, ...]
    seconds: float


@contextmanager
def _quiet() -> Generator[None]:
    """Hundreds of outvoted liars need not be logged."""
    logger = logging.getLogger("wwfl.reshare")

    def drop(record: logging.LogRecord) -> bool:
        return False

    logger.addFilter(drop)
    try:
        yield
    finally:
        logger.removeFilter(drop)


def _attempt(pairs: Pairs, pair: Pair, x: U64, attack: Attack | None) -> _Attempt:
    """Converts and opens under public keys, with one attack on everything that is sent
    meanwhile."""
    begun = time.monotonic()
    error: WwflError | None = None
    opened: list[Outcome] = []
    with pair.clusters(insecure_seed=SEED, deadline_s=patience(attack)) as (a, b):
        handle = a.share_ring(x, 0)
        tap = Tap(a, b, altering(attack))
        try:
            opened = b.submit(open_ring, pairs.convert(handle, b)).outcomes()
        except WwflError as raised:
            error = raised
    return _Attempt(error, opened, tap.frames, tap.addresses, time.monotonic() - begun)


def _malicious(pair: Pair) -> set[int]:
    """Parties that may deviate: those of malicious-secure clusters, numbered through."""
    source, target = pair.source().sharing, pair.target().sharing
    first = range(source.parties) if source.security.malicious else ()
    second = (
        range(source.parties, source.parties + target.parties) if target.security.malicious else ()
    )
    return {*first, *second}


def tamper(pairs: Pairs) -> str:
    """Whatever one party of a malicious-secure source or target does to one message of a
    conversion, the honest target parties get the right value or abort, in bounded time."""
    total = aborted = messages = 0
    names: list[str] = []
    for pair in pairs:
        corruptible = _malicious(pair)
        if not corruptible:
            continue
        names.append(pair.name)
        g = pairs.bench.samples(f"reshare/tamper/{pair.name}")
        x = g.words(4)
        reference = _attempt(pairs, pair, x, None)
        if reference.error is not None:
            raise Failed(f"{pair.name}: an honest conversion fails: {reference.error}")
        want = succeeded(reference.opened)
        frames = [f for f in reference.frames if f[0] in corruptible]
        chosen = attacks(frames, g, pairs.bench.thorough, BOUNDED)
        with _quiet():
            for attack in chosen:
                aborted += _withstood(pairs, pair, x, attack, want)
        total += len(chosen)
        messages += len(frames)
    if not names:
        raise NotPromised("no pair has a malicious-secure side: none promises to detect tampering")
    return (
        f"{len(names)} directions, {messages} messages, {total} attacks, {aborted} aborted, none "
        "accepted"
    )


def _withstood(pairs: Pairs, pair: Pair, x: U64, attack: Attack, want: list[Any]) -> bool:
    """Whether the honest parties aborted; fails if they accepted a wrong value or took too long."""
    got = _attempt(pairs, pair, x, attack)
    where = f"{pair.name}, {attack} ({got.addresses[attack.party]})"
    if got.seconds > SLOWEST_S + 5:
        raise Failed(f"{where}: ended after {got.seconds:.0f} s only")
    if got.error is not None:
        return True
    first = len(got.addresses) - len(got.opened)
    aborted = False
    for party, (outcome, right) in enumerate(zip(got.opened, want, strict=True), first):
        if party == attack.party:
            continue
        if outcome.error is None:
            if not (
                (outcome.value is None) == (right is None) and np.array_equal(outcome.value, right)
            ):
                raise Failed(f"{where}: {got.addresses[party]} accepted a wrong value")
        elif not isinstance(outcome.error, WwflError):
            raise Failed(f"{where}: {got.addresses[party]} broke with {outcome.error!r}")
        else:
            aborted = True
    return aborted


# ---------------------------------------------------------------------- losses


class _Killed(RuntimeError):
    """The death of a party, inside it."""


def _leave(mpc: Session, who: int) -> None:
    if mpc.me == who:
        mpc.party.endpoint.close()


@dataclass(frozen=True)
class _Loss:
    """Party `victim` (numbered through): gone before the conversion (index -1), else dead or silent
    from a message."""

    victim: int
    how: str
    index: int = -1

    def alter(self, sender: int, i: int, frame: Frame) -> Frame | None:
        if sender != self.victim or self.how == "is gone" or i < self.index:
            return frame
        if self.how == "dies":
            raise _Killed("killed on purpose")
        return None


def lost(pairs: Pairs) -> str:
    """A source or target party that is gone, dies or falls silent ends a conversion with typed
    errors in bounded time; nobody gets half of it, and what the source still opens is the value as
    it was."""
    pairs.bench.needs_peers("its conversions have no second party to lose")
    cases = ended = kept = 0
    for pair in pairs:
        g = pairs.bench.samples(f"reshare/lost-party/{pair.name}")
        x = g.words(5)
        reference = _attempt(pairs, pair, x, None)
        if reference.error is not None:
            raise Failed(f"{pair.name}: an honest conversion fails: {reference.error}")
        losses = _losses(reference, pairs.bench.thorough)
        if not pairs.bench.thorough:  # silences cost a deadline each
            silent = g.choose([item for item in losses if item.how == "is silent"], 2)
            losses = [item for item in losses if item.how != "is silent"] + silent
        for loss in losses:
            raised, survived = _judge(pairs, pair, x, loss)
            cases, ended, kept = cases + 1, ended + raised, kept + survived
    if not ended:
        raise Failed("nobody ever noticed that a party was gone")
    return f"{cases} losses, {ended} ended the conversion, the source went on after {kept}"


def _losses(reference: _Attempt, thorough: bool) -> list[_Loss]:
    found: list[_Loss] = []
    for victim in range(len(reference.addresses)):
        sent = [i for s, _, i, _ in reference.frames if s == victim]
        points = sent if thorough else sorted({*sent[:1], *sent[-1:]})
        found.append(_Loss(victim, "is gone"))
        found += [_Loss(victim, how, i) for i in points for how in ("dies", "is silent")]
    return found


def _judge(pairs: Pairs, pair: Pair, x: U64, loss: _Loss) -> tuple[bool, bool]:
    """Whether the conversion ended with an error, and whether the source then still had the
    value."""
    with pair.clusters(deadline_s=DEADLINE_S) as (a, b):
        handle = a.share_ring(x, 0)
        side, place = (
            (a, loss.victim)
            if loss.victim < len(a.addresses)
            else (b, loss.victim - len(a.addresses))
        )
        if loss.how == "is gone":
            side.submit(_leave, place).outcomes()
        tap = Tap(a, b, loss.alter)
        victim = tap.addresses[loss.victim]
        where = f"{pair.name}: {victim} {loss.how}" + (
            f" at its message {loss.index}" if loss.index >= 0 else ""
        )
        begun = time.monotonic()
        moved, error = _converted(pairs, handle, b, where)
        if (took := time.monotonic() - begun) > DEADLINE_S + BOUND_S:
            raise Failed(f"{where}: the conversion ended after {took:.1f} s only")
        _typed(where, (a, b), victim)
        if moved is not None:
            _right_or_refused(where, b, moved, x)
            return False, True
        text = f"{error} {getattr(error, '__notes__', '')}"
        if loss.how != "is silent" and victim not in text:  # whose deadline ends first is a race
            raise Failed(f"{where}: the error does not name it: {error}")
        a.memory.tamper = b.memory.tamper = None
        survived = _right_or_refused(where, a, handle, x)
        if not survived and loss.how != "is gone" and not a.sharing.security.malicious:
            raise Failed(f"{where}: the source cannot go on, though all its parties are there")
        if survived:
            _once_more(pairs, pair, where, a, handle, x)
        return True, survived


def _converted(
    pairs: Pairs, handle: Handle, to: Watched, where: str
) -> tuple[Handle | None, BaseException | None]:
    """The new handle or the error; the victim's own error may be the one that is raised, as the
    first cause."""
    try:
        return pairs.convert(handle, to), None
    except (WwflError, _Killed) as error:
        return None, error
    except Exception as error:
        raise Failed(f"{where}: the conversion raised {error!r}, which is no WwflError") from error


def _typed(where: str, clusters: tuple[Watched, Watched], victim: str) -> None:
    """All parties but the victim ended the last run with a result or a typed error."""
    for cluster in clusters:
        for address, outcome in zip(cluster.addresses, cluster.pending[-1].outcomes(), strict=True):
            if (
                address != victim
                and outcome.error is not None
                and not isinstance(outcome.error, ProtocolError)
            ):
                raise Failed(f"{where}: {address} broke with {outcome.error!r}")


def _right_or_refused(where: str, cluster: Watched, handle: Handle, x: U64) -> bool:
    """Whether a tensor still opens; fails if it opens as something else."""
    try:
        got = cluster.run(open_ring, handle)
    except (WwflError, _Killed):
        return False
    if not np.array_equal(got, x):
        raise Failed(f"{where}: afterwards {cluster.name} opens a wrong value")
    return True


def _once_more(pairs: Pairs, pair: Pair, where: str, a: Watched, handle: Handle, x: U64) -> None:
    """The source converts the same tensor to a fresh target."""
    other = replace(pair, name=f"{pair.name}, again")
    with Watched(other.target(), name="another-target", deadline_s=SLOWEST_S) as b:
        moved = pairs.convert(handle, b)
        if not _right_or_refused(where, b, moved, x):
            raise Failed(f"{where}: a second conversion to a fresh target cannot be opened")


FAULTS: dict[str, Callable[[Pairs], str]] = {"reshare/tamper": tamper, "reshare/lost-party": lost}
