"""Tampering: one party changes one message; an honest party may abort, but never accepts a wrong
value.

A program runs once as it should; then, under the same public keys, once per message of every party
that may be corrupt and per way to change it. Messages are enumerated from the recording of the
honest run, so none is missed.

The bounded form overwrites messages of every kind (sender, receiver, operation, phase, type) with
noise: a lie in every element, so that a protocol that accepts it opens something else whatever the
secrets and the seed are. (A flipped bit may lie in the padding of packed bits, or below what a
truncation keeps.) Other changes are sampled evenly over kinds."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wwfl_core.channel import Frame
from wwfl_core.errors import WwflError
from wwfl_core.numbers.algebra import RING
from wwfl_core.numbers.arrays import Array
from wwfl_core.numbers.bilinear import MatMul, Mul
from wwfl_core.party import CHECK_LABELS
from wwfl_core.sharing import Share
from wwfl_core.tensors import Session

from . import programs
from .bench import Bench, Samples, Wiretap, succeeded
from .verdict import Failed, NotPromised

Program = Callable[[Session, Array, Array], list[Array | None]]
Frames = list[tuple[int, int, int, Frame]]
SEED = 7
BOUNDED = 40
PATIENCE_S = 0.25
SLOWEST_S = 10.0

# ---------------------------------------------------------------------- programs


def operands(mpc: Session, x: Array, y: Array) -> tuple[Share, Share]:
    """One value of the first and one of the last party that holds shares."""
    first, last = mpc.sharing.evaluators[0], mpc.sharing.evaluators[-1]
    return programs.deal_words(mpc, x, first), programs.deal_words(mpc, y, last)


def _on_two(operation: Callable[[Session, Share, Share], list[Share]]) -> Program:
    def program(mpc: Session, x: Array, y: Array) -> list[Array | None]:
        return programs.open_together(mpc, operation(mpc, *operands(mpc, x, y)))

    return program


def _share(mpc: Session, x: Array, y: Array) -> list[Array | None]:
    """Every party shares."""
    return programs.open_all(mpc, [programs.deal_words(mpc, x, p) for p in mpc.sharing.evaluators])


def _products(mpc: Session, x: Share, y: Share) -> list[Share]:
    f = mpc.format.frac_bits
    matrices = x.reshape(2, 2), y.reshape(2, 2)
    return [
        mpc.protocol.bilinear(Mul(), x, y),
        mpc.protocol.bilinear(Mul(), x, y, f),
        mpc.protocol.bilinear(MatMul(), *matrices),
    ]


def _signs(mpc: Session, x: Share, y: Share) -> list[Share]:
    s = mpc.protocol.sign(x, 30)
    return [s, mpc.protocol.bilinear(Mul(), s, mpc.protocol.sign(y, 27))]


def _injections(mpc: Session, x: Share, y: Share) -> list[Share]:
    s = mpc.protocol.sign(x, 30)
    return [mpc.protocol.bit_to_ring(s, x.shape), mpc.protocol.inject(s, y)]


def _relu(mpc: Session, x: Share, y: Share) -> list[Share]:
    s = mpc.protocol.sign(x, 30)
    return [mpc.protocol.inject(mpc.protocol.add_public(s, np.full(s.shape, 255, np.uint8)), x)]


def _reveal(mpc: Session, x: Array, y: Array) -> list[Array | None]:
    """Openings to everybody, to one and to two parties, one after the other."""
    a, b = operands(mpc, x, y)
    evaluators = mpc.sharing.evaluators
    return [
        mpc.protocol.open(a, "all"),
        mpc.protocol.open(b, "one", [evaluators[0]]),
        mpc.protocol.open(a + b, "two", list(evaluators[-2:])),
    ]


PROGRAMS: Mapping[str, Program] = {
    "share": _share,
    "product": _on_two(_products),
    "truncation": _on_two(
        lambda mpc, x, y: [
            mpc.protocol.truncate(x, 5),
            mpc.protocol.truncate(y, mpc.format.frac_bits),
        ]
    ),
    "sign": _on_two(_signs),
    "inject": _on_two(_injections),
    "relu": _on_two(_relu),
    "reveal": _reveal,
}

# ---------------------------------------------------------------------- attacks


@dataclass(frozen=True)
class Attack:
    """What party `party` does to the `index`-th message that it sends; `change` gets its earlier
    payloads as well."""

    party: int
    index: int
    how: str
    change: Callable[[Array, list[Array]], Array | None]

    def __str__(self) -> str:
        where = f", message {self.index}" if self.index >= 0 else ""
        return f"party {self.party}{where}: {self.how}"


def _flip(bit: int, element: int) -> Callable[[Array, list[Array]], Array | None]:
    def change(payload: Array, earlier: list[Array]) -> Array | None:
        altered = np.array(payload).reshape(-1)
        if altered.size:
            altered[element % altered.size] ^= altered.dtype.type(
                1 << (bit % (8 * altered.itemsize))
            )
        return altered.reshape(payload.shape)

    return change


def _noise(payload: Array, earlier: list[Array]) -> Array | None:
    """Something else in every element, by the same pattern every time."""
    raw = np.resize(Samples("tamper/noise").packed(1024), payload.nbytes)
    return payload ^ raw.view(payload.dtype).reshape(payload.shape)


def _zero(payload: Array, earlier: list[Array]) -> Array | None:
    return np.zeros_like(payload)


def _drop(payload: Array, earlier: list[Array]) -> Array | None:
    return None


def _shorten(payload: Array, earlier: list[Array]) -> Array | None:
    return np.array(payload).reshape(-1)[:-1]


def _replay(payload: Array, earlier: list[Array]) -> Array | None:
    """An earlier message of the same form but other content; the message itself if there was
    none."""
    for old in reversed(earlier):
        if (
            old.shape == payload.shape
            and old.dtype == payload.dtype
            and not np.array_equal(old, payload)
        ):
            return np.array(old)
    return payload


CHANGES: Mapping[str, Callable[[Array, list[Array]], Array | None]] = {
    "noise": _noise,
    "flip the lowest bit": _flip(0, 0),
    "flip the highest bit": _flip(63, 0),
    "flip a bit of the last element": _flip(1, -1),
    "zero": _zero,
    "replay": _replay,
    "truncate": _shorten,
    "drop": _drop,
}


def altering(attack: Attack | None) -> Callable[[int, int, Frame], Frame | None]:
    """What an attack does on the wire, for `Wiretap`."""
    earlier: list[Array] = []

    def alter(sender: int, i: int, frame: Frame) -> Frame | None:
        if attack is None or sender != attack.party:
            return frame
        if i == attack.index:
            payload = attack.change(frame.payload, earlier)
            return None if payload is None else dataclasses.replace(frame, payload=payload)
        earlier.append(frame.payload)
        return frame

    return alter


def patience(attack: Attack | None) -> float:
    """How long parties wait for a message under an attack: short where one never comes."""
    return PATIENCE_S if attack is not None and attack.how == "drop" else SLOWEST_S


def run(
    bench: Bench, program: Program, secrets: tuple[Array, Array], attack: Attack | None
) -> tuple[Any, Frames]:
    """Outcomes of all parties and all messages of a program under public keys, with one attack."""
    with bench.cluster(name="tampered", insecure_seed=SEED, deadline_s=patience(attack)) as c:
        c.memory.tamper = tap = Wiretap(altering(attack))
        return c.submit(program, *secrets).outcomes(), tap.frames


def _same(a: list[Array | None], b: list[Array | None]) -> bool:
    return len(a) == len(b) and all(
        (x is None) == (y is None) and (x is None or y is None or np.array_equal(x, y))
        for x, y in zip(a, b, strict=True)
    )


def _changes_something(attack: Attack, frames: Frames) -> bool:
    earlier: list[Array] = []
    for sender, _, i, frame in frames:
        if sender == attack.party:
            if i == attack.index:
                after = attack.change(frame.payload, earlier)
                return after is None or not np.array_equal(after, frame.payload)
            earlier.append(frame.payload)
    return False


def _by_kind(frames: Frames) -> dict[tuple[Any, ...], list[int]]:
    """Indices of messages by sender, receiver, operation, phase and type."""
    kinds: dict[tuple[Any, ...], list[int]] = {}
    for sender, receiver, i, frame in frames:
        kind = sender, receiver, frame.tag.name, frame.tag.phase, frame.payload.dtype.str
        kinds.setdefault(kind, []).append(i)
    return kinds


def _spread(found: list[int]) -> list[int]:
    """The first, the middle and the last one."""
    return sorted({found[0], found[len(found) // 2], found[-1]})


def attacks(frames: Frames, g: Samples, thorough: bool, bounded: int = BOUNDED) -> list[Attack]:
    """Every message changed in every way; or, for every kind of message, noise on up to three and
    one other change, and more of those until there are about `bounded`.

    Noise on a check point's messages makes no value wrong.
    """
    every = [Attack(s, i, how, change) for s, _, i, _ in frames for how, change in CHANGES.items()]
    every = [a for a in every if _changes_something(a, frames)]
    if thorough:
        return every
    noise = {(a.party, a.index): a for a in every if a.how == "noise"}
    other = [a for a in every if a.how not in ("noise", "drop")]
    lies: list[Attack] = []
    sampled: list[Attack] = []
    for (sender, _, name, *_), found in _by_kind(frames).items():
        if name not in CHECK_LABELS:
            lies += [noise[sender, i] for i in _spread(found) if (sender, i) in noise]
        index = found[g.below(len(found))]
        sampled += g.choose([a for a in other if (a.party, a.index) == (sender, index)], 1)
    drops = g.choose([a for a in every if a.how == "drop"], 2)
    return [*lies, *sampled, *drops, *g.choose(other, max(8, bounded - len(sampled)))]


def accepted_wrong(attack: Attack, outcomes: list[Any], reference: list[Any]) -> bool:
    """Whether an honest party complained; fails if one accepted a wrong value or broke in an
    untyped way."""
    complaints = 0
    for party, outcome in enumerate(outcomes):
        if party == attack.party:
            continue
        if outcome.error is None:
            if not _same(outcome.value, reference[party]):
                raise Failed(f"{attack}: party {party} accepted a wrong value")
        elif not isinstance(outcome.error, WwflError):
            raise Failed(
                f"{attack}: party {party} broke with {type(outcome.error).__name__}: "
                f"{outcome.error}"
            )
        else:
            complaints += 1
    return complaints > 0


def promised(bench: Bench) -> None:
    """Leaves the check of a protocol that does not claim malicious security."""
    bench.needs_peers("nobody else sends messages")
    if not bench.sharing.security.malicious:
        raise NotPromised("semi-honest: does not promise to detect tampering")


def check(bench: Bench, name: str) -> str:
    """Whatever one party does to one message, no honest party accepts a wrong value, and all end in
    bounded time."""
    promised(bench)
    g = bench.samples(f"tamper/{name}")
    secrets = g.integers(24, 4), g.integers(24, 4)
    program = PROGRAMS[name]
    outcomes, frames = run(bench, program, secrets, None)
    reference = succeeded(outcomes)
    again, _ = run(bench, program, secrets, None)
    if not all(_same(a, b) for a, b in zip(reference, succeeded(again), strict=True)):
        raise Failed("two honest runs under equal keys differ; randomness must come from Party.prg")
    chosen = attacks(frames, g, bench.thorough)
    aborted = 0
    for attack in chosen:
        begun = time.monotonic()
        outcomes, _ = run(bench, program, secrets, attack)
        if time.monotonic() - begun > SLOWEST_S + 5:
            raise Failed(f"{attack}: the parties took {time.monotonic() - begun:.0f} s to end")
        aborted += accepted_wrong(attack, outcomes, reference)
    senders = {s for s, *_ in frames}
    return (
        f"{len(frames)} messages of {len(senders)} parties, {len(chosen)} attacks, {aborted} "
        "aborted, none accepted"
    )


def _everything(mpc: Session, x: Array, y: Array) -> list[Array | None]:
    a, b = operands(mpc, x, y)
    return programs.open_together(
        mpc, [*_products(mpc, a, b), *_injections(mpc, a, b), mpc.protocol.truncate(a, 5)]
    )


def _noises(frames: Frames, party: int, g: Samples, thorough: bool) -> list[list[int]]:
    """Sets of messages of one party: all that carry values, all of one operation, and random
    ones."""
    names = {i: frame.tag.name for s, _, i, frame in frames if s == party}
    values = [i for i, name in names.items() if name not in (*CHECK_LABELS, "open")]
    operations = sorted({names[i] for i in values})
    chosen = [values, *([i for i in values if names[i] == name] for name in operations)]
    sent = list(names)
    sizes = [1 + g.below(max(1, len(sent) // 4)) for _ in range(30 if thorough else 2)]
    return [c for c in [*chosen, *(g.choose(sent, size) for size in sizes)] if c]


def many(bench: Bench) -> str:
    """A party that overwrites several of its messages at once is no stronger."""
    promised(bench)
    g = bench.samples("tamper/many")
    secrets = g.integers(24, 4), g.integers(24, 4)
    outcomes, frames = run(bench, _everything, secrets, None)
    reference = succeeded(outcomes)
    runs = aborted = 0
    for party in range(bench.sharing.parties):
        for chosen in _noises(frames, party, g, bench.thorough):
            noise = g.packed(4096)

            def alter(
                sender: int,
                i: int,
                frame: Frame,
                who: int = party,
                at: list[int] = chosen,
                noise: Array = noise,
            ) -> Frame | None:
                if sender != who or i not in at:
                    return frame
                # Unlike in every message: one change to all copies of an input is another input,
                # not a lie.
                raw = (
                    np.resize(np.roll(noise, i), frame.payload.nbytes)
                    .view(frame.payload.dtype)
                    .reshape(frame.payload.shape)
                )
                return dataclasses.replace(frame, payload=frame.payload ^ raw)

            with bench.cluster(name="tampered", insecure_seed=SEED, deadline_s=SLOWEST_S) as c:
                c.memory.tamper = Wiretap(alter)
                outcomes = c.submit(_everything, *secrets).outcomes()
            attack = Attack(
                party, -1, f"noise on {len(chosen)} of its messages {chosen[:20]}", _zero
            )
            aborted += accepted_wrong(attack, outcomes, reference)
            runs += 1
    return f"{runs} attacks, {aborted} aborted, none accepted"


def _worlds(bench: Bench, g: Samples) -> list[tuple[Array, Array]]:
    """Pairs of secrets that differ, under equal masks, in every bit that could decide whether a lie
    is noticed.

    The lowest bits of both secrets, and of their sum, take both values; so do the highest of both
    in a ring (where the numbers may exceed what gates promise to get right: only the same program
    in the same world is compared). Any other bit of a masked secret is a coin per world and
    element."""
    x, y, r = (g.integers(24, 4) for _ in range(3))
    worlds = [(x, y), (~x, y), (r, ~y)]
    if bench.protocol.numbers == RING:
        top = np.uint64(1 << 63)
        worlds.append((g.integers(24, 4) ^ top, g.integers(24, 4) ^ top))
    return worlds


def _flips(frames: Frames, thorough: bool) -> list[Attack]:
    """Two bits of every message, apart; or, of every kind of message, one bit of the first, another
    of the last."""
    flips = [
        ("flip the lowest bit of element 0", _flip(0, 0)),
        ("flip the highest bit of element 1", _flip(63, 1)),
    ]
    chosen: list[Attack] = []
    for (sender, _, name, *_), found in _by_kind(frames).items():
        if thorough:
            chosen += [Attack(sender, i, *flip) for i in found for flip in flips]
        elif name not in CHECK_LABELS:
            chosen += [
                Attack(sender, i, *flip)
                for i, flip in zip((found[0], found[-1]), flips, strict=True)
            ]
    return chosen


def selective(bench: Bench) -> str:
    """Whether a flipped bit is noticed does not depend on the secrets: an abort tells the attacker
    nothing."""
    promised(bench)
    g = bench.samples("tamper/selective")
    worlds = _worlds(bench, g)
    runs = [run(bench, _everything, secrets, None) for secrets in worlds]
    references = [succeeded(outcomes) for outcomes, _ in runs]
    chosen = _flips(runs[0][1], bench.thorough)
    for attack in chosen:
        noticed = [
            accepted_wrong(attack, run(bench, _everything, secrets, attack)[0], reference)
            for secrets, reference in zip(worlds, references, strict=True)
        ]
        if len(set(noticed)) > 1:
            raise Failed(f"{attack}: noticed for some secrets and not for others")
    return f"{len(chosen)} attacks, each on {len(worlds)} pairs of secrets"
