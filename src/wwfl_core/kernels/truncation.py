# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false
"""Fused local steps of exact truncation by f bits in Z_2^64."""

from __future__ import annotations

import numpy as np

from wwfl_core.errors import Misuse

from ._lazy import U64, Kernel, check_int, kernel, plain_u64
from .dispatch import by_array


@kernel("in1 out1 out1")
def _left_bits(a, star, base):
    quarter = np.uint64(1 << 62)
    for i in range(a.size):
        star[i] = (a[i] - quarter) >> np.uint64(63)
        base[i] = (a[i] >> np.uint64(63)) | ((a[i] >> np.uint64(62)) & np.uint64(1))


@kernel("in1 out1")
def _star_bits(a, star):
    quarter = np.uint64(1 << 62)
    for i in range(a.size):
        star[i] = (a[i] - quarter) >> np.uint64(63)


@kernel("in1 int in1 out1")
def _shift_left_half(a, f, wrap, out):
    down, up = np.uint64(f), np.uint64(64 - f)
    for i in range(a.size):
        base = (a[i] >> np.uint64(63)) | ((a[i] >> np.uint64(62)) & np.uint64(1))
        out[i] = (a[i] >> down) - ((wrap[i] + base) << up)


@kernel("in1 int in1 out1")
def _shift_correct(a, f, wrap, out):
    down, up = np.uint64(f), np.uint64(64 - f)
    for i in range(a.size):
        out[i] = (a[i] >> down) - (wrap[i] << up)


@by_array
def left_bits(a: U64) -> tuple[U64, U64]:
    """For each element of a (uint64, any shape): star = [a < 2^62 or a >= 2^64 - 2^62], base = [a
    >= 2^62].

    Both are uint64 arrays of 0 and 1 with the shape of a.
    """
    flat = plain_u64(a, "a")
    star, base = np.empty(flat.shape, dtype=np.uint64), np.empty(flat.shape, dtype=np.uint64)
    _left_bits(flat.reshape(-1), star.reshape(-1), base.reshape(-1))
    return star, base


@by_array
def right_bits(b: U64) -> U64:
    """[b >= 2^63] for each element of b (uint64, any shape), as uint64 0 or 1."""
    return np.asarray(np.right_shift(plain_u64(b, "b"), np.uint64(63)))


@by_array
def shift_correct(a: U64, f: int, wrap: U64) -> U64:
    """(a >> f) - 2^(64 - f) * wrap modulo 2^64, with a logical shift; a and wrap uint64 of one
    shape.

    f is from 1 to 62; wrap may hold any value. Returns a new uint64 array of that shape.
    """
    return _shifted(_shift_correct, a, f, wrap)


@by_array
def star_bits(a: U64) -> U64:
    """The first of `left_bits` alone, in half the memory traffic. On the host: devices compute it
    inside a step."""
    flat = plain_u64(a, "a")
    star = np.empty(flat.shape, dtype=np.uint64)
    _star_bits(flat.reshape(-1), star.reshape(-1))
    return star


@by_array
def shift_left_half(a: U64, f: int, wrap: U64) -> U64:
    """`shift_correct` with wrap + [a >= 2^62], the second of `left_bits`, in one pass. On the host,
    as `star_bits`."""
    return _shifted(_shift_left_half, a, f, wrap)


def _shifted(run: Kernel, a: U64, f: int, wrap: U64) -> U64:
    flat, wraps = plain_u64(a, "a"), plain_u64(wrap, "wrap")
    f = check_int(f, "f", 1, 62)
    if wraps.shape != flat.shape:
        raise Misuse(f"wrap must have shape {flat.shape} like a, not {wraps.shape}")
    out = np.empty(flat.shape, dtype=np.uint64)
    run(flat.reshape(-1), f, wraps.reshape(-1), out.reshape(-1))
    return out
