# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false
"""Fused elementwise products modulo 2^64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wwfl_core.errors import Misuse

from ._lazy import U64, check_array, kernel, plain_u64
from .dispatch import by_array


@kernel("in1 in1 in1 in1 in1 in1 out1 int")
def _mul_sum(x0, y0, x1, y1, x2, y2, out, pairs):
    """out = sum of the first 2 or 3 products; pairs 5 adds all 3 and the old out."""
    if pairs == 2:
        for i in range(out.size):
            out[i] = x0[i] * y0[i] + x1[i] * y1[i]
    elif pairs == 3:
        for i in range(out.size):
            out[i] = x0[i] * y0[i] + x1[i] * y1[i] + x2[i] * y2[i]
    else:
        for i in range(out.size):
            out[i] += x0[i] * y0[i]


@by_array
def mul_sum(pairs: Sequence[tuple[U64, U64]]) -> U64:
    """Sum of the elementwise products x_k * y_k modulo 2^64 in one pass (up to 3 pairs).

    pairs: [(x_1, y_1), ...], uint64 arrays of one shape. Returns a new uint64 array of that shape.
    """
    if not pairs:
        raise Misuse("pairs must hold at least one pair of arrays")
    check_array(pairs[0][0], "pairs[0][0]", np.uint64)
    shape = pairs[0][0].shape
    flat: list[tuple[U64, U64]] = []
    for k, (x, y) in enumerate(pairs):
        x, y = plain_u64(x, f"pairs[{k}][0]"), plain_u64(y, f"pairs[{k}][1]")
        if x.shape != shape or y.shape != shape:
            raise Misuse(
                f"pairs[{k}] must have shape {shape} like pairs[0][0], not {x.shape}, {y.shape}"
            )
        flat.append((x.reshape(-1), y.reshape(-1)))
    if len(flat) == 1:
        return np.asarray(np.multiply(flat[0][0], flat[0][1])).reshape(shape)
    out = np.empty(flat[0][0].size, dtype=np.uint64)
    head, tail = flat[:3], flat[3:]
    first, second, third = head[0], head[1], head[-1]
    _mul_sum(*first, *second, *third, out, len(head))
    for x, y in tail:
        _mul_sum(x, y, x, y, x, y, out, 1)
    return out.reshape(shape)
