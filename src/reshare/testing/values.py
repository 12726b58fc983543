"""Checks of what a conversion delivers: the value, fresh shares, and nothing to anybody else."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from reshare.convert import expand
from wwfl_core.cluster import Handle, LocalCluster
from wwfl_core.numbers.algebra import RING
from wwfl_core.numbers.arrays import U64, Array, Shape, numel
from wwfl_core.protocol.derived import packed
from wwfl_core.randomness.prg import KEY_BYTES
from wwfl_core.tensors import Session, SharedBits, SharedTensor
from wwfl_core.testing import (
    LIMIT,
    Failed,
    NotPromised,
    Samples,
    Span,
    bit_row,
    bit_rows,
    expect_equal,
    programs,
    succeeded,
    uniformity,
)

from .pairs import Pair, Pairs, Tap, open_ring

MANY = 4096
ENOUGH = 256
"""Arrays with fewer elements are too small for statistics."""


# ---------------------------------------------------------------------- programs


def _transposed(mpc: Session, x: SharedTensor) -> SharedTensor:
    return x.T


def _shared_bits(mpc: Session, bits: Array, shape: Shape) -> SharedBits:
    return SharedBits(mpc, programs.deal_bits(mpc, bits, mpc.sharing.evaluators[0], shape), shape)


def _reveal(mpc: Session, x: Any) -> Any:
    return mpc.reveal(x, "test")


def _parts(mpc: Session, x: SharedTensor) -> Any:
    return programs.parts_of([x.data])[0]


def _mixed(mpc: Session, x: SharedTensor, y: SharedTensor) -> SharedTensor:
    return 3 * x - y + 1.5


def parts_at(cluster: LocalCluster, handle: Handle) -> list[dict[int, Array]]:
    """Every party's components of a tensor."""
    return succeeded(cluster.submit(_parts, handle).outcomes())


# ---------------------------------------------------------------------- the value


def _shapes(g: Samples, thorough: bool) -> list[Shape]:
    some = [(), (0,), (1,), (7,), (3, 5), (2, 0, 3), (2, 3, 4)]
    return some + [
        tuple(g.below(6) for _ in range(g.below(4))) for _ in range(60 if thorough else 3)
    ]


def _ring(g: Samples, shape: Shape) -> U64:
    """Ring elements, about half of them edges."""
    noise, n = g.words(*shape), numel(shape)
    edges = g.edges[g.integers(64, n) % np.uint64(g.edges.size)].reshape(shape)
    return np.where(g.words(*shape) & np.uint64(1), noise, edges).astype(np.uint64)


def value(pairs: Pairs) -> str:
    """Every ring element of any shape, and every bit, arrives as it was; all holders of a component
    agree on it."""
    tensors = 0
    for pair in pairs:
        g = pairs.bench.samples(f"reshare/value/{pair.name}")
        with pair.clusters() as (a, b):
            for shape in _shapes(g, pairs.bench.thorough):
                ring = _ring(g, shape)
                moved = pairs.convert(a.share_ring(ring, 0), b)
                expect_equal(b.run(open_ring, moved), ring, f"{pair.name}, shape {shape}")
                _copies_agree(pair.name, parts_at(b, moved))
                tensors += 1
            ring = _ring(g, (3, 4))
            moved = pairs.convert(a.run(_transposed, a.share_ring(ring, 0)), b)
            expect_equal(b.run(open_ring, moved), ring.T, f"{pair.name}, transposed")
            for shape in [(0,), (1,), (8,), (7, 11)]:
                bits = g.packed(packed(numel(shape)))
                want = (
                    np.unpackbits(bits, count=numel(shape), bitorder="little")
                    .astype(bool)
                    .reshape(shape)
                )
                moved = pairs.convert(a.run(_shared_bits, bits, shape), b)
                expect_equal(b.run(_reveal, moved), want, f"{pair.name}, bits of shape {shape}")
                tensors += 1
    left_out = "".join(
        f"; {name} does not start: {problem}" for name, problem in pairs.problems.items()
    )
    return f"{len(list(pairs))} directions, {tensors} tensors exact{left_out}"


def _copies_agree(where: str, held: list[dict[int, Array]]) -> None:
    seen: dict[int, Array] = {}
    for party, parts in enumerate(held):
        for component, array in parts.items():
            if not np.array_equal(seen.setdefault(component, array), array):
                raise Failed(
                    f"{where}: target party {party} holds another component {component} than others"
                )


def linear(pairs: Pairs) -> str:
    """Linear operations before and after a conversion give the same, also where the target rounds
    to its format."""
    worst = 0.0
    for pair in pairs:
        g = pairs.bench.samples(f"reshare/linear/{pair.name}")
        with pair.clusters() as (a, b):
            here, there = a.protocol.format.frac_bits, b.protocol.format.frac_bits
            x, y = (g.integers(12, 5, 3).view(np.int64) / 16.0 for _ in range(2))
            first, second = a.share(x), a.share(y)
            before = b.reveal(pairs.convert(a.run(_mixed, first, second), b))
            after = b.reveal(b.run(_mixed, pairs.convert(first, b), pairs.convert(second, b)))
            want = 3 * x - y + 1.5
            unit = (
                2.0**-there if there < here else 0.0
            )  # only a coarser target rounds, by a unit at most
            for what, got, allowed in (("before", before, unit), ("after", after, 4 * unit)):
                off = float(np.max(np.abs(np.asarray(got) - want)))
                if got.shape != want.shape or off > allowed:
                    raise Failed(
                        f"{pair.name}: 3x - y + 1.5 taken {what} the conversion is off by {off:g}"
                    )
                worst = max(worst, off)
    return f"{len(list(pairs))} directions, " + (
        f"rounded by up to {worst:g}" if worst else "exact"
    )


# ---------------------------------------------------------------------- secrecy


def _unrelated(where: str, one: list[dict[int, Array]], other: list[dict[int, Array]]) -> int:
    compared = 0
    for party, (first, second) in enumerate(zip(one, other, strict=True)):
        for component in first.keys() & second.keys():
            a, b = first[component], second[component]
            if not a.any() and not b.any():
                # a component may be 0 by design; that none is in the clear is the matter of
                # reshare/views
                continue
            score = uniformity(a - b)
            if score > LIMIT:
                raise Failed(
                    f"{where}: component {component} at party {party} repeats or shares a mask "
                    f"(the difference is not uniform, {score:.0f} sigma)"
                )
            compared += 1
    return compared


def fresh(pairs: Pairs) -> str:
    """Two conversions of one tensor give unrelated shares, and there and back again gives others
    than before."""
    compared = 0
    for pair in pairs:
        with pair.clusters() as (a, b):
            x = a.share_ring(np.full(MANY, 0x0123_4567_89AB, np.uint64), 0)
            moved = pairs.convert(x, b)
            if b.sharing.security.corruptions:
                again = parts_at(b, pairs.convert(x, b))
                compared += _unrelated(f"{pair.name}, twice", parts_at(b, moved), again)
            if a.sharing.security.corruptions:
                back = pairs.convert(moved, a)
                expect_equal(a.run(open_ring, back), a.run(open_ring, x), f"{pair.name} and back")
                compared += _unrelated(f"{pair.name} and back", parts_at(a, x), parts_at(a, back))
    if not compared:
        raise NotPromised("neither side of any pair promises secrecy")
    return f"{compared} pairs of components"


def views(pairs: Pairs) -> str:
    """All that a permitted coalition of source AND target parties sees, as bits, spans no bit of
    the value, masks that arrive as seeds included; nothing is opened, and every message to a party
    is uniform for constant secrets."""
    rows = arrays = 0
    for pair in pairs:
        for secret in (np.zeros(MANY, np.uint64), np.full(MANY, 0x0123_4567_89AB, np.uint64)):
            for name, _, array in _watch(pairs, pair, secret)[1]:
                if array.size >= ENOUGH and (score := uniformity(array)) > LIMIT:
                    raise Failed(
                        f"{pair.name}: {name} is not uniform for a constant secret ({score:.0f} "
                        "sigma)"
                    )
                arrays += array.size >= ENOUGH
        g = pairs.bench.samples(f"reshare/views/{pair.name}")
        x = g.integers(31, MANY)
        components, messages = _watch(pairs, pair, x)
        for coalition in _coalitions(pair):
            rows += _spans_nothing(pair, coalition, x, [*components, *messages])
    if not rows:
        raise NotPromised("neither side of any pair promises secrecy")
    return f"{arrays} uniform messages, {rows} independent rows"


Seen = list[tuple[str, int, Array]]


def _watch(pairs: Pairs, pair: Pair, x: U64) -> tuple[Seen, Seen]:
    """(components, messages) by name and party. A party is left out where its cluster promises no
    secrecy at all."""
    with pair.clusters() as (a, b):
        handle = a.share_ring(x, 0)
        held = parts_at(a, handle)
        tap = Tap(a, b)
        moved = pairs.convert(handle, b)
        a.memory.tamper = b.memory.tamper = None
        if list(a.ledger) or list(b.ledger):
            raise Failed(f"{pair.name}: the conversion opened something: {[*a.ledger, *b.ledger]}")
        all_parts = [*held, *parts_at(b, moved)]
        private = [c.sharing.security.corruptions > 0 for c in (a, b) for _ in c.addresses]
    components = [
        (f"component {c} at {tap.addresses[p]}", p, array)
        for p, parts in enumerate(all_parts)
        for c, array in sorted(parts.items())
    ]
    messages: Seen = []
    for s, r, i, frame in tap.frames:
        if private[r]:
            name = f"message {i} of {tap.addresses[s]} to {tap.addresses[r]}"
            messages.append((name, r, frame.payload))
            messages += [
                (f"{name}, seed {k}", r, mask) for k, mask in enumerate(_masks(frame.payload))
            ]
    return components, sorted(messages, key=lambda item: item[0])


def _masks(payload: Array) -> list[Array]:
    """The lowest bits of the masks that a short message of octets stands for, if it is made of
    seeds.

    Of a sum of masks, the lowest bits are exactly the XOR of theirs. A digest taken for a seed is
    one more random row."""
    if (
        payload.dtype != np.uint8
        or payload.ndim != 1
        or payload.size >= ENOUGH
        or payload.size % KEY_BYTES
    ):
        return []
    seeds = payload.reshape(-1, KEY_BYTES)
    return [
        np.packbits(expand(seed, RING, (MANY,)).astype(np.uint8) & 1, bitorder="little")
        for seed in seeds
    ]


def _coalitions(pair: Pair) -> list[tuple[int, ...]]:
    """The largest permitted sets of corrupt parties, of both sides together."""
    source, target = pair.source().sharing, pair.target().sharing
    ours = combinations(range(source.parties), source.security.corruptions)
    theirs = list(
        combinations(
            range(source.parties, source.parties + target.parties), target.security.corruptions
        )
    )
    return [(*q, *r) for q in ours for r in theirs if q or r]


def _spans_nothing(pair: Pair, coalition: tuple[int, ...], x: U64, seen: Seen) -> int:
    span = Span()
    span.add((1 << MANY) - 1)  # constants are no secret
    for _, party, array in seen:
        if party in coalition:
            for row in bit_rows(array, MANY):
                span.add(row)
    if len(span) > MANY - 200:  # too many rows to tell anything
        return 0
    found = len(span)
    alone = Span()
    alone.add((1 << MANY) - 1)
    for bit in (0, 1, 2, 4, 8, 16, 31, 62, 63):
        row = bit_row(x >> np.uint64(bit))
        if span.add(row) != alone.add(row):
            raise Failed(
                f"{pair.name}: the coalition {coalition} can compute bits of the value from what "
                "it sees"
            )
    return found


VALUES: dict[str, Callable[[Pairs], str]] = {
    "reshare/value": value,
    "reshare/linear": linear,
    "reshare/fresh": fresh,
    "reshare/views": views,
}
