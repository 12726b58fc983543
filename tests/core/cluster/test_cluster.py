"""The coordinator's side of a cluster: handles, per-party arguments, agreement of reports,
reproducibility, costs."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from backends import Replicated3PC, Tetrad4PC
from wwfl import Cluster, Group, Servers
from wwfl_core import LocalCluster, MPCBackend, NetworkModel, Phase, Session, SharedTensor
from wwfl_core.cluster.local import PerParty
from wwfl_core.errors import Misuse, VerificationFailed


def local_parts(mpc: Session, x: SharedTensor) -> dict[int, bytes]:
    return {c: np.array(a).tobytes() for c, a in x.data.parts.items()}


def parts_of(cluster: LocalCluster, x: Any) -> list[dict[int, bytes]]:
    return [o.value for o in cluster.submit(local_parts, x).outcomes()]


def square(mpc: Session, x: SharedTensor) -> SharedTensor:
    return x * x


def report(mpc: Session, values: int) -> int:
    return values


def tree(mpc: Session, x: SharedTensor) -> dict[str, Any]:
    return {"twice": x + x, "list": [x, 7], "tuple": (x > 0, "text")}


def test_results_may_nest_tensors_and_plain_values() -> None:
    with LocalCluster(Replicated3PC()) as c:
        found = c.run(tree, c.share([1.5, -2.0]))
        assert np.array_equal(c.reveal(found["twice"]), [3.0, -4.0])
        assert found["list"][1] == 7 and found["tuple"][1] == "text"
        assert np.array_equal(c.reveal(found["tuple"][0]), [True, False])


def test_servers_forget_tensors_whose_handles_are_gone() -> None:
    with LocalCluster(Replicated3PC()) as c:
        x = c.share(np.ones(4))
        for _ in range(20):
            x = c.run(square, x)
        gc.collect()
        c.reveal(x)
        kept = [len(worker._server._store) for worker in c.workers]
        assert kept == [1, 1, 1]


def test_one_lying_server_of_tetrad_cannot_change_what_the_caller_is_told() -> None:
    with LocalCluster(Tetrad4PC()) as c:
        for liar in range(4):
            told = PerParty(tuple(99 if p == liar else 7 for p in range(4)))
            assert c.run_agreed(report, told) == 7
        with pytest.raises(VerificationFailed, match="different results"):
            c.run_agreed(report, PerParty((7, 7, 99, 99)))


def test_a_seed_reproduces_every_share_and_fresh_keys_do_not() -> None:
    def run(seed: int | None, name: str) -> list[dict[int, bytes]]:
        with LocalCluster(Replicated3PC(), name=name, insecure_seed=seed) as c:
            return parts_of(c, c.run(square, c.share(np.arange(5.0))))

    assert run(1, "a") == run(1, "a")
    assert run(1, "a") != run(2, "a")
    assert run(1, "a") != run(1, "b")  # clusters of one federation do not share masks
    assert run(None, "a") != run(None, "a")


def test_costs_add_up_over_commands_and_follow_the_network_model() -> None:
    network = NetworkModel(latency_s=0.5, bandwidth_bps=8e3)
    with LocalCluster(Replicated3PC(), network=network) as c:
        x = c.share(np.ones(1000))
        before = c.cost
        c.run(square, x)
        once = c.last_cost
        c.run(square, x)
        assert c.cost.bytes_sent() == before.bytes_sent() + 2 * once.bytes_sent()
        assert (
            c.cost.rounds[Phase.ONLINE]
            == before.rounds[Phase.ONLINE] + 2 * once.rounds[Phase.ONLINE]
        )
        # Round 1: P3's 8,000 bytes; round 2: 125 bytes; round 3: 8,000 bytes; each with its
        # latency.
        assert once.modelled_s[Phase.ONLINE] == pytest.approx(3 * 0.5 + 8.0 + 0.125 + 8.0)
        assert c.setup_cost.bytes_sent() == 5 * 32  # k12, k13, k23: one message; k123: two


def test_a_closed_cluster_says_so() -> None:
    c = LocalCluster(Replicated3PC())
    x = c.share([1.0])
    c.close()
    with pytest.raises(Exception, match="closed"):
        c.reveal(x)


def test_a_handle_of_another_cluster_is_refused_before_anything_is_sent() -> None:
    with LocalCluster(Replicated3PC()) as a, LocalCluster(Replicated3PC()) as b:
        x = a.share([1.0])
        cost = b.cost
        with pytest.raises(Misuse, match="reshare"):
            b.run(square, x)
        assert b.cost == cost
        assert np.array_equal(b.reveal(b.share([2.0])), [2.0])


class WithoutSharing(MPCBackend):
    name = "without"

    def bilinear(self, f: Any, x: Any, y: Any, truncate: int = 0) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Replicated3PC, r"write Replicated3PC\(\) instead of Replicated3PC"),
        (WithoutSharing(), r"set WithoutSharing.sharing = SharingSemantics"),
    ],
    ids=["class", "without-sharing"],
)
@pytest.mark.parametrize(
    "place",
    [LocalCluster, Cluster, Servers, lambda p: Group(p, ())],
    ids=["LocalCluster", "Cluster", "Servers", "Group"],
)
def test_what_is_no_protocol_is_refused_in_words(place: Any, given: Any, words: str) -> None:
    with pytest.raises(Misuse, match=words):
        place(given)


def test_a_cluster_takes_a_protocol_and_not_its_name() -> None:
    words = r"an instance of a subclass of MPCBackend, such as MyProtocol\(\); got '3pc'"
    with pytest.raises(Misuse, match=words):
        LocalCluster("3pc")  # type: ignore[arg-type]
