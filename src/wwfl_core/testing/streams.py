"""PRG streams: each is drawn once by every party that draws it, and none outlives its key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from wwfl_core.numbers.algebra import Algebra
from wwfl_core.numbers.arrays import Array, Shape, to_wire
from wwfl_core.randomness.prg import Prg
from wwfl_core.sharing import Share
from wwfl_core.tensors import Session, SharedTensor

from . import programs
from .bench import Bench, Wiretap
from .verdict import Failed

ELEMENTS = 600
LARGE = 64
"""Messages of fewer bytes (digests, verdicts) may be equal; a packed bit per element is more."""


@dataclass(frozen=True)
class Draw:
    """One use of a PRG by one party: the key (as the parties that hold it), the nonce, and what
    came out."""

    party: int
    subset: frozenset[int]
    op: int
    label: str
    value: Array


@dataclass
class Recorder:
    """All draws of a cluster, from the moment that `cluster.run(recorded, recorder)` returned."""

    draws: list[Draw] = field(default_factory=list[Draw])
    lock: Any = field(default_factory=Lock)

    def add(self, draw: Draw) -> None:
        """Appends a draw; called by the threads of all parties."""
        with self.lock:
            self.draws.append(draw)


class _Tapped:
    """A PRG that reports what is drawn from it."""

    def __init__(self, prg: Prg, party: int, subset: frozenset[int], recorder: Recorder) -> None:
        self._prg, self._party, self._subset, self._recorder = prg, party, subset, recorder

    def draw(self, op: int, label: str, algebra: Algebra, shape: Shape) -> Array:
        value = self._prg.draw(op, label, algebra, shape)
        self._recorder.add(Draw(self._party, self._subset, op, label, value))
        return value


def recorded(mpc: Session, recorder: Recorder) -> None:
    """A program that makes every party of this cluster (and no other) report its draws from now
    on."""
    party, original = mpc.party, mpc.party.prg
    tapped: dict[frozenset[int], _Tapped] = {}

    def prg(subset: frozenset[int]) -> Any:
        if subset not in tapped:
            tapped[subset] = _Tapped(original(subset), party.index, subset, recorder)
        return tapped[subset]

    party.prg = prg  # on this instance only; it ends with the cluster


def _everything(mpc: Session, x: SharedTensor, y: SharedTensor) -> list[Array | None]:
    results: list[Share] = programs.everything(mpc, x.data, y.data)
    return programs.open_all(mpc, results[-3:])


def _fails_at_last(mpc: Session) -> None:
    programs.deal_words(mpc, np.zeros(4, np.uint64), mpc.sharing.evaluators[0])
    if mpc.me == mpc.sharing.evaluators[-1]:
        raise RuntimeError("on purpose, to see that no stream is repeated after a failure")


def _session(bench: Bench) -> tuple[list[Draw], list[bytes]]:
    """Two runs of every operation and one that fails between them: all draws and all messages."""
    g = bench.samples("streams")
    x, y = g.integers(30, ELEMENTS), g.integers(30, ELEMENTS)
    recorder = Recorder()
    with bench.cluster() as c:
        c.run(recorded, recorder)
        c.memory.tamper = tap = Wiretap()
        a, b = c.share_ring(x, 0), c.share_ring(y, 0)
        c.run(_everything, a, b)
        c.run(_everything, a, b)
        if (
            not c.sharing.security.malicious and c.sharing.parties > 1
        ):  # (a malicious-secure cluster ends there)
            c.submit(_fails_at_last).outcomes()
            c.submit(_everything, a, b).outcomes()
    large = [
        f.payload.tobytes()
        for _, _, _, f in tap.frames
        if f.payload.nbytes >= LARGE and f.payload.any()
    ]
    return recorder.draws, large


def content_of(draw: Draw) -> bytes:
    """The bytes of a drawn array."""
    return to_wire(draw.value).tobytes()


def _distinct(draws: Iterable[Draw]) -> int:
    seen: set[tuple[int, frozenset[int], int, str]] = set()
    shapes: dict[tuple[frozenset[int], int, str], tuple[Shape, str]] = {}
    values: dict[bytes, tuple[frozenset[int], int, str]] = {}
    for draw in draws:
        stream = draw.subset, draw.op, draw.label
        name = (
            f"stream {draw.label!r} of operation {draw.op} under the key of {sorted(draw.subset)}"
        )
        if (draw.party, *stream) in seen:
            raise Failed(f"party {draw.party} drew {name} twice")
        seen.add((draw.party, *stream))
        form = draw.value.shape, draw.value.dtype.str
        if shapes.setdefault(stream, form) != form:
            raise Failed(
                f"{name} is drawn as {form} by party {draw.party}, as {shapes[stream]} by another"
            )
        if draw.value.nbytes >= 16:
            content = content_of(draw)[:16]
            if values.setdefault(content, stream) != stream:
                raise Failed(f"{name} equals another stream: {values[content]}")
    return len(shapes)


def streams(bench: Bench) -> str:
    """No (key, operation, label) is drawn twice by a party, across runs and failures, and fresh
    keys change all of it.

    A protocol with constant keys, constant masks or a generator of its own with a fixed seed shows
    here: messages or masks of one cluster turn up in the next."""
    first, sent = _session(bench)
    second, sent_again = _session(bench)
    count = _distinct(first)
    _distinct(second)
    old = {content_of(d) for d in first if d.value.nbytes >= 16}
    for draw in second:
        if draw.value.nbytes >= 16 and content_of(draw) in old:
            raise Failed(
                f"stream {draw.label!r} of operation {draw.op} is the same under fresh keys"
            )
    if bench.sharing.security.corruptions >= 1:
        repeated = set(sent) & set(sent_again)
        if repeated:
            raise Failed(
                f"{len(repeated)} messages of one cluster turn up in another with fresh keys: a "
                "constant mask"
            )
    if not count and bench.sharing.security.corruptions >= 1 and bench.sharing.parties > 1:
        raise Failed("no stream was drawn through Party.prg: the masks come from elsewhere")
    return f"{count} streams in a session, none repeated"
