"""The carry tree of comparisons for replicated shares: one kernel per round, the bits of `derived.carry_out`.

A round takes in the product of the last one (one component computed, one received), and computes and masks the message
of the next. Messages are packed bit planes, as they travel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wwfl_core.errors import Misuse

from .launch import BLOCK, DeviceArray, blocks, launcher_for, plain
from .prg import Stream, check_length

Components = tuple[DeviceArray, DeviceArray]


@dataclass(frozen=True)
class CarryState:
    """A party's two components of g (k planes) and p (k - 1, without the lowest): uint8 (planes, ceil(n / 8))."""

    g: Components
    p: Components

    @property
    def positions(self) -> int:
        """How many positions are left; with one, `g` is the carry."""
        return int(self.g[0].shape[0])


def start(state: CarryState, own: Stream, following: Stream) -> DeviceArray:
    """The first message: uint8 (even - 1, ceil(n / 8)), even = k - k % 2."""
    return _round(state, None, own, following)[1]


def advance(
    state: CarryState, z: DeviceArray, received: DeviceArray, own: Stream | None, following: Stream | None
) -> tuple[CarryState, DeviceArray]:
    """Takes in the product (z sent, and what was received); returns the state after it and the next message.

    The message has no rows when one position is left; only then the streams may be None.
    """
    return _round(state, (z, received), own, following)


def level(
    g: Components, p: Components, product: Components | None, own: Stream | None, following: Stream | None = None
) -> tuple[Components, Components, DeviceArray]:
    """`start` (without a product) or `advance` for a step of a protocol: the components of g and p, and the message."""
    state, message = _round(CarryState(g, p), product, own, following)
    return state.g, state.p, message


def _round(
    state: CarryState, product: Components | None, own: Stream | None, following: Stream | None
) -> tuple[CarryState, DeviceArray]:
    k, row_bytes = state.g[0].shape
    g = [plain(part, "g", np.uint8, 2) for part in state.g]
    p = [plain(part, "p", np.uint8, 2) for part in state.p]
    even = k - k % 2
    z = [] if product is None else [plain(part, "product", np.uint8, 2) for part in product]
    for arrays, rows, name in ((g, k, "g"), (p, k - 1, "p"), (z, even - 1, "the product")):
        for array in arrays:
            if array.shape != (rows, row_bytes):
                raise Misuse(f"{name} must have shape {(rows, row_bytes)}, not {array.shape}")
    left = k if product is None else (k + 1) // 2
    rows = max(0, left - left % 2 - 1)
    if rows and (own is None or following is None):
        raise Misuse(f"{left} positions are left, so the next message needs its two streams")
    launcher = launcher_for(g[0])
    message = launcher.empty((rows, row_bytes), np.uint8)
    check_length(message.nbytes)
    after = state
    made: list[DeviceArray | int] = [0] * 4
    if product is not None:
        made = [launcher.empty((r, row_bytes), np.uint8) for r in (left, left, left - 1, left - 1)]
        after = CarryState((made[0], made[1]), (made[2], made[3]))
    wide = row_bytes % 8 == 0
    masks = [word for s in (own, following) for word in (s.args() if s else [0] * 6)]
    args = [*g, *p, *(z or [0, 0]), k, row_bytes // 8 if wide else row_bytes, *made, message, *masks]
    if row_bytes:
        grid = blocks(-(-max(message.nbytes, left * row_bytes) // 64))
        launcher.launch("carry.cu", "round_words" if wide else "round_bytes", grid, (BLOCK, 1, 1), args)
    return after, message
