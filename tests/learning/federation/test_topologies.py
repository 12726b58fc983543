"""Every topology is a composition of clusters, groups and local trainers, and trains in every
engine."""

from __future__ import annotations

import dataclasses
import json
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from helpers import REPOSITORY
from small_federations import SMALL, digits, make, model, weights
from wwfl import (
    Cluster,
    Ensemble,
    FedAvg,
    FedAvgM,
    Federation,
    Group,
    LocalTrainers,
    Round,
    Schedule,
    Servers,
    TrimmedMean,
)
from wwfl.aggregation import Inputs
from wwfl.experiments.config import parse
from wwfl.experiments.from_config import prepare_data, start_federation
from wwfl.federation import torch_reference
from wwfl.federation.torch_model import TorchModel
from wwfl.nn import parameters
from wwfl.privacy import Private
from wwfl_core import SharedTensor
from wwfl_core.errors import ConfigError, ProtocolError

EXAMPLES = sorted((REPOSITORY / "examples" / "topologies").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_every_topology_has_an_example_that_learns(path: Path) -> None:
    clients = 3 if path.stem == "ensemble" else 2
    assert runpy.run_path(str(path))["main"](rounds=2, clients=clients, samples=40) > 0.3


def test_all_seven_topologies_have_an_example() -> None:
    assert {p.stem for p in EXAMPLES} == {
        *("single_server", "secure_aggregation", "hierarchical", "ww_fl"),
        *("four_layers", "privileged_clients", "ensemble"),
    }


# ---------------------------------------------------------------------- engines


@pytest.mark.parametrize("kind", ["flat", "deep", "voting"])
def test_all_engines_draw_alike_and_train_the_same_model(kind: str) -> None:
    train, test = digits()
    found: dict[str, np.ndarray] = {}
    records: dict[str, list[Round]] = {}
    for engine in ("float", "simulate", "mpc"):
        with make(kind, engine) as fed:
            records[engine] = fed.fit(train, test, rounds=2)
            found[engine] = np.frombuffer(weights(fed))
            assert fed.predict(test.images[:7]).shape == (7,)
            reasons = set(fed.global_servers.ledger.summary())
            assert {"hits on the test set after round 1", "predicted labels"} <= reasons
    moved = np.abs(found["float"] - np.tile(initial(), len(found["float"]) // len(initial()))).max()
    for engine in ("simulate", "mpc"):
        assert [r.participants for r in records[engine]] == [
            r.participants for r in records["float"]
        ]
        assert [r.batches for r in records[engine]] == [r.batches for r in records["float"]]
        assert np.abs(found[engine] - found["float"]).max() < 0.02 * moved
        for a, b in zip(records[engine], records["float"], strict=True):
            assert abs((a.accuracy or 0) - (b.accuracy or 0)) <= 1.01 / len(test)


def initial() -> np.ndarray:
    return np.concatenate([p.reshape(-1) for p in parameters(model()).values()])


def test_the_float_engine_is_the_torch_reference() -> None:
    train, test = digits()
    with make("flat", "float") as fed:
        history = fed.fit(train, test, rounds=3)
        ours = {n: p.detach().numpy().copy() for n, p in fed.reveal().named_parameters()}
    hits, params = torch_reference.run(
        model(), train, test, [r.batches for r in history], SMALL.sgd.lr
    )
    assert [r.accuracy for r in history] == hits
    assert all(np.allclose(ours[n], params[n], atol=1e-6) for n in params)


def test_simulation_costs_nothing_but_keeps_no_client_data() -> None:
    train, test = digits()
    with make("flat", "simulate") as fed:
        fed.fit(train, test, rounds=2)
        assert all(not leaf_data.shares for leaf_data in fed._context.leaf_data)
        assert (
            fed.guarantee.corruptions == 0
        )  # a simulation protects nothing, whatever is simulated
        sampled = len(
            {(k, p) for r in fed.history for k, people in enumerate(r.participants) for p in people}
        )
        uploads = (
            cost
            for (where, stage), cost in fed.costs.items()
            if where != "global" and stage == "upload"
        )
        rows = sum(cost.bytes_sent() for cost in uploads)
        assert (
            rows == sampled * SMALL.samples_per_client * (64 + 10) * 8
        )  # each client once, though it comes again


def test_an_unknown_engine_is_refused() -> None:
    known = "engine 'floats' is unknown; it can be mpc, simulate, float"
    with pytest.raises(ConfigError, match=known):
        make("flat", "floats")


def test_the_former_name_of_the_float_engine_still_works() -> None:
    with pytest.warns(FutureWarning, match="float"), make("flat", "plain") as fed:
        assert fed.engine == "float"


def test_servers_say_where_they_compute_at_every_node_of_the_tree() -> None:
    elsewhere: list[tuple[Any, Any]] = [
        (Servers(Plain(), device="nowhere"), Cluster(Plain())),
        (Plain(), Cluster(Plain(), device="nowhere")),
        (Plain(), Group(Plain(), [Cluster(Plain())], device="nowhere")),
    ]
    for servers, member in elsewhere:
        with pytest.raises(ConfigError, match="nowhere"):
            Federation(model(), servers, [member])
    config = parse('federation = { servers = { device = "nowhere" } }', ())
    with pytest.raises(ConfigError, match="nowhere"):
        start_federation(config, prepare_data(config))


# ---------------------------------------------------------------------- groups and local trainers


def test_a_group_of_one_cluster_changes_nothing_but_the_way() -> None:
    train, test = digits()
    found = []
    for members in (
        [Cluster(Plain(), 3, "a")],
        [Group(Plain(), [Cluster(Plain(), 3, "a")], name="g")],
    ):
        with Federation(
            model(), Plain(), members, schedule=SMALL, engine="float", insecure_seed=1
        ) as fed:
            fed.fit(train, test, rounds=2)
            found.append(weights(fed))
    assert found[0] == found[1]


def test_groups_are_weighed_by_the_rows_below_them() -> None:
    """Two clusters in one group beside a single one: the mean is over all three, not over two
    halves."""
    train, _ = digits()
    partition = [[np.arange(k * 40, k * 40 + 40)] for k in range(3)]
    schedule = Schedule(clients_per_round=1, epochs=1, batch=40)
    a, b, c = (Cluster(Plain(), 1, name) for name in "abc")
    found = []
    for members in ([a, b, c], [Group(Plain(), [a, b], name="g"), c]):
        with Federation(
            model(), Plain(), members, schedule=schedule, engine="float", insecure_seed=1
        ) as fed:
            fed.fit(train, rounds=1, partition=partition)
            found.append(np.frombuffer(weights(fed)))
    assert np.allclose(found[0], found[1], atol=1e-9) and not np.allclose(
        found[0], initial(), atol=1e-4
    )


def test_local_trainers_submit_what_torch_trains_and_the_ledger_says_that_they_saw_the_model() -> (
    None
):
    train, _ = digits()
    schedule = Schedule(samples_per_client=20, clients_per_round=1, epochs=1, batch=20)
    with Federation(
        model(), Replicated3PC(), [LocalTrainers(1)], schedule=schedule, insecure_seed=1
    ) as fed:
        record = fed.fit(train, rounds=1)[0]
        ours = np.frombuffer(weights(fed))
        assert (
            "the model before round 1, for the clients of clients-1"
            in fed.global_servers.ledger.summary()
        )
        assert fed.guarantee.caveats == ("opened to the clients of clients-1 in every round",)
        expected = TorchModel(model(), fed.model).train(
            initial(),
            train.images,
            train.labels,
            record.batches[0],
            schedule.sgd,
        )
    assert np.abs(ours - expected).max() < 4 * 2**-20


class Reverse:
    """Submits the update in the wrong direction, and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def craft(self, honest: Any, current: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        self.seen.append(len(honest))
        rng.standard_normal()
        return [current - (m - current) for m in honest]


def test_model_attacks_replace_the_models_of_malicious_local_trainers_only() -> None:
    train, _ = digits()
    schedule = Schedule(samples_per_client=20, clients_per_round=4, epochs=1, batch=20)
    found = []
    for malicious in ((), (1, 3)):
        attack = Reverse() if malicious else None
        members = [LocalTrainers(4, attack=attack, malicious=malicious)]
        with Federation(
            model(), Plain(), members, schedule=schedule, engine="float", insecure_seed=1
        ) as fed:
            fed.fit(train, rounds=1)
            found.append(np.frombuffer(weights(fed)))
            parts = [np.asarray(c) for c in fed._context.leaf_data[0].parts]
            record = fed.history[0]
        assert attack is None or attack.seen == [2]
    starts = initial()
    updates = []
    for client, part in enumerate(parts):
        mine = [b for b in record.batches[0] if set(b) <= set(part.tolist())]
        batches = [[part.tolist().index(i) for i in b] for b in mine]
        new = TorchModel(model(), fed.model).train(
            starts,
            train.images[part],
            train.labels[part],
            batches,
            schedule.sgd,
        )
        updates.append((new - starts) * (-1 if client in (1, 3) else 1))
    assert np.allclose(found[1], starts + np.mean(updates, axis=0), atol=1e-6)
    assert not np.allclose(found[0], found[1], atol=1e-4)


def test_a_cluster_has_no_way_to_submit_a_model() -> None:
    with pytest.raises(TypeError, match="attack"):
        Cluster(Plain(), attack=Reverse())  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="need an attack"):
        LocalTrainers(4, malicious=(1,))
    with pytest.raises(ConfigError, match=r"not all in 0\.\.3"):
        LocalTrainers(4, attack=Reverse(), malicious=(4,))


def test_a_model_that_does_not_fit_the_format_is_not_taken() -> None:
    class Huge(Reverse):
        def craft(
            self, honest: Any, current: np.ndarray, rng: np.random.Generator
        ) -> list[np.ndarray]:
            return [np.full_like(current, 1e30) for _ in honest]

    train, test = digits()
    members = [LocalTrainers(2, attack=Huge(), malicious=(1,))]
    with Federation(model(), Replicated3PC(), members, schedule=SMALL, insecure_seed=1) as fed:
        record = fed.fit(train, test, rounds=1)[0]
    assert record.participants == [[0]] and "RangeError" in record.absent["clients-1/1"]


@dataclasses.dataclass(frozen=True)
class Noting(FedAvg):
    """FedAvg that notes its weights."""

    weights: list[Sequence[float]] = dataclasses.field(default_factory=list)

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        self.weights.append(inputs.weights)
        return super().aggregate(inputs)


@dataclasses.dataclass(frozen=True)
class TooLarge:
    """Submits numbers that no format holds."""

    needs: int = 1

    def craft(self, honest: Any, current: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        return [np.full_like(current, 1e30) for _ in honest]


def test_a_model_that_is_not_taken_has_no_weight_and_is_no_answer() -> None:
    train, _ = digits(200)
    rule = Noting()
    members = [
        Group(Plain(), [LocalTrainers(2, "t", TooLarge(), (1,))], name="g"),
        Cluster(Plain(), 2),
    ]
    options: dict[str, Any] = {"engine": "simulate", "insecure_seed": 1, "schedule": SMALL}
    with Federation(model(), Plain(), members, rule, **options) as fed:
        fed.fit(train, rounds=1)
    assert rule.weights == [[20.0, 40.0]]
    members = [LocalTrainers(2, "t", TooLarge(), (0, 1)), Cluster(Plain(), 2)]
    options["schedule"] = dataclasses.replace(SMALL, min_clusters=2)
    with (
        Federation(model(), Plain(), members, **options) as fed,
        pytest.raises(
            ProtocolError, match=r"1 clusters answered.* no client of t submitted a model that fits"
        ),
    ):
        fed.fit(train, rounds=1)


def test_an_attack_that_needs_company_waits_for_it() -> None:
    train, _ = digits(200)
    lie = TooLarge(needs=2)
    options: dict[str, Any] = {"engine": "simulate", "insecure_seed": 2, "schedule": SMALL}
    with Federation(model(), Plain(), [LocalTrainers(4, "t", lie, (0, 1))], **options) as fed:
        history = fed.fit(train, rounds=3, available=lambda number, leaf, client: client != 0)
    people = [set(r.participants[0]) for r in history]
    assert any(1 in who for who in people) and all(
        len(who) == 2 for who in people
    )  # no model was too large


# ---------------------------------------------------------------------- ensembles


def test_an_ensemble_keeps_models_apart_and_votes() -> None:
    train, test = digits()
    with make("voting", "mpc") as fed:
        fed.fit(train, test, rounds=2)
        stacked = np.frombuffer(weights(fed)).reshape(3, -1)
        labels, accuracy = fed.predict(test.images), fed.history[-1].accuracy
        double = TorchModel(model().double(), fed.model)
    assert min(np.abs(stacked[i] - stacked[j]).max() for i in range(3) for j in range(i)) > 1e-2
    votes = np.zeros((len(test), 10))
    close = np.zeros(len(test), bool)
    for one in stacked:
        with torch.no_grad():
            logits = double.load(one)(torch.tensor(test.images.astype(np.float64))).numpy()
        votes[np.arange(len(test)), logits.argmax(1)] += 1
        top = np.sort(logits, axis=1)
        close |= top[:, -1] - top[:, -2] < 1e-3
    assert close.mean() < 0.1
    assert np.array_equal(labels[~close], votes.argmax(1)[~close])  # of equal votes the first class
    assert accuracy == pytest.approx(np.mean(labels == test.labels))


def test_a_member_that_is_absent_keeps_its_model_in_an_ensemble() -> None:
    train, test = digits()
    with make("voting", "simulate") as fed:
        fed.fit(train, test, rounds=1)
        before = np.frombuffer(weights(fed)).reshape(3, -1)
        fed.fit(train, test, rounds=2, available=lambda number, leaf, client: leaf != "3pc-1")
        after = np.frombuffer(weights(fed)).reshape(3, -1)
        assert "3pc-1" in fed.history[-1].absent
    assert (
        np.array_equal(before[0], after[0])
        and np.abs(after[1:] - before[1:]).max(axis=1).min() > 1e-3
    )


# ---------------------------------------------------------------------- what is refused


def test_trees_that_cannot_work_are_refused_before_any_server_starts() -> None:
    def federation(*members: Any, rule: Any = None, schedule: Schedule = SMALL) -> None:
        Federation(model(), Replicated3PC(), members, rule, schedule=schedule)

    cluster = Cluster(Replicated3PC())
    with pytest.raises(ConfigError, match="g has no members"):
        federation(Group(Replicated3PC(), [], name="g"))
    with pytest.raises(ConfigError, match="the names a occur twice"):
        federation(Cluster(Replicated3PC(), name="a"), Group(Replicated3PC(), [cluster], name="a"))
    with pytest.raises(ConfigError, match="no '/'"):
        federation(Cluster(Replicated3PC(), name="a/b"))
    with pytest.raises(ConfigError, match=r"TrimmedMean\(trim=1\) needs more than 2 models, got 1"):
        federation(Group(Replicated3PC(), [cluster], TrimmedMean(1)), cluster)
    with pytest.raises(ConfigError, match="an ensemble can only be at the top"):
        federation(Group(Replicated3PC(), [cluster], Ensemble()))
    for around in (
        FedAvgM(Ensemble()),
        Private(FedAvgM(Ensemble()), clip=1.0, noise_multiplier=1.0),
    ):
        with pytest.raises(
            ConfigError, match="global: FedAvgM changes one model; an ensemble gives several"
        ):
            federation(cluster, rule=around)
    with pytest.raises(ConfigError, match="in an ensemble every client has a model of its own"):
        federation(LocalTrainers(5), rule=Ensemble())
    with pytest.raises(
        ConfigError, match="clients_per_round is 5, but cluster clients-1 has 4 clients"
    ):
        federation(LocalTrainers(4), schedule=Schedule(clients_per_round=5))
    with pytest.raises(
        ConfigError, match=r"g -> 3pc-1 loses protection against servers that deviate"
    ):
        Federation(
            model(),
            Tetrad4PC(),
            [Group(Tetrad4PC(), [Cluster(Replicated3PC(), name="3pc-1")], name="g")],
            schedule=SMALL,
        )
    with pytest.raises(ConfigError, match=r"plain-1\.2pc-1 -> plain-1 loses all protection"):
        federation(Group(Plain(), [Cluster(Additive2PC())]))


def test_a_record_is_json() -> None:
    train, test = digits()
    with make("deep", "mpc") as fed:
        record = fed.fit(train, test, rounds=1)[0]
    fields = json.loads(json.dumps(record.to_json()))
    assert Round.from_json(fields) == record
    assert fields["participants"] == record.participants and len(record.participants) == 4
    assert set(fields["bytes_sent"]) >= {
        "train",
        "reshare",
        "aggregate",
        "evaluate",
        "upload",
        "sample",
    }
    assert all(n > 0 for n in fields["bytes_sent"].values()) and fields["seconds"] > 0
