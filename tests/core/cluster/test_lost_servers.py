"""Servers that are lost between two steps of a round: the round counts, its checkpoint is whole,
the next one replaces them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends import Plain
from small_federations import Remembering, digits, model, weights
from wwfl import SGD, Cluster, Federation, Group, Schedule
from wwfl.privacy import RevealPolicy
from wwfl_core.errors import ProtocolError


def fed(**options: Any) -> Federation:
    members = [
        Group(Plain(), [Cluster(Plain(), 3, "a")], Remembering(), name="g"),
        Cluster(Plain(), 3, "b"),
    ]
    schedule = Schedule(samples_per_client=5, clients_per_round=2, epochs=1, batch=10, sgd=SGD(0.1))
    settings: dict[str, Any] = {"schedule": schedule, "engine": "mpc", "insecure_seed": 3}
    return Federation(model(), Plain(), members, **(settings | options))


def losing(
    f: Federation, lost: str, stage: str, number: int, where: str = ""
) -> Callable[[str, str, int, int], None]:
    """Progress of a federation that loses the servers of `lost` at a stage of round `number`."""

    def progress(cluster: str, now: str, done: int, total: int) -> None:
        if (cluster, now, done) == (where or lost, stage, 1) and len(f.history) == number - 1:
            next(node for node in [*f.clusters, f.global_servers] if node.name == lost).close()

    return progress


@pytest.mark.parametrize(("lost", "stage"), [("b", "train"), ("g", "aggregate")])
def test_a_checkpoint_is_written_without_the_servers_that_were_lost(
    lost: str, stage: str, tmp_path: Path
) -> None:
    train, _ = digits(100)
    with fed() as f:
        f.fit(train, rounds=1, checkpoint=str(tmp_path), progress=losing(f, lost, stage, 1))
        assert set(f.history[0].absent) == {lost}
        expected = weights(f)
        f.fit(train, rounds=2)
        assert not f.history[1].absent
    with fed() as f:
        f.restore(str(tmp_path))
        assert weights(f) == expected
        assert not f.fit(train, rounds=2)[1].absent


def test_a_round_counts_though_a_cluster_cannot_hear_of_it_any_more() -> None:
    train, _ = digits(100)
    with fed(reveal_policy=RevealPolicy()) as f:
        f.fit(train, rounds=1, progress=losing(f, "b", "aggregate", 1, "global"))
        assert len(f.history) == 1 and f.history[0].participants[1]
        f.fit(train, rounds=2)
        assert not f.history[1].absent


def test_global_servers_that_are_lost_end_the_run() -> None:
    train, _ = digits(100)
    with fed() as f, pytest.raises(ProtocolError):
        f.fit(train, rounds=1, progress=losing(f, "global", "train", 1, "b"))
    assert not f.history
