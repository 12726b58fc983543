"""Selection by secret comparisons: maximum, argmax, clip, abs, where.

`bits` is the width of the comparisons: values (at their scale) must differ by less than 2^(bits -
1); 64 is always right, fewer cost fewer bytes and rounds. Rounds are counted in sign depths S (3PC:
2 + ceil(log2(bits - 1))), injections I (a secret bit times a number; 3PC: 2) and AND depths A (3PC:
1)."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import Misuse
from wwfl_core.numbers import contiguous
from wwfl_core.tensors.arithmetic import Arithmetic, B, Logic, Public, T

from .joining import stack_tensors

FANIN = 4
"""Entries that compete at once: 6 comparisons instead of 3 per 4 entries, but half the levels of a
binary tree."""


def normal_axis(x: Arithmetic[Any], axis: int) -> int:
    """`axis` as a number in 0..ndim-1; Misuse for an axis that x does not have."""
    if not -x.ndim <= axis < x.ndim:
        raise Misuse(f"axis {axis} does not exist in a tensor of shape {x.shape}")
    return axis % x.ndim


def axis_first(x: T, axis: int) -> T:
    """x with `axis` moved to the front."""
    return x.linear(lambda a: contiguous(np.moveaxis(a, axis, 0)))


def axis_back(x: T, axis: int) -> T:
    """The inverse of `axis_first`."""
    return x.linear(lambda a: contiguous(np.moveaxis(a, 0, axis)))


def flip_where(bits: B, mask: npt.NDArray[np.bool_]) -> B:
    """bits XOR a public mask that broadcasts to their shape; local."""
    return bits.flip(np.ascontiguousarray(np.broadcast_to(mask, bits.shape)))


def pairs(n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Indices (i, j) of all pairs i < j below n."""
    i, j = np.triu_indices(n, 1)
    return i.astype(np.int64), j.astype(np.int64)


def pairwise_less(x: Arithmetic[B], bits: int) -> B:
    """[x_i < x_j] for all pairs i < j of entries along axis 0: [n (n - 1) / 2, ...] in one sign
    depth."""
    i, j = pairs(x.shape[0])
    return (x[i] - x[j]).negative(bits)


def wins(less: B, n: int) -> B:
    """From `pairwise_less`: w[i, k] = [entry i beats its k-th opponent], [n, n - 1, ...]; the first
    of equals wins."""
    pair = np.zeros((n, n), np.int64)
    i, j = pairs(n)
    pair[i, j] = pair[j, i] = np.arange(len(i))
    row, opponent = np.nonzero(~np.eye(n, dtype=np.bool_))
    chosen = less[pair[row, opponent].reshape(n, n - 1)]
    beats_later = (row < opponent).reshape(n, n - 1, *[1] * (len(less.shape) - 1))
    return flip_where(chosen, beats_later)


def all_of(bits: B, axis: int) -> B:
    """AND along an axis of at least one entry: ceil(log2 n) AND depths. Halves may overlap, since b
    AND b = b."""
    lead = (slice(None),) * axis
    while (k := bits.shape[axis]) > 1:
        half = (k + 1) // 2
        bits = bits[(*lead, slice(0, half))] & bits[(*lead, slice(k - half, k))]
    return bits[(*lead, 0)]


def _winners(x: Arithmetic[B], bits: int) -> B:
    """One-hot bits of the largest of at least two entries along axis 0: S + ceil(log2(n - 1)) A."""
    return all_of(wins(pairwise_less(x, bits), x.shape[0]), 1)


def _groups(x: T, fanin: int) -> T:
    """[n, ...] as [g, m, ...] with g <= fanin; consecutive entries form a group, the last is
    repeated to fill up."""
    n = x.shape[0]
    m = math.ceil(n / fanin)
    g = math.ceil(n / m)
    index = np.minimum(np.arange(m)[None, :] * g + np.arange(g)[:, None], n - 1)
    return x[index]


def _tournament(x: T, payload: T | None, bits: int, fanin: int) -> T:
    """The payload (or value) of the largest entry along axis 0, smallest index first; payload has
    x's shape."""
    if fanin < 2:
        raise Misuse(f"fanin={fanin}: at least two entries must compete")
    while x.shape[0] > 1:
        group = _groups(x, fanin)
        first = _winners(group, bits)[1:]
        values = [group] if payload is None else [group, _groups(payload, fanin)]
        last = x.shape[0] <= fanin
        if last and payload is not None:
            values = values[1:]
        shift = stack_tensors([v[1:] - v[0:1] for v in values])
        copies = first.reshape(1, *first.shape)[np.zeros(len(values), np.int64)]
        gained = copies.times(shift).sum(1)
        results = [v[0] + gained[k] for k, v in enumerate(values)]
        if last:
            return results[0][0]
        x = results[0]
        payload = results[1] if payload is not None else None
    return x[0] if payload is None else payload[0]


def entries(x: Arithmetic[Any], axis: int, what: str) -> int:
    """`normal_axis` of an axis that must have entries."""
    axis = normal_axis(x, axis)
    if not x.shape[axis]:
        raise Misuse(f"{what}: axis {axis} of shape {x.shape} has no entries")
    return axis


def max(x: T, axis: int = -1, *, bits: int = 64, fanin: int = FANIN) -> T:
    """The largest entry along an axis, exact.

    A tournament of ceil(log_fanin n) levels of S + ceil(log2(fanin - 1)) A + I rounds; fanin=2
    sends least (n - 1 comparisons), fanin >= n has one level (n (n - 1) / 2 comparisons)."""
    return _tournament(axis_first(x, entries(x, axis, "max")), None, bits, fanin)


def min(x: T, axis: int = -1, *, bits: int = 64, fanin: int = FANIN) -> T:
    """The smallest entry along an axis, exact; costs what `max` costs."""
    return -max(-x, axis, bits=bits, fanin=fanin)


def argmax(x: T, axis: int = -1, *, bits: int = 64, fanin: int = FANIN) -> T:
    """The index of the largest entry along an axis (the smallest such index), as integers; rounds
    of `max`."""
    ahead = axis_first(x, entries(x, axis, "argmax"))
    column = np.arange(ahead.shape[0], dtype=np.int64).reshape(-1, *[1] * (ahead.ndim - 1))
    # The indices carry x's scale through the tournament, since stacked tensors need one scale.
    index = ahead.mpc.protocol.public(
        np.ascontiguousarray(np.broadcast_to(column, ahead.shape)).view(np.uint64)
    )
    won = _tournament(ahead, ahead.like(index, ahead.frac_bits), bits, fanin)
    return won.like(won.data, 0)


def one_hot_argmax(x: T, axis: int = -1, *, bits: int = 64) -> T:
    """1 at the largest entry along an axis (at the first of equals), 0 elsewhere, as integers.

    All pairs compete at once: S + ceil(log2(n - 1)) A and one conversion of bits to integers.
    """
    axis = entries(x, axis, "one_hot_argmax")
    ahead = axis_first(x, axis)
    if ahead.shape[0] == 1:
        ones = x.mpc.protocol.public(np.ones(x.shape, np.uint64))
        return x.like(ones, 0)
    return axis_back(_winners(ahead, bits).to_integers(), axis)


def _as_tensor(value: T | Public, like: T) -> T:
    """A public operand as a shared one, at the scale of `like`."""
    if isinstance(value, Arithmetic):
        return value
    return like * 0 + value


def _gate(bits: Logic[Any], gap: T) -> T:
    """bits * gap, after broadcasting both to a common shape."""
    try:
        shape = np.broadcast_shapes(bits.shape, gap.shape)
    except ValueError as error:
        raise Misuse(
            f"bits of shape {bits.shape} do not broadcast with a tensor of shape {gap.shape}"
        ) from error
    if bits.shape != shape:
        count = np.arange(math.prod(bits.shape)).reshape(bits.shape)
        bits = bits.reshape(-1)[np.broadcast_to(count, shape)]
    if not shape:  # kernels take no 0-d arrays
        return bits.reshape(1).times(gap.reshape(1)).reshape(())
    return bits.times(gap.broadcast_to(shape))


def _negative(x: Arithmetic[B], bits: int) -> B:
    """[x < 0], also for 0-d tensors."""
    return x.negative(bits) if x.ndim else x.reshape(1).negative(bits).reshape()


def where(cond: Logic[Any], a: T | Public, b: T | Public) -> T:
    """a where the secret bit is 1, else b, exact, with broadcasting: one injection. At least one of
    a, b is shared."""
    like = a if isinstance(a, Arithmetic) else b
    if not isinstance(like, Arithmetic):
        raise Misuse("where: at least one of the alternatives must be a shared tensor")
    zero = _as_tensor(b, like)
    return zero + _gate(cond, _as_tensor(a, like) - zero)


def maximum(a: T, b: T | Public, *, bits: int = 64) -> T:
    """Elementwise maximum of a tensor and a tensor or public value, exact: S + I."""
    gap = _as_tensor(b, a) - a
    return a + gap - _gate(_negative(gap, bits), gap)


def minimum(a: T, b: T | Public, *, bits: int = 64) -> T:
    """Elementwise minimum, exact: S + I."""
    gap = _as_tensor(b, a) - a
    return a + _gate(_negative(gap, bits), gap)


def clip(x: T, low: float, high: float, *, bits: int = 64) -> T:
    """x, but no less than `low` and no more than `high`, exact for bounds that the format
    represents: S + I.

    Both sides are compared in one depth; at most one of the two corrections is not zero.
    """
    if not low <= high:
        raise Misuse(f"clip: low={low} is above high={high}")
    missing, excess = low - x, x - high
    scale = builtins.max(
        missing.frac_bits, excess.frac_bits
    )  # a fraction among the bounds of integers lifts one side
    gaps = stack_tensors([missing.rescale(scale), excess.rescale(scale)])
    inside = gaps.negative(bits)
    corrections = gaps - inside.times(gaps)
    return x + corrections[0] - corrections[1]


def abs(x: T, *, bits: int = 64) -> T:
    """|x|, exact: S + I."""
    return x - _gate(_negative(x, bits), x) * 2


__all__ = [
    "abs",
    "argmax",
    "clip",
    "max",
    "maximum",
    "min",
    "minimum",
    "one_hot_argmax",
    "where",
]
