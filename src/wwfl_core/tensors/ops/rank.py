"""Order statistics: ranks, median, sort, sums over a range of ranks. The order is never opened.

By default all n (n - 1) / 2 pairs along the axis are compared in one sign depth, so the rounds do
not depend on n while the traffic grows with n^2: meant for tens of entries (clients of a
federation), not thousands. `by="exchange"` runs a network of comparators instead (see `exchange`),
`by=NetworkModel(...)` takes what is faster on that network.

`bits` is the comparison width: entries (at their scale) must differ by less than 2^(bits - 1). S
and I count sign and injection depths as in `select`; s is a sign depth of ceil(log2 n) + 1 bits,
since ranks are small numbers."""

from __future__ import annotations

import numpy as np

from wwfl_core.errors import Misuse
from wwfl_core.numbers import Mul, SumTo, beside
from wwfl_core.tensors.arithmetic import Arithmetic, B, T

from .select import axis_back, axis_first, entries, normal_axis, pairs, pairwise_less
from .sorting_network import By, Method, exchange, merge_exchange, method, pruned


def _ranks(x: T, bits: int) -> T:
    """Ranks along axis 0: pair i < j gives a point to i if x_j < x_i, else to j."""
    n = x.shape[0]
    if n < 2 or not x.size:
        return x.like(x.data, 0) * 0
    i, j = pairs(n)
    above: T = pairwise_less(-x, bits).to_integers()
    weights = np.zeros((n, len(i)), np.int64)
    weights[i, np.arange(len(i))] = 1
    weights[j, np.arange(len(j))] = -1
    algebra = above.data.algebra
    signs = algebra.from_words(weights.view(np.uint64))
    won = above.linear(
        lambda a: algebra.matmul([(beside(signs, a), a.reshape(len(i), -1))]).reshape(
            n, *a.shape[1:]
        )
    )
    return won + np.arange(n).reshape(-1, *[1] * (x.ndim - 1))


def _below(ranks: Arithmetic[B], limit: int) -> B:
    """[rank < limit], with as few bits as ranks along axis 0 need."""
    return (ranks - limit).negative(ranks.shape[0].bit_length() + 1)


def ranks(x: T, axis: int = 0, *, bits: int = 64) -> T:
    """The rank (0 for the smallest) of every entry along an axis, as integers; of equals the
    smaller index is lower.

    Along the axis they are a permutation. S + I.
    """
    axis = normal_axis(x, axis)
    return axis_back(_ranks(axis_first(x, axis), bits), axis)


def sum_of_ranks_between(
    x: T, low: int, high: int, axis: int = 0, *, bits: int = 64, by: By = "pairs"
) -> T:
    """The sum of the entries with ranks low <= rank < high along an axis, exact: a trimmed mean
    before its division.

    All pairs: S + I + s + I. Network: S + I per layer. Plain sums where nothing is cut off.
    """
    axis = normal_axis(x, axis)
    n = x.shape[axis]
    if not 0 <= low <= high <= n:
        raise Misuse(
            f"ranks {low}..{high} are not a range within 0..{n} (axis {axis} of shape {x.shape})"
        )
    ahead = axis_first(x, axis)
    if high - low == n or not x.size:
        return ahead.sum(0)
    if low == high:
        return ahead.sum(0) * 0
    if method(ahead, by, low=low, high=high, bits=bits) == "exchange":
        return exchange(ahead, pruned(merge_exchange(n), n, low, high), bits)[low:high].sum(0)
    order = _ranks(ahead, bits)
    if low == 0:
        kept = _below(order, high)
    elif high == n:
        kept = ~_below(order, low)
    else:  # below high and not below low; both in one comparison, ranks along axis 0 for its width
        shape = (n, 1, *ahead.shape[1:])
        limits = np.array([low, high]).reshape(1, 2, *[1] * (ahead.ndim - 1))
        both = (order.reshape(shape) - limits).negative(n.bit_length() + 1)
        kept = both[:, 0] ^ both[:, 1]
    return kept.times(ahead).sum(0)


def median(x: T, axis: int = 0, *, bits: int = 64, by: By = "pairs") -> T:
    """The median along an axis; for an even count the mean of the middle two, rounded to a
    neighbour.

    Costs what `sum_of_ranks_between` costs, and one truncation for an even count.
    """
    axis = entries(x, axis, "median")
    n = x.shape[axis]
    middle = sum_of_ranks_between(x, (n - 1) // 2, n // 2 + 1, axis, bits=bits, by=by)
    return middle if n % 2 else middle.rescale(max(1, middle.frac_bits)) * 0.5


def top_k_mask(x: T, k: int, axis: int = -1, *, bits: int = 64) -> T:
    """1 at the k largest entries along an axis (of equals the smaller index first), 0 elsewhere, as
    integers.

    S + I + s + I.
    """
    axis = normal_axis(x, axis)
    n = x.shape[axis]
    if not 0 <= k <= n:
        raise Misuse(f"top_k_mask: k={k} is outside 0..{n} (axis {axis} of shape {x.shape})")
    if k in (0, n) or not x.size:
        return x.like(x.data, 0) * 0 + int(k == n)
    return axis_back(_below(_ranks(axis_first(-x, axis), bits), k).to_integers(), axis)


def sort(
    x: T,
    axis: int = -1,
    *,
    descending: bool = False,
    bits: int = 64,
    by: Method = "pairs",
) -> T:
    """The entries along an axis in ascending (or descending) order, exact.

    By exchange: S + I per layer of the network. By pairs, through ranks: bits [rank_i = k] (a test
    of ceil(log2 n) bits for zero) make the permutation matrix, one sum of products per output moves
    the entries. S + I + ceil(log2(log2 n)) A + 1 + I + 1 rounds, O(n^2) bits to integers."""
    axis = normal_axis(x, axis)
    n = x.shape[axis]
    if n < 2 or not x.size:
        return x
    ahead = axis_first(x, axis)
    if method(ahead, by, low=0, high=n, bits=bits) == "exchange":
        ordered = exchange(ahead, merge_exchange(n), bits)
        return axis_back(ordered[np.arange(n)[:: -1 if descending else 1]], axis)
    place = np.arange(n)[:: -1 if descending else 1].reshape(n, *[1] * ahead.ndim)
    distance = _ranks(ahead, bits).reshape(1, *ahead.shape) - place
    equal = x.bits_like(x.mpc.protocol.is_zero(distance.data, (n - 1).bit_length()), distance.shape)
    matrix = equal.to_integers()
    move = Mul().then(SumTo((n, 1, *ahead.shape[1:])))
    moved = x.mpc.protocol.bilinear(move, matrix.data, ahead.reshape(1, *ahead.shape).data)
    return axis_back(x.like(moved, x.frac_bits).reshape(ahead.shape), axis)


__all__ = ["median", "ranks", "sort", "sum_of_ranks_between", "top_k_mask"]
