"""Guarantees: an order on securities, what every handle carries, and downgrades that must be asked
for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from helpers import EVERY, cluster
from reshare import reshare
from wwfl import Cluster, Federation, Schedule, Servers
from wwfl.data.datasets import mnist
from wwfl.federation import server_programs as programs
from wwfl.nn import mlp
from wwfl_core import Handle, LocalCluster, MPCBackend, Security, Session, SharedTensor
from wwfl_core.errors import ConfigError, DataError, InsecureNotAllowed
from wwfl_core.sharing.semantics import weaker_of

NONE, PASSIVE, ACTIVE = Security(corruptions=0), Security(), Security(malicious=True)
CAVEAT = "masks from torch.Generator, no cryptographic PRG"
securities = st.builds(
    Security,
    st.booleans(),
    st.integers(0, 3),
    st.lists(st.sampled_from(["a", "b", CAVEAT]), unique=True).map(tuple),
)

# ---------------------------------------------------------------------- the order


@given(a=securities, b=securities, c=securities)
def test_covers_is_a_preorder_and_weaker_of_its_meet(a: Security, b: Security, c: Security) -> None:
    assert a.covers(a)
    assert not (a.covers(b) and b.covers(c)) or a.covers(c)
    meet = weaker_of(a, b)
    assert a.covers(meet) and b.covers(meet)
    assert not (a.covers(c) and b.covers(c)) or meet.covers(c)
    assert weaker_of(a, b) == weaker_of(b, a) and weaker_of(a, weaker_of(b, c)) == weaker_of(
        weaker_of(a, b), c
    )
    if a.covers(b) and b.covers(a) and a.corruptions:  # equal up to the order of caveats
        assert weaker_of(a) == weaker_of(b)


def test_the_order_is_the_expected_one() -> None:
    doubtful, two = Security(caveats=(CAVEAT,)), Security(corruptions=2)
    for strong, weak in (
        (ACTIVE, PASSIVE),
        (two, PASSIVE),
        (PASSIVE, doubtful),
        (PASSIVE, NONE),
        (doubtful, NONE),
    ):
        assert strong.covers(weak) and not weak.covers(strong)
    assert not two.covers(ACTIVE) and not ACTIVE.covers(two)  # incomparable
    assert weaker_of(two, ACTIVE) == PASSIVE
    assert str(doubtful) == f"semi-honest, 1 corrupt party; {CAVEAT}"
    assert (str(NONE), str(ACTIVE)) == ("none", "malicious, security with abort, 1 corrupt party")


# ---------------------------------------------------------------------- what handles carry


def add(mpc: Session, x: SharedTensor, y: Any = None) -> SharedTensor:
    return x + x if y is None else x + y[0]["y"]


def two(mpc: Session, x: SharedTensor) -> tuple[SharedTensor, list[SharedTensor]]:
    return x, [x + x]


def fresh(mpc: Session) -> SharedTensor:
    return mpc.share(np.ones(3), 0)


@pytest.mark.parametrize("kind", EVERY)
def test_what_a_cluster_makes_has_its_security(kind: str) -> None:
    with cluster(kind) as c:
        own = c.sharing.security
        x = c.share(np.ones(3))
        assert [h.guarantee for h in (x, c.run(add, x), c.run(fresh))] == [weaker_of(own)] * 3


def test_a_result_is_as_weak_as_its_weakest_input() -> None:
    with cluster("4pc") as four, cluster("2pc") as passive, cluster("plain") as plain:
        x, weak, none = four.share(np.ones(3)), passive.share(np.ones(3)), plain.share(np.ones(3))
        assert x.guarantee == ACTIVE
        moved, opened = reshare(weak, four), reshare(none, four)
        assert (moved.guarantee, opened.guarantee) == (PASSIVE, NONE)
        assert four.run(add, x, [{"y": moved}]).guarantee == PASSIVE
        assert four.run(add, moved, [{"y": opened}]).guarantee == NONE
        first, [second] = four.run(two, moved)
        assert first.guarantee == second.guarantee == PASSIVE
        assert four.run_agreed(add, x).guarantee == ACTIVE  # nothing sticks to the cluster
        back = reshare(reshare(x, passive, allow_weaker=True), four)
        assert back.guarantee == PASSIVE  # coming home does not restore what was lost


class Doubtful(Replicated3PC):
    """Replicated 3PC as a foreign runtime would offer it."""

    sharing = type(Replicated3PC.sharing)(
        "doubtful 3PC", 3, Replicated3PC.sharing.holders, (1, 1, 1), Security(caveats=(CAVEAT,))
    )


@pytest.mark.parametrize(
    ("source", "target", "lost"),
    [
        (
            Tetrad4PC,
            Additive2PC,
            r"from malicious, .* \(of 4\) to semi-honest, .* \(of 3\); lost: protection against",
        ),
        (Tetrad4PC, Replicated3PC, "servers that deviate"),
        (Replicated3PC, Plain, "opens the value to that server"),
        (Tetrad4PC, Plain, "opens the value to that server"),
        (Replicated3PC, Doubtful, "freedom from the caveat: masks from torch.Generator"),
    ],
)
def test_a_downgrade_must_be_asked_for(source: Any, target: Any, lost: str) -> None:
    with LocalCluster(source(), name="a") as a, LocalCluster(target(), name="b") as b:
        x = a.share(np.arange(3.0))
        cost = a.cost
        with pytest.raises(
            InsecureNotAllowed, match=rf"(?s)a -> b is a downgrade.*{lost}.*allow_weaker=True"
        ):
            reshare(x, b)
        assert (a.cost, b.cost.links) == (cost, {})
        moved = reshare(x, b, allow_weaker=True)
        assert moved.guarantee == weaker_of(a.sharing.security, b.sharing.security)
        assert np.array_equal(b.reveal(moved), np.arange(3.0))


def test_what_is_no_downgrade_needs_no_permission() -> None:
    with (
        cluster("2pc", name="a") as a,
        cluster("4pc") as b,
        cluster("3pc") as c,
        cluster("plain") as d,
    ):
        x = reshare(
            reshare(a.share(np.ones(2)), b), c
        )  # the 4PC value was semi-honest on its way already
        assert x.guarantee == PASSIVE
        none = reshare(d.share(np.ones(2)), c)
        with pytest.raises(
            InsecureNotAllowed, match="opens the value"
        ):  # opening is opening, whatever was promised
            reshare(c.run(add, none), d)
        with cluster("plain") as e:
            assert reshare(d.share(np.ones(2)), e).guarantee == NONE


# ---------------------------------------------------------------------- checkpoints


def saved(c: LocalCluster, folder: Path, **tensors: Handle) -> dict[str, Handle]:
    c.run(programs.save, str(folder), "file", tensors, "stamp")
    with LocalCluster(type(c.protocol)()) as other:
        loaded, stamp = other.run(programs.load, str(folder), "file")
        assert stamp == "stamp"
        return {name: (h.guarantee, other.reveal(h)) for name, h in loaded.items()}


def test_a_checkpoint_keeps_the_guarantee(tmp_path: Path) -> None:
    with cluster("4pc") as c, cluster("2pc") as weak:
        x = c.share(np.ones(3))
        moved = reshare(weak.share(np.full(3, 2.0)), c)
        strong = saved(c, tmp_path / "strong", x=x)
        assert strong["x"][0] == ACTIVE
        both = saved(c, tmp_path / "both", x=x, moved=moved)
        assert {g for g, _ in both.values()} == {
            PASSIVE
        }  # one file has one guarantee, the weakest of what is in it
        assert np.array_equal(both["moved"][1], np.full(3, 2.0))


def test_a_file_that_does_not_tell_its_guarantee_is_refused(tmp_path: Path) -> None:
    from wwfl_core.cluster import share_files
    from wwfl_core.files import read_sealed, write_sealed

    with cluster("plain") as c:
        c.run(programs.save, str(tmp_path), "file", {"x": c.share(np.ones(3))}, "stamp")
        path = share_files.path_of(str(tmp_path), "file", 0)
        header, body = read_sealed(path, share_files.KIND)
        header.pop("guarantee")
        write_sealed(path, share_files.KIND, header, [bytes(body)])
        with pytest.raises(DataError, match="does not say what its values are protected against"):
            c.run(programs.load, str(tmp_path), "file")


# ---------------------------------------------------------------------- federations

SMALL = Schedule(samples_per_client=10, clients_per_round=1, epochs=1, batch=10)


def federation(servers: MPCBackend, *members: MPCBackend, **options: Any) -> Federation:
    clusters = [Cluster(protocol, clients=1) for protocol in members]
    return Federation(
        mlp(1024, [4], 10, seed=1), servers, clusters, schedule=SMALL, deadline_s=60, **options
    )


def test_a_federation_refuses_downgrades_by_name_before_any_server_starts() -> None:
    with pytest.raises(
        ConfigError,
        match=r"global -> 2pc-2 loses protection against servers that deviate.*allow_weak",
    ):
        federation(Tetrad4PC(), Tetrad4PC(), Additive2PC())
    with pytest.raises(
        ConfigError, match=r"3pc-1 -> global loses all protection: .* opens the value"
    ):
        federation(Plain(), Replicated3PC())
    with pytest.raises(ConfigError, match="global -> plain-1 loses all protection"):
        federation(Replicated3PC(), Plain())


def test_a_federation_tells_its_guarantee_and_a_checkpoint_keeps_it(tmp_path: Path) -> None:
    train, _ = mnist()
    members = (Tetrad4PC(), Additive2PC())
    with federation(Tetrad4PC(), *members, allow_weaker=True) as f:
        assert f.guarantee == PASSIVE
        f.fit(train[:40], rounds=1, checkpoint=str(tmp_path))
        assert f.guarantee == f.current_model.guarantee == PASSIVE
    with federation(Tetrad4PC(), *members, allow_weaker=True) as g:
        assert g.restore(str(tmp_path)).current_model.guarantee == PASSIVE
        assert g._context.leaf_data[0].shares["0"][0].guarantee == ACTIVE  # Tetrad's clients' data
    with federation(Tetrad4PC(), Tetrad4PC()) as h:
        h.fit(train[:40], rounds=1)
        assert h.guarantee == ACTIVE


def test_clusters_of_a_federation_may_share_hosts_with_the_global_servers() -> None:
    train, _ = mnist()
    members = [Cluster(Replicated3PC(), clients=1, hosts=("alice", "bob", "carol"))]
    with Federation(
        mlp(1024, [4], 10, seed=1),
        Servers(Replicated3PC(), hosts=("bob", "carol", "alice")),
        members,
        schedule=SMALL,
        deadline_s=60,
    ) as f:
        f.fit(train[:40], rounds=1)
        sent = {
            where: cost.bytes_sent()
            for (where, stage), cost in f.costs.items()
            if stage == "reshare"
        }
        assert sent == {"global -> 3pc-1": 0, "3pc-1 -> global": 0}
