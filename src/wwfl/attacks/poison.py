"""Poison the data of malicious clients. The partition says who holds what; honest clients keep
clean samples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wwfl.data import Dataset, Partition
from wwfl_core.errors import Misuse

from .api import Changed, DataAttack, Held
from .placement import Placement, place


@dataclass(frozen=True, eq=False)
class Poisoned:
    """A training set with poisoned samples, and who holds them.

    train: the training set. Where only malicious clients hold a sample, it is replaced; where an
        honest client holds it as well, it stays, and its poisoned version is appended at the end.
    malicious: per cluster, the malicious clients. partition: who holds what of `train`: the given
        partition, in which malicious clients hold the appended samples instead of the clean ones.
        relabelled: how many samples have another label than before.
    """

    train: Dataset
    malicious: list[list[int]]
    partition: Partition
    relabelled: int


def poison(
    train: Dataset,
    partition: Sequence[Sequence[np.ndarray]],
    attack: DataAttack,
    *,
    rate: float,
    placement: Placement | str,
    seed: int,
) -> Poisoned:
    """Let `attack` change the samples of the malicious clients: a fraction `rate` of all, placed by
    `placement`.

    Use the `partition` of the result, not the given one: they differ where honest and malicious
    clients hold the same sample. The same seed poisons a sample in the same way, whatever the rate
    and the placement.

    Raises:
        ConfigError: a rate or a placement that does not fit these clusters, an attack that does not
            fit the data.
        Misuse: the partition holds indices that are not in `train`.
    """
    clusters = [[_indices(train, client) for client in cluster] for cluster in partition]
    malicious = place([len(cluster) for cluster in clusters], rate, placement, seed)
    bad = [
        [client in chosen for client in range(len(cluster))]
        for cluster, chosen in zip(clusters, malicious, strict=True)
    ]
    pool = _gather(clusters, bad, True)
    if not pool.size:
        return Poisoned(train, malicious, clusters, 0)
    ids = np.unique(pool)
    changed = _checked(attack.corrupt(Held(train, ids, pool), seed), train, ids, attack)
    also_honest = np.zeros(len(train), bool)
    also_honest[_gather(clusters, bad, False)] = True
    appended = also_honest[ids]
    where = np.where(
        appended, len(train) + np.cumsum(appended) - 1, ids
    )  # where the poisoned version lies
    moved = np.arange(len(train))
    moved[ids] = where
    held = [
        [moved[client] if is_bad else client for client, is_bad in zip(cluster, flags, strict=True)]
        for cluster, flags in zip(clusters, bad, strict=True)
    ]
    relabelled = int((changed.labels != train.labels[ids]).sum())
    return Poisoned(
        _applied(train, ids, where, appended, changed, attack), malicious, held, relabelled
    )


def _applied(
    train: Dataset,
    ids: np.ndarray,
    where: np.ndarray,
    appended: np.ndarray,
    changed: Changed,
    attack: DataAttack,
) -> Dataset:
    extra = ids[appended]
    labels = np.concatenate([train.labels, train.labels[extra]])
    labels[where] = changed.labels
    images = (
        train.images
    )  # shared with the clean set if nothing changes in it: it may fill most of the memory
    if changed.images is not None or extra.size:
        images = np.concatenate([images, images[extra]])
    if changed.images is not None:
        images[where] = changed.images
    digest = hashlib.sha256(attack.name.encode())
    for array in (
        ids.astype("<i8"),
        where.astype("<i8"),
        labels[where].astype("<i8"),
        images[where],
    ):
        digest.update(np.ascontiguousarray(array).data)
    return replace(
        train,
        images=images,
        labels=labels,
        name=f"{train.name}, {len(ids)} samples poisoned by {attack.name}",
        sha256=train.derived_sha256(digest.digest()),
    )


def _checked(changed: Changed, train: Dataset, ids: np.ndarray, attack: DataAttack) -> Changed:
    labels, images = changed.labels, changed.images
    if (
        labels.shape != ids.shape
        or labels.dtype != np.int64
        or not ((labels >= 0) & (labels < train.classes)).all()
    ):
        raise Misuse(f"{attack.name} must give int64 labels [{len(ids)}] in 0..{train.classes - 1}")
    if images is not None and (
        images.shape != (len(ids), *train.images.shape[1:]) or images.dtype != np.float32
    ):
        raise Misuse(
            f"{attack.name} must give float32 images {[len(ids), *train.images.shape[1:]]}"
        )
    return changed


def _gather(
    clusters: Sequence[Sequence[np.ndarray]], bad: Sequence[Sequence[bool]], which: bool
) -> np.ndarray:
    """Samples of all malicious (or all honest) clients, client after client, repeats kept."""
    parts = [
        client
        for cluster, flags in zip(clusters, bad, strict=True)
        for client, is_bad in zip(cluster, flags, strict=True)
        if is_bad is which
    ]
    return np.concatenate([np.empty(0, np.int64), *parts])


def _indices(train: Dataset, client: np.ndarray) -> np.ndarray:
    held = np.asarray(client)
    if held.ndim != 1 or not np.issubdtype(held.dtype, np.integer):
        raise Misuse(
            f"a client's samples must be a 1-d integer array, got {held.dtype} {held.shape}"
        )
    if held.size and not (0 <= int(held.min()) and int(held.max()) < len(train)):
        raise Misuse(
            f"a client holds samples {held.min()}..{held.max()}, {train.name} has "
            f"0..{len(train) - 1}"
        )
    return held.astype(np.int64)
