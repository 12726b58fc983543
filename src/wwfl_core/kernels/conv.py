# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportCallIssue=false
"""Unfolding images into matrix columns, and the adjoint."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from wwfl_core.errors import Misuse

from . import _vector as v
from ._lazy import U64, check_int, kernel, plain_u64
from .dispatch import by_array


@intrinsic
def _address(typing, array):
    """Address of the first element."""
    signature = types.int64(array)

    def generate(context, builder, sig, args):
        return builder.ptrtoint(v.data(context, builder, sig.args[0], args[0]), v.I64)

    return signature, generate


@intrinsic
def _copy_8(typing, source, target, mask, adding):
    """Copy (or, if the constant `adding` is not 0, add) the words of a bit mask between two
    addresses."""
    signature = types.void(*[types.int64] * 4)

    def generate(context, builder, sig, args):
        source, target = (builder.inttoptr(address, ir.PointerType()) for address in args[:2])
        mask = builder.bitcast(builder.trunc(args[2], v.I8), v.WORD_MASK)
        value = v.masked_load(builder, source, mask)
        kept = builder.select(builder.icmp_signed("!=", args[3], v.const(0)), args[2], v.const(0))
        kept = builder.bitcast(builder.trunc(kept, v.I8), v.WORD_MASK)
        v.masked_store(
            builder, builder.add(value, v.masked_load(builder, target, kept)), target, mask
        )
        return context.get_dummy_value()

    return signature, generate


@kernel("in4 int int int int int int in1 in1 out2")
def _im2col(x, kh, kw, oh, ow, stride, padding, firsts, stops, cols):
    """firsts[j], stops[j]: the output columns that read inside the image at kernel column j."""
    b, c, h, w = x.shape
    x_base, cols_base = _address(x), _address(cols)
    for channel in range(c):
        for image in range(b):
            image_at = x_base + 8 * (image * c + channel) * h * w
            for i in range(kh):
                for j in range(kw):
                    row = (channel * kh + i) * kw + j
                    first, stop = np.int64(firsts[j]), np.int64(stops[j])
                    at = image * oh * ow
                    for oy in range(oh):
                        y = oy * stride + i - padding
                        inside = 0 <= y < h
                        for ox in range(first if inside else ow):
                            cols[row, at + ox] = 0
                        if inside:
                            if stride == 1:
                                source = image_at + 8 * (y * w + first + j - padding)
                                target = cols_base + 8 * (row * b * oh * ow + at + first)
                                left = stop - first
                                while left >= 8:
                                    _copy_8(source, target, 255, 0)
                                    source += 64
                                    target += 64
                                    left -= 8
                                if left > 0:
                                    _copy_8(source, target, 255 >> (8 - left), 0)
                            else:
                                for ox in range(first, stop):
                                    cols[row, at + ox] = x[
                                        image, channel, y, ox * stride + j - padding
                                    ]
                            for ox in range(stop, ow):
                                cols[row, at + ox] = 0
                        at += ow


@kernel("in2 int int int int int int in1 in1 out4")
def _col2im(cols, kh, kw, oh, ow, stride, padding, firsts, stops, x):
    """Adjoint of _im2col; x is overwritten."""
    b, c, h, w = x.shape
    x_base, cols_base = _address(x), _address(cols)
    for channel in range(c):
        for image in range(b):
            image_at = x_base + 8 * (image * c + channel) * h * w
            for y in range(h):
                for z in range(w):
                    x[image, channel, y, z] = 0
            for i in range(kh):
                for j in range(kw):
                    row = (channel * kh + i) * kw + j
                    first, stop = np.int64(firsts[j]), np.int64(stops[j])
                    for oy in range(oh):
                        y = oy * stride + i - padding
                        if y < 0 or y >= h:
                            continue
                        at = (image * oh + oy) * ow
                        if stride == 1:
                            target = image_at + 8 * (y * w + first + j - padding)
                            source = cols_base + 8 * (row * b * oh * ow + at + first)
                            left = stop - first
                            while left >= 8:
                                _copy_8(source, target, 255, 1)
                                source += 64
                                target += 64
                                left -= 8
                            if left > 0:
                                _copy_8(source, target, 255 >> (8 - left), 1)
                        else:
                            for ox in range(first, stop):
                                x[image, channel, y, ox * stride + j - padding] += cols[
                                    row, at + ox
                                ]


def _inside(kw: int, ow: int, w: int, stride: int, padding: int) -> tuple[U64, U64]:
    """For each kernel column: the first output column that reads inside the image, and the last
    plus 1."""
    firsts = [min(ow, max(0, -((j - padding) // stride))) for j in range(kw)]
    stops = [
        max(first, min(ow, (w - 1 + padding - j) // stride + 1)) for j, first in enumerate(firsts)
    ]
    return np.array(firsts, dtype=np.uint64), np.array(stops, dtype=np.uint64)


def geometry(
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
        raise Misuse(
            f"kernel {kh}x{kw} does not fit images {shape[2]}x{shape[3]} with padding {padding}"
        )
    return kh, kw, oh, ow, stride, padding


@by_array
def im2col(x: U64, kernel: tuple[int, int], stride: int, padding: int) -> U64:
    """Patches of x as columns, zero padded: uint64 (b, c, h, w) to uint64 (c*kh*kw, b*oh*ow).

    Row index order is (c, kh, kw), column index order (b, oh, ow).
    """
    source = plain_u64(x, "x", 4)
    b, c = source.shape[:2]
    kh, kw, oh, ow, stride, padding = geometry(source.shape, kernel, stride, padding)
    cols = np.empty((c * kh * kw, b * oh * ow), dtype=np.uint64)
    if cols.size:
        firsts, stops = _inside(kw, ow, source.shape[3], stride, padding)
        _im2col(source, kh, kw, oh, ow, stride, padding, firsts, stops, cols)
    return cols


@by_array
def col2im(
    cols: U64,
    x_shape: tuple[int, int, int, int],
    kernel: tuple[int, int],
    stride: int,
    padding: int,
) -> U64:
    """Adjoint of `im2col`: uint64 (c*kh*kw, b*oh*ow) to uint64 x_shape = (b, c, h, w), overlaps
    added."""
    source = plain_u64(cols, "cols", 2)
    if len(x_shape) != 4 or min(x_shape) < 0:
        raise Misuse(f"x_shape must be (b, c, h, w), not {x_shape!r}")
    b, c, _, _ = x_shape
    kh, kw, oh, ow, stride, padding = geometry(x_shape, kernel, stride, padding)
    if source.shape != (c * kh * kw, b * oh * ow):
        raise Misuse(f"cols must have shape {(c * kh * kw, b * oh * ow)}, not {source.shape}")
    x = np.empty(x_shape, dtype=np.uint64)
    if x.size:
        firsts, stops = _inside(kw, ow, x_shape[3], stride, padding)
        _col2im(source, kh, kw, oh, ow, stride, padding, firsts, stops, x)
    return x
