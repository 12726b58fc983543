"""Local steps of the 3PC replicated protocol (`backends/replicated3pc.py`), one kernel each.

Operands are uint64 arrays (ring elements) or uint8 arrays (packed bits; sums are XOR, products
AND)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wwfl_core.accelerate.cuda import (
    DeviceArray,
    Level,
    Stream,
    check_length,
    launcher_for,
    over,
    packed_bits,
    plain,
    ring_or_bits,
    same_kind,
    sized,
    stream_args,
)
from wwfl_core.errors import Misuse

from . import SOURCES

SOURCE, CARRY_SOURCE = (str(SOURCES / name) for name in ("replicated.cu", "replicated_carry.cu"))
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
    over(SOURCE, kernel, -(-z.nbytes // 64), args, z)
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
        SOURCE,
        "lift",
        -(-out.nbytes // 64),
        [*bits, *words, out, n, rows, *mask.args()],
        out,
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
    over(SOURCE, "inject", -(-n // 8), [*args, *stream_args(hiding)], third)
    return out


def level(
    g: Components,
    p: Components,
    product: Components | None,
    own: Stream | None = None,
    following: Stream | None = None,
) -> tuple[Components, Components, DeviceArray]:
    """A level of the carry tree: takes in the last product (None: there is none yet) and returns
    the components of g and p after it, and party i's message of the next product.

    g: k planes, p: k - 1 (uint8, ceil(n / 8) bytes each). The message has even - 1 rows, even = k -
    k % 2 of the positions that are left; none when one is left, and only then the streams may be
    missing."""
    found = Level(g, p, product)
    if found.rows and (own is None or following is None):
        raise Misuse(
            f"{found.positions} positions are left, so the next message needs its two streams"
        )
    message = found.plane()
    masks = [*stream_args(own), *stream_args(following)]
    found.launch(CARRY_SOURCE, "round_words", "round_bytes", [message, *masks])
    return (*found.after, message)
