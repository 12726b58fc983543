"""Reciprocals and inverse roots over the whole range of the ring, with a relative error: a secret
floating point.

An integer 0 < u < 2^62 (the words of a tensor, whatever its scale) is v 4^(31-k) with v in [1/4,
1): one comparison depth against a public grid finds k and the third of [1/4, 1) that v lies in, 4^k
and 2^k are public linear combinations of the comparison bits, and u 4^k is an exact product. Then
f(v) needs no further comparison. `approx` asks for a declared domain instead and takes fewer
comparisons."""

from __future__ import annotations

import math
from typing import Generic, NamedTuple

import numpy as np

from wwfl_core.errors import Misuse
from wwfl_core.numbers import Mul
from wwfl_core.tensors.arithmetic import T

from .approx import INNER, Scalar, inverse_root, power_from_steps, reciprocal_of
from .joining import stack_tensors

POWERS = 31  # u < 4^31
CUTS = (0.25 * 4 ** (1 / 3), 0.25 * 4 ** (2 / 3))  # segments of [1/4, 1) of equal ratio, below 1.7


class Normal(NamedTuple, Generic[T]):
    """u = value * 4^(31 - k), in words: 4^k, 2^k and 2^(30-k) as integers; `value` in [1/4, 1) and
    f(value) at INNER fractional bits."""

    four: T
    two: T
    back: T
    value: T
    result: T


def exact_product(a: T, b: T, frac_bits: int | None = None) -> T:
    """a * b without truncation, at the sum of both scales or at `frac_bits`; below 2^63 in words. 1
    round."""
    scale = a.frac_bits + b.frac_bits if frac_bits is None else frac_bits
    return a.like(a.mpc.protocol.bilinear(Mul(), a.data, b.data), scale)


def product(a: T, b: T, frac_bits: int) -> T:
    """a * b, truncated to `frac_bits` at once; below 2^62 in words before that."""
    drop = a.frac_bits + b.frac_bits - frac_bits
    return a.like(a.mpc.protocol.bilinear(Mul(), a.data, b.data, drop), frac_bits)


def _normal(u: T, f: Scalar) -> Normal[T]:
    """For a vector u of words in [0, 4^31), 0 taken as 1: S + I + 1 + a truncation + 4 M, 93
    comparisons each."""
    if u.ndim != 1:
        raise Misuse(f"needs a vector, got shape {u.shape}; reshape it first")
    raw = u.like(u.data, 0)
    powers = 4 ** np.arange(1, POWERS, dtype=np.int64)
    inner = [[_cut(j, c) for j in range(POWERS)] for c in CUTS]
    grid = np.concatenate([powers, *(np.array(row, np.int64) for row in inner), [1]])
    below = (raw.reshape(1, raw.size) - grid.reshape(-1, 1)).negative().to_integers()
    below_power = below[
        : POWERS - 1
    ]  # [u < 4^j] for j = 1..30: k of them hold, those with j > 30 - k
    fours = 3 * 4 ** np.arange(POWERS - 1, dtype=np.int64)[::-1]
    twos = 2 ** np.arange(POWERS - 1, dtype=np.int64)[::-1]
    four, two = (_weigh(below_power, w) + 1 for w in (fours, twos))
    back = _weigh(below_power, -(2 ** np.arange(POWERS - 1, dtype=np.int64))) + 2 ** (POWERS - 1)
    # v < cut where u is below the cut within its power of four: all cuts minus all powers that u is
    # below
    low, high = (below[s : s + POWERS].sum(0) for s in (POWERS - 1, 2 * POWERS - 1))
    steps = stack_tensors([low, high]) - below_power.sum(0)
    zero = u.like((below[len(grid) - 1] * 4 ** (POWERS - 1)).data, 2 * POWERS)
    value = (exact_product(raw, four, 2 * POWERS) + zero).truncate(2 * POWERS - INNER)
    return Normal(four, two, back, value, power_from_steps(value, 0.25, 1.0, steps, f, INNER))


def _cut(power: int, cut: float) -> int:
    """The smallest integer u with v >= cut among 4^power <= u < 4^(power + 1)."""
    return math.ceil(4.0 ** (power + 1) * cut)


def _weigh(bits: T, weights: np.ndarray) -> T:
    return (bits * weights.reshape(-1, 1)).sum(0)


def wide_reciprocal(u: T) -> Normal[T]:
    """1 / v for words u = v 4^(31-k), 0 taken as 1; error at most 1e-7 of the result."""
    return _normal(u, reciprocal_of)


def wide_inv_sqrt(u: T) -> Normal[T]:
    """1 / sqrt(v) for words u = v 4^(31-k), 0 taken as 1; error at most 1e-7 of the result."""
    return _normal(u, inverse_root)


__all__ = ["Normal", "exact_product", "product", "wide_inv_sqrt", "wide_reciprocal"]
