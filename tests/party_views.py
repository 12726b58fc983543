"""What one party sees, and what that says: messages, components and streams as rows of bits."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from helpers import Wiretap
from wwfl_core import LocalCluster, kernels
from wwfl_core.randomness.prg import Prg
from wwfl_core.testing.statistics import Span

N = 4096
"""Elements of every operand: more than the rows that a party sees of one operation."""

View = dict[int, list[tuple[str, np.ndarray]]]


def watch(
    c: LocalCluster,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    x: np.ndarray,
    y: np.ndarray,
    program: Callable[..., list[Any]],
) -> View:
    """Everything that each party sees while a client's x and y are shared and used once, by
    `program` (mpc, x, y, what); it returns algebra and components of shares."""
    view: View = defaultdict(list)
    draw = Prg.draw

    def recorded(
        self: Prg, op: int, label: str, algebra: Any, shape: Any, *where: Any
    ) -> np.ndarray:
        value = draw(self, op, label, algebra, shape, *where)
        name = threading.current_thread().name
        if name.startswith("wwfl "):
            view[int(name.rsplit("/", 1)[1])].append((f"draw {op} {label}", value))
        return value

    monkeypatch.setattr(Prg, "draw", recorded)
    c.memory.tamper = tap = Wiretap()
    a, b = c.share_ring(x, 0), c.share_ring(y, 0)
    outcomes = c.submit(program, a, b, what).outcomes()
    monkeypatch.undo()
    c.memory.tamper = None
    for _, receiver, i, frame in tap.frames:
        view[receiver].append((f"message {i} {frame.tag.name}", frame.payload))
    for party, outcome in enumerate(outcomes):
        assert outcome.error is None, outcome.error
        for i, (_, parts) in enumerate(outcome.value):
            view[party] += [
                (f"component {component} of {i}", array) for component, array in parts.items()
            ]
    return view


def chi_square(data: np.ndarray) -> float:
    """Deviation of the byte histogram from uniform, in standard deviations."""
    raw = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
    expected = raw.size / 256
    statistic = float(((np.bincount(raw, minlength=256) - expected) ** 2 / expected).sum())
    return (statistic - 255) / np.sqrt(510)


def plane_rows(array: np.ndarray) -> Iterable[int]:
    """The bits of an array as rows of N bits, each an integer: chosen bits of words, planes, packed
    words."""
    if array.dtype == np.uint64:
        flat = array.reshape(-1, N)
        for row in flat:
            for bit in (0, 1, 2, 31, 62, 63):
                yield to_int(row >> np.uint64(bit))
    elif array.ndim == 1 and array.size % (N // 8) == 0 and array.size > N // 8:
        bits = array.size * 8 // N
        unpacked = kernels.unpack_words(array, N, bits)
        for bit in range(bits):
            yield to_int(unpacked >> np.uint64(bit))
    else:
        for row in array.reshape(-1, N // 8):
            yield int.from_bytes(row.tobytes(), "little")


def to_int(bits: np.ndarray) -> int:
    return int.from_bytes(
        kernels.pack(np.ascontiguousarray(bits & np.uint64(1))).tobytes(), "little"
    )


def span_of(arrays: Iterable[tuple[str, np.ndarray]]) -> Span:
    span = Span()
    span.add((1 << N) - 1)  # constants are no secret
    for _, array in arrays:
        for row in plane_rows(np.asarray(array)):
            span.add(row)
    return span
