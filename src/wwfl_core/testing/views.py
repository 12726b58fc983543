"""Views: what one party sees - messages, its components, all streams whose keys it holds - says
nothing about secrets.

Four kinds of evidence. Every message and component alone has uniform bytes when secrets are
constant. Two messages on one link never equal each other, nor is their difference anything but
uniform (no mask is used twice). The same program on two different secrets under fresh keys gives
views that no statistic of one or two arrays tells apart. And all arrays of a party, read as rows of
bits, do not span a bit of a secret in any combination over GF(2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from wwfl_core.channel import Phase
from wwfl_core.numbers.arrays import U64, Array
from wwfl_core.tensors import Session, SharedTensor

from . import programs
from .bench import Bench, Wiretap, succeeded
from .statistics import LIMIT, Span, alike, bit_row, bit_rows, byte_columns, uniformity
from .streams import Recorder, recorded
from .verdict import Failed, NotPromised

N = 4096
ENOUGH = 256
"""Arrays with fewer elements than this (digests) are too small for statistics and are left out of
them."""
SMALL, LARGE = 0, 0x0123_4567_89AB


@dataclass
class View:
    """What one party saw: its messages as (link, operation, array), its components and its masks,
    all by name."""

    messages: list[tuple[tuple[int, int], int, str, Array]] = field(default_factory=list[Any])
    components: list[tuple[str, Array]] = field(default_factory=list[Any])
    draws: list[tuple[str, Array]] = field(default_factory=list[Any])

    def arrays(self) -> list[tuple[str, Array]]:
        """Everything by name, in an order that does not depend on which thread was faster."""
        named = [
            (f"message {name} from party {link[0]}", payload)
            for link, _, name, payload in self.messages
        ]
        return sorted([*named, *self.components, *self.draws], key=lambda item: item[0])


SHARE_BY = "share by party "


def _programs(bench: Bench) -> list[str]:
    """What is watched: every operation on what a client shared, and every party sharing something
    of its own."""
    return [
        *(SHARE_BY + str(p) for p in bench.sharing.evaluators),
        *(k for k in programs.OPERATIONS if k != "share"),
    ]


def watch(bench: Bench, what: str, x: Array, y: Array) -> dict[int, View]:
    """What each party sees while x and y are shared and used; not what the owner of a secret
    sees."""
    views: dict[int, View] = defaultdict(View)
    owner = int(what.removeprefix(SHARE_BY)) if what.startswith(SHARE_BY) else None
    with bench.cluster() as c:
        recorder = Recorder()
        c.run(recorded, recorder)
        c.memory.tamper = tap = Wiretap()
        if owner is None:
            a, b = c.share_ring(x, 0), c.share_ring(y, 0)
            outcomes = c.submit(programs.run_operation, programs.OPERATIONS[what], a, b).outcomes()
        else:
            outcomes = c.submit(programs.run_share, x, owner).outcomes()
        shown = succeeded(outcomes)
    for sender, receiver, i, frame in tap.frames:
        views[receiver].messages.append(
            ((sender, receiver), frame.tag.op, f"{i} ({frame.tag.name!r})", frame.payload)
        )
    for party, shares in enumerate(shown):
        named = [
            (f"component {k} of value {i}", a)
            for i, parts in enumerate(shares)
            for k, a in parts.items()
        ]
        views[party].components += named
    for draw in recorder.draws:
        views[draw.party].draws.append(
            (f"mask {draw.op} {draw.label!r} of {sorted(draw.subset)}", draw.value)
        )
    if owner is not None:
        views.pop(owner, None)
    return views


def _coalitions(bench: Bench) -> list[tuple[int, ...]]:
    """The largest sets of parties that may be corrupt together."""
    return list(combinations(range(bench.sharing.parties), bench.sharing.security.corruptions))


def _together(views: dict[int, View], coalition: tuple[int, ...]) -> View:
    """What some parties see together."""
    found = [views[party] for party in coalition if party in views]
    messages = [m for view in found for m in view.messages]
    components = [item for view in found for item in view.components]
    named = [(f"{name} at {p}", a) for p in coalition if p in views for name, a in views[p].draws]
    return View(messages, components, named)


def _constant(value: int) -> U64:
    return np.full(N, value, np.uint64)


def uniform(bench: Bench) -> str:
    """Every message and every component that a party sees is uniform, for secrets that are 0 and
    that are constant."""
    bench.needs_privacy()
    bench.needs_ring()
    tests = small = 0
    for what in _programs(bench):
        for secret in (SMALL, LARGE):
            for party, view in watch(bench, what, _constant(secret), _constant(secret)).items():
                for name, array in view.arrays():
                    if array.size < ENOUGH or (name.startswith("component") and not array.any()):
                        small += array.size < ENOUGH  # (a component may be 0 by design)
                        continue
                    score = uniformity(array)
                    if score > LIMIT:
                        raise Failed(
                            f"{what}: {name} at party {party} is not uniform ({score:.0f} sigma)"
                        )
                    tests += 1
    return f"{tests} arrays" + (f", {small} too small to tell" if small else "")


def _shared_mask(a: Array, b: Array) -> str:
    """What is wrong with two messages that must be independent; empty if nothing is."""
    if np.array_equal(a, b):
        return "are equal"
    score = uniformity(a - b if a.dtype == np.uint64 else a ^ b)
    return (
        f"share a mask: their difference is not uniform ({score:.0f} sigma)"
        if score > LIMIT
        else ""
    )


def fresh(bench: Bench) -> str:
    """Two messages on one link, in one cluster or in two with fresh keys, never have equal values
    nor equal masks."""
    bench.needs_privacy()
    bench.needs_ring()
    pairs = 0
    for what in _programs(bench):
        first = watch(bench, what, _constant(LARGE), _constant(SMALL))
        second = watch(bench, what, _constant(LARGE), _constant(SMALL))
        for party, view in first.items():
            by_link: dict[tuple[Any, ...], list[tuple[str, Array]]] = defaultdict(list)
            for link, _, name, payload in view.messages:
                if payload.size >= ENOUGH:
                    by_link[(link, payload.dtype.str, payload.size)].append(
                        (name, payload.reshape(-1))
                    )
            for (link, *_), found in by_link.items():
                for (name, a), (other, b) in combinations(found, 2):
                    pairs += 1
                    if problem := _shared_mask(a, b):
                        raise Failed(
                            f"{what}: messages {name} and {other} of party {link[0]} to {party} "
                            f"{problem}"
                        )
            later = {(link, name): payload for link, _, name, payload in second[party].messages}
            for link, _, name, payload in view.messages:
                again = later.get((link, name))
                if payload.size >= ENOUGH and again is not None and again.shape == payload.shape:
                    pairs += 1
                    if problem := _shared_mask(payload.reshape(-1), again.reshape(-1)):
                        raise Failed(
                            f"{what}: message {name} of party {link[0]} to {party} in two "
                            f"clusters: {problem}"
                        )
    return f"{pairs} pairs of messages"


PAIRS = 2000
"""Of how many pairs of arrays that a coalition sees the bounded form looks at sums and
differences."""


def _telling(array: Array) -> bool:
    """Whether there is one element per secret (words), or enough of them for statistics (packed
    bits)."""
    return (
        array.size == N
        if array.dtype == np.uint64
        else array.dtype == np.uint8 and array.size >= ENOUGH
    )


def _pairs(arrays: list[tuple[str, Array]]) -> list[tuple[int, int]]:
    """Positions of every two arrays that can be added and tell something. With many parties, there
    are many."""
    kinds = [(a.dtype, a.size) if _telling(a) else None for _, a in arrays]
    return [
        (i, j)
        for i, j in combinations(range(len(kinds)), 2)
        if kinds[i] is not None and kinds[i] == kinds[j]
    ]


def _features(
    arrays: list[tuple[str, Array]], pairs: list[tuple[int, int]]
) -> Iterator[tuple[str, Any]]:
    """Low and high bytes of every array, and of sums and differences of the pairs: (name, byte
    sample), one by one."""
    flat = [(name, a.reshape(-1)) for name, a in arrays]
    for name, a in flat:
        if _telling(a) and a.dtype == np.uint64:
            columns = byte_columns(a)
            yield name, columns[0]
            yield f"{name} (top byte)", columns[7]
        elif _telling(a):
            yield name, a
    for i, j in pairs:
        (name, a), (other, b) = flat[i], flat[j]
        if a.dtype == np.uint64:
            yield f"{name} plus {other}", (a + b).astype(np.uint8)
            yield f"{name} minus {other}", (a - b).astype(np.uint8)
        else:
            yield f"{name} xor {other}", a ^ b


def _form(arrays: list[tuple[str, Array]]) -> list[tuple[Any, ...]]:
    return [(name, a.dtype.str, a.size) for name, a in arrays]


def indistinguishable(bench: Bench) -> str:
    """What a permitted coalition sees is distributed alike for two different secrets under fresh
    keys."""
    bench.needs_privacy()
    g = bench.samples("alike")
    tests = left = 0
    for what in _programs(bench):
        first = watch(bench, what, _constant(SMALL), _constant(SMALL))
        second = watch(bench, what, _constant(LARGE), _constant((1 << 64) - LARGE))
        for coalition in _coalitions(bench):
            mine, other = (_together(views, coalition).arrays() for views in (first, second))
            if _form(mine) != _form(other):
                raise Failed(
                    f"{what}: what {_who(coalition)} gets depends on the secrets in number or in "
                    "size"
                )
            every = _pairs(mine)
            chosen = every if bench.thorough else g.choose(every, PAIRS)
            left += len(every) - len(chosen)
            for (name, a), (_, b) in zip(
                _features(mine, chosen), _features(other, chosen), strict=True
            ):
                if (score := alike(a, b)) > LIMIT:
                    raise Failed(
                        f"{what}: {_who(coalition)} can tell two secrets apart by {name} "
                        f"({score:.0f} sigma)"
                    )
                tests += 1
    return f"{tests} statistics of pairs of runs" + (
        f", {left} sums left to --thorough" if left else ""
    )


def _secret_rows(x: U64, y: U64, f: int) -> list[int]:
    """Bits of everything that is computed: the inputs, their products, their truncations."""
    values = [
        x,
        y,
        x * y,
        x * x,
        *((v.view(np.int64) >> np.int64(f)).view(np.uint64) for v in (x, x * y)),
    ]
    return [
        bit_row(v >> np.uint64(bit))
        for v in values
        for bit in (0, 1, 2, 4, 5, 8, 16, 17, 31, 62, 63)
    ]


def unspanned(bench: Bench) -> str:
    """All that a permitted coalition sees, as bits, spans no bit of a secret in any linear
    combination over GF(2)."""
    bench.needs_privacy()
    bench.needs_ring()
    g = bench.samples("views")
    rows = skipped = 0
    for what in _programs(bench):
        x, y = g.integers(31, N), g.integers(31, N)
        secrets = _secret_rows(x, y, bench.frac_bits)
        views = watch(bench, what, x, y)
        for coalition in _coalitions(bench):
            view = _together(views, coalition)
            span = Span()
            span.add((1 << N) - 1)  # constants are no secret
            alone = Span()
            alone.add((1 << N) - 1)
            for _, array in view.arrays():
                for row in bit_rows(array, N):
                    span.add(row)
            if len(span) > N - 200:  # too many rows to tell anything; the other checks stand
                skipped += 1
                continue
            rows += len(span)
            for row in secrets:  # a row that is new among the secrets must be new to the view, too
                if span.add(row) != alone.add(row):
                    raise Failed(
                        f"{what}: {_who(coalition)} can compute a combination of secret bits from "
                        "what it sees"
                    )
    if not rows:
        raise NotPromised(
            f"views have more than {N - 200} independent bits per element: nothing can be told"
        )
    return f"{rows} independent rows" + (f", {skipped} views too large to tell" if skipped else "")


def _who(coalition: tuple[int, ...]) -> str:
    return f"party {coalition[0]}" if len(coalition) == 1 else f"the coalition {coalition}"


def _offline(bench: Bench, x: U64, y: U64) -> dict[tuple[int, int], list[bytes]]:
    """The offline messages of every link when all operations run on two secrets, under public
    keys."""
    with bench.cluster(name="coupled", insecure_seed=4) as c:
        c.memory.tamper = tap = Wiretap()
        succeeded(c.submit(_all, x, y, c.share_ring(x, 0), c.share_ring(y, 0)).outcomes())
    found: dict[tuple[int, int], list[bytes]] = defaultdict(list)
    for sender, receiver, _, frame in tap.frames:
        if frame.tag.phase == Phase.OFFLINE:
            found[(sender, receiver)].append(frame.payload.tobytes())
    return found


def _all(mpc: Session, x: U64, y: U64, a: SharedTensor, b: SharedTensor) -> None:
    """Every operation on what a client shared and on what each party shared."""
    programs.everything(mpc, a.data, b.data)
    for owner in mpc.sharing.evaluators:
        programs.everything(
            mpc, programs.deal_words(mpc, x, owner), programs.deal_words(mpc, y, owner)
        )


def offline(bench: Bench) -> str:
    """Under equal keys, offline messages are equal bit for bit whatever the secrets: they can be
    sent before."""
    bench.needs_privacy()
    g = bench.samples("offline")
    first = _offline(bench, g.integers(30, 12), g.integers(30, 12))
    second = _offline(bench, g.integers(30, 12), g.integers(30, 12))
    for link in sorted({*first, *second}):
        if first.get(link) != second.get(link):
            raise Failed(
                f"an offline message of party {link[0]} to {link[1]} depends on the secrets"
            )
    total = sum(map(len, first.values()))
    if not total:
        raise NotPromised("sends nothing offline")
    return f"{total} messages on {len(first)} links"
