"""Who holds which samples, and which samples a plaintext run visits in which order.

Everything here is public: which sample index a simulated client holds, and the order of the batches, depend
on no secret. So an ordinary seeded numpy generator is right, and it makes a run repeatable. It must never be
used for shares, masks or keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wwfl_core.errors import ConfigError, Misuse

Partition = list[list[np.ndarray]]
"""partition[cluster][client]: int64 [per_client], indices into the data set."""

Schedule = list[list[list[np.ndarray]]]
"""schedule[round][cluster]: the batches in order, each int64 [batch size], indices into the data set."""


def iid(dataset: Any, clusters: int, clients: int, per_client: int, seed: int) -> Partition:
    """Give each of `clusters` x `clients` clients `per_client` random samples; nobody shares a sample.

    dataset: anything with a length. Returns index arrays int64 [per_client], per cluster and client: one
    random permutation, cut into consecutive pieces.
    """
    for name, value in (("clusters", clusters), ("clients", clients), ("per_client", per_client)):
        _positive(name, value)
    need = clusters * clients * per_client
    if need > len(dataset):
        raise ConfigError(
            f"{clusters} clusters x {clients} clients x {per_client} samples need {need} samples, "
            f"the data set has {len(dataset)}; use fewer, or a larger data set"
        )
    order = np.random.default_rng(_seed(seed)).permutation(len(dataset))[:need].astype(np.int64)
    return [list(part) for part in order.reshape(clusters, clients, per_client)]


def sgd_schedule(
    partition: Sequence[Sequence[np.ndarray]],
    *,
    rounds: int,
    clients_per_round: int,
    epochs: int,
    batch: int,
    seed: int,
) -> Schedule:
    """Batches of a federated run: each round every cluster samples some of its clients and pools their data.

    The pool is visited `epochs` times, freshly shuffled each time, in batches of `batch`; the last batch of
    an epoch is smaller where the pool is no multiple of it. The MPC run draws its clients with the servers'
    joint coin instead; hand its log of batches to `wwfl.plaintext.run` for a comparison sample by sample.
    """
    for name, value in (
        ("rounds", rounds),
        ("clients_per_round", clients_per_round),
        ("epochs", epochs),
        ("batch", batch),
    ):
        _positive(name, value)
    for at, cluster in enumerate(partition):
        if clients_per_round > len(cluster):
            raise ConfigError(
                f"cluster {at} has {len(cluster)} clients, cannot sample {clients_per_round} of them; "
                "lower clients_per_round"
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


def _positive(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise Misuse(f"{name} must be an integer of at least 1, got {value!r}")


def _seed(seed: int) -> int:
    # None would make numpy take a fresh seed: a run that nobody can repeat, from an argument easily left out.
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise Misuse(f"seed must be an integer of at least 0, got {seed!r}")
    return int(seed)
