"""Elementwise products and sums modulo 2^64 on device arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wwfl_core.errors import Misuse

from .launch import WORD, DeviceArray, launcher_for, over, plain


def mul_sum(pairs: Sequence[tuple[DeviceArray, DeviceArray]]) -> DeviceArray:
    """Sum of the elementwise products x_k * y_k modulo 2^64, three pairs per pass.

    pairs: [(x_1, y_1), ...], uint64 arrays of one shape. Returns a new uint64 array of that shape.
    """
    if not pairs:
        raise Misuse("pairs must hold at least one pair of arrays")
    flat = [
        (plain(x, f"pairs[{k}][0]", np.uint64), plain(y, f"pairs[{k}][1]", np.uint64))
        for k, (x, y) in enumerate(pairs)
    ]
    shape = flat[0][0].shape
    for k, (x, y) in enumerate(flat):
        if x.shape != shape or y.shape != shape:
            raise Misuse(
                f"pairs[{k}] must have shape {shape} like pairs[0][0], not {x.shape}, {y.shape}"
            )
    out = launcher_for(flat[0][0]).empty(shape, np.uint64)
    for first in range(0, len(flat), 3):
        group = flat[first : first + 3]
        padded = [a for pair in (*group, *[group[0]] * (3 - len(group))) for a in pair]
        over(
            "elementwise.cu",
            "mul_sum",
            out.size,
            [*padded, out, out.size, len(group), int(first > 0)],
            out,
        )
    return out


def linear(a: int, x: DeviceArray, b: int, y: DeviceArray) -> DeviceArray:
    """a x + b y modulo 2^64 for public integers a, b and uint64 arrays of one shape."""
    x, y = plain(x, "x", np.uint64), plain(y, "y", np.uint64)
    if x.shape != y.shape:
        raise Misuse(f"x and y must have one shape, not {x.shape} and {y.shape}")
    out = launcher_for(x).empty(x.shape, np.uint64)
    over("elementwise.cu", "linear", out.size, [x, y, out, out.size, a & WORD, b & WORD], out)
    return out


def add(x: DeviceArray, y: DeviceArray) -> DeviceArray:
    """x + y modulo 2^64 for uint64 arrays of one shape."""
    return linear(1, x, 1, y)


def sub(x: DeviceArray, y: DeviceArray) -> DeviceArray:
    """x - y modulo 2^64 for uint64 arrays of one shape."""
    return linear(1, x, -1, y)


def scale(a: int, x: DeviceArray) -> DeviceArray:
    """a x modulo 2^64 for a public integer a and a uint64 array."""
    x = plain(x, "x", np.uint64)
    out = launcher_for(x).empty(x.shape, np.uint64)
    over("elementwise.cu", "scale", out.size, [x, out, out.size, a & WORD], out)
    return out
