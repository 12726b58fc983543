"""Unfolding images into matrix columns, and the adjoint, on device arrays."""

from __future__ import annotations

import numpy as np

from wwfl_core.errors import Misuse
from wwfl_core.kernels import geometry

from .launch import DeviceArray, launcher_for, over, plain


def im2col(x: DeviceArray, kernel: tuple[int, int], stride: int, padding: int) -> DeviceArray:
    """Patches of x as columns, zero padded: uint64 (b, c, h, w) to uint64 (c*kh*kw, b*oh*ow).

    Row index order is (c, kh, kw), column index order (b, oh, ow).
    """
    source = plain(x, "x", np.uint64, 4)
    b, c, h, w = source.shape
    kh, kw, oh, ow, stride, padding = geometry(source.shape, kernel, stride, padding)
    cols = launcher_for(source).empty((c * kh * kw, b * oh * ow), np.uint64)
    over(
        "conv.cu",
        "im2col",
        cols.size,
        [source, cols, b, c, h, w, kh, kw, oh, ow, stride, padding],
        source,
    )
    return cols


def col2im(
    cols: DeviceArray,
    x_shape: tuple[int, int, int, int],
    kernel: tuple[int, int],
    stride: int,
    padding: int,
) -> DeviceArray:
    """Adjoint of `im2col`: uint64 (c*kh*kw, b*oh*ow) to uint64 x_shape = (b, c, h, w), overlaps
    added."""
    source = plain(cols, "cols", np.uint64, 2)
    if len(x_shape) != 4 or min(x_shape) < 0:
        raise Misuse(f"x_shape must be (b, c, h, w), not {x_shape!r}")
    b, c, h, w = x_shape
    kh, kw, oh, ow, stride, padding = geometry(x_shape, kernel, stride, padding)
    if source.shape != (c * kh * kw, b * oh * ow):
        raise Misuse(f"cols must have shape {(c * kh * kw, b * oh * ow)}, not {source.shape}")
    x = launcher_for(source).empty(x_shape, np.uint64)
    over(
        "conv.cu",
        "col2im",
        x.size,
        [source, x, b, c, h, w, kh, kw, oh, ow, stride, padding],
        source,
    )
    return x
