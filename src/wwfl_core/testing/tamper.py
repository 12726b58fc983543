"""Tampering: one party changes one message; an honest party may abort, but never accepts a wrong value.

A program runs once as it should; then, under the same public keys, once per message of every party that may be corrupt
and per way to change it. Messages are enumerated from the recording of the honest run, so none is missed; the bounded
form samples them evenly over kinds (sender, receiver, operation, phase, type).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array
from ..backend import MPCBackend
from ..bilinear import MatMul, Mul
from ..channel.frames import Frame
from ..errors import WwflError
from ..share import Share
from . import programs
from .bench import Bench, Samples, Wiretap, succeeded
from .verdict import Failed, NotPromised

Program = Callable[[MPCBackend, Array, Array], list[Array | None]]
Frames = list[tuple[int, int, int, Frame]]
SEED = 7
BOUNDED = 40
PATIENCE_S = 0.25
SLOWEST_S = 10.0

# ---------------------------------------------------------------------- programs


def operands(mpc: MPCBackend, x: Array, y: Array) -> tuple[Share, Share]:
    """One value of the first and one of the last party that holds shares."""
    first, last = mpc.sharing.evaluators[0], mpc.sharing.evaluators[-1]
    return programs.deal_words(mpc, x, first), programs.deal_words(mpc, y, last)


def _on_two(operation: Callable[[MPCBackend, Share, Share], list[Share]]) -> Program:
    def program(mpc: MPCBackend, x: Array, y: Array) -> list[Array | None]:
        return programs.open_all(mpc, operation(mpc, *operands(mpc, x, y)))

    return program


def _share(mpc: MPCBackend, x: Array, y: Array) -> list[Array | None]:
    """Every party shares."""
    return programs.open_all(mpc, [programs.deal_words(mpc, x, p) for p in mpc.sharing.evaluators])


def _products(mpc: MPCBackend, x: Share, y: Share) -> list[Share]:
    f = mpc.fixed.frac_bits
    matrices = x.reshape(2, 2), y.reshape(2, 2)
    return [mpc.bilinear(Mul(), x, y), mpc.bilinear(Mul(), x, y, f), mpc.bilinear(MatMul(), *matrices)]


def _signs(mpc: MPCBackend, x: Share, y: Share) -> list[Share]:
    s = mpc.sign(x, 30)
    return [s, mpc.bilinear(Mul(), s, mpc.sign(y, 27))]


def _injections(mpc: MPCBackend, x: Share, y: Share) -> list[Share]:
    s = mpc.sign(x, 30)
    return [mpc.bit_to_ring(s, x.shape), mpc.inject(s, y)]


def _relu(mpc: MPCBackend, x: Share, y: Share) -> list[Share]:
    s = mpc.sign(x, 30)
    return [mpc.inject(mpc.add_public(s, np.full(s.shape, 255, np.uint8)), x)]


def _reveal(mpc: MPCBackend, x: Array, y: Array) -> list[Array | None]:
    """Openings to everybody, to one and to two parties."""
    a, b = operands(mpc, x, y)
    evaluators = mpc.sharing.evaluators
    return [mpc.open(a, "all"), mpc.open(b, "one", [evaluators[0]]), mpc.open(a + b, "two", list(evaluators[-2:]))]


PROGRAMS: Mapping[str, Program] = {
    "share": _share,
    "product": _on_two(_products),
    "truncation": _on_two(lambda mpc, x, y: [mpc.truncate(x, 5), mpc.truncate(y, mpc.fixed.frac_bits)]),
    "sign": _on_two(_signs),
    "inject": _on_two(_injections),
    "relu": _on_two(_relu),
    "reveal": _reveal,
}

# ---------------------------------------------------------------------- attacks


@dataclass(frozen=True)
class Attack:
    """What party `party` does to the `index`-th message that it sends; `change` gets its earlier payloads as well."""

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
            altered[element % altered.size] ^= altered.dtype.type(1 << (bit % (8 * altered.itemsize)))
        return altered.reshape(payload.shape)

    return change


def _zero(payload: Array, earlier: list[Array]) -> Array | None:
    return np.zeros_like(payload)


def _drop(payload: Array, earlier: list[Array]) -> Array | None:
    return None


def _shorten(payload: Array, earlier: list[Array]) -> Array | None:
    return np.array(payload).reshape(-1)[:-1]


def _replay(payload: Array, earlier: list[Array]) -> Array | None:
    """An earlier message of the same form but other content; the message itself if there was none."""
    for old in reversed(earlier):
        if old.shape == payload.shape and old.dtype == payload.dtype and not np.array_equal(old, payload):
            return np.array(old)
    return payload


CHANGES: Mapping[str, Callable[[Array, list[Array]], Array | None]] = {
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


def run(bench: Bench, program: Program, secrets: tuple[Array, Array], attack: Attack | None) -> tuple[Any, Frames]:
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


def attacks(frames: Frames, g: Samples, thorough: bool, bounded: int = BOUNDED) -> list[Attack]:
    """Every message changed in every way; or a sample with one message of every kind and about `bounded` in all."""
    every = [Attack(s, i, how, change) for s, _, i, _ in frames for how, change in CHANGES.items()]
    every = [a for a in every if _changes_something(a, frames)]
    if thorough:
        return every
    chosen: list[Attack] = []
    for (sender, *_), found in _by_kind(frames).items():
        index = found[g.below(len(found))]
        chosen += g.choose([a for a in every if (a.party, a.index) == (sender, index) and a.how != "drop"], 1)
    drops = g.choose([a for a in every if a.how == "drop"], 2)
    rest = g.choose([a for a in every if a.how != "drop"], max(8, bounded - len(chosen)))
    return [*chosen, *drops, *rest]


def accepted_wrong(attack: Attack, outcomes: list[Any], reference: list[Any]) -> bool:
    """Whether an honest party complained; fails if one accepted a wrong value or broke in an untyped way."""
    complaints = 0
    for party, outcome in enumerate(outcomes):
        if party == attack.party:
            continue
        if outcome.error is None:
            if not _same(outcome.value, reference[party]):
                raise Failed(f"{attack}: party {party} accepted a wrong value")
        elif not isinstance(outcome.error, WwflError):
            raise Failed(f"{attack}: party {party} broke with {type(outcome.error).__name__}: {outcome.error}")
        else:
            complaints += 1
    return complaints > 0


def promised(bench: Bench) -> None:
    """Leaves the check of a protocol that does not claim malicious security."""
    bench.needs_peers("nobody else sends messages")
    if not bench.sharing.security.malicious:
        raise NotPromised("semi-honest: does not promise to detect tampering")


def check(bench: Bench, name: str) -> str:
    """Whatever one party does to one message, no honest party accepts a wrong value, and all end in bounded time."""
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
    return f"{len(frames)} messages of {len(senders)} parties, {len(chosen)} attacks, {aborted} aborted, none accepted"


def _everything(mpc: MPCBackend, x: Array, y: Array) -> list[Array | None]:
    a, b = operands(mpc, x, y)
    return programs.open_all(mpc, [*_products(mpc, a, b), *_injections(mpc, a, b), mpc.truncate(a, 5)])


def many(bench: Bench) -> str:
    """A party that overwrites several of its messages at once is no stronger."""
    promised(bench)
    g = bench.samples("tamper/many")
    secrets = g.integers(24, 4), g.integers(24, 4)
    outcomes, frames = run(bench, _everything, secrets, None)
    reference = succeeded(outcomes)
    rounds = 30 if bench.thorough else 4
    aborted = 0
    for party in range(bench.sharing.parties):
        sent = [i for s, _, i, _ in frames if s == party]
        for _ in range(rounds):
            chosen = set(g.choose(sent, 1 + g.below(max(1, len(sent) // 4))))
            noise = g.packed(4096)

            def alter(
                sender: int, i: int, frame: Frame, who: int = party, chosen: set[Any] = chosen, noise: Array = noise
            ) -> Frame | None:
                if sender != who or i not in chosen:
                    return frame
                raw = np.resize(noise, frame.payload.nbytes).view(frame.payload.dtype).reshape(frame.payload.shape)
                return dataclasses.replace(frame, payload=frame.payload ^ raw)

            with bench.cluster(name="tampered", insecure_seed=SEED, deadline_s=SLOWEST_S) as c:
                c.memory.tamper = Wiretap(alter)
                outcomes = c.submit(_everything, *secrets).outcomes()
            attack = Attack(party, -1, f"noise on its messages {sorted(chosen)}", _zero)
            aborted += accepted_wrong(attack, outcomes, reference)
    return f"{rounds * bench.sharing.parties} attacks, {aborted} aborted, none accepted"


def selective(bench: Bench) -> str:
    """Whether a flipped bit is noticed does not depend on the secrets: an abort tells the attacker nothing."""
    promised(bench)
    g = bench.samples("tamper/selective")
    pairs = [(g.integers(24, 4), g.integers(24, 4)) for _ in range(2)]
    runs = [run(bench, _everything, secrets, None) for secrets in pairs]
    references = [succeeded(outcomes) for outcomes, _ in runs]
    kinds = _by_kind(runs[0][1])
    chosen = [(s, i) for (s, *_), found in kinds.items() for i in (found if bench.thorough else g.choose(found, 1))]
    for party, index in chosen:
        for how in ("flip the lowest bit", "flip the highest bit"):
            attack = Attack(party, index, how, CHANGES[how])
            noticed = [
                accepted_wrong(attack, run(bench, _everything, secrets, attack)[0], reference)
                for secrets, reference in zip(pairs, references, strict=True)
            ]
            if noticed[0] != noticed[1]:
                raise Failed(f"{attack}: noticed for one pair of secrets and not for another")
    return f"{2 * len(chosen)} attacks, each on two pairs of secrets"
