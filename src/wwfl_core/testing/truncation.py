"""Truncation: never off by more than one unit, never with a rare huge error, and unbiased."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from wwfl_core.cluster import LocalCluster
from wwfl_core.numbers import U64, Mul
from wwfl_core.tensors import Session, SharedTensor

from . import programs
from .bench import Bench
from .verdict import Failed

LIMIT = (1 << 62) - 1
SIGMAS = 5.0
PROBE = 500
BUDGET_S = 5.0  # for each of half a dozen kinds


def _truncated(mpc: Session, x: SharedTensor, bits: int) -> Any:
    return programs.open_words(mpc, mpc.protocol.truncate(x.data, bits))


def _product(mpc: Session, x: SharedTensor, y: SharedTensor, bits: int) -> Any:
    return programs.open_words(mpc, mpc.protocol.bilinear(Mul(), x.data, y.data, bits))


def _roundings(bench: Bench, n: int) -> list[tuple[str, int, U64, U64]]:
    """(what, bits, exact values, result - floor) of truncations and truncated products of n values
    each."""
    g, f = bench.samples("truncation"), bench.frac_bits
    found: list[tuple[str, int, U64, U64]] = []
    with bench.cluster(deadline_s=120.0) as c:
        n = _affordable(c, n, f)
        for bits in sorted({1, 13, f, 40, 62}):
            shift = g.integers(64, n) % np.uint64(60)  # all magnitudes below 2^62
            x = (g.integers(64, n).view(np.int64) >> (np.int64(2) + shift.view(np.int64))).clip(
                -LIMIT, LIMIT
            )
            x[:6] = (LIMIT, -LIMIT, 0, 1, -1, LIMIT - 1)
            result = c.run(_truncated, c.share_ring(x.view(np.uint64), 0), bits)
            found.append(
                (f"truncation by {bits} bits", bits, x.view(np.uint64), _up(result, x, bits))
            )
        size = min(f + 6, 30)
        x, y = g.integers(size, n), g.integers(size, n)
        result = c.run(_product, c.share_ring(x, 0), c.share_ring(y, 0), f)
        exact = (x * y).view(np.int64)
        found.append(
            (f"product truncated by {f} bits", f, exact.view(np.uint64), _up(result, exact, f))
        )
    return found


def _affordable(c: LocalCluster, n: int, bits: int) -> int:
    """Fewer values for a protocol that would take minutes (the engine of another runtime), but
    never fewer than 500."""
    c.run(_truncated, c.share_ring(np.zeros(PROBE, np.uint64), 0), bits)  # warms up
    begun = time.perf_counter()
    c.run(_truncated, c.share_ring(np.zeros(PROBE, np.uint64), 0), bits)
    return min(n, max(PROBE, int(PROBE * BUDGET_S / (time.perf_counter() - begun))))


def _up(result: Any, x: Any, bits: int) -> U64:
    got: U64 = np.asarray(result)
    if got.dtype != np.uint64 or got.shape != x.shape:
        raise Failed("truncation: the result has another shape or type than the operand")
    return got - (x >> np.int64(bits)).view(np.uint64)


def error(bench: Bench) -> str:
    """result - floor(x / 2^bits) is 0 or 1 for every |x| < 2^62: no error spike, however rare
    values collide."""
    n = 2_000_000 if bench.thorough else 120_000
    total = 0
    for what, _, x, up in _roundings(bench, n):
        bad = ~np.isin(up, (0, 1))
        if bad.any():
            at = int(np.argmax(bad))
            raise Failed(
                f"{what}: {int(bad.sum())} of {up.size} results are neither neighbour; x = "
                f"{int(x.view(np.int64)[at])} is off by {int(up.view(np.int64)[at])} units"
            )
        total += up.size
    return f"{total} truncations, every one a neighbour"


def bias(bench: Bench) -> str:
    """The mean error is 0: a value rounds up as often as its fraction says, within 5 sigma and
    2^-bits."""
    n = 2_000_000 if bench.thorough else 120_000
    worst = 0.0
    for what, bits, x, up in _roundings(bench, n):
        near = np.isin(up, (0, 1))  # spikes are the business of truncation/error
        fraction = (x & np.uint64((1 << bits) - 1)).astype(np.float64)[near] / 2.0**bits
        spread = math.sqrt(float((fraction * (1 - fraction)).sum())) or 1.0
        # Exact truncation by Lemma W rounds up with probability fraction + 2^-bits.
        drift = float(up[near].sum()) - float(fraction.sum())
        excess = max(0.0, abs(drift) - fraction.size * 2.0**-bits) / spread
        if excess > SIGMAS:
            raise Failed(
                f"{what}: mean error {drift / max(1, fraction.size):+.4f} units, {excess:.0f} "
                "sigma from 0"
            )
        worst = max(worst, excess)
    return f"worst {worst:.1f} sigma"
