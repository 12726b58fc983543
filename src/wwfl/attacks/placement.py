"""Where malicious clients sit: spread over the clusters, or concentrated in a few."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate

from wwfl.data import choose, permutation
from wwfl_core.errors import ConfigError

from .api import coin


class Placement(StrEnum):
    """equal: as many in every cluster. focused: clusters are filled one after the other, each up to
    a strict honest majority. cluster-focused: the same, but whole clusters. uniform: anywhere, as
    if there were no clusters."""

    EQUAL = "equal"
    FOCUSED = "focused"
    CLUSTER_FOCUSED = "cluster-focused"
    UNIFORM = "uniform"


def malicious_count(clients: int, rate: float) -> int:
    """How many of `clients` are malicious at this rate, to the nearest integer (a half rounds up).

    Raises:
        ConfigError: a rate outside 0..1, or one that is positive and still makes nobody malicious.
    """
    if not 0 <= rate <= 1:
        raise ConfigError(f"the poison rate is a fraction of the clients in 0..1, got {rate!r}")
    count = math.floor(rate * clients + 0.5)
    if rate > 0 and count == 0:
        raise ConfigError(
            f"a poison rate of {rate} makes none of {clients} clients malicious; raise it, or say 0"
        )
    return count


def place(
    sizes: Sequence[int], rate: float, placement: Placement | str, seed: int
) -> list[list[int]]:
    """The malicious clients of every cluster, ascending; cluster k has `sizes[k]` clients.

    Which clusters come first and who is malicious in them are drawn from the public `seed`.

    Raises:
        ConfigError: an unknown placement, a rate that makes no sense, more malicious clients than
            the placement admits.
    """
    try:
        rule = Placement(placement)
    except ValueError:
        raise ConfigError(f"no placement {placement!r}; known are {', '.join(Placement)}") from None
    if not sizes or min(sizes) < 1:
        raise ConfigError(f"every cluster needs at least one client, the sizes are {list(sizes)}")
    total = malicious_count(sum(sizes), rate)
    stream = coin(seed, "placement")
    if rule is Placement.UNIFORM:
        return _uniform(sizes, total, stream)
    order = permutation(stream, len(sizes), "clusters")
    counts = (
        _equal(sizes, total, order)
        if rule is Placement.EQUAL
        else _filled(_caps(sizes, rule), total, order, rule)
    )
    return [
        choose(stream, size, count, "members", str(k)) if count else []
        for k, (size, count) in enumerate(zip(sizes, counts, strict=True))
    ]


def _uniform(sizes: Sequence[int], total: int, stream: bytes) -> list[list[int]]:
    chosen = choose(stream, sum(sizes), total, "uniform") if total else []
    ends = list(accumulate(sizes))
    return [
        [c - end + size for c in chosen if end - size <= c < end]
        for size, end in zip(sizes, ends, strict=True)
    ]


def _equal(sizes: Sequence[int], total: int, order: Sequence[int]) -> list[int]:
    each, more = divmod(total, len(sizes))
    counts = [each] * len(sizes)
    for k in order[:more]:
        counts[k] += 1
    for k, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        if count > size:
            raise ConfigError(
                f"equal placement puts {count} malicious clients into cluster {k}, which has {size}"
            )
    return counts


def _caps(sizes: Sequence[int], rule: Placement) -> list[int]:
    if rule is Placement.CLUSTER_FOCUSED:
        return list(sizes)
    return [math.ceil(size / 2) - 1 for size in sizes]  # a strict majority stays honest


def _filled(caps: Sequence[int], total: int, order: Sequence[int], rule: Placement) -> list[int]:
    if total > sum(caps):
        raise ConfigError(
            f"{rule} placement has room for {sum(caps)} malicious clients ({list(caps)} per "
            f"cluster), not {total}; lower the poison rate or use another placement"
        )
    counts = [0] * len(caps)
    for k in order:
        counts[k] = min(caps[k], total)
        total -= counts[k]
    return counts
