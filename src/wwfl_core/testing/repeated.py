"""Recorded programs (`wwfl_core.recording`), which training uses: what a protocol does must not
depend on more than its operands and the number of the operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from wwfl_core.numbers import MatMul
from wwfl_core.recording import recorded
from wwfl_core.tensors import Session, SharedTensor

from . import programs
from .bench import Bench, Wiretap, expect_equal, succeeded
from .verdict import Failed, NotPromised

RUNS = 4
"""An ordinary run, two that are recorded, a repetition."""
SEED = 7
Program = Callable[[Session, SharedTensor, SharedTensor], list[SharedTensor]]


def _program(mpc: Session, x: SharedTensor, y: SharedTensor) -> list[SharedTensor]:
    """Products with truncation of both kinds, comparisons, bits as numbers, selections."""
    chosen = x.relu()
    return [
        x * y,
        x.bilinear(MatMul(False, True), y),
        chosen,
        (x < y).to_integers(),
        chosen * chosen - x,
    ]


def _runs(mpc: Session, program: Program, x: SharedTensor, y: SharedTensor) -> list[Any]:
    """What the last of RUNS gives. Of what a protocol has kept with an operand (a mask), a
    repetition knows nothing."""
    results: list[SharedTensor] = []
    for _ in range(RUNS):
        x.data.cache.clear()
        y.data.cache.clear()
        results = program(mpc, x, y)
    return programs.open_together(mpc, [t.data for t in results])


def repeated(bench: Bench) -> str:
    """A recorded program sends, when it is repeated, the messages of an ordinary run, and computes
    the same."""
    if bench.protocol.keeps_state:
        raise NotPromised("it keeps a state of its own, so its programs are not recorded")
    if bench.protocol.numpy_only:
        raise NotPromised("its shares are bound to the host, so its programs are not recorded")
    g, shape = bench.samples("repeated"), (3, 5)
    x, y = g.integers(24, *shape), g.integers(24, *shape)
    found: list[tuple[list[Any], list[Any]]] = []
    for program in (_program, recorded(_program)):
        with bench.cluster(name="repeated", insecure_seed=SEED) as c:
            a, b = (c.share_ring(value, bench.frac_bits) for value in (x, y))
            c.memory.tamper = tap = Wiretap()
            values = succeeded(c.submit(_runs, program, a, b).outcomes())
        sent = [
            (s, r, i, f.tag, f.payload.dtype, f.payload.shape, f.payload.tobytes())
            for s, r, i, f in tap.frames
        ]
        found.append((values, sorted(sent, key=lambda message: message[:3])))
    (wanted, ordinary), (got, again) = found
    for party, (mine, theirs) in enumerate(zip(got, wanted, strict=True)):
        for one, other in zip(mine, theirs, strict=True):
            if other is not None:
                expect_equal(one, np.asarray(other), f"a repeated program at party {party}")
    for one, other in zip(again, ordinary, strict=False):
        if one != other:
            raise Failed(
                f"party {one[0]} sends {one[3]} {one[5]} to {one[1]} where it sent {other[3]} "
                f"{other[5]} before"
            )
    if len(again) != len(ordinary):
        raise Failed(f"{len(again)} messages instead of {len(ordinary)}")
    return f"{len(again)} messages in {RUNS} runs, all alike"
