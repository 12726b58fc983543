"""Hidden sampling: the servers of a cluster train on the data of k of its clients, and nobody knows
which k."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from benchmarks import hidden_sampling

from backends import (
    ADDITIVE_2PC_NO_HELPER,
    REPLICATED_3PC,
    Additive2PC,
    Plain,
    Replicated3PC,
    Tetrad4PC,
)
from backends.additive2pc_ot import Additive2PCOT
from backends.crypten import CrypTen
from backends.shamir import Shamir
from helpers import EVERY, SECURE, Wiretap, cluster, flip_first
from party_views import N, chi_square, span_of, to_int, watch
from small_federations import SMALL, digits, model, weights
from wwfl import Cluster, Federation, Group, LocalTrainers, Round, Schedule
from wwfl.experiments.config import parse
from wwfl.federation import server_programs as programs
from wwfl.privacy import Permission, RevealPolicy
from wwfl_core import LocalCluster, MPCBackend, Session, SharedTensor
from wwfl_core.channel.cost import Phase
from wwfl_core.errors import ConfigError, Misuse, Refused, VerificationFailed
from wwfl_core.sharing.points import shamir
from wwfl_core.sharing.semantics import Security
from wwfl_core.tensors import concatenate, permuters, secret_selection

SIDE = 64
"""Of a square matrix with as many entries as `test_views.py` has bits in a row."""
HIDDEN = dataclasses.replace(SMALL, sampling="hidden")

# ---------------------------------------------------------------------- the selection


def blocks(n: int, rows: int, classes: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images [rows, 2, 2] and one-hot labels [rows, classes] of n clients; every image tells whose
    and which it is."""
    clients = np.arange(n).reshape(n, 1, 1, 1)
    images = (
        clients
        + np.arange(rows).reshape(1, rows, 1, 1) / 16
        + np.arange(4).reshape(1, 1, 2, 2) / 1024
    )
    labels = np.eye(classes)[(np.arange(n)[:, None] + np.arange(rows)) % classes]
    return list(zip(images, labels, strict=True))


def shared(c: LocalCluster, data: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[Any, Any]]:
    return [(c.share(images), c.share(labels)) for images, labels in data]


@pytest.mark.parametrize("name", EVERY)
def test_what_is_selected_is_the_data_of_different_clients_with_their_labels(name: str) -> None:
    n, k, rows = 5, 3, 4
    data = blocks(n, rows)
    with cluster(name) as c:
        uploads = shared(c, data)
        for _ in range(3):
            images, labels = c.run(programs.select, uploads, k)
            got, hot = c.reveal(images, "test"), c.reveal(labels, "test")
            assert got.shape == (k * rows, 2, 2) and hot.shape == (k * rows, 3)
            who = np.floor(got[::rows, 0, 0]).astype(int)
            assert len(set(who)) == k
            assert np.array_equal(
                got, np.concatenate([data[i][0] for i in who])
            )  # exactly: nothing was rounded
            assert np.array_equal(hot, np.concatenate([data[i][1] for i in who]))


@pytest.mark.parametrize(
    ("protocol", "needs"),
    [
        pytest.param(Additive2PCOT, "numpy", id="2pc-ot"),
        pytest.param(CrypTen, "crypten", id="crypten", marks=pytest.mark.slow),
        pytest.param(Shamir, "mpyc", id="shamir", marks=pytest.mark.slow),
    ],
)
def test_other_protocols_select_as_well(protocol: type[MPCBackend], needs: str) -> None:
    if find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    with LocalCluster(protocol(), deadline_s=60) as c:
        images, labels = c.run(programs.select, shared(c, blocks(4, 2)), 2)
        who = np.floor(c.reveal(images, "test")[::2, 0, 0] + 1e-3).astype(int)
        hot = np.rint(c.reveal(labels, "test")).astype(int)
    assert len(set(who)) == 2
    assert [row.tolist() for row in hot] == [
        row.tolist() for i in who for row in blocks(4, 2)[i][1]
    ]


def many_selections(mpc: Session, draws: int, n: int, k: int) -> Any:
    """The order [draws, k] of many selections, opened together."""
    chosen = [secret_selection(mpc, n, k).data for _ in range(draws)]
    index = [SharedTensor(mpc, s, 0) * np.arange(n) for s in chosen]
    total = [row.sum(1).reshape(1, k) for row in index]
    return mpc.reveal(concatenate(total), "test")


DRAWS = [
    ("plain", 1200),
    ("3pc", 120),
    *(pytest.param(p, 1200, marks=pytest.mark.slow) for p in SECURE),
]


@pytest.mark.parametrize(("name", "draws"), DRAWS)
def test_every_ordered_choice_is_equally_likely(name: str, draws: int) -> None:
    n, k, seed = 4, 2, 11
    print(f"insecure_seed={seed}")
    with cluster(name, name="uniform", insecure_seed=seed) as c:
        found = Counter(map(tuple, c.run(many_selections, draws, n, k).tolist()))
    assert len(found) == 12 and all(len(set(pair)) == k for pair in found)
    expected = draws / 12
    statistic = sum((count - expected) ** 2 / expected for count in found.values())
    assert statistic < 31.3, (
        "a chi-square of 11 degrees of freedom is above it in 0.1 % of all cases"
    )


def test_every_coalition_lacks_the_key_of_a_permuter() -> None:
    assert permuters(Additive2PC().sharing) == permuters(Replicated3PC().sharing) == ((0,), (1,))
    assert permuters(Tetrad4PC().sharing) == ((0, 1), (2, 3))
    assert permuters(shamir(5)) == ((0,), (1,), (2,))
    assert permuters(shamir(15)) == tuple((party,) for party in range(8))
    assert permuters(Plain().sharing) == ((0,),)
    deviating = dataclasses.replace(
        REPLICATED_3PC, name="malicious 3PC", security=Security(malicious=True)
    )
    assert permuters(deviating) == ((0, 1), (0, 2), (1, 2))
    two = dataclasses.replace(
        ADDITIVE_2PC_NO_HELPER, name="malicious 2PC", security=Security(malicious=True)
    )
    with pytest.raises(
        Misuse, match="no sets of 2 parties can draw a permutation that nobody knows"
    ):
        permuters(two)


def own_permutation(mpc: Session) -> list[bool]:
    """Which permutations of a selection this party can make; PRG keys that it does not hold refuse
    it."""
    op, found = mpc.party.op("test"), []
    for i, dealers in enumerate(permuters(mpc.sharing)):
        try:
            mpc.party.prg(frozenset(dealers)).reserve(op.number, f"t{i}")
            found.append(True)
        except Misuse:
            found.append(False)
    return found


@pytest.mark.parametrize("name", SECURE)
def test_no_server_holds_the_keys_of_all_permuters(name: str) -> None:
    with cluster(name) as c:
        held = [outcome.value for outcome in c.submit(own_permutation).outcomes()]
    assert all(not all(mine) for mine in held)
    assert all(any(column) for column in zip(*held, strict=True))  # but somebody holds each


def selection(mpc: Session, data: SharedTensor, k: int) -> SharedTensor:
    return secret_selection(mpc, data.shape[0], k) @ data


@pytest.mark.parametrize("name", SECURE)
def test_every_message_of_a_selection_is_uniform(name: str) -> None:
    """Of zeros, and of matrices that are nearly all zeros: whatever is not masked stands out."""
    n = 64
    with cluster(name) as c:
        data = c.share(np.zeros((n, n)))
        c.memory.tamper = tap = Wiretap()
        c.run(selection, data, n // 2)
    words = [frame.payload for *_, frame in tap.frames if frame.payload.nbytes >= 8 * n]
    assert len(words) >= 4
    assert all(abs(chi_square(payload)) < 9 for payload in words)


def selected_components(mpc: Session, x: SharedTensor, y: SharedTensor, what: str) -> list[Any]:
    """This party's components of a secret permutation matrix, which has moved the rows of x."""
    matrix = secret_selection(mpc, SIDE, SIDE)
    _ = matrix @ SharedTensor(mpc, x.data.reshape(SIDE, SIDE), 0)
    return [(matrix.data.algebra, {c: np.array(a) for c, a in matrix.data.parts.items()})]


@pytest.mark.parametrize("name", SECURE)
def test_what_one_server_sees_together_does_not_span_the_matrix(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `test_views.py` shows it for every gate: no linear combination over GF(2) of messages,
    masks and components gives the entries of the matrix. All servers together have them, which is
    the control."""
    with cluster(name) as c:
        zero = np.zeros(N, np.uint64)
        view = watch(c, monkeypatch, "selection", zero, zero, selected_components)
        sharing = c.sharing
    seen = {p: [(what, a) for what, a in arrays if a.nbytes >= 8 * N] for p, arrays in view.items()}
    parts = {
        int(what.split()[1]): a
        for arrays in seen.values()
        for what, a in arrays
        if what.startswith("component")
    }
    matrix = sum(
        (np.int64(sharing.coefficients[i]).view(np.uint64) * a for i, a in parts.items()),
        zero.reshape(SIDE, -1),
    )
    assert (matrix.sum(0) == 1).all() and (matrix.sum(1) == 1).all()
    secret = to_int(matrix.reshape(-1))
    for party in range(sharing.parties):
        assert span_of(seen.get(party, [])).reduce(secret) != 0, party
    assert span_of([row for arrays in seen.values() for row in arrays]).reduce(secret) == 0


@pytest.mark.parametrize("name", SECURE)
def test_a_selection_opens_nothing_and_sends_the_same_sizes_whoever_is_drawn(name: str) -> None:
    seen, drawn = [], []
    for seed in (1, 2, 3):
        with cluster(name, name="sizes", insecure_seed=seed) as c:
            uploads = shared(c, blocks(5, 2))
            before = len(list(c.ledger))
            images, _ = c.run(programs.select, uploads, 2)
            assert len(list(c.ledger)) == before
            seen.append((c.last_cost.links, c.last_cost.rounds))
            drawn.append(c.reveal(images, "test")[::2, 0, 0].astype(int).tolist())
    assert seen[0] == seen[1] == seen[2]
    assert len({tuple(who) for who in drawn}) > 1, drawn  # the control: other clients were drawn


COSTS: dict[
    str, Callable[[int, int, int], tuple[int, int, int]]
] = {  # n, k, b: bytes offline, online, rounds
    "2pc": lambda n, k, b: (8 * (k * n + k * b), 16 * (2 * k * n + n * n + n * b), 2),
    "3pc": lambda n, k, b: (8 * (k * n + n * n), 24 * (k * n + k * b), 2),
    "4pc": lambda n, k, b: (8 * (3 * k * n + n * n + 2 * k * b), 24 * (k * n + k * b), 3),
}


@pytest.mark.parametrize(("n", "k", "rows"), [(5, 2, 4), (7, 3, 1)])
@pytest.mark.parametrize("name", SECURE)
def test_a_selection_costs_what_its_formula_says(name: str, n: int, k: int, rows: int) -> None:
    with cluster(name) as c:
        c.run(programs.select, shared(c, blocks(n, rows)), k)
        cost = c.last_cost
    measured = (
        cost.bytes_sent(phase=Phase.OFFLINE),
        cost.bytes_sent(phase=Phase.ONLINE),
        cost.rounds[Phase.ONLINE],
    )
    assert measured == COSTS[name](n, k, rows * (4 + 3))


def test_the_benchmark_measures_what_the_formula_says() -> None:
    row = hidden_sampling.measure("3pc", clients=4, sampled=2, rows=1, repeats=1)
    assert (row["bytes_offline"], row["bytes_online"], row["rounds_online"]) == COSTS["3pc"](
        4, 2, 32 * 32 + 10
    )


@pytest.mark.parametrize("sender", [0, 2])
def test_a_permuter_of_tetrad_that_deals_something_else_is_caught(sender: int) -> None:
    with cluster("4pc") as c:
        data = c.share(np.arange(12.0).reshape(4, 3))
        c.memory.tamper = flip_first("permute", sender)
        with pytest.raises(VerificationFailed, match="does not vouch for"):
            c.reveal(c.run(selection, data, 2), "test")


@pytest.mark.parametrize("k", [0, 6, -1])
def test_more_rows_than_there_are_cannot_be_selected(k: int) -> None:
    with cluster("3pc") as c, pytest.raises(Misuse, match="of 5 rows"):
        c.run(selection, c.share(np.zeros((5, 2))), k)


# ---------------------------------------------------------------------- in a federation


def hidden(engine: str, *members: Any, schedule: Schedule = HIDDEN, **options: Any) -> Federation:
    leaves = members or (Cluster(Replicated3PC(), 4),)
    defaults: dict[str, Any] = {
        "engine": engine,
        "schedule": schedule,
        "insecure_seed": 3,
        "deadline_s": 60,
    }
    return Federation(model(), Additive2PC(), leaves, **(defaults | options))


@pytest.mark.parametrize("engine", ["mpc", "simulate", "float"])
def test_clusters_train_on_the_sample_and_no_record_names_a_client(engine: str) -> None:
    """All clients of a cluster hold the same digits, so that whoever is drawn, training must give
    what it gives with public sampling."""
    train, _ = digits()
    alike = [[np.arange(20 * k, 20 * k + 20)] * 4 for k in range(3)]
    quick = dataclasses.replace(HIDDEN, epochs=1)
    members = [Cluster(p(), 4) for p in (Additive2PC, Replicated3PC, Tetrad4PC)]
    with hidden(
        "float", *members, schedule=dataclasses.replace(quick, sampling="public")
    ) as public:
        public.fit(train, rounds=1, partition=alike)
        expected = np.frombuffer(weights(public))
        assert public.history[0].hidden == [0, 0, 0] and public.history[0].contributors == [2, 2, 2]
    with hidden(engine, *members, schedule=quick) as fed:
        (record,) = fed.fit(train, rounds=1, partition=alike)
        found = np.frombuffer(weights(fed))
        assert np.abs(found - expected).max() < (0 if engine == "float" else 1e-3) + 1e-12
        assert (
            record.participants == [[], [], []]
            and record.hidden == [2, 2, 2] == record.contributors
        )
        assert record.batches == [[], [], []] and not record.absent
        assert Round.from_json(record.to_json()) == record
        assert all(shelf.uploaded == {"0", "1", "2", "3"} for shelf in fed._context.leaf_data)
        assert not any(
            key.startswith("drawn") for shelf in fed._context.leaf_data for key in shelf.shares
        )
        assert not any(list(node.ledger) for node in fed.clusters)
        if engine == "mpc":
            for leaf, name in enumerate(SECURE):
                *_, rounds = sizes = COSTS[name](4, 2, 20 * (64 + 10))
                cost = fed.costs[f"{name}-{leaf + 1}", "select"]
                assert (cost.bytes_sent(), cost.rounds[Phase.ONLINE]) == (sum(sizes[:2]), rounds)


def steps_by_round(fed: Federation, train: Any, rounds: int, **options: Any) -> list[int]:
    """How many batches the first leaf trained in each round."""
    found: dict[int, int] = {}

    def progress(where: str, stage: str, done: int, total: int) -> None:
        if stage == "train":
            found[len(fed.history)] = total

    fed.fit(train, rounds=rounds, progress=progress, **options)
    return [found[i] for i in range(rounds)]


@pytest.mark.parametrize(
    ("policy", "steps", "kept"),
    [
        ("fresh", [2, 2, 2, 2], []),
        ("window:2", [2, 4, 4, 4], ["drawn-3", "drawn-4"]),
        ("accumulate", [2, 4, 6, 8], ["drawn-1", "drawn-2", "drawn-3", "drawn-4"]),
    ],
)
def test_a_pool_of_several_rounds_is_their_samples_one_after_the_other(
    policy: str, steps: list[int], kept: list[str]
) -> None:
    """Its size does not tell how many different clients it has (here four, so that some were drawn
    twice)."""
    train, _ = digits()
    schedule = dataclasses.replace(HIDDEN, epochs=1, data_policy=policy)
    with hidden("simulate", schedule=schedule) as fed:
        assert steps_by_round(fed, train, 4) == steps
        assert sorted(fed._context.leaf_data[0].shares) == kept


def test_a_round_in_which_a_cluster_was_left_out_adds_nothing_to_its_pool() -> None:
    train, _ = digits()
    schedule = dataclasses.replace(HIDDEN, epochs=1, data_policy="accumulate")
    members = [Cluster(Replicated3PC(), 4), Cluster(Replicated3PC(), 4)]
    with hidden("simulate", *members, schedule=schedule) as fed:
        fed.fit(train, rounds=1)
        fed.history[0].hidden[0] = 0  # as if its model had been lost on the way up
        assert fed._context.hidden_rounds(0, 2, fed.history) == []
        assert fed._context.hidden_rounds(1, 2, fed.history) == [1]


def test_the_sample_is_one_of_the_clients_whose_data_is_there() -> None:
    """A client that was not there yet is no part of it; one that has shared its data need not come
    again."""
    train, _ = digits()
    uploads = []
    with hidden("float") as fed:
        fed.fit(
            train,
            rounds=3,
            available=lambda number, leaf, client: (
                client != number
            ),  # 1 joins in round 2, and so on
            on_round=lambda record, fed: uploads.append(sorted(fed._context.leaf_data[0].uploaded)),
        )
        assert uploads == [["0", "2", "3"], ["0", "1", "2", "3"], ["0", "1", "2", "3"]]
        assert [record.hidden for record in fed.history] == [[2], [2], [2]]


def test_a_cluster_in_which_nobody_could_be_hidden_is_left_out() -> None:
    train, _ = digits()
    members = [Cluster(Replicated3PC(), 4), Cluster(Additive2PC(), 4)]
    with hidden("simulate", *members) as fed:
        fed.fit(
            train, rounds=1, available=lambda number, leaf, client: leaf != "3pc-1" or client < 2
        )
        record = fed.history[0]
        assert "has the data of 2 clients, and 2 are sampled" in record.absent["3pc-1"]
        assert record.hidden == [0, 2] and record.contributors == [0, 2]


def test_the_reveal_policy_counts_clients_that_nobody_knows() -> None:
    train, _ = digits()
    for needed in (4, 5):
        with hidden(
            "simulate",
            Cluster(Replicated3PC(), 4),
            Cluster(Additive2PC(), 4),
            reveal_policy=RevealPolicy(model=Permission(min_clients=needed)),
        ) as fed:
            fed.fit(train, rounds=1)
            if needed == 4:
                fed.reveal()
            else:
                with pytest.raises(Refused, match="4 clients contributed"):
                    fed.reveal()


# --------------------------------------------------------- what is refused, before anything is sent


def test_clients_with_different_numbers_of_rows_are_refused() -> None:
    train, _ = digits()
    uneven = [[np.arange(i * 10, i * 10 + size) for i, size in enumerate((10, 10, 7, 10))]]
    with hidden("mpc") as fed:
        sent = fed.clusters[0].cost.bytes_sent()
        with pytest.raises(
            ConfigError, match=r"equally many rows, but in 3pc-1 client 2 has 7 and client 0 has 10"
        ):
            fed.fit(train, rounds=1, partition=uneven)
        assert fed.clusters[0].cost.bytes_sent() == sent and not fed.costs
        fed.fit(
            train, rounds=1, partition=[[part[:7] for part in uneven[0]]]
        )  # as the error advises
        with pytest.raises(ConfigError, match="equally many rows"):
            fed.add_data(0, 1, train[:3])


def test_local_trainers_cannot_be_hidden() -> None:
    with pytest.raises(
        ConfigError, match="clients-1 cannot be: local trainers get the model in the clear"
    ):
        hidden("mpc", Cluster(Replicated3PC(), 4), Group(Replicated3PC(), [LocalTrainers(4)]))


def test_a_sample_of_everybody_hides_nothing() -> None:
    with pytest.raises(ConfigError, match="all 2 clients of cluster 3pc-1 are sampled"):
        hidden("mpc", Cluster(Replicated3PC(), 2))


def test_a_configuration_asks_for_it() -> None:
    assert parse("[schedule]\nsampling = 'hidden'").schedule.hidden
    assert not parse("").schedule.hidden


def test_there_are_two_kinds_of_sampling() -> None:
    with pytest.raises(
        ConfigError, match=r"Schedule\.sampling is 'secret'; choose 'public' or 'hidden'"
    ):
        Schedule(sampling="secret")  # type: ignore[arg-type]
