"""Speed of the compiled kernels on one core, against numpy and torch.

python -m benchmarks.kernels [--json FILE]   (FILE "-" is standard output; without it, a table)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from wwfl_core import kernels

SHAPES = [
    (512, 512, 512),
    (16, 150, 8000),
    (62720, 25, 6),
    (80, 400, 120),
    (80, 120, 84),
    (6, 25, 62720),
    (150, 8000, 16),
    (8, 150, 8000),
    (80, 504, 800),
    (10, 84, 80),
]


def words(*shape: int) -> Any:
    """Random words."""
    return np.random.default_rng(len(shape)).integers(0, 2**64, size=shape, dtype=np.uint64)


def seconds(call: Callable[[], object], budget: float) -> float:
    """Shortest time of one call within a time budget (at least 3 calls)."""
    call()
    best, calls, end = float("inf"), 0, time.perf_counter() + budget
    while calls < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        calls += 1
    return best


def products(budget: float, with_torch: bool) -> list[dict[str, Any]]:
    """Billions of multiply-accumulates per second of matrix products."""
    rows: list[dict[str, Any]] = []
    for m, inner, n in SHAPES:
        a, b = words(m, inner), words(inner, n)
        work = m * inner * n / 1e9
        row: dict[str, Any] = {"name": f"matmul {m}x{inner}x{n}", "unit": "GMAC/s"}
        row["wwfl"] = work / seconds(lambda a=a, b=b: kernels.matmul([(a, b)]), budget)
        c = np.asfortranarray(b)
        row["wwfl_right_transposed"] = work / seconds(
            lambda a=a, c=c: kernels.matmul([(a, c)]), budget
        )
        row["numpy"] = work / seconds(lambda a=a, b=b: a @ b, budget)
        if with_torch:
            import torch

            torch.set_num_threads(1)
            x, y = torch.from_numpy(a.view(np.int64)), torch.from_numpy(b.view(np.int64))
            row["torch"] = work / seconds(lambda x=x, y=y: x @ y, budget)
        rows.append(row)
    return rows


def per_element(budget: float) -> list[dict[str, Any]]:
    """Nanoseconds per element of the other kernels, for a small (in cache) and a large array."""
    rows: list[dict[str, Any]] = []
    for n in (10_000, 1_000_000):
        x, y, z = words(n), words(n), words(n)
        planes, packed = kernels.to_planes(x, 0, 64), kernels.pack(x)
        cases: dict[str, Callable[[], object]] = {
            "to_planes 64": lambda x=x: kernels.to_planes(x, 0, 64),
            "to_planes 1 (top)": lambda x=x: kernels.to_planes(x, 63, 64),
            "to_planes 20": lambda x=x: kernels.to_planes(x, 0, 20),
            "from_planes 64": lambda p=planes, n=n: kernels.from_planes(p, n),
            "from_planes 20": lambda p=planes, n=n: kernels.from_planes(p[:20], n),
            "pack": lambda x=x: kernels.pack(x),
            "expand": lambda p=packed, n=n: kernels.expand(p, n),
            "mul_sum 1": lambda x=x, y=y: kernels.mul_sum([(x, y)]),
            "mul_sum 2": lambda x=x, y=y, z=z: kernels.mul_sum([(x, y), (y, z)]),
            "mul_sum 3": lambda x=x, y=y, z=z: kernels.mul_sum([(x, y), (y, z), (x, z)]),
            "left_bits": lambda x=x: kernels.left_bits(x),
            "right_bits": lambda x=x: kernels.right_bits(x),
            "shift_correct": lambda x=x, y=y: kernels.shift_correct(x, 13, y),
        }
        for width in (8, 13, 16, 20, 24, 26, 32, 45, 64):
            data = kernels.pack_words(x, width)
            cases[f"pack_words {width}"] = lambda x=x, w=width: kernels.pack_words(x, w)
            cases[f"unpack_words {width}"] = lambda d=data, n=n, w=width: kernels.unpack_words(
                d, n, w
            )
        for name, call in cases.items():
            rows.append(
                {
                    "name": name,
                    "elements": n,
                    "unit": "ns/element",
                    "wwfl": seconds(call, budget) / n * 1e9,
                }
            )
    for shape, kernel, stride, padding in (
        ((80, 1, 28, 28), (5, 5), 1, 0),
        ((80, 6, 14, 14), (5, 5), 1, 2),
        ((80, 16, 14, 14), (2, 2), 2, 0),
    ):
        x = words(*shape)
        cols = kernels.im2col(x, kernel, stride, padding)
        size = "x".join(map(str, shape)) + f" kernel {kernel[0]} stride {stride}"
        for name, call in (
            ("im2col", lambda x=x, k=kernel, s=stride, p=padding: kernels.im2col(x, k, s, p)),
            (
                "col2im",
                lambda c=cols, v=shape, k=kernel, s=stride, p=padding: kernels.col2im(
                    c, v, k, s, p
                ),
            ),
        ):
            spent = seconds(call, budget)
            rows.append(
                {
                    "name": f"{name} {size}",
                    "elements": cols.size,
                    "unit": "ns/element",
                    "wwfl": spent / cols.size * 1e9,
                }
            )
    return rows


def compilation() -> dict[str, float]:
    """Seconds to compile all kernels in a fresh process with an empty cache, and to load them
    again."""
    import subprocess

    code = (
        "import time, numba; start = time.perf_counter(); from wwfl_core import kernels; "
        "kernels.prepare();print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as cache:
        times = [
            float(
                subprocess.run(
                    [sys.executable, "-c", code],
                    env={**os.environ, "NUMBA_CACHE_DIR": cache},
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            )
            for _ in range(2)
        ]
    return {"cold_s": times[0], "cached_s": times[1]}


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write JSON to FILE ('-': standard output)")
    parser.add_argument(
        "--budget", type=float, default=0.1, help="seconds per measurement (default 0.1)"
    )
    parser.add_argument("--no-torch", action="store_true", help="leave torch out")
    options = parser.parse_args()
    result = {
        "machine": {
            "processor": platform.machine(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        "compilation": compilation(),
        "products": products(options.budget, not options.no_torch),
        "per_element": per_element(options.budget),
    }
    if options.json == "-":
        json.dump(result, sys.stdout, indent=1)
        print()
        return
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
        return
    print("compilation:", {key: round(value, 2) for key, value in result["compilation"].items()})
    for row in [*result["products"], *result["per_element"]]:
        numbers = "  ".join(f"{k} {v:.3g}" for k, v in row.items() if isinstance(v, float))
        print(f"{row['name']:<42} {row.get('elements', ''):>9}  {numbers}  {row['unit']}")


if __name__ == "__main__":
    main()
