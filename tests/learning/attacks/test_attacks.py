"""Who is malicious, and what becomes of their data."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wwfl.attacks import (
    Changed,
    DataAttack,
    Held,
    Placement,
    attack,
    attacks,
    malicious_count,
    model_attack,
    model_attacks,
    place,
    poison,
)
from wwfl.attacks import success_rate as rate_of_success
from wwfl.attacks.backdoor import BadNets
from wwfl.attacks.dynamic import DynamicLabelFlip
from wwfl.attacks.labels import RandomLabelFlip, StaticLabelFlip, TargetedLabelFlip
from wwfl.data import sampling
from wwfl.data.dataset import Dataset, Scale
from wwfl.data.datasets import mnist
from wwfl.data.partition import Partition, dirichlet, iid, paper, sgd_schedule
from wwfl.federation import torch_reference
from wwfl.nn import load_parameters, mlp
from wwfl_core.errors import ConfigError, Misuse

PAPER = [100] * 10
seeds = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def digits() -> tuple[Dataset, Dataset]:
    train, test = mnist()
    return train[:2000].pooled(2), test[:1000].pooled(2)


def labelled(n: int, classes: int = 10) -> Dataset:
    images = (np.arange(n, dtype=np.float32) % 251 / 251)[:, None, None, None] * np.ones(
        (1, 2, 8, 8), np.float32
    )
    scale = Scale((0.0, 0.5), (1.0, 0.5))
    return Dataset(images, np.arange(n) % classes, "ramps", "a test", "00", classes, scale=scale)


def counts(malicious: Sequence[Sequence[int]]) -> list[int]:
    return [len(cluster) for cluster in malicious]


# ---- placement: the examples of WW-FL, then laws


@pytest.mark.parametrize(
    ("placement", "rate", "expected"),
    [
        ("equal", 0.2, [20] * 10),
        ("equal", 0.01, [1] * 10),
        ("equal", 0.1, [10] * 10),
        ("focused", 0.01, [10] + [0] * 9),
        ("focused", 0.1, [49, 49, 2] + [0] * 7),
        ("focused", 0.2, [49, 49, 49, 49, 4] + [0] * 5),
        ("cluster-focused", 0.01, [10] + [0] * 9),
        ("cluster-focused", 0.1, [100] + [0] * 9),
        ("cluster-focused", 0.2, [100, 100] + [0] * 8),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_placements_of_the_paper(
    placement: str, rate: float, expected: list[int], seed: int
) -> None:
    found = place(PAPER, rate, placement, seed)
    assert sorted(counts(found), reverse=True) == expected
    assert found == place(PAPER, rate, Placement(placement), seed)


def test_the_seed_decides_which_clusters_are_hit() -> None:
    first = {
        tuple(np.flatnonzero(counts(place(PAPER, 0.1, "cluster-focused", seed))))
        for seed in range(30)
    }
    assert len(first) > 5
    extra = {
        tuple(np.flatnonzero(np.array(counts(place(PAPER, 0.023, "equal", seed))) == 3))
        for seed in range(10)
    }
    assert len(extra) > 5 and all(len(clusters) == 3 for clusters in extra)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(Placement)),
    st.lists(st.integers(3, 30), min_size=1, max_size=8),
    st.floats(0, 1),
    seeds,
)
def test_laws_of_placement(placement: Placement, sizes: list[int], rate: float, seed: int) -> None:
    try:
        found = place(sizes, rate, placement, seed)
    except ConfigError as error:
        assert "placement" in str(error) or "makes none" in str(error)
        return
    assert sum(counts(found)) == malicious_count(sum(sizes), rate)
    for size, cluster in zip(sizes, found, strict=True):
        assert cluster == sorted(set(cluster)) and all(0 <= client < size for client in cluster)
    if placement is Placement.FOCUSED:
        assert all(
            2 * n < size for n, size in zip(counts(found), sizes, strict=True)
        )  # strict honest majority
    if placement is Placement.EQUAL:
        assert max(counts(found)) - min(counts(found)) <= 1
    if placement in (Placement.FOCUSED, Placement.CLUSTER_FOCUSED):
        cap = [(n - 1) // 2 if placement is Placement.FOCUSED else n for n in sizes]
        assert (
            sum(0 < n < c for n, c in zip(counts(found), cap, strict=True)) <= 1
        )  # only the last one is partly full


def test_uniform_placement_draws_from_all_clients_alike() -> None:
    """Without clusters: federated learning. 20 of 100 sampled clients are malicious in the mean."""
    times = np.zeros(60)
    for seed in range(300):
        found = place([10, 50], 0.2, "uniform", seed)
        times[[*found[0], *(10 + c for c in found[1])]] += 1
    assert times.sum() == 300 * 12
    # 60 counts of mean 60 and variance 48 (a draw without replacement): six standard deviations.
    assert np.abs(times - 60).max() < 6 * 48**0.5
    sampled = [
        len(set(range(100)) & set(place([1000], 0.2, "uniform", seed)[0])) for seed in range(100)
    ]
    assert abs(np.mean(sampled) - 20) < 6 * (16 * 0.9 / 100) ** 0.5


def test_placement_errors() -> None:
    for arguments, message in [
        ((PAPER, 0.5, "focused"), r"room for 490 malicious clients.*not 500"),
        ((PAPER, 0.2, "nearby"), "known are equal, focused, cluster-focused, uniform"),
        ((PAPER, 1.5, "equal"), "fraction of the clients in 0..1"),
        ((PAPER, float("nan"), "equal"), "fraction of the clients"),
        ((PAPER, 0.0001, "equal"), "makes none of 1000 clients malicious"),
        (
            ([2, 100], 0.5, "equal"),
            r"equal placement puts 2[56] malicious clients into cluster 0, which has 2",
        ),
        (([], 0.5, "equal"), "at least one client"),
        (([3, 0], 0.5, "equal"), "at least one client"),
    ]:
        with pytest.raises(ConfigError, match=message):
            place(*arguments, seed=0)  # type: ignore[misc]
    with pytest.raises(Misuse, match="seed must be"):
        place(PAPER, 0.1, "equal", -1)
    assert place(PAPER, 0.0, "focused", 0) == [[] for _ in PAPER]
    assert counts(place([2, 2], 1.0, "cluster-focused", 0)) == [2, 2]
    assert malicious_count(10, 0.25) == 3 and malicious_count(10, 0.35) == 4


# ---- poisoning: who changes, and who does not


def split(parts: Partition, malicious: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Samples of honest and of malicious clients."""
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for cluster, bad in zip(parts, malicious, strict=True):
        for client, held in enumerate(cluster):
            sides[client in bad].append(held)
    return np.concatenate([np.empty(0, int), *sides[0]]), np.concatenate(
        [np.empty(0, int), *sides[1]]
    )


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(
        [RandomLabelFlip(), TargetedLabelFlip(3, 8), StaticLabelFlip(), BadNets(fraction=0.7)]
    ),
    st.sampled_from(["iid", "dirichlet", "paper"]),
    st.sampled_from(list(Placement)),
    st.sampled_from([0.1, 0.25, 0.4]),
    seeds,
)
def test_honest_clients_keep_their_data_and_a_sample_has_one_poisoned_version(
    what: DataAttack, kind: str, placement: Placement, rate: float, seed: int
) -> None:
    data = labelled(400)
    makers = {
        "iid": lambda: iid(data, 3, 5, 10, seed),
        "dirichlet": lambda: dirichlet(data, 3, 5, 10, seed=seed),
    }
    parts = makers[kind]() if kind in makers else paper(data, 3, 5, 60, seed=seed)
    before = data.labels.copy(), data.images.copy()
    found = poison(data, parts, what, rate=rate, placement=placement, seed=seed)
    np.testing.assert_array_equal(data.labels, before[0])  # the given set is left alone
    np.testing.assert_array_equal(data.images, before[1])
    all_ids = np.arange(len(data))
    everything = what.corrupt(Held(data, all_ids, all_ids), seed)  # what every sample would become
    images = data.images if everything.images is None else everything.images
    changed = set()
    for k, (old, new) in enumerate(zip(parts, found.partition, strict=True)):
        for client, (was, now) in enumerate(zip(old, new, strict=True)):
            bad = client in found.malicious[k]
            np.testing.assert_array_equal(
                found.train.labels[now], (everything.labels if bad else data.labels)[was]
            )
            np.testing.assert_array_equal(
                found.train.images[now], (images if bad else data.images)[was]
            )
            changed |= set(was.tolist()) if bad else set()
    honest, _ = split(parts, found.malicious)
    assert len(found.train) == len(data) + len(
        changed & set(honest.tolist())
    )  # copies only where both hold a sample
    assert found.relabelled == sum(everything.labels[i] != data.labels[i] for i in changed)
    if kind != "paper":
        assert len(found.train) == len(data)
        np.testing.assert_array_equal(found.partition[0][0], parts[0][0])
        others = np.setdiff1d(all_ids, sorted(changed))
        np.testing.assert_array_equal(found.train.labels[others], data.labels[others])
    assert found.train.sha256 != data.sha256 and what.name in found.train.describe()
    again = poison(data, parts, what, rate=rate, placement=placement, seed=seed)
    assert again.train.sha256 == found.train.sha256 and again.malicious == found.malicious


def test_without_malicious_clients_nothing_changes() -> None:
    data = labelled(100)
    found = poison(
        data, iid(data, 2, 5, 10, 0), RandomLabelFlip(), rate=0.0, placement="equal", seed=0
    )
    assert found.train is data and found.malicious == [[], []] and found.relabelled == 0


def test_label_attacks_share_the_images_with_the_clean_set() -> None:
    data = labelled(100)
    found = poison(
        data, iid(data, 2, 5, 10, 0), StaticLabelFlip(), rate=0.5, placement="equal", seed=0
    )
    assert found.train.images is data.images


def test_poison_checks_the_partition_and_the_attack() -> None:
    data, parts = labelled(100), iid(labelled(100), 2, 5, 10, 0)

    @dataclass(frozen=True)
    class Broken(DataAttack):
        result: Changed
        name = "broken"

        def corrupt(self, held: Held, seed: int) -> Changed:
            return self.result

    options = {"rate": 0.5, "placement": "equal", "seed": 0}
    for labels, images, message in [
        (np.zeros(3, np.int64), None, r"int64 labels \[50\]"),
        (np.full(50, 10), None, r"in 0\.\.9"),
        (np.zeros(50), None, "int64"),
        (np.zeros(50, np.int64), np.zeros((50, 2, 8, 7), np.float32), "float32 images"),
    ]:
        with pytest.raises(Misuse, match=message):
            poison(data, parts, Broken(Changed(labels, images)), **options)  # type: ignore[arg-type]
    for client, message in [
        (np.array([100]), "0..99"),
        (np.array([-1]), "0..99"),
        (np.array([0.5]), "integer array"),
    ]:
        with pytest.raises(Misuse, match=message):
            poison(data, [[client, client]], StaticLabelFlip(), **options)  # type: ignore[arg-type]


# ---- the attacks


def corrupted(what: DataAttack, data: Dataset, seed: int = 0) -> Changed:
    ids = np.arange(len(data))
    return what.corrupt(Held(data, ids, ids), seed)


def test_random_labels_are_uniform_and_do_not_depend_on_the_old_ones() -> None:
    data = labelled(20_000)
    new = corrupted(RandomLabelFlip(), data, 5).labels
    table = np.zeros((10, 10))
    np.add.at(table, (data.labels, new), 1)
    chi2 = ((table - 200) ** 2 / 200).sum()
    assert (
        99 - 6 * 198**0.5 < chi2 < 99 + 6 * 198**0.5
    )  # six standard deviations; one seed, so it cannot flicker
    assert 0.08 < (new == data.labels).mean() < 0.12  # as the paper's randint: one in ten stays
    other = corrupted(RandomLabelFlip(), data, 6).labels
    assert 0.08 < (new == other).mean() < 0.12


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 999), min_size=1), st.sampled_from(["rlf", "badnets"]), seeds)
def test_a_poisoned_sample_depends_on_its_id_and_the_seed_alone(
    ids: set[int], name: str, seed: int
) -> None:
    data, some = labelled(1000), np.array(sorted(ids))
    what = attack(name)
    few, all_of_them = what.corrupt(Held(data, some, some), seed), corrupted(what, data, seed)
    np.testing.assert_array_equal(few.labels, all_of_them.labels[some])


def test_static_and_targeted_flips() -> None:
    data = labelled(30)
    np.testing.assert_array_equal(corrupted(StaticLabelFlip(), data).labels, 9 - data.labels)
    np.testing.assert_array_equal(
        corrupted(StaticLabelFlip(), labelled(30, 3)).labels, 2 - labelled(30, 3).labels
    )
    new = corrupted(TargetedLabelFlip(), data).labels
    np.testing.assert_array_equal(new, np.where(data.labels == 0, 1, data.labels))
    goal = TargetedLabelFlip(4, 7).goal(data)
    assert (
        goal.labels.tolist() == [7, 7, 7] and (goal.images == data.images[data.labels == 4]).all()
    )
    for source, target in ((0, 0), (0, 10), (-1, 2)):
        with pytest.raises(ConfigError, match="two different labels"):
            corrupted(TargetedLabelFlip(source, target), data)


def small_mlp(seed: int) -> nn.Module:
    return mlp(256, [32], 10, seed=seed)


def test_dynamic_flip_picks_what_its_surrogate_finds_least_likely(
    digits: tuple[Dataset, Dataset],
) -> None:
    train, test = digits
    what = DynamicLabelFlip(small_mlp, epochs=8)
    parts = iid(train, 2, 10, 100, seed=0)
    found = poison(train, parts, what, rate=0.5, placement="cluster-focused", seed=1)
    honest, bad = split(parts, found.malicious)
    assert len(bad) == 1000
    surrogate = what.surrogate(Held(train, np.unique(bad), bad), 1)
    with torch.no_grad():
        logits = surrogate(torch.from_numpy(train.images[bad]))
    assert torch_reference.accuracy(surrogate, test) > 0.8  # a surrogate that has learned the task
    # Retraining gives the same surrogate up to the order of float sums, so labels agree but for
    # near ties.
    assert (found.train.labels[bad] == logits.numpy().argmin(1)).mean() > 0.99
    assert (found.train.labels[bad] != train.labels[bad]).mean() > 0.99
    np.testing.assert_array_equal(found.train.labels[honest], train.labels[honest])


def test_the_surrogate_is_trained_as_sgd_in_torch_would(digits: tuple[Dataset, Dataset]) -> None:
    """Against a loop of our own over the same batches, duplicates in the pool included."""
    train = digits[0][:50]
    pool = np.array([3, 3, 7, 9, 12, 30, 30, 30])
    what = DynamicLabelFlip(small_mlp, epochs=3, batch=3, lr=0.1, momentum=0.5, weight_decay=0.01)
    seen: list[list[int]] = []

    class Recording(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.inner, self.first = small_mlp(seed), small_mlp(seed)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(
                    [int((train.images == image).all((1, 2, 3)).argmax()) for image in x.numpy()]
                )
            return self.inner(x)

    made: list[Recording] = []
    trained = replace(what, model=lambda seed: made.append(Recording(seed)) or made[-1]).surrogate(
        Held(train, np.unique(pool), pool), 4
    )
    assert [len(batch) for batch in seen] == [3, 3, 2] * 3
    for epoch in range(3):
        assert sorted(chain(*seen[3 * epoch : 3 * epoch + 3])) == pool.tolist()
    weights = [p.detach().clone() for p in made[0].first.parameters()]
    velocity = [torch.zeros_like(p) for p in weights]
    module = made[0].first
    for batch in seen:
        with torch.no_grad():
            for p, w in zip(module.parameters(), weights, strict=True):
                p.copy_(w)
        module.zero_grad()
        loss = nn.functional.cross_entropy(
            module(torch.from_numpy(train.images[batch])), torch.from_numpy(train.labels[batch])
        )
        loss.backward()
        for i, p in enumerate(module.parameters()):
            velocity[i] = 0.5 * velocity[i] + p.grad + 0.01 * weights[i]
            weights[i] = weights[i] - 0.1 * velocity[i]
    for p, w in zip(trained.inner.parameters(), weights, strict=True):  # type: ignore[union-attr]
        np.testing.assert_allclose(p.detach().numpy(), w.numpy(), rtol=1e-4, atol=1e-6)


def test_the_default_surrogate_is_the_papers(digits: tuple[Dataset, Dataset]) -> None:
    what = attack("dlf")
    assert isinstance(what, DynamicLabelFlip)
    assert (what.epochs, what.batch, what.lr, what.momentum, what.weight_decay) == (
        50,
        128,
        0.05,
        0.9,
        5e-4,
    )
    held = Held(digits[0], np.arange(3), np.arange(3))
    with pytest.raises(ConfigError, match=r"does not take images \[1, 16, 16\].*model="):
        what.corrupt(held, 0)  # LeNet wants 32x32
    with pytest.raises(ConfigError, match="5 outputs for 10 classes"):
        DynamicLabelFlip(lambda seed: mlp(256, [], 5, seed=seed), epochs=1).corrupt(
            Held(replace(digits[0], labels=digits[0].labels % 5), np.arange(3), np.arange(3)), 0
        )
    with pytest.raises(ConfigError, match="diverged at lr"):
        DynamicLabelFlip(small_mlp, lr=1e30).corrupt(
            Held(digits[0], np.arange(300), np.arange(300)), 0
        )


def test_the_trigger_is_white_whatever_the_scale() -> None:
    data = labelled(40)
    what = BadNets(target=4, size=3, margin=2, fraction=1.0)
    new = corrupted(what, data)
    assert new.images is not None and (new.labels == 4).all()
    assert (new.images[:, 0, 3:6, 3:6] == 1.0).all() and (
        new.images[:, 1, 3:6, 3:6] == 1.0
    ).all()  # (1 - 0.5) / 0.5
    mask = np.ones((8, 8), bool)
    mask[3:6, 3:6] = False
    np.testing.assert_array_equal(new.images[:, :, mask], data.images[:, :, mask])
    goal = what.goal(data)
    assert (
        len(goal) == 36 and (goal.labels == 4).all() and (goal.images[:, :, 3:6, 3:6] == 1.0).all()
    )
    half = corrupted(replace(what, fraction=0.5), labelled(4000))
    stamped = (half.images == 1.0)[:, 0, 4, 4]  # type: ignore[index]
    assert 0.45 < stamped.mean() < 0.55 and (half.labels[stamped] == 4).all()
    for wrong in (
        {"target": 10},
        {"fraction": 0.0},
        {"fraction": 1.5},
        {"size": 7, "margin": 2},
        {"size": 0},
    ):
        with pytest.raises(ConfigError, match="badnets"):
            corrupted(BadNets(**wrong), data)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="what a white pixel is"):
        corrupted(what, replace(data, scale=None))


def test_a_backdoor_works_and_leaves_the_task_alone(digits: tuple[Dataset, Dataset]) -> None:
    train, test = digits
    what = BadNets(target=7, size=2)
    parts = iid(train, 4, 5, 100, seed=0)
    found = poison(train, parts, what, rate=0.2, placement="equal", seed=0)
    success, accuracy = {}, {}
    for name, data in (("clean", train), ("poisoned", found.train)):
        module = small_mlp(0)
        batches = [np.array(rows) for rows in sampling.draw_batches(b"\0" * 32, len(data), 50, 12)]
        torch_reference.train_cluster(module, data.images, data.labels, batches, lr=0.1)
        accuracy[name] = torch_reference.accuracy(module, test)

        def predict(images: np.ndarray, module: nn.Module = module) -> np.ndarray:
            with torch.no_grad():
                return module(torch.from_numpy(images)).numpy().argmax(1)

        success[name] = rate_of_success(what, test, predict)
    print(success, accuracy)
    assert success["clean"] < 0.1 and success["poisoned"] > 0.8
    assert accuracy["clean"] > 0.85 and accuracy["poisoned"] > accuracy["clean"] - 0.05


def test_a_federation_of_malicious_clients_learns_their_labels(
    digits: tuple[Dataset, Dataset],
) -> None:
    train, test = digits
    parts = paper(train, 2, 10, 200, seed=0)
    flipped = replace(test, labels=9 - test.labels)
    for rate, wanted, other in ((0.0, test, flipped), (1.0, flipped, test)):
        found = poison(
            train, parts, StaticLabelFlip(), rate=rate, placement="cluster-focused", seed=0
        )
        plan = sgd_schedule(
            found.partition, rounds=3, clients_per_round=5, epochs=3, batch=50, seed=0
        )
        _, parameters = torch_reference.run(lambda: small_mlp(0), found.train, test, plan, lr=0.1)
        module = small_mlp(0)
        load_parameters(module, parameters)
        assert (
            torch_reference.accuracy(module, wanted) > 0.7
            and torch_reference.accuracy(module, other) < 0.1
        )


def test_the_goal_of_an_attack_is_another_data_set_than_its_samples() -> None:
    data = labelled(50)
    wanted = TargetedLabelFlip(2, 5).goal(data)
    same = data.take(np.flatnonzero(data.labels == 2))
    assert np.array_equal(wanted.images, same.images) and wanted.sha256 != same.sha256
    assert wanted.sha256 != TargetedLabelFlip(2, 6).goal(data).sha256


def test_success_rates() -> None:
    data = labelled(50)
    assert (
        rate_of_success(TargetedLabelFlip(2, 5), data, lambda images: np.full(len(images), 5))
        == 1.0
    )
    assert (
        rate_of_success(
            TargetedLabelFlip(2, 5), data, lambda images: np.arange(len(images)) % 2 + 4
        )
        == 0.4
    )
    with pytest.raises(Misuse, match="no success rate"):
        rate_of_success(StaticLabelFlip(), data, lambda images: images)
    with pytest.raises(Misuse, match="no sample on which"):
        rate_of_success(
            TargetedLabelFlip(2, 5),
            data.take(np.flatnonzero(data.labels != 2)),
            lambda images: images,
        )


# ---- by name


def test_attacks_are_known_by_name() -> None:
    assert list(attacks())[:5] == ["rlf", "tlf", "slf", "dlf", "badnets"]
    assert [entry.error for entry in (*attacks().values(), *model_attacks().values())] == [
        None
    ] * 12
    for known in (attacks(), model_attacks()):
        assert all(
            entry.factory is not None and entry.factory.name == name
            for name, entry in known.items()
        )
    assert attack("tlf", source=3, target=8) == TargetedLabelFlip(3, 8)
    with pytest.raises(ConfigError, match="no attack is registered as 'dfl'; did you mean 'dlf'"):
        attack("dfl")
    with pytest.raises(ConfigError, match="no option 'sorce'; did you mean 'source'"):
        attack("tlf", sorce=3)
    with pytest.raises(ConfigError, match="no attack on models is registered as 'rlf'"):
        model_attack("rlf")
    with pytest.raises(ConfigError, match=r"source is 1\.5, but it is like 0 \(int\)"):
        attack("tlf", source=1.5)  # no label is 1.5: it would change nothing
    with pytest.raises(ConfigError, match="z is '2'"):
        model_attack("lie", z="2")
    assert attack("dlf", epochs=3, lr=1).epochs == 3  # type: ignore[attr-defined]


class Swap(DataAttack):
    """Of a plug-in."""

    name = "swap"

    def corrupt(self, held: Held, seed: int) -> Changed:
        return Changed(1 - held.data.labels[held.ids])


def test_other_distributions_add_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        importlib.metadata.EntryPoint("swap", "test_attacks:Swap", "wwfl.attacks"),
        importlib.metadata.EntryPoint("rlf", "test_attacks:Swap", "wwfl.attacks"),
        importlib.metadata.EntryPoint("missing", "no_such_module:X", "wwfl.attacks"),
        importlib.metadata.EntryPoint("function", "test_attacks:labelled", "wwfl.attacks"),
        importlib.metadata.EntryPoint("abstract", "wwfl.attacks.api:DataAttack", "wwfl.attacks"),
    ]
    monkeypatch.setattr(
        "wwfl_core.plugins.entry_points",
        lambda group: points if group == "wwfl.attacks" else [],
    )
    found = attacks()
    assert attack("swap").name == "swap" and attack("rlf") == RandomLabelFlip()
    assert "taken by wwfl" in str(found["rlf (unknown)"].error)
    for name, message in (
        ("missing", "no_such_module"),
        ("function", "no DataAttack"),
        ("abstract", "no DataAttack"),
    ):
        assert message in str(found[name].error)
        with pytest.raises(ConfigError, match="cannot be loaded"):
            attack(name)
    assert len(model_attacks()) == 7
