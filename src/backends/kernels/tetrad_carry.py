"""The carry tree of comparisons in Tetrad: a level's local steps, one kernel each
(`fused_tetrad4pc.py`).

g, p and the product are given as the three components that the party holds, in order: uint8 planes.
A step takes the last product in (None: there is none yet) and returns the components of g and p
after it, then what it makes of the next product, which has as many rows as `carry.Level` says. f2
and f3 are the streams of the lambdas that are drawn."""

from __future__ import annotations

import numpy as np

from wwfl_core.accelerate.cuda import (
    DeviceArray,
    Level,
    Stream,
    plain,
    stream_args,
    streams_args,
)

from . import SOURCES

Components = tuple[DeviceArray, ...]
SOURCE = str(SOURCES / "tetrad_carry.cu")
Parts = Components | None
State = tuple[Components, Components]


def merged(g: Components, p: Components, product: Parts) -> State:
    """The state after a product at the root of the tree, where nothing is multiplied."""
    level = Level(g, p, product)
    level.launch(SOURCE, "evaluate_words", "evaluate_bytes", [level.plane(), 0, *stream_args(None)])
    return level.after


def offline(
    g: Components,
    p: Components,
    product: Parts,
    u1: Stream,
    u2: Stream,
    f2: Stream,
    s: Stream,
    f3: Stream,
) -> tuple[Components, Components, DeviceArray, DeviceArray, DeviceArray, DeviceArray]:
    """CS4: l1 of the product, the seed w, and the drawn l2 and l3."""
    level = Level(g, p, product)
    made = [level.plane() for _ in range(4)]
    level.launch(
        SOURCE, "offline_words", "offline_bytes", [*made, *streams_args([u1, u2, f2, s, f3])]
    )
    return (*level.after, made[0], made[1], made[2], made[3])


def check(
    g: Components, p: Components, product: Parts, w: DeviceArray, u1: Stream, u2: Stream, f2: Stream
) -> tuple[Components, Components, DeviceArray, DeviceArray, DeviceArray]:
    """CS1: l1 of the product, the check value, and the drawn l2."""
    level = Level(g, p, product)
    made = [level.plane() for _ in range(3)]
    args = [plain(w, "w", np.uint8, 2), *made, *streams_args([u1, u2, f2])]
    level.launch(SOURCE, "check_words", "check_bytes", args)
    return (*level.after, made[0], made[1], made[2])


def evaluate(
    g: Components, p: Components, product: Parts, third: bool, u: Stream
) -> tuple[Components, Components, Components, DeviceArray]:
    """CS3 (`third`: it takes in the product of l3) and CS2: the state as `conclude` takes it, and
    what they swap."""
    level = Level(g, p, product)
    message = level.plane()
    level.launch(SOURCE, "evaluate_words", "evaluate_bytes", [message, int(third), *u.args()])
    return (*level.after, level.after[0] + level.after[1], message)


def conclude(
    state: Components,
    mine: DeviceArray,
    theirs: DeviceArray,
    f3: Stream,
    s: Stream,
    f2: Stream | None,
) -> tuple[DeviceArray, DeviceArray, DeviceArray, DeviceArray | None]:
    """CS2 and CS3 after the swap: m of the product, the check value, the drawn l3 and, at CS2, l2.
    state: g, then p."""
    level = Level(state[:3], state[3:], None)
    swapped = [plain(a, "a swapped array", np.uint8, 2) for a in (mine, theirs)]
    made = [level.plane() for _ in range(3)]
    l2 = None if f2 is None else level.plane()
    args = [*swapped, *made, 0 if l2 is None else l2, *streams_args([f3, s]), *stream_args(f2)]
    level.launch(SOURCE, "conclude_words", "conclude_bytes", args)
    return made[0], made[1], made[2], l2
