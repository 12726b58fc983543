"""Memory-bound kernels of the protocols against the bytes that they must move."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.kernels import pair, replicated, tetrad, tetrad_carry
from wwfl_core.accelerate import cuda

from .gpu_bench import Bench

TRUNCATED_BITS = 20
S = [
    cuda.Stream(bytes([i]) * 32, bytes(12)) for i in range(1, 4)
]  # of fixed, public keys: nothing here is secret


@dataclass(frozen=True)
class Case:
    """A kernel, its elements, and the fewest bytes that it must read and write."""

    name: str
    elements: int
    nbytes: int
    call: Callable[[], Any]


def copy(bench: Bench, n: int) -> Case:
    """The ceiling: a copy within the device's memory."""
    source, target = bench.words(n), bench.launcher.empty((n,), np.uint64)

    def call() -> None:
        target[...] = source

    return Case("copy", n, 16 * n, call)


def ring_cases(bench: Bench, n: int) -> list[Case]:
    """Elementwise kernels on n ring elements."""
    x = [bench.words(n) for _ in range(7)]
    a, b = (dict(zip(("m", "l1", "l2", "l3"), x[i : i + 4], strict=True)) for i in (0, 3))
    nb, f = -(-n // 8), TRUNCATED_BITS
    bits = [bench.bytes(nb) for _ in range(3)]
    narrow = cuda.pack_words(x[0], f)
    real = cuda.decode(x[0] >> np.uint64(20), 20)

    def combined(added: list[Any], plus: list[cuda.Stream], minus: list[cuda.Stream]) -> Any:
        return cuda.combined(
            added, (), plus, minus, shape=(n,), dtype=np.uint64, launcher=bench.launcher
        )

    return [
        Case(
            "random words",
            n,
            8 * n,
            lambda: cuda.random_words(bytes(32), bytes(12), (n,), launcher=bench.launcher),
        ),
        Case("x + F(k)", n, 16 * n, lambda: combined([x[0]], [S[0]], [])),
        Case("x + F(k1) - F(k2)", n, 16 * n, lambda: combined([x[0]], [S[0]], [S[1]])),
        Case("x + y + F(k)", n, 24 * n, lambda: combined([x[0], x[1]], [S[0]], [])),
        Case("sum of two products", n, 40 * n, lambda: cuda.mul_sum([(x[0], x[1]), (x[2], x[3])])),
        Case(
            "3PC product",
            n,
            40 * n,
            lambda: replicated.product((x[0], x[1]), (x[2], x[3]), S[0], S[1]),
        ),
        Case(
            "3PC lift (inject)",
            n,
            32 * n + 2 * nb,
            lambda: replicated.lift((bits[0], bits[1]), n, S[0], (x[0], x[1])),
        ),
        Case(
            "truncation, wrap message",
            n,
            8 * n + nb,
            lambda: pair.wrap_message((x[0],), S[0], left=True),
        ),
        Case(
            "truncation, left",
            n,
            16 * n + 2 * nb,
            lambda: pair.truncate_left((x[0],), f, bits[0], bits[1], S[0], S[1]),
        ),
        Case(
            "truncation, right",
            n,
            24 * n + 2 * nb + narrow.size,
            lambda: pair.truncate_right((x[0], x[1]), f, bits[0], bits[1], S[0], narrow, S[1]),
        ),
        Case(
            "truncation, correction",
            n,
            narrow.size,
            lambda: pair.correction(S[0], S[1], S[2], n, f, launcher=bench.launcher),
        ),
        Case("4PC offline r", n, 40 * n, lambda: tetrad.offline(a, b, S[0], S[1])),
        Case("4PC offline w", n, 56 * n, lambda: tetrad.seed(a, b, S[0])),
        Case("4PC check value", n, 64 * n, lambda: tetrad.check(a, b, x[6], S[0], S[1])),
        Case("4PC evaluate", n, 56 * n, lambda: tetrad.evaluate(a, b, "l1", S[0])),
        Case("4PC conclude", n, 64 * n, lambda: tetrad.conclude(a, b, x[5], x[6], S[0])),
        Case(
            "4PC truncation, conclude",
            n,
            16 * n + nb + 3 * narrow.size,
            lambda: tetrad.wrap_conclude(x[0], narrow, narrow, bits[0], S[0], f),
        ),
        Case("to bit planes", n, 16 * n, lambda: cuda.to_planes(x[0], 0, 64)),
        Case("expand bits", n, 8 * n + nb, lambda: cuda.expand(bits[0], n)),
        Case("pack to 20 bits", n, 8 * n + narrow.size, lambda: cuda.pack_words(x[0], f)),
        Case(
            "unpack from 20 bits", n, 8 * n + narrow.size, lambda: cuda.unpack_words(narrow, n, f)
        ),
        Case("fixed-point encode", n, 16 * n, lambda: cuda.encode(real, 20)),
        Case("fixed-point decode", n, 16 * n, lambda: cuda.decode(x[0], 20)),
    ]


def plane_cases(bench: Bench, n: int) -> list[Case]:
    """Kernels on 64 bit planes of n elements."""
    nb = -(-n // 8)
    planes = [bench.bytes(63, nb) for _ in range(4)]
    all_planes = bench.bytes(64, nb)
    area = 63 * nb
    return [
        Case("from bit planes", n, 8 * n + 64 * nb, lambda: cuda.from_planes(all_planes, n)),
        Case(
            "3PC AND of 63 planes",
            n,
            5 * area,
            lambda: replicated.product((planes[0], planes[1]), (planes[2], planes[3]), S[0], S[1]),
        ),
        Case("3PC carry tree, 63 positions", n, _carry_bytes(63, nb), lambda: _carry_tree(planes)),
        Case(
            "4PC carry level at CS4, 63 positions",
            n,
            (3 * (63 + 62) + 4 * 61) * nb,
            lambda: tetrad_carry.offline(
                (planes[0], planes[1], planes[2]),
                (planes[3][:-1],) * 3,
                None,
                S[0],
                S[1],
                S[2],
                S[0],
                S[1],
            ),
        ),
    ]


def _carry_tree(planes: list[Any]) -> None:
    """All rounds of one party; what it would receive is what it sent."""
    g, p = (planes[0], planes[1]), (planes[2][:-1], planes[3][:-1])
    product = None
    while True:
        g, p, message = replicated.level(g, p, product, S[0], S[1])
        if g[0].shape[0] == 1:
            return
        product = message, message


def _carry_bytes(positions: int, nb: int) -> int:
    """Rows that the rounds read and write: the first reads g and p (two components each) and writes
    the message; each later one reads state, own and received product, and writes the state after it
    and the next message."""

    def rows(k: int) -> int:
        return k - k % 2 - 1 if k > 1 else 0

    total, k = 2 * (2 * positions - 1) + rows(positions), positions
    while k > 1:
        after = (k + 1) // 2
        total += 2 * (2 * k - 1) + 2 * rows(k) + 2 * (2 * after - 1) + rows(after)
        k = after
    return total * nb


def image_cases(bench: Bench, batch: int) -> list[Case]:
    """Patches of the images that VGG16's second layer sees."""
    shape = (batch, 64, 32, 32)
    x = bench.words(*shape)
    cols = cuda.im2col(x, (3, 3), 1, 1)
    moved = x.nbytes + cols.nbytes
    return [
        Case("im2col 3x3", cols.size, moved, lambda: cuda.im2col(x, (3, 3), 1, 1)),
        Case("col2im 3x3", cols.size, moved, lambda: cuda.col2im(cols, shape, (3, 3), 1, 1)),
    ]


def measure(bench: Bench, elements: int, batch: int) -> Generator[dict[str, Any]]:
    """A row per kernel as soon as it is measured: seconds, bytes, bytes per second, and the
    fraction of the copy's bandwidth; or the error, which does not stop the others."""
    ceiling: float | None = None
    for group in (
        lambda: [copy(bench, elements)],
        lambda: ring_cases(bench, elements),
        lambda: plane_cases(bench, elements),
        lambda: image_cases(bench, batch),
    ):
        try:
            cases = group()
        except Exception as error:  # for example out of memory
            yield {"name": "operands of a group", "error": f"{type(error).__name__}: {error}"[:300]}
            continue
        for case in cases:
            row: dict[str, Any] = {
                "name": case.name,
                "elements": case.elements,
                "bytes": case.nbytes,
            }
            try:
                seconds = bench.seconds([case.call])
                speed = case.nbytes / seconds
                ceiling = ceiling or speed
                row |= {
                    "seconds": seconds,
                    "bytes_per_s": speed,
                    "of_copy_bandwidth": speed / ceiling,
                }
            except Exception as error:
                row["error"] = f"{type(error).__name__}: {error}"[:300]
            yield row
        del cases
        bench.release()
