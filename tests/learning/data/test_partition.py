"""Who holds which samples: the laws of every partition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wwfl.data.dataset import Dataset
from wwfl.data.partition import (
    Partition,
    dirichlet,
    iid,
    paper,
    quantity,
    regions,
    sgd_schedule,
    shards,
)
from wwfl.data.skew import label_counts, label_skew
from wwfl_core.errors import ConfigError, Misuse

DISJOINT = {
    "iid": iid,
    "dirichlet": dirichlet,
    "regions": regions,
    "shards": shards,
    "quantity": quantity,
}
UNEQUAL = {"dirichlet": dirichlet, "regions": regions, "quantity": quantity}
seeds = st.integers(0, 2**32)


def labelled(n: int, classes: int = 10) -> Dataset:
    """n samples whose labels are as balanced as they can be."""
    labels = np.arange(n) % classes
    return Dataset(np.zeros((n, 1, 1, 1), np.float32), labels, "labels", "a test", "00", classes)


def flat(parts: Partition) -> np.ndarray:
    return np.concatenate([client for cluster in parts for client in cluster])


def sizes(parts: Partition) -> list[int]:
    return [len(client) for cluster in parts for client in cluster]


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(DISJOINT)),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(2, 12),
    seeds,
)
def test_nobody_shares_a_sample(
    name: str, clusters: int, clients: int, per_client: int, seed: int
) -> None:
    data = labelled(clusters * clients * per_client + 5)
    parts = DISJOINT[name](data, clusters, clients, per_client, seed=seed)
    assert [len(cluster) for cluster in parts] == [clients] * clusters
    held = flat(parts)
    assert (
        held.dtype == np.int64
        and len(np.unique(held)) == len(held) == clusters * clients * per_client
    )
    assert 0 <= held.min() and held.max() < len(data)
    assert min(sizes(parts)) >= 1
    again = DISJOINT[name](data, clusters, clients, per_client, seed=seed)
    assert all(
        (a == b).all() for x, y in zip(parts, again, strict=True) for a, b in zip(x, y, strict=True)
    )


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["dirichlet", "regions", "shards", "quantity"]), st.integers(100, 200), seeds
)
def test_without_a_size_everything_is_divided(name: str, n: int, seed: int) -> None:
    parts = DISJOINT[name](labelled(n), 2, 5, seed=seed)
    np.testing.assert_array_equal(np.sort(flat(parts)), np.arange(n))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 20), st.integers(0, 30), seeds)
def test_the_papers_partition_holds_all_samples_equally_often(
    clusters: int, clients: int, per_client: int, more: int, seed: int
) -> None:
    data = labelled(per_client + more)
    parts = paper(data, clusters, clients, per_client, seed=seed)
    assert sizes(parts) == [per_client] * (clusters * clients)
    assert all(len(np.unique(client)) == per_client for cluster in parts for client in cluster)
    times = np.bincount(flat(parts), minlength=len(data))
    assert times.max() - times.min() <= 1


def test_the_paper_has_a_thousand_clients_with_two_hundred_samples() -> None:
    parts = paper(labelled(60_000), seed=3)
    assert [len(cluster) for cluster in parts] == [100] * 10 and set(sizes(parts)) == {200}
    assert set(np.bincount(flat(parts)).tolist()) == {3, 4}  # 200,000 places for 60,000 samples


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(sorted(UNEQUAL)),
    st.sampled_from([0.01, 0.1, 1.0, 100.0]),
    st.integers(1, 8),
    seeds,
)
def test_everybody_gets_the_minimum(name: str, alpha: float, minimum: int, seed: int) -> None:
    parts = UNEQUAL[name](labelled(200), 2, 10, 8, seed=seed, alpha=alpha, minimum=minimum)
    assert min(sizes(parts)) >= minimum and sum(sizes(parts)) == 160
    if minimum == 8:
        assert set(sizes(parts)) == {8}


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_label_skew_grows_as_alpha_falls(seed: int) -> None:
    data = labelled(6_000)
    found = [
        label_skew(label_counts(dirichlet(data, 3, 10, seed=seed, alpha=alpha), data))
        for alpha in (1000.0, 10.0, 1.0, 0.1)
    ]
    assert found == sorted(found)
    assert found[0] < 0.05 and found[-1] > 0.5


def test_label_skew_of_iid_and_of_quantity_is_that_of_chance() -> None:
    data = labelled(20_000)
    for parts in (iid(data, 4, 10, 500, seed=1), quantity(data, 4, 10, seed=1, alpha=5.0)):
        # Mean deviation of ten multinomial counts from a tenth of n: 5 sqrt(2/pi) sqrt(0.09 / n).
        chance = np.mean([5 * np.sqrt(2 / np.pi * 0.09 / n) for n in sizes(parts)])
        assert 0.85 < label_skew(label_counts(parts, data)) / chance < 1.15


def pooled(parts: Partition) -> Partition:
    """Each cluster as one holder."""
    return [[np.concatenate(cluster)] for cluster in parts]


def test_pooling_hides_differences_between_clients_and_not_between_regions() -> None:
    data = labelled(6_000)
    for seed in range(5):
        parts = dirichlet(data, 5, 20, seed=seed, alpha=0.2)
        assert (
            label_skew(label_counts(parts, data))
            > 0.5
            > 0.2
            > label_skew(label_counts(pooled(parts), data))
        )
        parts = regions(data, 5, 20, seed=seed, alpha=0.2)
        assert label_skew(label_counts(pooled(parts), data)) > 0.35
        inside = [label_skew(label_counts([cluster], data)) for cluster in parts]
        assert max(inside) < 0.35 and len({len(client) for client in parts[0]}) <= 2


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_sizes_differ_more_as_alpha_falls(seed: int) -> None:
    spread = [
        np.std(sizes(quantity(labelled(6_000), 3, 10, seed=seed, alpha=alpha)))
        for alpha in (1000.0, 10.0, 0.3)
    ]
    assert spread == sorted(spread)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), seeds)
def test_shards_hold_few_classes(each: int, seed: int) -> None:
    data = labelled(6_000)
    parts = shards(data, 2, 50, seed=seed, shards_per_client=each)
    classes = (label_counts(parts, data) > 0).sum(1)
    # Shards no longer than a class span at most two of them, and only 9 shards lie across a border.
    assert classes.max() <= 2 * each and (classes > each).sum() <= 9
    assert max(sizes(parts)) - min(sizes(parts)) <= each


def test_mcmahans_split_of_60000_samples() -> None:
    data = labelled(60_000)
    parts = shards(data, 1, 100, seed=0)
    assert set(sizes(parts)) == {600}
    counts = label_counts(parts, data)
    assert ((counts > 0).sum(1) <= 2).all() and set(counts[counts > 0].tolist()) <= {300, 600}


def test_label_skew_of_known_counts() -> None:
    assert label_skew(np.array([[5, 5], [2, 2]])) == 0
    assert label_skew(np.array([[4, 0], [0, 4]])) == 0.5
    np.testing.assert_array_equal(
        label_counts([[np.array([0, 1, 2, 12])]], labelled(20, 3)), [[2, 1, 1]]
    )


def test_partitions_refuse_what_cannot_be() -> None:
    data = labelled(100)
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: paper(data, 2, 2, 101, seed=0), ConfigError, "101 different samples of 100"),
        (
            lambda: dirichlet(data, 5, 5, 5, seed=0),
            ConfigError,
            "need 125 samples, the data set has 100",
        ),
        (
            lambda: dirichlet(data, 5, 5, seed=0, minimum=5),
            ConfigError,
            "do not give 25 clients 5 each",
        ),
        (
            lambda: dirichlet(data, 2, 2, seed=0, alpha=0.0),
            Misuse,
            "alpha must be a positive number",
        ),
        (lambda: quantity(data, 2, 2, seed=0, alpha=float("nan")), Misuse, "alpha must be"),
        (lambda: quantity(data, 2, 2, seed=0, minimum=0), Misuse, "minimum must be"),
        (
            lambda: shards(data, 5, 10, seed=0, shards_per_client=3),
            ConfigError,
            "make no 50 x 3 shards",
        ),
        (
            lambda: shards(data, 5, 10, seed=0, shards_per_client=0),
            Misuse,
            "shards_per_client must be",
        ),
        (lambda: paper(data, 0, 2, 3, seed=0), Misuse, "clusters must be"),
        (lambda: dirichlet(data, 2, 2, seed=-1), Misuse, "seed must be"),
    ]
    for make, error, message in cases:
        with pytest.raises(error, match=message):
            make()


def test_a_schedule_pools_clients_of_different_sizes() -> None:
    parts = dirichlet(labelled(300), 2, 4, seed=5, alpha=0.3)
    plan = sgd_schedule(parts, rounds=2, clients_per_round=2, epochs=1, batch=1000, seed=0)
    for clusters in plan:
        for cluster, batches in zip(parts, clusters, strict=True):
            pools = [
                np.sort(np.concatenate([a, b])).tolist()
                for i, a in enumerate(cluster)
                for b in cluster[:i]
            ]
            assert np.sort(batches[0]).tolist() in pools
