"""Sorting by compare-exchange networks, and the choice between a network and all pairs.

Batcher's merge-exchange network (AFIPS'68; Knuth, TAOCP 5.2.2, Algorithm M) sorts n entries with
about n log2(n)^2 / 4 comparators in t (t + 1) / 2 layers, t = ceil(log2 n): 31 in 10 layers for n =
10, 1,077 in 28 for n = 100. All pairs are n (n - 1) / 2 comparisons (45, 4,950) in one layer. So a
network sends less and takes more rounds; which is faster depends on the latency, the bandwidth and
the number of entries: `choose` estimates both.

A comparator is one comparison and one secret bit times a number: S + I (see `select`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from wwfl_core.channel import NetworkModel
from wwfl_core.errors import Misuse
from wwfl_core.protocol import DeclaredCost, Sizes
from wwfl_core.tensors.arithmetic import Arithmetic, T

from .joining import concatenate

Layers = Sequence[Sequence[tuple[int, int]]]
Method = Literal["pairs", "exchange"]
By = Method | NetworkModel
"""How to order entries: a method by name, or the network for which to choose one."""

COMPARE, TO_INTEGER, GATE = "sign", "bit_to_ring", "inject"  # names in a protocol's declared costs


def merge_exchange(n: int) -> list[list[tuple[int, int]]]:
    """Layers of comparators (i, j), i < j, that bring n entries into ascending order."""
    layers: list[list[tuple[int, int]]] = []
    top = 1 << max(0, (n - 1).bit_length() - 1)
    p = top if n > 1 else 0
    while p:
        q, r, d = top, 0, p
        while True:
            layers.append([(i, i + d) for i in range(n - d) if i & p == r])
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return layers


def pruned(layers: Layers, n: int, low: int, high: int) -> list[list[tuple[int, int]]]:
    """The comparators that matter for the sum of the outputs low <= k < high.

    One that is the last on both its wires, with both in the sum or both outside, exchanges what is
    added up anyway."""
    fate = ["in" if low <= k < high else "out" for k in range(n)]
    kept: list[list[tuple[int, int]]] = []
    for layer in reversed(layers):
        needed = [(i, j) for i, j in layer if fate[i] == "compared" or fate[i] != fate[j]]
        for i, j in needed:
            fate[i] = fate[j] = "compared"
        if needed:
            kept.insert(0, needed)
    return kept


def exchange(x: T, layers: Layers, bits: int) -> T:
    """x after the comparators of all layers along axis 0: S + I per layer, one comparison per
    comparator and entry."""
    for layer in layers:
        i, j = (np.array(side, np.int64) for side in zip(*layer, strict=True))
        lower, upper = x[i], x[j]
        gap = upper - lower
        moved = gap.negative(bits).times(gap)
        source, k = np.arange(x.shape[0]), len(i)
        source[i], source[j] = x.shape[0] + np.arange(k), x.shape[0] + k + np.arange(k)
        x = concatenate([x, lower + moved, upper - moved])[source]
    return x


# ---------------------------------------------------------------------- the choice


class Estimate(NamedTuple):
    """What ordering would cost: bits over all links, and dependent rounds online."""

    bits_offline: float
    bits_online: float
    rounds: int

    def seconds(self, network: NetworkModel, parties: int) -> float:
        """One dealer sends all that is offline; what is online is spread evenly over `parties`
        uplinks."""
        return (
            self.rounds * network.latency_s
            + (self.bits_offline + self.bits_online / parties) / network.bandwidth_bps
        )

    def plus(self, other: Estimate) -> Estimate:
        """One after the other."""
        return Estimate(
            self.bits_offline + other.bits_offline,
            self.bits_online + other.bits_online,
            self.rounds + other.rounds,
        )


def _declared(costs: Mapping[str, DeclaredCost], name: str, n: int, frac_bits: int) -> Estimate:
    return Estimate(*costs[name].at(Sizes(n, n, frac_bits)))


def _comparison(costs: Mapping[str, DeclaredCost], n: int, bits: int) -> Estimate:
    """A comparison of `bits`: traffic about in proportion, rounds of the next width that is
    known."""
    wide = _declared(costs, COMPARE, n, 0)
    narrow = _declared(costs, "sign32", n, 0) if "sign32" in costs else wide
    return Estimate(
        wide.bits_offline * bits / 64,
        wide.bits_online * bits / 64,
        (narrow if bits <= 32 else wide).rounds,
    )


def estimates(
    costs: Mapping[str, DeclaredCost], n: int, entries: int, *, low: int, high: int, bits: int
) -> dict[Method, Estimate]:
    """What `sum_of_ranks_between` costs by each method for `entries` columns of n, from what a
    protocol declares."""

    def bit(k: int, then: str) -> Estimate:
        return _declared(costs, then, k * entries, 0)

    pairs = n * (n - 1) // 2
    ranked = _comparison(costs, pairs * entries, bits).plus(bit(pairs, TO_INTEGER))
    limits = n * ((low > 0) + (high < n))
    cut = _comparison(costs, limits * entries, n.bit_length() + 1).plus(bit(n, GATE))
    network = Estimate(0, 0, 0)
    for layer in pruned(merge_exchange(n), n, low, high):
        network = network.plus(
            _comparison(costs, len(layer) * entries, bits).plus(bit(len(layer), GATE))
        )
    return {"pairs": ranked.plus(cut), "exchange": network}


def choose(
    costs: Mapping[str, DeclaredCost],
    parties: int,
    network: NetworkModel,
    n: int,
    entries: int,
    *,
    low: int,
    high: int,
    bits: int,
) -> Method:
    """The method with the smaller estimated time on a network.

    If both take equally long (computing in the clear), the network, which compares less and needs
    less memory; if the protocol declares no costs, all pairs.

    A pure function of public numbers, so that all parties choose alike. `parties` are those that
    hold shares."""
    if not {COMPARE, TO_INTEGER, GATE} <= costs.keys():
        return "pairs"
    both = estimates(costs, n, entries, low=low, high=high, bits=bits)
    slower = both["exchange"].seconds(network, parties) > both["pairs"].seconds(network, parties)
    return "pairs" if slower else "exchange"


def method(x: Arithmetic[Any], by: By, *, low: int, high: int, bits: int) -> Method:
    """`by`, or what `choose` says for the network that it is. Entries lie along axis 0."""
    if isinstance(by, NetworkModel):
        n, mpc = x.shape[0], x.mpc
        columns = math.prod(x.shape[1:])
        parties = len(mpc.sharing.evaluators)
        return choose(
            mpc.protocol.declared_costs, parties, by, n, columns, low=low, high=high, bits=bits
        )
    if by not in ("pairs", "exchange"):
        raise Misuse(
            f"by={by!r}: order entries by 'pairs', by 'exchange', or give a NetworkModel to "
            "choose for"
        )
    return by


__all__ = [
    "By",
    "Estimate",
    "Method",
    "choose",
    "estimates",
    "exchange",
    "merge_exchange",
    "method",
    "pruned",
]
