"""Matrix products modulo 2^64 on a GPU, against other ways to compute the same, and against the
int8 peak.

Every method's result is compared with the SIMT kernel's before it is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from wwfl_core.accelerate.cuda import gemm, residues

from .gpu_bench import Bench

INT8_PRODUCTS = {"tensor": 36, "residues": residues.PLANES}  # per product modulo 2^64
LIMB_INNER = 2048  # 42-bit products of limbs that 53 bits can add up
SHAPES = {  # (m, k, n)
    "4096 cubed": (4096, 4096, 4096),
    "2048 cubed": (2048, 2048, 2048),
    "1024 cubed": (1024, 1024, 1024),
    "512 cubed": (512, 512, 512),
    "VGG16 conv2 (batch 32)": (64, 576, 32768),
    "VGG16 conv8 (batch 128)": (512, 4608, 2048),
    "LeNet conv2 (batch 128)": (16, 150, 12800),
    "LeNet dense (batch 128)": (128, 120, 84),
}


def int8_peak(bench: Bench, size: int) -> dict[str, Any]:
    """Multiply-accumulates per second of one large int8 product through cuBLAS."""
    a, b = (bench.bytes(1, size, size).view(np.int8) for _ in range(2))
    out = bench.launcher.empty((1, size, size), np.int32)
    seconds = bench.seconds([lambda: bench.launcher.int8_products(a, b, out)])
    return {"size": size, "seconds": seconds, "mac_per_s": size**3 / seconds}


def digit_planes(bench: Bench, x: Any, descending: bool) -> Any:
    """Rows of words -> rows of their 8 balanced digits: int8 [rows, 8, k]."""
    balance = np.uint64(0x8080808080808080)
    digits = ((x + balance) ^ balance).view(np.int8).reshape(*x.shape, 8).transpose(0, 2, 1)
    return bench.xp.ascontiguousarray(digits[:, ::-1] if descending else digits)


def by_diagonals(bench: Bench, a: Any, b: Any) -> Any:
    """Eight int8 products through a library: diagonal d is planes 0..d of a against planes d..0 of
    b, one product each.

    Exact for an inner dimension below 32768.
    """
    (m, k), n = a.shape, b.shape[1]
    left, right = (
        digit_planes(bench, a, False),
        digit_planes(bench, bench.xp.ascontiguousarray(b.T), True),
    )
    left, right = left.reshape(1, m, 8 * k), right.reshape(1, n, 8 * k)
    total = bench.launcher.zeros((m, n), np.uint64)
    part = bench.launcher.empty((1, m, n), np.int32)
    for d in range(8):
        bench.launcher.int8_products(left[..., : (d + 1) * k], right[..., (7 - d) * k :], part)
        total += part[0].astype(np.int64).view(np.uint64) << np.uint64(8 * d)
    return total


def limbs(x: Any) -> list[Any]:
    """x = l0 + l1 2^22 + l2 2^43 modulo 2^64 with balanced limbs of 22, 21 and 21 bits, as
    float64."""
    found, rest = [], x.view(np.int64)
    for width in (22, 21, 21):
        low = (rest << np.int64(64 - width)) >> np.int64(64 - width)
        found.append(low.astype(np.float64))
        rest = (rest - low) >> np.int64(width)
    return found


def by_limbs(bench: Bench, a: Any, b: Any) -> Any:
    """Six float64 products of three limbs, exact for LIMB_INNER inner elements at a time."""
    total = bench.launcher.zeros((a.shape[0], b.shape[1]), np.uint64)
    for start in range(0, a.shape[1], LIMB_INNER):
        x, y = limbs(a[:, start : start + LIMB_INNER]), limbs(b[start : start + LIMB_INNER])
        for i, j, shift in ((0, 0, 0), (0, 1, 22), (1, 0, 22), (0, 2, 43), (2, 0, 43), (1, 1, 44)):
            total += (x[i] @ y[j]).astype(np.int64).view(np.uint64) << np.uint64(shift)
    return total


def methods(bench: Bench) -> dict[str, Callable[[Any, Any], Any]]:
    """Every way to compute a @ b modulo 2^64."""
    return {
        "simt": lambda a, b: gemm.matmul([(a, b)], "simt"),
        "tensor": lambda a, b: gemm.matmul([(a, b)], "tensor"),
        "residues": lambda a, b: gemm.matmul([(a, b)], "residues"),
        "cublas_diagonals": lambda a, b: by_diagonals(bench, a, b),
        "float64_limbs": lambda a, b: by_limbs(bench, a, b),
        "array_library": lambda a, b: a @ b,
    }


def residue_stages(bench: Bench, m: int, k: int, n: int) -> dict[str, Any]:
    """Seconds of each of the three stages of one product by residues, all results at once (k at
    most MAX_INNER), of the int8 products also one by one, and the bytes that the first and the last
    stage move."""
    a, b = bench.words(1, m, k), bench.words(1, k, n).transpose(0, 2, 1)
    rows, columns, depth = (residues.aligned(size) for size in (m, n, k))
    sides = [
        bench.launcher.empty((residues.PLANES * size * depth,), np.int8) for size in (rows, columns)
    ]
    sums = bench.launcher.empty((residues.PLANES * rows * columns,), np.int32)
    out = bench.launcher.empty((1, m, n), np.uint64)

    def split() -> tuple[Any, Any]:
        return residues.residues([a], sides[0]), residues.residues([b], sides[1])

    def one_by_one() -> None:
        for i in range(residues.PLANES):
            bench.launcher.int8_products(left[i : i + 1], right[i : i + 1], found[i : i + 1])

    left, right = split()
    found = residues.products(left, right, sums)
    return {
        **{"m": m, "k": k, "n": n, "split_s": bench.seconds([split])},
        "products_s": bench.seconds([lambda: residues.products(left, right, sums)]),
        "one_by_one_s": bench.seconds([one_by_one]),
        "combine_s": bench.seconds([lambda: residues.combine(found, out, adding=False)]),
        "split_bytes": a.nbytes + b.nbytes + left.nbytes + right.nbytes,
        "combine_bytes": found.nbytes + out.nbytes,
        "exact": bool(
            (bench.host(out[0]) == bench.host(gemm.matmul([(a[0], b[0].T)], "simt"))).all()
        ),
    }


def measure(
    bench: Bench, shapes: dict[str, tuple[int, int, int]], peak: float | None
) -> Generator[dict[str, Any]]:
    """A row per shape as soon as it is measured: multiply-accumulates modulo 2^64 per second of
    every method. `peak` is that of int8, if it is known."""
    for name, (m, k, n) in shapes.items():
        row: dict[str, Any] = {"name": name, "m": m, "k": k, "n": n, "chosen": gemm.choose(m, n, k)}
        if peak:
            row["bound_mac_per_s"] = {name: peak / count for name, count in INT8_PRODUCTS.items()}
        try:
            a, b = bench.words(m, k), bench.words(k, n)
            expected = bench.host(gemm.matmul([(a, b)], "simt"))
            for method, call in methods(bench).items():
                row[method] = _timed(bench, call, a, b, expected)
        except Exception as error:
            row["error"] = _said(error)
        yield row
        bench.release()


def _timed(
    bench: Bench, call: Callable[[Any, Any], Any], a: Any, b: Any, expected: np.ndarray
) -> dict[str, Any]:
    try:
        exact = bool((bench.host(call(a, b)) == expected).all())
        seconds = bench.seconds([lambda: call(a, b)])
    except Exception as error:  # a library that refuses a shape is a result, not the end of the run
        return {"error": _said(error)}
    return {
        "seconds": seconds,
        "mac_per_s": a.shape[0] * a.shape[1] * b.shape[1] / seconds,
        "exact": exact,
    }


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
