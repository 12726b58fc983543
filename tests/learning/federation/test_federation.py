"""The federation: WW-FL's Algorithm 1 with mixed protocols, its errors, checkpoints and private
prediction."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from wwfl import SGD, Cluster, FedAvg, Federation, Schedule, TrimmedMean
from wwfl.aggregation import Inputs
from wwfl.data import sampling
from wwfl.data.datasets import Dataset, mnist
from wwfl.federation import torch_reference as plaintext
from wwfl.nn.models import mlp
from wwfl_core import LocalCluster, Session, SharedTensor
from wwfl_core.errors import ConfigError, DataError, Misuse, RangeError

SMALL = Schedule(samples_per_client=20, clients_per_round=2, epochs=2, batch=20, sgd=SGD(0.1))


def digits() -> tuple[Dataset, Dataset]:
    train, test = mnist()
    return train[:500], test[:100]


def three() -> list[Cluster]:
    return [
        Cluster(Additive2PC(), clients=3),
        Cluster(Replicated3PC(), clients=3),
        Cluster(Tetrad4PC(), clients=3),
    ]


def model() -> nn.Module:
    return mlp(1024, [16], 10, seed=1)


def fed(**changes: Any) -> Federation:
    # Seeded: a rounding that flips one ReLU moves a weight by more than any useful bound, about
    # once in fifty runs.
    options: dict[str, Any] = {"schedule": SMALL, "deadline_s": 60, "insecure_seed": 3}
    return Federation(model(), Additive2PC(), three(), **(options | changes))


@dataclasses.dataclass(frozen=True)
class Trained:
    """A federation after two rounds, and its checkpoints after the first and the second one."""

    federation: Federation
    first: Path
    second: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Trained once; tests restore from copies of its folders and leave the federation as it is."""
    train, _ = digits()
    folder = tmp_path_factory.mktemp("trained")
    with fed() as f:
        f.fit(train, rounds=1, checkpoint=str(folder / "first"))
        f.fit(train, rounds=2, checkpoint=str(folder / "second"))
        yield Trained(f, folder / "first", folder / "second")


def test_three_protocols_train_the_model_that_plaintext_trains() -> None:
    train, test = digits()
    with fed() as f:
        history = f.fit(train, test, rounds=3)
        ours = [r.accuracy or 0.0 for r in history]
        reasons = {c.name: set(c.ledger.summary()) for c in [*f.clusters, f.global_servers]}
        revealed = {n: p.detach().numpy().copy() for n, p in f.reveal().named_parameters()}
        assert "the final model" in f.global_servers.ledger.summary()
    schedule = [r.batches for r in history]
    theirs, params = plaintext.run(
        model(), train, test, schedule, SMALL.sgd.lr, dtype=torch.float64
    )
    assert all(abs(a - b) <= 0.02 for a, b in zip(ours, theirs, strict=True)), (ours, theirs)
    for name, value in params.items():
        assert np.abs(revealed[name] - value).max() < 2e-3, name
    # Nothing but one number per round was opened, by anybody, before reveal() was called.
    assert reasons == {
        "2pc-1": set(),
        "3pc-2": set(),
        "4pc-3": set(),
        "global": {f"hits on the test set after round {n}" for n in (1, 2, 3)},
    }


def test_processes_give_bit_identical_models_and_costs() -> None:
    """Two clusters, which compute at the same time; every further server takes a second to
    start."""
    train, test = digits()
    found = []
    for processes in (False, True):
        two = [Cluster(Replicated3PC(), clients=3), Cluster(Tetrad4PC(), clients=3)]
        options: dict[str, Any] = {"insecure_seed": 5, "processes": processes, "deadline_s": 60}
        with Federation(model(), Additive2PC(), two, schedule=SMALL, **options) as f:
            history = f.fit(train, test, rounds=1)
            costs = {c.name: c.cost.to_json() for c in [*f.clusters, f.global_servers]}
            weights = {n: p.detach().numpy().tobytes() for n, p in f.reveal().named_parameters()}
            found.append((weights, costs, history))
    assert found[0] == found[1]


def test_every_client_shares_its_data_once_and_sampling_is_a_public_coin() -> None:
    train, _ = digits()
    with Federation(
        model(), Plain(), [Cluster(Replicated3PC(), clients=3)], schedule=SMALL, allow_weaker=True
    ) as f:
        f.fit(train, rounds=4)
        seen = {p for r in f.history for p in r.participants[0]}
        uploads = [link for link in f.clusters[0].cost.links if link.sender == "client"]
        rows = SMALL.samples_per_client
        expected = (
            len(seen) * 2 * rows * (1024 + 10) * 8
        )  # 3PC: the computed component goes to two servers
        sent = sum(f.clusters[0].cost.links[link][0] for link in uploads)
        seeds = len(seen) * 2 * 4 * 32  # two tensors per client, two seeds, two holders each
        assert sent == expected + seeds
        assert all(len(set(r.participants[0])) == 2 for r in f.history)


def test_prediction_opens_only_labels_and_agrees_with_the_revealed_model(trained: Trained) -> None:
    _, test = digits()
    with fed() as f:
        f.restore(str(trained.second))
        labels = f.predict(test.images)
        assert set(f.global_servers.ledger.summary()) == {"predicted labels"}
        with torch.no_grad():
            logits = f.reveal().double()(torch.tensor(test.images.astype(np.float64)))
        top = logits.sort(dim=1).values
        clear = (top[:, -1] - top[:, -2]).numpy() > 1e-3
        assert clear.mean() > 0.9
        assert np.array_equal(labels[clear], logits.argmax(1).numpy()[clear])
        assert f.evaluate(test) == pytest.approx(np.mean(labels == test.labels))


@pytest.mark.parametrize("rule", [FedAvg(), TrimmedMean(trim=1)])
def test_aggregation_on_shares_is_the_plaintext_rule(rule: Any) -> None:
    rng = np.random.default_rng(3)
    models = rng.normal(size=(5, 1000))
    for make in (Plain, Additive2PC, Replicated3PC, Tetrad4PC):
        with LocalCluster(make()) as c:
            handle = c.run(aggregate, rule, [c.share(m) for m in models], [1.0] * 5)
            kept = models if isinstance(rule, FedAvg) else np.sort(models, axis=0)[1:-1]
            assert np.abs(c.reveal(handle) - kept.mean(axis=0)).max() < 4 * 2**-20


def test_fedavg_weights_its_inputs() -> None:
    models = np.random.default_rng(4).normal(size=(3, 100))
    with LocalCluster(Replicated3PC()) as c:
        handle = c.run(aggregate, FedAvg(), [c.share(m) for m in models], [1.0, 2.0, 5.0])
        assert np.abs(c.reveal(handle) - np.average(models, axis=0, weights=[1, 2, 5])).max() < 1e-5


def aggregate(
    mpc: Session, rule: Any, models: list[SharedTensor], weights: list[float]
) -> SharedTensor:
    return rule.aggregate(Inputs(models, weights, models[0]))


def test_a_restored_federation_continues_where_it_stopped(trained: Trained) -> None:
    train, test = digits()
    f = trained.federation
    weights = {n: p.detach().numpy().copy() for n, p in f.reveal().named_parameters()}
    history = [dataclasses.asdict(r) for r in f.history]
    with fed(insecure_seed=None) as g:  # other keys: only the shares matter
        g.restore(str(trained.second))
        assert [dataclasses.asdict(r) for r in g.history] == history
        again = {n: p.detach().numpy().copy() for n, p in g.reveal().named_parameters()}
        assert all(np.array_equal(weights[n], again[n]) for n in weights)
        g.fit(train, test, rounds=3)
        assert len(g.history) == 3


def test_share_files_say_nothing_about_the_model(trained: Trained) -> None:
    paths = list(trained.first.glob("model.*.share"))
    assert len(paths) == 3
    for path in paths:
        if ".party2." in path.name:
            continue  # the helper holds nothing
        body = np.frombuffer(path.read_bytes()[1024:-32], np.uint8)
        counts = np.bincount(body, minlength=256)
        chi2 = ((counts - body.size / 256) ** 2 / (body.size / 256)).sum()
        assert chi2 < 255 + 6 * np.sqrt(510), path.name
        assert path.stat().st_mode & 0o077 == 0


def damage_truncate(data: bytes) -> bytes:
    return data[:-7]


def damage_flip(data: bytes) -> bytes:
    return data[:200] + bytes([data[200] ^ 1]) + data[201:]


def damage_empty(data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [damage_truncate, damage_flip, damage_empty])
@pytest.mark.parametrize(
    "target", ["model.*.party1.share", "3pc-2.*.party2.share", "federation.state"]
)
def test_a_damaged_checkpoint_is_refused_by_name_and_nothing_changes(
    trained: Trained, tmp_path: Path, damage: Any, target: str
) -> None:
    f, folder = trained.federation, tmp_path / "copy"
    shutil.copytree(trained.first, folder)
    path = next(folder.glob(target))
    path.write_bytes(damage(path.read_bytes()))
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    handle, history = f.current_model, list(f.history)
    with pytest.raises(DataError, match=path.name.replace(".", r"\.")):
        f.restore(str(folder))
    assert f.current_model is handle and f.history == history
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert f.evaluate(digits()[1]) >= 0  # the federation still works


def test_files_of_two_checkpoints_are_not_mixed(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trained.second, folder)
    old = next(trained.first.glob("model.*.party0.share"))
    new = next(folder.glob("model.*.party0.share"))
    new.write_bytes(old.read_bytes())
    with pytest.raises(DataError, match=r"another state|same checkpoint"):
        trained.federation.restore(str(folder))


def test_a_checkpoint_of_another_configuration_is_refused(trained: Trained, tmp_path: Path) -> None:
    with (
        fed(schedule=dataclasses.replace(SMALL, epochs=3)) as g,
        pytest.raises(ConfigError, match="schedule"),
    ):
        g.restore(str(trained.first))
    with fed() as h, pytest.raises(DataError, match="nowhere"):
        h.restore(str(tmp_path / "nowhere"))


def test_bad_configurations_are_refused_before_any_server_starts() -> None:
    with pytest.raises(ConfigError, match="at least one cluster"):
        Federation(model(), Plain(), [])
    with pytest.raises(ConfigError, match="TrimmedMean"):
        Federation(model(), Plain(), [Cluster(Plain())], TrimmedMean(trim=1))
    with pytest.raises(ConfigError, match="BatchNorm1d"):
        Federation(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), Plain(), [Cluster(Plain())])
    with pytest.raises(ConfigError, match="clients_per_round is 5"):
        Federation(
            model(),
            Plain(),
            [Cluster(Plain(), clients=3)],
            schedule=dataclasses.replace(SMALL, clients_per_round=5),
        )
    with pytest.raises(ConfigError, match="batch must be at least 1"):
        Schedule(batch=0)
    with pytest.raises(ConfigError, match=r"SGD\.lr must be more than 0"):
        SGD(lr=-1.0)


def test_bad_data_is_refused_and_the_federation_goes_on() -> None:
    train, test = digits()
    with Federation(model(), Plain(), [Cluster(Plain(), clients=2)], schedule=SMALL) as f:
        with pytest.raises(Misuse, match="no model yet"):
            f.predict(test.images)
        with pytest.raises(ConfigError):
            f.fit(dataclasses.replace(train, images=train.images[:, :, :20]), rounds=1)
        with pytest.raises((ConfigError, Misuse)):
            f.fit(train[:10], rounds=1)
        f.fit(train, rounds=1)
        with pytest.raises(RangeError, match="does not fit fixed point"):
            f.predict(np.full_like(test.images, np.nan))
        assert f.predict(test.images[:3]).shape == (3,)


def test_sampling_is_a_permutation_without_bias() -> None:
    counts = np.zeros((5, 5))
    for i in range(2000):
        order = sampling.permutation(i.to_bytes(32, "little"), 5)
        assert sorted(order) == list(range(5))
        counts[np.arange(5), order] += 1
    assert ((counts - 400) ** 2 / 400).sum() < 16 + 6 * np.sqrt(32)
    with pytest.raises(ConfigError, match="cannot sample 4 of 3"):
        sampling.choose(bytes(32), 3, 4)


@pytest.mark.parametrize("name", ["small", pytest.param("lenet", marks=pytest.mark.slow)])
def test_the_demo_command_writes_all_its_figures(tmp_path: Path, name: str) -> None:
    from typer.testing import CliRunner

    from wwfl.cli.main import app

    out = tmp_path / "figures.json"
    result = CliRunner().invoke(
        app,
        [
            *("demo", "--model", name, "--rounds", "1", "--test-digits", "40"),
            *("--json", str(out)),
        ],
    )
    assert result.exit_code == 0, result.output
    figures = json.loads(out.read_text())
    for key in ("test_accuracy", "plaintext_accuracy", "wall_s", "bytes_sent", "rounds", "opened"):
        assert key in figures
    assert len(figures["test_accuracy"]) == len(figures["plaintext_accuracy"]) == 1
    assert figures["guarantee"] == "semi-honest, 1 corrupt party"
    assert f"the model is protected against: {figures['guarantee']}" in " ".join(
        result.output.split()
    )
    assert set(figures["bytes_sent"]) == {"2pc-1", "3pc-2", "4pc-3", "global"}
    assert figures["opened"] == {"global": {"hits on the test set after round 1": 1}}
    bad = CliRunner().invoke(app, ["demo", "--rounds", "0"])
    assert bad.exit_code == 1 and "--rounds" in bad.output


@pytest.mark.parametrize("engine", ["plain", "simulate"])
def test_two_test_sets_of_one_name_are_not_confused(engine: Any) -> None:
    train, test = digits()
    with Federation(
        model(), Plain(), [Cluster(Plain(), 3)], schedule=SMALL, engine=engine, insecure_seed=1
    ) as f:
        f.fit(train, rounds=1)
        found = f.predict(test.images)
        right = dataclasses.replace(test, labels=found)
        wrong = dataclasses.replace(test, labels=(found + 1) % 10)
        assert [f.evaluate(data) for data in (right, wrong, right)] == [1.0, 0.0, 1.0]
        with pytest.raises(ConfigError, match="without images"):
            f.evaluate(test[:0])
