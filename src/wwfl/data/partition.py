"""Who holds which samples, and which samples a plaintext run visits in which order.

Everything here is public: which sample index a simulated client holds, and the order of the
batches, depend on no secret. So an ordinary seeded numpy generator is right, and it makes a run
repeatable. It must never be used for shares, masks or keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from wwfl_core.errors import ConfigError, Misuse

Partition = list[list[np.ndarray]]
"""`partition[cluster][client]`: int64 [samples of the client], indices into the data set."""

Schedule = list[list[list[np.ndarray]]]
"""`schedule[round][cluster]`: the batches in order, each int64 [batch size], indices into the data
set."""


def iid(dataset: Any, clusters: int, clients: int, per_client: int, seed: int) -> Partition:
    """Give each of `clusters` x `clients` clients `per_client` random samples; nobody shares a
    sample.

    dataset: anything with a length. Returns index arrays int64 [per_client], per cluster and
    client: one random permutation, cut into consecutive pieces.

    >>> held = iid(range(100), clusters=2, clients=3, per_client=5, seed=0)
    >>> len(held), len(held[0]), held[0][0].shape
    (2, 3, (5,))
    """
    _positives(clusters=clusters, clients=clients, per_client=per_client)
    order = _drawn(dataset, clusters * clients, per_client, np.random.default_rng(_seed(seed)))
    return _by_cluster(list(order.reshape(-1, per_client)), clusters)


def paper(
    dataset: Any, clusters: int = 10, clients: int = 100, per_client: int = 200, *, seed: int
) -> Partition:
    """The scale of WW-FL's experiments: 10 clusters of 100 clients with 200 samples each, iid, with
    duplicates.

    That is more than the data set has, so samples are held by several clients: the data set is
    dealt out again and again, each time in a new random order, so that all samples are held equally
    often, give or take one. No client holds a sample twice. (The paper does not say how its
    duplicates were drawn.)"""
    _positives(clusters=clusters, clients=clients, per_client=per_client)
    size = len(dataset)
    if per_client > size:
        raise ConfigError(
            f"a client cannot hold {per_client} different samples of {size}; lower per_client"
        )
    generator = np.random.default_rng(_seed(seed))
    rest, parts = np.empty(0, np.int64), []
    for _ in range(clusters * clients):
        if len(rest) < per_client:
            # A client that gets the end of one deal and the start of the next must not get a sample
            # twice.
            fresh = generator.permutation(size).astype(np.int64)
            twice = np.isin(fresh, rest)
            rest = np.concatenate([rest, fresh[~twice], fresh[twice]])
        parts.append(rest[:per_client])
        rest = rest[per_client:]
    return _by_cluster(parts, clusters)


def dirichlet(
    dataset: Any,
    clusters: int,
    clients: int,
    per_client: int | None = None,
    *,
    seed: int,
    alpha: float = 0.5,
    minimum: int = 1,
) -> Partition:
    """Clients with different labels: each class is divided among all clients in Dirichlet(alpha)
    proportions.

    Small alpha: few classes per client, and unequal sizes; large alpha: all alike (Hsu et al. 2019,
    Li et al. 2022). Nobody shares a sample. per_client: how many samples a client holds in the
    mean; None divides the whole data set. minimum: a client that drew fewer gets the rest from the
    largest ones."""
    _positives(clusters=clusters, clients=clients)
    _concentration(alpha)
    generator = np.random.default_rng(_seed(seed))
    count = clusters * clients
    drawn = _drawn(dataset, count, per_client, generator)
    return _by_cluster(
        _levelled(_divided(dataset, drawn, count, alpha, generator), minimum), clusters
    )


def regions(
    dataset: Any,
    clusters: int,
    clients: int,
    per_client: int | None = None,
    *,
    seed: int,
    alpha: float = 0.5,
    minimum: int = 1,
) -> Partition:
    """Clusters with different labels, whose clients are alike: `dirichlet` among clusters, iid
    inside each.

    Where a cluster trains on its clients' pooled data, differences between clients vanish in the
    pool; these stay. Nobody shares a sample. per_client: how many samples a client holds in the
    mean over all clusters; None divides the whole data set. minimum: what every client holds at
    least."""
    _positives(clusters=clusters, clients=clients, minimum=minimum)
    _concentration(alpha)
    generator = np.random.default_rng(_seed(seed))
    drawn = _drawn(dataset, clusters * clients, per_client, generator)
    pools = _levelled(_divided(dataset, drawn, clusters, alpha, generator), minimum * clients)
    return [list(np.array_split(generator.permutation(pool), clients)) for pool in pools]


def shards(
    dataset: Any,
    clusters: int,
    clients: int,
    per_client: int | None = None,
    *,
    seed: int,
    shards_per_client: int = 2,
) -> Partition:
    """The pathological split of McMahan et al. (AISTATS'17): sorted by label, cut into equal
    shards, a few per client.

    A client holds about `shards_per_client` classes. Sizes differ by at most `shards_per_client`;
    nobody shares a sample. per_client: how many samples a client holds; None divides the whole data
    set."""
    _positives(clusters=clusters, clients=clients, shards_per_client=shards_per_client)
    generator = np.random.default_rng(_seed(seed))
    count = clusters * clients
    drawn = _drawn(dataset, count, per_client, generator)
    if len(drawn) < count * shards_per_client:
        raise ConfigError(
            f"{len(drawn)} samples make no {count} x {shards_per_client} shards; use fewer or "
            "more data"
        )
    ordered = drawn[np.argsort(np.asarray(dataset.labels)[drawn], kind="stable")]
    pieces = np.array_split(ordered, count * shards_per_client)
    dealt = generator.permutation(len(pieces)).reshape(count, shards_per_client)
    return _by_cluster([np.concatenate([pieces[i] for i in row]) for row in dealt], clusters)


def quantity(
    dataset: Any,
    clusters: int,
    clients: int,
    per_client: int | None = None,
    *,
    seed: int,
    alpha: float = 0.5,
    minimum: int = 1,
) -> Partition:
    """Clients with the same labels and different amounts: sizes in Dirichlet(alpha) proportions,
    contents iid.

    Nobody shares a sample. per_client: how many samples a client holds in the mean; None divides
    the whole data set. minimum: a client that drew fewer gets the rest from the largest ones."""
    _positives(clusters=clusters, clients=clients)
    _concentration(alpha)
    generator = np.random.default_rng(_seed(seed))
    count = clusters * clients
    drawn = _drawn(dataset, count, per_client, generator)
    cuts = _cuts(generator.dirichlet(np.full(count, alpha)), len(drawn))
    return _by_cluster(_levelled(np.split(drawn, cuts), minimum), clusters)


PARTITIONS: Mapping[str, Callable[..., Partition]] = {
    "iid": iid,
    "paper": paper,
    "dirichlet": dirichlet,
    "regions": regions,
    "shards": shards,
    "quantity": quantity,
}
"""Every kind of partition by its name in a configuration."""


def sgd_schedule(
    partition: Sequence[Sequence[np.ndarray]],
    *,
    rounds: int,
    clients_per_round: int,
    epochs: int,
    batch: int,
    seed: int,
) -> Schedule:
    """Batches of a federated run: each round every cluster samples some of its clients and pools
    their data.

    The pool is visited `epochs` times, freshly shuffled each time, in batches of `batch`; the last
    batch of an epoch is smaller where the pool is no multiple of it. The MPC run draws its clients
    with the servers' joint coin instead; hand its log of batches to
    `wwfl.federation.torch_reference.run` for a comparison sample by sample."""
    _positives(rounds=rounds, clients_per_round=clients_per_round, epochs=epochs, batch=batch)
    for at, cluster in enumerate(partition):
        if clients_per_round > len(cluster):
            raise ConfigError(
                f"cluster {at} has {len(cluster)} clients, cannot sample {clients_per_round} of "
                "them; lower clients_per_round"
            )
    generator = np.random.default_rng(_seed(seed))
    schedule: Schedule = []
    for _ in range(rounds):
        schedule.append([])
        for cluster in partition:
            picked = generator.choice(len(cluster), clients_per_round, replace=False)
            pool = np.concatenate([cluster[client] for client in picked])
            batches: list[np.ndarray] = []
            for _ in range(epochs):
                order = generator.permutation(pool)
                batches += [order[start : start + batch] for start in range(0, len(order), batch)]
            schedule[-1].append(batches)
    return schedule


def _drawn(
    dataset: Any, count: int, per_client: int | None, generator: np.random.Generator
) -> np.ndarray:
    """The samples that `count` clients divide among them, in random order, each once: int64 [count
    * per_client]."""
    order = generator.permutation(len(dataset)).astype(np.int64)
    if per_client is None:
        return order
    _positives(per_client=per_client)
    need = count * per_client
    if need > len(order):
        raise ConfigError(
            f"{count} clients x {per_client} samples need {need} samples, the data set has "
            f"{len(order)}; use fewer, or a larger data set"
        )
    return order[:need]


def _divided(
    dataset: Any, drawn: np.ndarray, count: int, alpha: float, generator: np.random.Generator
) -> list[np.ndarray]:
    """The drawn samples in `count` parts: each class on its own, in Dirichlet(alpha)
    proportions."""
    labels = np.asarray(dataset.labels)[drawn]
    parts: list[list[np.ndarray]] = [[] for _ in range(count)]
    for label in np.unique(labels):
        cuts = _cuts(generator.dirichlet(np.full(count, alpha)), int((labels == label).sum()))
        for part, piece in zip(parts, np.split(drawn[labels == label], cuts), strict=True):
            part.append(piece)
    return [np.concatenate(part) for part in parts]


def _cuts(proportions: np.ndarray, count: int) -> np.ndarray:
    """Where to cut `count` samples into pieces of these proportions."""
    return np.round(np.cumsum(proportions)[:-1] * count).astype(np.int64)


def _levelled(parts: list[np.ndarray], minimum: int) -> list[np.ndarray]:
    """Parts of at least `minimum` samples: small ones take from the largest, which give their
    last."""
    _positives(minimum=minimum)
    total = sum(len(part) for part in parts)
    if total < minimum * len(parts):
        raise ConfigError(
            f"{total} samples do not give {len(parts)} clients {minimum} each; use fewer or more "
            "data"
        )
    for at in range(len(parts)):
        while (lacking := minimum - len(parts[at])) > 0:
            giver = max(range(len(parts)), key=lambda i: len(parts[i]))
            keep = max(minimum, len(parts[giver]) - lacking)
            parts[at] = np.concatenate([parts[at], parts[giver][keep:]])
            parts[giver] = parts[giver][:keep]
    return parts


def _by_cluster(parts: Sequence[np.ndarray], clusters: int) -> Partition:
    each = len(parts) // clusters
    return [list(parts[k * each : (k + 1) * each]) for k in range(clusters)]


def _concentration(alpha: float) -> None:
    if not (np.isfinite(alpha) and alpha > 0):
        raise Misuse(f"alpha must be a positive number, got {alpha!r}")


def _positives(**values: int) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise Misuse(f"{name} must be an integer of at least 1, got {value!r}")


def _seed(seed: int) -> int:
    # None would make numpy take a fresh seed: a run that nobody can repeat, from an argument easily
    # left out.
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise Misuse(f"seed must be an integer of at least 0, got {seed!r}")
    return int(seed)
