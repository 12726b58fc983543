"""Arrays that try a compiled kernel hard: extreme words, and every memory layout that numpy has.

What runs a kernel, and what compares its result, stands in the tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EXTREME = np.array(
    [
        0,
        1,
        2,
        2**31,
        2**32 - 1,
        2**62 - 1,
        2**62,
        2**63 - 1,
        2**63,
        2**64 - 2**62 - 1,
        2**64 - 2**62,
        2**64 - 1,
    ],
    dtype=np.uint64,
)
LAYOUTS = ["plain", "transposed", "reversed", "spread", "readonly", "unaligned"]


def words(seed: int, *shape: int) -> NDArray[np.uint64]:
    """Random words, one in four of them extreme."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2**64, size=shape, dtype=np.uint64)
    return np.where(rng.integers(0, 4, size=shape) == 0, rng.choice(EXTREME, size=shape), x)


def lay(x: NDArray[Any], layout: str) -> NDArray[Any]:
    """An array equal to x with another memory layout."""
    if layout == "transposed":
        return np.ascontiguousarray(x.T).T
    if layout == "reversed":
        return np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    if layout == "spread":
        wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), dtype=x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]
    if layout == "readonly":
        x = x.copy()
        x.flags.writeable = False
        return x
    if layout == "unaligned":
        raw = np.zeros(x.nbytes + 1, dtype=np.uint8)
        view = raw[1:].view(x.dtype).reshape(x.shape)
        view[...] = x
        return view
    return x
