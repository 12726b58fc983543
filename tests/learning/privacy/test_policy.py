"""The reveal policy: every refusal names its rule, every opening its grounds, and a coordinator
cannot talk servers round it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from reshare import reshare
from wwfl import SGD, Cluster, Federation, Group, LocalTrainers, Schedule
from wwfl.aggregation import FedAvg, Inputs
from wwfl.data.datasets import Dataset, mnist
from wwfl.federation import InferenceService
from wwfl.federation import server_programs as programs
from wwfl.nn import mlp
from wwfl.privacy import reveal_policy as policy
from wwfl.privacy.reveal_policy import Facts, Permission, PolicyGuard, RevealPolicy
from wwfl_core import LocalCluster, Session, SharedTensor
from wwfl_core.errors import ConfigError, Desync, Misuse, Refused

SMALL = Schedule(samples_per_client=5, clients_per_round=2, epochs=1, batch=10, sgd=SGD(0.1))


def digits() -> tuple[Dataset, Dataset]:
    train, test = mnist()
    return train[:100].pooled(4), test[:10].pooled(4)


def fed(rules: RevealPolicy | None, servers: Any = None, clusters: int = 2) -> Federation:
    members = [Cluster(Replicated3PC(), clients=2) for _ in range(clusters)]
    return Federation(
        mlp(64, [], 10, seed=1),
        servers or Additive2PC(),
        members,
        schedule=SMALL,
        reveal_policy=rules,
        allow_weaker=True,
    )


def refused(rule: str, ask: Any) -> None:
    with pytest.raises(Refused) as refusal:
        ask()
    assert refusal.value.rule == rule
    assert rule in str(refusal.value) or rule in ("servers", "facts", "last_round")


FINAL = RevealPolicy(
    model=Permission("final", min_clients=4, min_clusters=2, who=frozenset({"owner"})),
    accuracy=Permission("every:2"),
    predictions=Permission("final", who=frozenset({"alice", "bob"})),
    last_round=2,
)


@pytest.mark.parametrize("servers", [Additive2PC, Tetrad4PC])
def test_a_policy_is_enforced_by_the_global_servers(servers: Any) -> None:
    train, test = digits()
    with fed(FINAL, servers(), 1 if servers is Tetrad4PC else 2) as f:
        f.fit(train, rounds=1)
        refused("model.when", lambda: f.reveal(who="owner"))
        refused("model.who", lambda: f.reveal())
        refused("accuracy.when", lambda: f.evaluate(test))
        refused("predictions.when", lambda: f.predict(test.images[:2], client="alice"))
        f.fit(train, rounds=2)
        assert len(f.global_servers.ledger) == 0
        f.evaluate(test)
        assert f.predict(test.images[:2], client="alice").shape == (2,)
        refused("predictions.who", lambda: f.predict(test.images[:2], client="mallory"))
        if servers is Tetrad4PC:
            refused("model.min_clients", lambda: f.reveal(who="owner"))
            return
        f.reveal(who="owner")
        grounds = [(o.to, o.grounds) for o in f.global_servers.ledger]
        assert grounds == [
            (
                "all",
                (
                    "accuracy to everybody after round 2: every:2, 2 clusters (at least 0), 4 "
                    "clients (at least 0)"
                ),
            ),
            (
                "client alice",
                (
                    "predictions to alice after round 2: final, 2 clusters (at least 0), 4 "
                    "clients (at least 0)"
                ),
            ),
            (
                "all",
                (
                    "model to owner after round 2: final, 2 clusters (at least 2), 4 clients (at "
                    "least 4)"
                ),
            ),
        ]
        refused("last_round", lambda: f.fit(train, rounds=3))


def open_anyway(mpc: Session, x: SharedTensor) -> Any:
    return mpc.reveal(x, "a program of the coordinator's")


def test_a_coordinator_cannot_talk_the_servers_round_it() -> None:
    train, _ = digits()
    with fed(FINAL) as f, LocalCluster(Additive2PC()) as elsewhere:
        f.fit(train, rounds=1)
        model, servers = f.current_model, f.global_servers
        everywhere = [servers, *f.clusters]
        f.reveal_policy = None
        refused("other.when", lambda: servers.reveal(model))
        refused("other.when", lambda: servers.run(open_anyway, model))
        refused("other.when", lambda: servers.reveal_to_client(model, "owner", "please"))
        refused("servers", lambda: reshare(model, to=elsewhere))
        at_cluster = reshare(model, to=f.clusters[0], allow_weaker=True)
        refused("other.when", lambda: f.clusters[0].reveal(at_cluster))
        refused(
            "model.when",
            lambda: f.clusters[0].run(policy.open_model, at_cluster, "owner", "please"),
        )
        for lie in (Facts(2, 2, 4), Facts(0, 2, 4)):
            refused("facts", lambda lie=lie: servers.run(policy.report, lie))
        with pytest.raises(Misuse, match="guard already"):
            servers.run(policy.install, RevealPolicy(), [])
        assert not any(len(c.ledger) for c in everywhere)


@dataclasses.dataclass(frozen=True)
class Unlucky(FedAvg):
    """FedAvg that fails while there is trouble."""

    trouble: list[str] = dataclasses.field(default_factory=list)

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        if self.trouble:
            raise Desync(self.trouble[0])
        return super().aggregate(inputs)


def test_an_aggregation_that_failed_was_no_round() -> None:
    train, _ = digits()
    rule, members = Unlucky(), [Cluster(Plain(), clients=2)]
    rules = RevealPolicy(last_round=1)
    with Federation(
        mlp(64, [], 10, seed=1), Plain(), members, rule, schedule=SMALL, reveal_policy=rules
    ) as f:
        rule.trouble.append("planned")
        with pytest.raises(Desync):
            f.fit(train, rounds=1)
        rule.trouble.clear()
        assert len(f.fit(train, rounds=1)) == 1
        f.reveal()


def plus_nothing(mpc: Session, x: SharedTensor) -> SharedTensor:
    return x + 0


def test_only_predictions_are_handed_over_as_such() -> None:
    train, test = digits()
    with fed(RevealPolicy(model=Permission("never"))) as f:
        f.fit(train, rounds=1)
        model, servers = f.current_model, f.global_servers
        refused(
            "predictions.what",
            lambda: servers.reveal_to_client(model, "mallory", "please", policy.hand_over),
        )
        shared = servers.share(test.images[:2])
        labels = servers.run(programs.labels, f.model, model, shared, 10)
        twice = servers.run(plus_nothing, labels)
        refused(
            "predictions.what",
            lambda: servers.reveal_to_client(twice, "mallory", "please", policy.hand_over),
        )
        found = servers.reveal_to_client(
            labels, "alice", "predicted labels", policy.hand_over
        ).value
        assert np.array_equal(found, f.predict(test.images[:2]))
        with pytest.raises(
            Misuse, match=r"labels of shape \(650,\)"
        ):  # else it would add parameters up
            servers.run(programs.evaluate, f.model, model, shared, model, 10, "hits")
        assert [o.to for o in servers.ledger] == ["client alice", "client coordinator"]


def test_the_model_is_opened_at_one_place_only_so_that_contributors_are_counted_there() -> None:
    train, _ = digits()
    with fed(RevealPolicy(model=Permission(min_clusters=2))) as f:
        f.fit(train, rounds=1)
        at_cluster = reshare(f.current_model, to=f.clusters[0], allow_weaker=True)
        refused(
            "model.where",
            lambda: f.clusters[0].run(policy.open_model, at_cluster, "owner", "the first model"),
        )
        f.reveal()
        f.fit(train, rounds=2, available=lambda number, leaf, client: leaf == "3pc-1")
        refused("model.min_clusters", f.reveal)


@pytest.mark.parametrize("servers", [Additive2PC, Tetrad4PC])
def test_a_run_measures_its_accuracy_in_the_rounds_in_which_it_may(servers: Any) -> None:
    train, test = digits()
    with fed(RevealPolicy(accuracy=Permission("every:2")), servers(), 1) as f:
        f.fit(train, test, rounds=2)
        assert [r.accuracy is None for r in f.history] == [True, False]
        assert [o.reason for o in f.global_servers.ledger] == ["hits on the test set after round 2"]
        before = f.costs["global", "evaluate"].bytes_sent()
        f.fit(train, test, rounds=3)
        assert (
            f.costs["global", "evaluate"].bytes_sent() == before
        )  # refused before anything was sent


def rounds_of(mpc: Session) -> tuple[int, int]:
    return mpc.party.notes.get(policy.ROUNDS, 0), mpc.party.notes.get(policy.RELEASES, 0)


def test_servers_of_a_group_count_on_after_a_restart_and_those_that_replace_them_too(
    tmp_path: Path,
) -> None:
    train, _ = digits()

    def grouped() -> Federation:
        members = [Group(Plain(), [Cluster(Plain(), clients=2)], name="g")]
        return Federation(mlp(64, [], 10, seed=1), Plain(), members, schedule=SMALL)

    with grouped() as f:
        f.fit(train, rounds=2, checkpoint=str(tmp_path))
        f.clusters[0].close()
        f.fit(train, rounds=3)
        assert f.clusters[0].run(rounds_of) == (3, 2)
    with grouped() as f:
        f.restore(str(tmp_path))
        assert f.clusters[0].run(rounds_of) == (2, 2)


def test_without_a_policy_everything_is_as_before() -> None:
    train, test = digits()
    with fed(None) as f:
        f.fit(train, test, rounds=1)
        f.predict(test.images[:2])
        f.reveal("because I can")
        f.global_servers.reveal(f.current_model, "the same")
        assert [(o.to, o.grounds) for o in f.global_servers.ledger][1:] == [
            ("client coordinator", "")
        ] + [("all", "")] * 2


def test_a_training_cluster_that_serves_predictions_enforces_the_policy() -> None:
    train, test = digits()
    with fed(FINAL) as f:
        service = InferenceService(f, at=f.clusters[1])
        f.fit(train, rounds=1)
        refused("predictions.when", lambda: service.ask("alice", test.images[:1]))
        f.fit(train, rounds=2)
        assert service.ask("alice", test.images[:1]).values.shape == (1,)
        assert [q.refused_by for q in service.queries] == ["predictions.when", ""]


def test_contributors_are_counted_since_the_last_opening_of_the_model() -> None:
    guard = PolicyGuard(RevealPolicy(model=Permission(min_clusters=3, min_clients=5)), ["a"])

    def ask() -> str:
        with guard.purpose("model", "me"):
            return guard.admit("why", "all", ())

    with guard.aggregating(1, 3):
        pass
    refused("model.min_clients", ask)
    guard.told(Facts(1, 3, 6))
    assert "3 clusters" in ask() and "6 clients" in ask()  # the same model may be opened again
    with guard.aggregating(2, 2):
        pass
    guard.told(Facts(2, 2, 9))
    refused("model.min_clusters", ask)
    with guard.aggregating(3, 3):
        pass
    assert "after round 3" in ask()
    with pytest.raises(Refused):
        guard.admit("nothing in particular", "all", ())


def test_only_servers_that_replaced_others_take_their_place() -> None:
    guard = PolicyGuard(RevealPolicy(), ["v1.2/0", "v1.2/1", "global/0"])
    guard.admit_move(["v1.2/0", "v1.2/1", "v1.2/2/1", "global/7/0"])
    for stranger in ("v1/0", "v1.3/0", "v1.2/2", "v1.2/2/2", "elsewhere/global/0"):
        refused("servers", lambda stranger=stranger: guard.admit_move([stranger]))


def test_a_rule_that_opens_something_needs_the_permission_for_it() -> None:
    with LocalCluster(Plain()) as c:
        policy.enforce(RevealPolicy(other=Permission("always")), [c])
        assert c.reveal(c.share([1.5]), "an outlier")[0] == 1.5
        assert next(iter(c.ledger)).grounds.startswith("other to all after round 0")


def test_a_restored_federation_counts_on(tmp_path: Path) -> None:
    train, _ = digits()
    rules = RevealPolicy(model=Permission("every:2", min_clusters=2), last_round=3)
    with fed(rules) as f:
        f.fit(train, rounds=1, checkpoint=str(tmp_path))
    with fed(rules) as g:
        g.restore(str(tmp_path))
        refused("model.when", g.reveal)
        g.fit(train, rounds=2, checkpoint=str(tmp_path))
        g.reveal()
    with fed(rules) as g:
        g.restore(str(tmp_path))
        g.reveal()
        g.fit(train, rounds=3)
        refused("last_round", lambda: g.fit(train, rounds=4))


@given(
    st.sampled_from(["always", "never", "final", "every:1", "every:3"]),
    *[st.integers(0, 9) for _ in range(5)],
)
def test_more_rounds_and_contributors_never_turn_a_final_permission_into_a_refusal(
    when: str, min_clients: int, min_clusters: int, number: int, clusters: int, clients: int
) -> None:
    rules = RevealPolicy(model=Permission(when, min_clients, min_clusters), last_round=5)

    def allowed(facts: Facts) -> bool:
        try:
            rules.decide("model", "me", facts)
        except Refused:
            return False
        return True

    now = allowed(Facts(number, clusters, clients))
    enough = clusters >= min_clusters and clients >= min_clients
    due = {"always": True, "never": False, "final": number >= 5, "every:1": number > 0}.get(
        when, number > 0 and number % 3 == 0
    )
    assert now == (enough and due)


def test_a_policy_that_cannot_be_decided_is_refused() -> None:
    with pytest.raises(ConfigError, match="every:k"):
        Permission("sometimes")
    with pytest.raises(ConfigError, match="every:k"):
        Permission("every:0")
    with pytest.raises(ConfigError, match="last_round"):
        RevealPolicy(model=Permission("final"))
    with pytest.raises(ConfigError, match="negative"):
        Permission(min_clients=-1)
    with pytest.raises(ConfigError, match="every:k"):
        Permission("every:\u00b2")
    with pytest.raises(ConfigError, match="set of names"):
        Permission(who="owner")  # type: ignore[arg-type]
    assert Permission(who=["a"]).who == frozenset({"a"})  # type: ignore[arg-type]
    assert np.all(
        [RevealPolicy().decide(k, "me", Facts()) for k in ("model", "accuracy", "predictions")]
    )


def test_local_trainers_get_the_model_only_where_the_policy_says_so() -> None:
    train, _ = digits()

    def run(trainers: Permission) -> list[str]:
        members = [
            Group(Replicated3PC(), [LocalTrainers(clients=2)]),
            Cluster(Replicated3PC(), clients=2),
        ]
        rules = RevealPolicy(model=Permission("never"), trainers=trainers)
        options: dict[str, Any] = {"schedule": SMALL, "reveal_policy": rules, "allow_weaker": True}
        with Federation(mlp(64, [], 10, seed=1), Additive2PC(), members, **options) as f:
            f.fit(train, rounds=2)
            refused("model.when", f.reveal)
            return [opening.reason for node in f.clusters for opening in node.ledger]

    refused("trainers.when", lambda: run(Permission("never")))
    opened = run(Permission("always"))
    assert sum("for the clients of" in reason for reason in opened) == 2


def test_a_cluster_that_replaces_a_broken_one_is_under_the_policy() -> None:
    train, _ = digits()
    with fed(RevealPolicy(model=Permission("never"))) as f:
        f.fit(train, rounds=1)
        old = f.clusters[0]
        old.close()
        f.fit(train, rounds=2)
        new = f.clusters[0]
        assert new is not old and not f.history[-1].absent
        refused("other.when", lambda: new.reveal(new.share([1.0])))
        refused("model.when", f.reveal)
