# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUntypedFunctionDecorator=false, reportMissingTypeStubs=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false
"""Unfolding images into matrix columns, and the adjoint."""

from __future__ import annotations

import numpy as np

from wwfl_core.errors import Misuse
from wwfl_core.kernels._lazy import U64, check_int, kernel, plain_u64


@kernel("in4 int int int int int int out2")
def _im2col(x, kh, kw, oh, ow, stride, padding, cols):
    b, c, h, w = x.shape
    for channel in range(c):
        for image in range(b):
            for i in range(kh):
                for j in range(kw):
                    target = cols[(channel * kh + i) * kw + j]
                    # Output columns that read inside the image: 0 <= ox * stride + j - padding < w.
                    first = min(ow, max(0, (padding - j + stride - 1) // stride))
                    stop = max(first, min(ow, (w - 1 + padding - j) // stride + 1))
                    for oy in range(oh):
                        at = (image * oh + oy) * ow
                        y = oy * stride + i - padding
                        if y < 0 or y >= h:
                            for ox in range(ow):
                                target[at + ox] = 0
                            continue
                        row = x[image, channel, y]
                        shift = j - padding
                        for ox in range(first):
                            target[at + ox] = 0
                        if stride == 1:
                            source, part = row[first + shift :], target[at + first :]
                            for ox in range(stop - first):
                                part[ox] = source[ox]
                        else:
                            for ox in range(first, stop):
                                target[at + ox] = row[ox * stride + shift]
                        for ox in range(stop, ow):
                            target[at + ox] = 0


@kernel("in2 int int int int int int out4")
def _col2im(cols, kh, kw, oh, ow, stride, padding, x):
    b, c, h, w = x.shape
    for channel in range(c):
        for image in range(b):
            plane = x[image, channel]
            for y in range(h):
                for z in range(w):
                    plane[y, z] = 0
            for i in range(kh):
                for j in range(kw):
                    source = cols[(channel * kh + i) * kw + j]
                    first = min(ow, max(0, (padding - j + stride - 1) // stride))
                    stop = max(first, min(ow, (w - 1 + padding - j) // stride + 1))
                    shift = j - padding
                    for oy in range(oh):
                        y = oy * stride + i - padding
                        if y < 0 or y >= h:
                            continue
                        at = (image * oh + oy) * ow
                        row = plane[y]
                        if stride == 1:
                            part, target = source[at + first :], row[first + shift :]
                            for ox in range(stop - first):
                                target[ox] += part[ox]
                        else:
                            for ox in range(first, stop):
                                row[ox * stride + shift] += source[at + ox]


def _geometry(
    shape: tuple[int, ...], kernel: tuple[int, int], stride: int, padding: int
) -> tuple[int, int, int, int, int, int]:
    """Checked (kh, kw, oh, ow, stride, padding)."""
    if len(kernel) != 2:
        raise Misuse(f"kernel must be (height, width), not {kernel!r}")
    kh, kw = (check_int(size, "kernel", 1, 2**31) for size in kernel)
    stride = check_int(stride, "stride", 1, 2**31)
    padding = check_int(padding, "padding", 0, 2**31)
    oh = (shape[2] + 2 * padding - kh) // stride + 1
    ow = (shape[3] + 2 * padding - kw) // stride + 1
    if oh < 1 or ow < 1:
        raise Misuse(f"kernel {kh}x{kw} does not fit images {shape[2]}x{shape[3]} with padding {padding}")
    return kh, kw, oh, ow, stride, padding


def im2col(x: U64, kernel: tuple[int, int], stride: int, padding: int) -> U64:
    """Patches of x as columns, zero padded: uint64 (b, c, h, w) to uint64 (c*kh*kw, b*oh*ow).

    Row index order is (c, kh, kw), column index order (b, oh, ow).
    """
    source = plain_u64(x, "x", 4)
    b, c = source.shape[:2]
    kh, kw, oh, ow, stride, padding = _geometry(source.shape, kernel, stride, padding)
    cols = np.empty((c * kh * kw, b * oh * ow), dtype=np.uint64)
    if cols.size:
        _im2col(source, kh, kw, oh, ow, stride, padding, cols)
    return cols


def col2im(
    cols: U64, x_shape: tuple[int, int, int, int], kernel: tuple[int, int], stride: int, padding: int
) -> U64:
    """Adjoint of `im2col`: uint64 (c*kh*kw, b*oh*ow) to uint64 x_shape = (b, c, h, w), overlaps added."""
    source = plain_u64(cols, "cols", 2)
    if len(x_shape) != 4 or min(x_shape) < 0:
        raise Misuse(f"x_shape must be (b, c, h, w), not {x_shape!r}")
    b, c, _, _ = x_shape
    kh, kw, oh, ow, stride, padding = _geometry(x_shape, kernel, stride, padding)
    if source.shape != (c * kh * kw, b * oh * ow):
        raise Misuse(f"cols must have shape {(c * kh * kw, b * oh * ow)}, not {source.shape}")
    x = np.empty(x_shape, dtype=np.uint64)
    if x.size:
        _col2im(source, kh, kw, oh, ow, stride, padding, x)
    return x
