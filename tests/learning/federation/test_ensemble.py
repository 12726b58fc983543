"""Ensembles whose models must be good enough to vote (SafeNet): who may is computed in MPC, and
nobody learns it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from small_federations import SMALL, digits
from wwfl import Cluster, Ensemble, Federation, LocalTrainers, Permission, RevealPolicy
from wwfl.data.datasets import Dataset
from wwfl.federation import one_hot
from wwfl.federation import server_programs as programs
from wwfl.nn import mlp, model_of, parameters
from wwfl_core import LocalCluster
from wwfl_core.errors import ConfigError, Refused

PHI = 0.1
ASKED = "predicted labels"
TRAIN, TEST = digits()
ROOT = digits(440)[0][400:]


def spoiled() -> Dataset:
    """The digits of the leaves, where everybody of the last leaf claims that a 3 is a 4, and so
    on."""
    labels = TRAIN.labels.copy()
    labels[PARTITION[-1][0][0] : PARTITION[-1][-1][-1] + 1] += 1
    return Dataset(TRAIN.images, labels % 10, "digits with wrong labels", "test", "")


PARTITION = [
    [np.arange(60 * leaf + 20 * c, 60 * leaf + 20 * (c + 1)) for c in range(3)] for leaf in range(3)
]


def federation(engine: Any, rule: Ensemble = Ensemble(PHI), **options: Any) -> Federation:  # noqa: B008 (frozen)
    members = [Cluster(Replicated3PC(), 3), Cluster(Additive2PC(), 3), Cluster(Replicated3PC(), 3)]
    given = {
        "engine": engine,
        "schedule": SMALL,
        "insecure_seed": 3,
        "root": ROOT,
        "allow_weaker": True,
    } | options
    return Federation(mlp(64, [8], 10, seed=1), Replicated3PC(), members, rule, **given)


def answers(module: nn.Module, data: Dataset) -> np.ndarray:
    with torch.no_grad():
        return module(torch.as_tensor(data.images)).numpy().argmax(1)


@pytest.mark.parametrize("engine", ["float", "simulate", "mpc"])
def test_models_below_the_threshold_have_no_vote_in_any_engine(engine: Any, tmp_path: Path) -> None:
    train = spoiled()
    with federation(engine) as fed:
        history = fed.fit(train, TEST, rounds=3, partition=PARTITION, checkpoint=str(tmp_path))
        predicted = fed.predict(TEST.images)
        before = len(fed.global_servers.ledger)
        opened = fed.reveal("to compare", who="me")
        new = list(fed.global_servers.ledger)[before:]
        assert [(o.reason, o.shape) for o in new] == [("to compare", (3, 64 * 8 + 8 + 8 * 10 + 10))]
        voices = fed.global_servers.reveal(fed.current_model, "test")[:, -1]
        reasons = set(fed.global_servers.ledger.summary())
    assert isinstance(opened, nn.ModuleList) and len(opened) == 3
    good = [float((answers(m, ROOT) == ROOT.labels).mean() >= PHI) for m in opened]
    assert good == [1, 1, 0] and voices.tolist() == good
    votes = np.sum(
        [np.eye(10)[answers(m, TEST)] * voice for m, voice in zip(opened, good, strict=True)],
        axis=0,
    )
    assert predicted.tolist() == votes.argmax(1).tolist()
    assert history[-1].accuracy == pytest.approx((votes.argmax(1) == TEST.labels).mean())
    assert reasons == {f"hits on the test set after round {n}" for n in (1, 2, 3)} | {
        "to compare",
        "test",
    } | {ASKED}
    with federation(engine) as fed:
        assert (
            fed.restore(str(tmp_path)).predict(TEST.images[:20]).tolist() == predicted[:20].tolist()
        )


@pytest.mark.parametrize("protocol", [Plain, Additive2PC, Replicated3PC, Tetrad4PC])
def test_a_vote_needs_at_least_the_threshold_and_costs_one_comparison_more_than_counting(
    protocol: Any,
) -> None:
    models = [mlp(64, [], 10, seed=k) for k in range(3)]
    network = model_of(models[0])
    flat = [np.concatenate([p.reshape(-1) for p in parameters(m).values()]) for m in models]
    data = TEST[:15]
    hits = [int((answers(m, data) == data.labels).sum()) for m in models]
    with LocalCluster(protocol()) as c:
        shared = [c.share(f) for f in flat]
        rows = c.share(data.images), c.share(one_hot(data.labels, 10))
        c.run(programs.evaluate, network, shared[0], *rows, 10, "hits")
        counting = c.last_cost.bytes_sent()
        spent = set()
        for least in (0, min(hits), min(hits) + 1, sorted(hits)[1], max(hits), max(hits) + 1):
            found = c.run(programs.validate, network, shared, *rows, 10, least)
            spent.add(c.last_cost.bytes_sent())
            body = c.reveal(found)
            assert body[:, -1].tolist() == [float(n >= least) for n in hits]
            assert np.abs(body[:, :-1] - np.stack(flat)).max() < 1e-5
        assert len(spent) == 1 and {o.reason for o in c.ledger} == {"hits", "reveal"}
        assert spent.pop() <= 3 * counting + 3 * 300


def test_of_no_good_model_nothing_is_heard() -> None:
    with federation("float", Ensemble(min_accuracy=1.0)) as fed:
        fed.fit(TRAIN, rounds=1, partition=PARTITION)
        assert set(fed.predict(TEST.images)) == {0}
    with (
        federation("float", Ensemble(min_accuracy=0.0)) as all_vote,
        federation("float", Ensemble()) as unasked,
    ):
        answered = [
            f.fit(TRAIN, TEST, rounds=1, partition=PARTITION)[-1].accuracy
            for f in (all_vote, unasked)
        ]
        assert answered[0] == answered[1]


def test_local_trainers_get_models_without_voices() -> None:
    owners = [LocalTrainers(2)]
    given: dict[str, Any] = {"schedule": SMALL, "engine": "simulate", "root": ROOT}
    with Federation(mlp(64, [], 10, seed=1), Plain(), owners, Ensemble(0.1), **given) as fed:
        fed.fit(TRAIN, TEST, rounds=2)
        assert len(fed.reveal()) == 2  # type: ignore[arg-type]


def test_an_ensemble_is_opened_only_as_its_policy_says() -> None:
    rules = RevealPolicy(model=Permission("never"))
    with federation("simulate", reveal_policy=rules) as fed:
        fed.fit(TRAIN, rounds=1, partition=PARTITION)
        with pytest.raises(Refused) as refusal:
            fed.reveal()
        assert refusal.value.rule == "model.when" and not len(fed.global_servers.ledger)


def test_a_threshold_is_a_share_and_needs_a_root_set_at_the_global_servers() -> None:
    assert [Ensemble(0.3).least(10), Ensemble(0.35).least(10), Ensemble(1.0).least(7)] == [3, 4, 7]
    assert all(Ensemble(k / 7).least(7) in (k, k + 1) for k in range(8))
    for wrong in (-0.1, 1.5, math.nan):
        with pytest.raises(ConfigError, match=r"0\.\.1"):
            Ensemble(min_accuracy=wrong)
    with pytest.raises(ConfigError, match="measures its models on a root set"):
        federation("float", root=None)
    with pytest.raises(ConfigError, match="no root_trainer"):
        federation("float", root_trainer=0)
