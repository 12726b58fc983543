"""Fused local steps of the 3PC replicated protocol (`backends/replicated3pc.py`), one kernel each.

Operands are uint64 arrays (ring elements) or uint8 arrays (packed bits; sums are XOR, products
AND)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wwfl_core.errors import Misuse

from .bits import packed_bits
from .launch import DeviceArray, launcher_for, over, plain, sized
from .prg import Stream, check_length, ring_or_bits, same_kind, stream_args

Components = tuple[DeviceArray, DeviceArray]


def product(x: Components, y: Components, own: Stream, following: Stream) -> DeviceArray:
    """x0 (y0 + y1) + x1 y0 + F(own) - F(following): party i's message, from its components i and i
    + 1.

    All four arrays have one shape and dtype. 40 bytes of memory traffic per ring element.
    """
    kernel = ring_or_bits(x[0], "product")
    operands = same_kind([*x, *y], "operand")
    z = launcher_for(operands[0]).empty(operands[0].shape, operands[0].dtype)
    check_length(z.nbytes)
    args = [*operands, z, z.nbytes, *own.args(), *following.args()]
    over("replicated.cu", kernel, -(-z.nbytes // 64), args, z)
    return z


def lift(b: Components, n: int, mask: Stream, x: Components | None = None) -> DeviceArray:
    """P1's message of `bit_to_ring` (without x) or `inject`: u - F, or (u, u (x1 + x2)) - F, with u
    = b1 ^ b2 as 0 / 1.

    b: packed bits (ceil(n / 8),) each; x: uint64 with n elements each. Returns uint64 (n,) or (2,
    n)."""
    bits = [packed_bits(part, n, "b") for part in b]
    rows = 1 if x is None else 2
    words: Sequence[DeviceArray | int] = (
        (0, 0) if x is None else [sized(part, "x", n) for part in x]
    )
    out = launcher_for(bits[0]).empty((n,) if x is None else (2, n), np.uint64)
    check_length(out.nbytes)
    over(
        "replicated.cu",
        "lift",
        -(-out.nbytes // 64),
        [*bits, *words, out, n, rows, *mask.args()],
        out,
    )
    return out


def times_sign(part: DeviceArray, v: DeviceArray, *, add_bit: bool = False) -> DeviceArray:
    """(1 - 2 v) part, plus v if `add_bit`, for packed bits v; part: uint64, any shape."""
    source = plain(part, "part", np.uint64)
    n = source.size
    out = launcher_for(source).empty(source.shape, np.uint64)
    over(
        "replicated.cu",
        "times_sign",
        n,
        [source, packed_bits(v, n, "v"), out, n, int(add_bit)],
        source,
    )
    return out


def inject(
    u_and_d: DeviceArray,
    x3: DeviceArray,
    v: DeviceArray,
    rest: Sequence[DeviceArray],
    hiding: Stream | None = None,
) -> DeviceArray:
    """(1 - 2 v) (d + u x3) + v sum(rest): what P2 and P3 deal in `inject`; rest is one component or
    two.

    u_and_d: uint64 (2, n); x3 and rest: uint64 with n elements; v: packed bits. With `hiding` its
    stream is subtracted. Returns uint64 with the shape of x3."""
    n = x3.size
    if u_and_d.shape != (2, n):
        raise Misuse(f"u_and_d must have shape {(2, n)}, not {u_and_d.shape}")
    if not 1 <= len(rest) <= 2:
        raise Misuse(f"inject takes one or two components of rest, not {len(rest)}")
    both, third = plain(u_and_d, "u_and_d", np.uint64), plain(x3, "x3", np.uint64)
    others: list[DeviceArray | int] = [sized(part, "rest", n) for part in rest]
    out = launcher_for(third).empty(third.shape, np.uint64)
    check_length(out.nbytes)
    args = [
        both,
        third,
        packed_bits(v, n, "v"),
        *others,
        *[0] * (2 - len(others)),
        out,
        n,
        int(hiding is not None),
    ]
    over("replicated.cu", "inject", -(-n // 8), [*args, *stream_args(hiding)], third)
    return out
