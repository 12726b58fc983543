"""What rounds do when clients come and go, data grows, and clusters fail."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from small_federations import SMALL, digits, make, model, weights
from wwfl import SGD, Cluster, FedAvg, Federation, Group, Round, Schedule, TrimmedMean
from wwfl.aggregation import Inputs
from wwfl.data import sampling
from wwfl_core import SharedTensor
from wwfl_core.errors import ConfigError, Desync, Misuse, ProtocolError, VerificationFailed
from wwfl_core.sharing.share import Share

# ---------------------------------------------------------------------- clients


def test_absent_clients_are_replaced_along_the_same_permutation() -> None:
    seed = bytes(range(32))
    order = sampling.permutation(seed, 10, "clients")
    assert sampling.choose(seed, 10, 4, "clients") == sorted(order[:4])
    gone = {order[1], order[2]}
    there = sampling.choose(seed, 10, 4, "clients", present=lambda c: c not in gone)
    assert there == sorted([order[0], *order[3:6]])
    assert sampling.choose(seed, 10, 4, "clients", present=lambda c: c == 7) == [7]


@pytest.mark.parametrize("engine", ["float", pytest.param("mpc", marks=pytest.mark.slow)])
def test_clients_drop_out_and_return(engine: str) -> None:
    train, test = digits()
    with make("flat", engine) as all_there:
        drawn = [r.participants for r in all_there.fit(train, test, rounds=3)]
    gone = next(client for client in drawn[1][0] if client in drawn[2][0])
    (other,) = set(range(3)) - set(drawn[1][0])
    with make("flat", engine) as fed:
        fed.fit(
            train,
            test,
            rounds=3,
            available=lambda number, leaf, client: (number, leaf, client) != (2, "3pc-1", gone),
        )
        found = [r.participants for r in fed.history]
    replaced = sorted({*drawn[1][0], other} - {gone})
    assert found == [drawn[0], [replaced, *drawn[1][1:]], drawn[2]]


def test_a_cluster_without_clients_is_left_out_and_comes_back() -> None:
    train, test = digits()
    with make("flat", "simulate") as fed:
        fed.fit(
            train,
            test,
            rounds=3,
            available=lambda number, leaf, client: number != 2 or leaf != "2pc-2",
        )
        assert fed.history[1].absent == {"2pc-2": "ProtocolError: no client of 2pc-2 is there"}
        assert fed.history[1].participants[1] == [] and fed.history[1].batches[1] == []
        assert [len(r.participants[1]) for r in fed.history] == [2, 0, 2]


# ---------------------------------------------------------------------- data


@pytest.mark.parametrize(("policy", "depth"), [("fresh", 1), ("window:2", 2), ("accumulate", 99)])
def test_a_cluster_trains_on_the_data_that_the_policy_says(policy: str, depth: int) -> None:
    train, _ = digits()
    schedule = Schedule(
        samples_per_client=10, clients_per_round=1, epochs=1, batch=7, data_policy=policy
    )
    with Federation(
        model(), Plain(), [Cluster(Plain(), 6)], schedule=schedule, engine="float", insecure_seed=5
    ) as fed:
        fed.fit(train, rounds=6)
        parts = fed._context.leaf_data[0].parts
        people = [r.participants[0][0] for r in fed.history]
        assert len(set(people)) < 6  # somebody took part twice, and its data is still there once
        for number, record in enumerate(fed.history, 1):
            recent = dict.fromkeys(people[max(0, number - depth) : number])
            rows = [row for batch in record.batches[0] for row in batch]
            assert sorted(rows) == sorted(int(row) for client in recent for row in parts[client])


@pytest.mark.parametrize(
    "policy", ["", "window", "window:0", "window:-1", "window:x", "everything"]
)
def test_unknown_data_policies_are_refused(policy: str) -> None:
    with pytest.raises(ConfigError, match="choose 'fresh', 'accumulate' or 'window:k'"):
        Schedule(data_policy=policy)


@pytest.mark.parametrize(
    "engine", ["float", "simulate", pytest.param("mpc", marks=pytest.mark.slow)]
)
def test_clients_add_data_and_a_resumed_run_has_it(engine: str, tmp_path: Path) -> None:
    train, test = digits()
    more, _ = digits(430)
    added = more.take(np.arange(400, 430))

    def on_round(record: Round, fed: Federation) -> None:
        if record.number == 1:
            for client in range(3):
                fed.add_data("3pc-1", client, added.take(np.arange(client * 10, client * 10 + 10)))
            fed.save(str(tmp_path))

    with make("flat", engine) as fed:
        fed.fit(train, test, rounds=3, on_round=on_round)
        expected, history = weights(fed), fed.history
        seen = {row for batch in history[2].batches[0] for row in batch}
        people = history[2].participants[0]
        assert {row for row in seen if row >= 400} == {
            400 + 10 * c + i for c in people for i in range(10)
        }
        assert all(row < 400 for batch in history[0].batches[0] for row in batch)
    with make("flat", engine) as fed:
        fed.restore(str(tmp_path))
        assert len(fed.history) == 1
        fed.fit(train, test, rounds=3)
        assert weights(fed) == expected and fed.history == history


def test_local_trainers_give_added_data_again_after_a_restart(tmp_path: Path) -> None:
    train, _ = digits()
    more = digits(410)[0].take(np.arange(400, 410))
    with make("single", "float") as fed:
        fed.fit(train, rounds=1)
        for client in range(4):
            fed.add_data(0, client, more)
        fed.save(str(tmp_path))
        fed.fit(train, rounds=2)
        expected = weights(fed)
    with make("single", "float") as fed:
        fed.restore(str(tmp_path))
        with pytest.raises(ConfigError, match=r"added 10 rows .* give them again with add_data"):
            fed.fit(train, rounds=2)
        for client in range(4):
            fed.add_data(0, client, more)
        fed.fit(train, rounds=2)
        assert weights(fed) == expected


def test_data_can_only_be_added_where_somebody_is() -> None:
    train, test = digits()
    with make("flat", "float") as fed:
        with pytest.raises(Misuse, match="after fit"):
            fed.add_data(0, 0, test)
        fed.fit(train, rounds=1)
        with pytest.raises(Misuse, match="no leaf 'nowhere'; there are 0 \\(3pc-1\\)"):
            fed.add_data("nowhere", 0, test)
        with pytest.raises(Misuse, match=r"has clients 0\.\.2, not 3"):
            fed.add_data(0, 3, test)


def test_a_partition_decides_who_holds_what() -> None:
    train, _ = digits()
    partition = [[np.arange(5), np.arange(10, 17)], [np.arange(20, 21), np.arange(0)]]
    schedule = Schedule(clients_per_round=2, epochs=1, batch=4)
    members = [Cluster(Plain(), 2), Cluster(Plain(), 2)]
    with Federation(model(), Plain(), members, schedule=schedule, engine="float") as fed:
        record = fed.fit(train, rounds=1, partition=partition)[0]
        assert [sorted(r for b in batches for r in b) for batches in record.batches] == [
            [*range(5), *range(10, 17)],
            [20],
        ]
    for wrong, why in (
        (partition[:1], "is for 1 clusters, the federation has 2"),
        ([partition[0], partition[1][:1]], "has 1 clients for plain-2, which has 2"),
        (
            [partition[0], [np.arange(3), np.array([400])]],
            "rows 400..400, the training set has 400",
        ),
        (
            [partition[0], [np.arange(3), np.array([0.5])]],
            "client 1 of plain-2: rows are integers, not float64",
        ),
    ):
        with Federation(model(), Plain(), members, schedule=schedule, engine="float") as fed:
            with pytest.raises(ConfigError, match=why):
                fed.fit(train, rounds=1, partition=wrong)


# ---------------------------------------------------------------------- clusters that fail


class Unreliable(Replicated3PC):
    """Does at its products what its owner says."""

    name = "unreliable"
    keeps_state = True  # trouble comes from outside

    def __init__(self, trouble: dict[str, Any]) -> None:
        super().__init__()
        self.trouble = trouble

    def bilinear(self, f: Any, x: Share, y: Share, truncate: int = 0) -> Share:
        if self.me == 1 and "raise" in self.trouble:
            raise self.trouble["raise"]
        if self.me == 1 and "sleep_s" in self.trouble:
            time.sleep(self.trouble["sleep_s"])
        return super().bilinear(f, x, y, truncate)


def with_trouble(trouble: dict[str, Any], **options: Any) -> Federation:
    members = [Cluster(Unreliable(trouble), 3, "bad"), Cluster(Replicated3PC(), 3, "good")]
    settings: dict[str, Any] = {
        "schedule": SMALL,
        "insecure_seed": 3,
        "deadline_s": 30,
        "allow_weaker": True,
    }
    return Federation(model(), Additive2PC(), members, **(settings | options))


def only_good(number: int, leaf: str, client: int) -> bool:
    return leaf == "good"


@cache
def without_the_bad_one() -> bytes:
    """The model after a round with both clusters and one in which the bad one has no clients."""
    train, test = digits()
    with with_trouble({}) as fed:
        fed.fit(train, test, rounds=1)
        fed.fit(train, test, rounds=2, available=only_good)
        return weights(fed)


def trained_without_the_bad_one(fed: Federation) -> None:
    """The last round gave what it gives when the bad cluster has no clients."""
    ours, theirs = (np.frombuffer(w) for w in (weights(fed), without_the_bad_one()))
    assert np.abs(ours - theirs).max() < 4 * 2**-20


@pytest.mark.parametrize(("error", "rebuilt"), [(Desync, False), (VerificationFailed, True)])
def test_a_cluster_that_fails_costs_the_round_only_its_contribution(
    error: type[ProtocolError], rebuilt: bool
) -> None:
    train, test = digits()
    trouble: dict[str, Any] = {}
    with with_trouble(trouble) as fed:
        fed.fit(train, test, rounds=1)
        first = fed.clusters[0].name
        trouble["raise"] = error("planned")
        fed.fit(train, test, rounds=2)
        assert fed.history[1].absent == {"bad": f"{error.__name__}: planned"}
        assert fed.history[1].participants[0] == [] and len(fed.history[1].participants[1]) == 2
        trained_without_the_bad_one(fed)
        del trouble["raise"]
        fed.fit(train, test, rounds=4)
        assert [r.absent for r in fed.history[2:]] == [{}, {}]
        assert (fed.clusters[0].name != first) == rebuilt  # new servers have new names and keys
        assert fed.history[2].participants[0] and fed.history[2].accuracy is not None


def test_a_cluster_that_is_late_is_left_out() -> None:
    train, test = digits()
    trouble: dict[str, Any] = {}
    schedule = Schedule(20, 2, 2, 20, SGD(0.5), cluster_deadline_s=8.0)
    with with_trouble(trouble, schedule=schedule) as fed:
        fed.fit(train, test, rounds=1)
        trouble["sleep_s"] = 9.0
        begun = time.monotonic()
        fed.fit(train, test, rounds=2)
        assert "bad" in fed.history[1].absent and "good" not in fed.history[1].absent
        assert "Deadline" in fed.history[1].absent["bad"]
        assert time.monotonic() - begun < 60
        trouble.clear()
        fed.fit(train, test, rounds=3)
        assert "good" not in fed.history[2].absent


def test_too_few_answers_end_the_round_and_change_nothing() -> None:
    train, test = digits()
    trouble: dict[str, Any] = {}
    schedule = Schedule(20, 2, 2, 20, SGD(0.5), min_clusters=2)
    with with_trouble(trouble, schedule=schedule) as fed:
        fed.fit(train, test, rounds=1)
        before = weights(fed)
        trouble["raise"] = Desync("planned")
        with pytest.raises(
            ProtocolError, match=r"round 2 cannot be finished: 1 clusters answered, .* bad: Desync"
        ):
            fed.fit(train, test, rounds=2)
        assert weights(fed) == before and len(fed.history) == 1
        del trouble["raise"]
        assert len(fed.fit(train, test, rounds=2)) == 2


def test_too_few_models_for_the_rule_end_the_round() -> None:
    train, test = digits()
    members = [Cluster(Plain(), 3, name) for name in "abc"]
    with Federation(
        model(),
        Plain(),
        members,
        TrimmedMean(1),
        schedule=SMALL,
        engine="simulate",
        insecure_seed=1,
    ) as fed:
        fed.fit(train, test, rounds=1)
        with pytest.raises(
            ProtocolError, match=r"TrimmedMean\(trim=1\) needs more than 2 models, got 2"
        ):
            fed.fit(train, test, rounds=2, available=lambda number, leaf, client: leaf != "b")


def test_a_group_that_cannot_answer_is_left_out_with_all_below_it() -> None:
    train, test = digits()
    group = Group(Plain(), [Cluster(Plain(), 3, name) for name in "abc"], TrimmedMean(1), name="g")
    members = [group, Cluster(Plain(), 3, "d")]
    with Federation(
        model(), Plain(), members, schedule=SMALL, engine="simulate", insecure_seed=1
    ) as fed:
        fed.fit(
            train, test, rounds=2, available=lambda number, leaf, client: number == 1 or leaf != "b"
        )
        assert set(fed.history[1].absent) == {"b", "g"}
        assert [len(p) for p in fed.history[1].participants] == [0, 0, 0, 2]


def test_a_cluster_whose_process_died_is_rebuilt() -> None:
    train, test = digits()
    members = [Cluster(Plain(), 3, "a"), Cluster(Plain(), 3, "b")]
    options: dict[str, Any] = {"processes": True, "insecure_seed": 1, "deadline_s": 60}
    with Federation(model(), Plain(), members, schedule=SMALL, **options) as fed:
        killed: list[int] = []

        def kill(cluster: str, stage: str, done: int, total: int) -> None:
            if (cluster, stage, done) == ("a", "train", 1) and len(fed.history) == 1 and not killed:
                process = fed.clusters[0].workers[0].process
                killed.append(process.pid)
                process.kill()
                process.join()

        fed.fit(train, test, rounds=3, progress=kill)
        assert killed and [set(r.absent) for r in fed.history] == [set(), {"a"}, set()]
        assert "PeerLost" in fed.history[1].absent["a"]
        assert fed.clusters[0].name == "a/2" and len(fed.history[2].participants[0]) == 2


# ---------------------------------------------------------------------- the servers' root set


class TowardsRoot(FedAvg):
    """Half the mean, half the root's model: enough to see that a root model arrives."""

    @property
    def needs_root(self) -> bool:
        return True

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        assert inputs.root is not None
        return (super().aggregate(inputs) + inputs.root) * 0.5


@pytest.mark.parametrize(
    "trainer",
    [None, 1, pytest.param(Cluster(Replicated3PC(), network=None), marks=pytest.mark.slow)],
)
def test_a_root_set_is_trained_where_it_is_told_and_booked_apart(trainer: Any) -> None:
    train, test = digits()
    root = digits(440)[0].take(np.arange(400, 440))
    members = [Cluster(Replicated3PC(), 3), Cluster(Additive2PC(), 3)]
    options: dict[str, Any] = {
        "schedule": SMALL,
        "insecure_seed": 2,
        "root": root,
        "root_trainer": trainer,
    }
    where = {None: "global", 1: "2pc-2"}.get(
        trainer if isinstance(trainer, int) else None, "global"
    )
    where = "root" if isinstance(trainer, Cluster) else where
    with Federation(model(), Additive2PC(), members, TowardsRoot(), **options) as fed:
        fed.fit(train, test, rounds=2)
        booked = {place for place, stage in fed.costs if stage == "root"}
        assert booked == (
            {"global"} if where == "global" else {where, f"global -> {where}", f"{where} -> global"}
        )
        assert fed.history[0].bytes_sent["root"] > 0
        mine = np.frombuffer(weights(fed))
    assert np.abs(np.frombuffer(without_a_root()) - mine).max() > 1e-2


@cache
def without_a_root() -> bytes:
    """The model that the clusters of the test above train alone."""
    train, test = digits()
    members = [Cluster(Replicated3PC(), 3), Cluster(Additive2PC(), 3)]
    with Federation(model(), Additive2PC(), members, schedule=SMALL, insecure_seed=2) as fed:
        fed.fit(train, test, rounds=2)
        return weights(fed)


def test_root_sets_are_asked_for_and_checked() -> None:
    root = digits(40)[0]
    members = [Cluster(Plain(), 3)]
    with pytest.raises(
        ConfigError, match="global needs a model trained on a root set: give root=Dataset"
    ):
        Federation(model(), Plain(), members, TowardsRoot(), schedule=SMALL)
    with pytest.raises(ConfigError, match="root_trainer is given, but no root set"):
        Federation(model(), Plain(), members, schedule=SMALL, root_trainer=0)
    with pytest.raises(ConfigError, match="root_trainer=3 is no cluster"):
        Federation(model(), Plain(), members, schedule=SMALL, root=root, root_trainer=3)
    with pytest.raises(ConfigError, match="global -> root loses protection"):
        Federation(
            model(),
            Tetrad4PC(),
            [Cluster(Tetrad4PC(), 3)],
            TowardsRoot(),
            schedule=SMALL,
            root=root,
            root_trainer=Cluster(Replicated3PC()),
        )


def test_a_root_run_resumes_alike(tmp_path: Path) -> None:
    train, test = digits()
    root = digits(440)[0].take(np.arange(400, 440))

    def make_one() -> Federation:
        members = [Cluster(Replicated3PC(), 3)]
        return Federation(
            model(),
            Additive2PC(),
            members,
            TowardsRoot(),
            schedule=SMALL,
            insecure_seed=2,
            root=root,
        )

    with make_one() as fed:
        fed.fit(train, test, rounds=1, checkpoint=str(tmp_path))
        fed.fit(train, test, rounds=2)
        expected, history = weights(fed), fed.history
    with make_one() as fed:
        fed.restore(str(tmp_path)).fit(train, test, rounds=2)
        assert weights(fed) == expected and fed.history == history
