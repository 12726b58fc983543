"""Matrix products modulo 2^64 on device arrays: on the integer units, or on the int8 tensor cores,
by shape.

Three methods give the same bits: "simt" and "tensor" are kernels of ours (csrc/gemm.cu,
csrc/digits.cu), "residues" is 18 int8 products of the device's library between two kernels of ours
(residues.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from wwfl_core.errors import Misuse

from . import residues
from .launch import DeviceArray, Launcher, check_device, launcher_for

Tiled = Literal["simt", "tensor"]  # one kernel that walks over tiles
Method = Literal["simt", "tensor", "residues"]
Pair = tuple[DeviceArray, DeviceArray]
TILE = 64  # results per block and dimension, of both kernels
DEPTH: dict[Tiled, int] = {"simt": 16, "tensor": 32}  # inner elements per step
SOURCES: dict[Tiled, tuple[str, str]] = {
    "simt": ("gemm.cu", "gemm"),
    "tensor": ("digits.cu", "gemm_digits"),
}
MAX_STEPS = 1023  # of the tensor kernel in one block: 4 * 32736 * 2^14 < 2^31
MAX_BATCH = 65535  # of a grid's third dimension
WANTED_BLOCKS = (
    2 * 132
)  # fewer results than this many tiles: the inner dimension is divided among blocks
MIN_STEPS = 8  # that a block should have
# All these are estimates, until they are measured. The tensor kernel does 36 digit products per
# word; below these sizes the padding to tiles and the split eat the gain.
MIN_SIDE, MIN_INNER, MIN_WORK = 32, 128, 1 << 24
# Residues take half of its products, but 26 bytes of memory traffic per word of the operands and 80
# per word of the result, and at least four launches: for that, every side must be long.
RESIDUES_SIDE, RESIDUES_INNER, RESIDUES_WORK = 256, 512, 1 << 31


class Plan(NamedTuple):
    """How one kernel computes a product: which, and among how many blocks its inner dimension is
    divided."""

    method: Tiled
    splits: int


def choose(m: int, n: int, k: int, batch: int = 1) -> Method:
    """The method for batch products (m, k) @ (k, n); k is the whole inner dimension of a sum of
    products."""
    large = (
        min(m, n) >= RESIDUES_SIDE and k >= RESIDUES_INNER and m * n * k * batch >= RESIDUES_WORK
    )
    return "residues" if large else choose_tiled(m, n, k, batch)


def choose_tiled(m: int, n: int, k: int, batch: int = 1) -> Tiled:
    """As `choose`, among the methods that are one kernel."""
    large = min(m, n) >= MIN_SIDE and k >= MIN_INNER and m * n * k * batch >= MIN_WORK
    return "tensor" if large else "simt"


def plan(m: int, n: int, inner: Sequence[int], batch: int = 1, method: Tiled | None = None) -> Plan:
    """The plan for the sum of the products with inner dimensions `inner` (one or two)."""
    chosen = method or choose_tiled(m, n, sum(inner), batch)
    steps = sum(-(-k // DEPTH[chosen]) for k in inner)
    tiles = -(-m // TILE) * -(-n // TILE) * batch
    splits = max(1, min(WANTED_BLOCKS // tiles, steps // MIN_STEPS))
    if chosen == "tensor":
        splits = max(splits, -(-steps // MAX_STEPS))
    return Plan(chosen, splits)


def matmul(pairs: Sequence[Pair], method: Method | None = None) -> DeviceArray:
    """Sum of the matrix products A_k @ B_k modulo 2^64.

    pairs: [(A_1, B_1), ...], A_k uint64 (m, K_k) and B_k uint64 (K_k, n), any strides. Returns a
    new C-contiguous uint64 (m, n). Two products at a time (all of them, for "residues") are one
    product over the concatenated inner dimension. `method` overrides the choice by shape, for
    measurements.

    Raises:
        Misuse: for shapes that do not fit, or a batch above MAX_BATCH.
        ConfigError: where "residues" is the method and the device's library cannot multiply int8
            matrices.
    """
    return _products(pairs, 2, method)


def batched_matmul(pairs: Sequence[Pair], method: Method | None = None) -> DeviceArray:
    """As `matmul` for stacks of matrices: A_k (batch, m, K_k), B_k (batch, K_k, n) -> (batch, m,
    n)."""
    return _products(pairs, 3, method)


def _products(pairs: Sequence[Pair], ndim: int, method: Method | None) -> DeviceArray:
    work = _checked(pairs, ndim)
    a, b = work[0]
    batch = a.shape[0] if ndim == 3 else 1
    shape = (*a.shape[:-2], a.shape[-2], b.shape[-1])
    m, n = shape[-2:]
    if batch > MAX_BATCH:
        raise Misuse(f"a batch of {batch} products exceeds {MAX_BATCH}; divide it")
    launcher = launcher_for(a)
    work = [(x, y) for x, y in work if x.shape[-1]]
    if not work or not batch * m * n:
        return launcher.zeros(shape, np.uint64)
    chosen = method or choose(m, n, sum(x.shape[-1] for x, _ in work), batch)
    if chosen == "residues":
        out = launcher.empty(shape, np.uint64)
        residues.multiply(
            work if ndim == 3 else [(x[None], y[None]) for x, y in work],
            out if ndim == 3 else out[None],
        )
        return out
    return _tiled(launcher, work, shape, chosen if method else None)


def _tiled(
    launcher: Launcher, work: Sequence[Pair], shape: tuple[int, ...], method: Tiled | None
) -> DeviceArray:
    """The sum of products, two at a time, each pair by the given kernel or by the one of its
    shape."""
    (m, n), batch = shape[-2:], shape[0] if len(shape) == 3 else 1
    plans = [
        plan(m, n, [x.shape[-1] for x, _ in work[i : i + 2]], batch, method)
        for i in range(0, len(work), 2)
    ]
    adding = len(plans) > 1 or plans[0].splits > 1
    out = launcher.zeros(shape, np.uint64) if adding else launcher.empty(shape, np.uint64)
    tiles = -(-m // TILE) * -(-n // TILE)
    for i, (chosen, splits) in enumerate(plans):
        args = [word for x, y in work[2 * i : 2 * i + 2] for word in _operand(x, y)]
        args += [0] * (18 - len(args))
        source, kernel = SOURCES[chosen]
        launcher.launch(
            source, kernel, (tiles, splits, batch), (256, 1, 1), [*args, out, m, n, int(adding)]
        )
    return out


def _operand(a: DeviceArray, b: DeviceArray) -> list[DeviceArray | int]:
    """The kernel parameters PRODUCT(..) of csrc/operands.cuh."""
    left, right = ([0, *(s // 8 for s in x.strides)][-3:] for x in (a, b))
    return [a, b, a.shape[-1], *left, *right]


def _checked(pairs: Sequence[Pair], ndim: int) -> list[Pair]:
    if not pairs:
        raise Misuse("pairs must hold at least one pair of matrices")
    for i, (a, b) in enumerate(pairs):
        check_device(a, f"pairs[{i}][0]", np.uint64, ndim)
        check_device(b, f"pairs[{i}][1]", np.uint64, ndim)
        if a.shape[-1] != b.shape[-2] or a.shape[:-2] != b.shape[:-2]:
            raise Misuse(f"pairs[{i}] cannot be multiplied: shapes {a.shape} and {b.shape}")
        shape, first = (
            (*a.shape[:-1], b.shape[-1]),
            (*pairs[0][0].shape[:-1], pairs[0][1].shape[-1]),
        )
        if shape != first:
            raise Misuse(f"pairs[{i}] gives shape {shape}, pairs[0] gives {first}")
    return list(pairs)
