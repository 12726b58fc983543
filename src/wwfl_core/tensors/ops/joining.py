"""Operations on several tensors of one computation: joining them, and doing many products in the
rounds of one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from wwfl_core.errors import Misuse
from wwfl_core.numbers import Bilinear, cut
from wwfl_core.sharing import Share, concat, stack
from wwfl_core.tensors.arithmetic import Public, T, times_words


def concatenate(tensors: Sequence[T], axis: int = 0) -> T:
    """Concatenates tensors of one cluster and one scale. Local.

    Raises:
        Misuse: no tensors, or tensors of different clusters or scales.
    """
    first = _uniform(tensors, "concatenate")
    return first.like(concat([t.data for t in tensors], axis), first.frac_bits)


def stack_tensors(tensors: Sequence[T], axis: int = 0) -> T:
    """Stacks tensors of one cluster, shape and scale along a new axis. Local.

    Raises:
        Misuse: no tensors, or tensors of different clusters or scales.
    """
    first = _uniform(tensors, "stack")
    return first.like(stack([t.data for t in tensors], axis), first.frac_bits)


def weighted_sum(terms: Sequence[tuple[T, Public]]) -> T:
    """sum_k tensor_k * factor_k for public factors (numbers, or arrays that broadcast).

    All factors get one scale, so that the sum is truncated once instead of every term.

    Raises:
        Misuse: no terms, or tensors of different clusters or scales.
    """
    first = _uniform([tensor for tensor, _ in terms], "weighted_sum")
    factors = [np.asarray(factor, np.float64) for _, factor in terms]
    words, bits = first.mpc.factor(np.concatenate([factor.reshape(-1) for factor in factors]))
    parts = cut(words, [factor.shape for factor in factors])
    total = reduce(
        Share.__add__,
        [times_words(tensor.data, part) for (tensor, _), part in zip(terms, parts, strict=True)],
    )
    result = first.like(total, first.frac_bits)
    if not bits:
        return result
    return first.like(first.mpc.protocol.truncate(result.full("sum"), bits), first.frac_bits)


def bilinear_many(jobs: Sequence[tuple[Bilinear, T, T]], *, shift: int = 0) -> list[T]:
    """Independent products f(x, y), each divided by 2^shift, in the rounds of one.

    Args:
        jobs: (f, x, y) with operands of one cluster and one scale; results have that scale, too.
        shift: bits to truncate beside those that the product's scale has too many, at no cost.

    Raises:
        Misuse: no jobs, or operands that do not fit.
    """
    first = _uniform([t for _, x, y in jobs for t in (x, y)], "bilinear_many")
    for f, x, y in jobs:
        f.shape(x.shape, y.shape)
    shares = first.mpc.protocol.bilinear_many(
        [(f, x.data, y.data) for f, x, y in jobs], first.frac_bits + shift
    )
    return [first.like(s, first.frac_bits) for s in shares]


def _uniform(tensors: Sequence[T], what: str) -> T:
    if not tensors:
        raise Misuse(f"{what}: needs at least one tensor")
    first = tensors[0]
    if any(t.mpc is not first.mpc or t.frac_bits != first.frac_bits for t in tensors):
        raise Misuse(f"{what}: tensors must belong to one cluster and have equal frac_bits")
    return first


__all__ = ["bilinear_many", "concatenate", "stack_tensors", "weighted_sum"]
