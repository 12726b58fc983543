"""`wwfl train` and `wwfl predict`: a run folder has everything, and a run that was stopped goes
on."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from typer.testing import CliRunner

from helpers import REPOSITORY
from wwfl.attacks import Placement
from wwfl.cli.main import app
from wwfl.cli.predict import predict
from wwfl.cli.train import train
from wwfl.data.dataset import Dataset
from wwfl.data.readers import READERS
from wwfl.data.single_image import read_image
from wwfl.experiments.config import Data, PlacementName, load, parse
from wwfl.experiments.config import Federation as FederationTable
from wwfl.experiments.from_config import (
    ExperimentData,
    prepare_data,
    read_data,
    reveal_policy,
    start_federation,
)
from wwfl.experiments.run_folder import RunFolder
from wwfl.federation.accounting import LINK_KEYS, STAGE_KEYS, difference, total
from wwfl.federation.federation import Federation, Group, LocalTrainers
from wwfl.federation.topology import build as build_tree
from wwfl.privacy import gaussian_epsilon
from wwfl_core.errors import (
    ConfigError,
    DataError,
    PeerLost,
    Refused,
    VerificationFailed,
    WwflError,
)

CONFIGS = REPOSITORY / "examples" / "configs"
SMALL = str(CONFIGS / "small.toml")
QUICK = [
    "schedule.rounds=2",
    "schedule.samples_per_client=20",
    "schedule.epochs=1",
    "data.test=50",
    "model.hidden=[8]",
]


def go(
    folder: Path, *changes: str, config: str | None = SMALL, resume: bool = False
) -> list[dict[str, Any]]:
    """Trains, or goes on."""
    told = [*QUICK, *changes] if config else list(changes)
    return train(config, told, run=str(folder), resume=resume)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rounds."""
    folder = tmp_path_factory.mktemp("runs") / "done"
    go(folder)
    return folder


def test_a_run_folder_holds_config_seed_versions_metrics_ledger_plots_and_checkpoints(
    done: Path,
) -> None:
    run = RunFolder.open(done)
    assert run.config.schedule.rounds == 2 and run.facts["seed"] == 0
    assert run.facts["guarantee"] == "semi-honest, 1 corrupt party"
    (session,) = run.facts["sessions"]
    assert session["versions"]["python"] and set(session["setup_bytes"]) == {
        "2pc-1",
        "3pc-2",
        "global",
    }
    assert "MNIST-small train" in run.facts["data"]["train"]
    assert [line["round"] for line in run.metrics()] == [1, 2]
    assert all(
        0 <= line["accuracy"] <= 1 and len(line["batches_sha256"]) == 64 for line in run.metrics()
    )
    # one number per round was opened: how many test images are right
    hits = [entry for entry in run.ledger() if "hits" in entry["reason"]]
    assert [(entry["round"], entry["count"], entry["where"]) for entry in hits] == [
        (1, 1, "global"),
        (2, 1, "global"),
    ]
    assert (run.checkpoint / "federation.state").exists() and len(
        list(run.checkpoint.glob("*.share"))
    ) >= 6
    for name in ("accuracy.svg", "bytes.svg"):
        assert (done / "plots" / name).read_text().startswith("<svg")


def test_metrics_account_for_every_byte_by_stage_and_by_link(done: Path) -> None:
    metrics = RunFolder.open(done).metrics()
    stages = total([row for line in metrics for row in line["stages"]], STAGE_KEYS)
    links = total([row for line in metrics for row in line["links"]], LINK_KEYS)
    for phase in ("bytes_offline", "bytes_online"):
        assert sum(row[phase] for row in stages) == sum(row[phase] for row in links) > 0
    assert {row["stage"] for row in stages} >= {
        "sample",
        "train",
        "reshare",
        "aggregate",
        "evaluate",
        "upload",
    }
    # both rounds train the same number of batches of the same size
    trained = [
        [
            (r["where"], r["bytes_offline"], r["bytes_online"])
            for r in line["stages"]
            if r["stage"] == "train"
        ]
        for line in metrics
    ]
    assert trained[0] == trained[1]


def test_differences_of_tallies_leave_out_what_did_not_change() -> None:
    def row(stage: str, n: int) -> dict[str, Any]:
        return {"where": "a", "stage": stage, "bytes_online": n}

    before: dict[str, Any] = {"stages": [row("x", 3)], "links": []}
    now: dict[str, Any] = {"stages": [row("x", 3), row("y", 2)], "links": []}
    assert difference(now, before)["stages"] == [row("y", 2)]
    assert total([row("x", 3), row("x", 4), row("y", 1)], STAGE_KEYS) == [row("x", 7), row("y", 1)]


def deterministic(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metrics without what a clock measured."""
    return [
        {
            **{key: value for key, value in line.items() if key != "measured_s"},
            "stages": [
                {k: v for k, v in row.items() if k != "measured_s"} for row in line["stages"]
            ],
        }
        for line in lines
    ]


def test_the_same_public_seed_gives_the_same_run(done: Path, tmp_path: Path) -> None:
    go(tmp_path / "again")
    assert deterministic(RunFolder.open(tmp_path / "again").metrics()) == deterministic(
        RunFolder.open(done).metrics()
    )


def killed(
    monkeypatch: pytest.MonkeyPatch, folder: Path, at: int, before_checkpoint: bool, *changes: str
) -> None:
    """A run whose process ends in round `at`, just before or just after the checkpoint is
    written."""
    real = Federation.save

    def save(self: Federation, where: str) -> None:
        last = len(self.history) == at
        if not (last and before_checkpoint):
            real(self, where)
        if last:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Federation, "save", save)
        with pytest.raises(KeyboardInterrupt):
            go(folder, "schedule.rounds=3", *changes)


@pytest.mark.parametrize(("at", "before_checkpoint"), [(1, True), (2, True), (2, False)])
def test_a_killed_run_goes_on_without_losing_or_repeating_a_round(
    at: int, before_checkpoint: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(monkeypatch, tmp_path / "a", at, before_checkpoint)
    go(tmp_path / "a", config=None, resume=True)
    run = RunFolder.open(tmp_path / "a")
    assert [line["round"] for line in run.metrics()] == [1, 2, 3]
    hits = [entry["round"] for entry in run.ledger() if "hits" in entry["reason"]]
    assert hits == [1, 2, 3]
    assert [s["from_round"] for s in run.facts["sessions"]] == [1, at + (not before_checkpoint)]


def test_a_killed_run_ends_exactly_like_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for what its second session paid for sharing the test set again."""
    changes = ("schedule.rounds=3", "reveal.when=final")
    go(tmp_path / "whole", *changes)
    killed(monkeypatch, tmp_path / "a", 2, True, *changes)
    go(tmp_path / "a", config=None, resume=True)
    whole, again = (RunFolder.open(tmp_path / name) for name in ("whole", "a"))
    lines = [deterministic(run.metrics()) for run in (again, whole)]
    for line in (line for one in lines for line in one):
        line["stages"] = [
            row for row in line["stages"] if (row["where"], row["stage"]) != ("global", "upload")
        ]
        del line["links"]
    assert lines[0] == lines[1] and again.ledger() == whole.ledger()
    models = [np.load(run.path / "model.npz") for run in (again, whole)]
    assert models[0].files and all(
        np.array_equal(models[0][name], models[1][name]) for name in models[0].files
    )


def test_a_finished_run_takes_more_rounds_but_no_other_change(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done, tmp_path / "a")
    with pytest.raises(ConfigError, match=r"schedule\.lr differ"):
        go(tmp_path / "a", "schedule.lr=0.9", config=None, resume=True)
    with pytest.raises(ConfigError, match=r"model\.seed differ"):
        go(tmp_path / "a", "model.seed=4", resume=True)
    with pytest.raises(ConfigError, match=r"has 2 rounds; schedule\.rounds=1 would be fewer"):
        go(tmp_path / "a", "schedule.rounds=1", config=None, resume=True)
    metrics = go(tmp_path / "a", "schedule.rounds=3", config=None, resume=True)
    assert [line["round"] for line in metrics] == [1, 2, 3]
    assert metrics[:2] == RunFolder.open(done).metrics()


def test_what_cannot_go_on_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--resume needs --run"):
        train(SMALL, resume=True)
    with pytest.raises(ConfigError, match="wwfl config --example"):
        go(tmp_path / "x", config=None)
    with pytest.raises(DataError, match="no such run folder"):
        go(tmp_path / "x", config=None, resume=True)
    go(tmp_path / "a", "run.checkpoint=false", "schedule.rounds=1")
    with pytest.raises(ConfigError, match=r"run\.checkpoint = false"):
        go(tmp_path / "a", "schedule.rounds=2", config=None, resume=True)
    with pytest.raises(DataError, match="has no checkpoint"):
        predict(str(tmp_path / "a"), index=0)


def test_a_lost_checkpoint_is_not_a_new_start(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done, tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "checkpoint")
    with pytest.raises(DataError, match="has rounds but no checkpoint"):
        go(tmp_path / "a", config=None, resume=True)
    assert len(RunFolder.open(tmp_path / "a").metrics()) == 2


def test_the_final_model_is_opened_only_on_demand_and_the_ledger_tells(
    done: Path, tmp_path: Path
) -> None:
    assert not (done / "model.npz").exists()
    go(tmp_path / "a", "reveal.when=final", "reveal.reason=for the test", "schedule.rounds=1")
    kept = np.load(tmp_path / "a" / "model.npz")
    assert sum(kept[name].size for name in kept) == 64 * 8 + 8 + 8 * 10 + 10
    last = RunFolder.open(tmp_path / "a").ledger()[-1]
    assert (last["reason"], last["round"]) == ("for the test", 1)


def test_a_configuration_that_cannot_run_leaves_no_folder(tmp_path: Path) -> None:
    for change, says in (
        ("data.test=3000", r"data\.test is 3000"),
        ("data.folder=none", "no such folder"),
    ):
        with pytest.raises(ConfigError, match=says):
            go(tmp_path / "a", change)
    assert not (tmp_path / "a").exists()


# ---------------------------------------------------------------------- predict


def ask(folder: Path, **what: Any) -> dict[str, Any]:
    return predict(str(folder), **what)


def test_an_image_of_the_test_set_and_the_same_one_as_a_file_get_one_label(
    done: Path, tmp_path: Path
) -> None:
    from wwfl.data.datasets import mnist

    found = ask(done, index=3)
    test = mnist()[1].pooled(4)
    assert found["truth"] == int(test.labels[3]) and 0 <= found["label"] <= 9
    np.save(tmp_path / "x.npy", test.images[3])
    assert ask(done, image=str(tmp_path / "x.npy"))["label"] == found["label"]
    assert {p.name for p in done.glob("*")} >= {"config.toml", "run.json"}


def test_a_picture_is_read_like_the_data_set(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    from wwfl.data.datasets import MEAN, STD, mnist

    digits = mnist()[1][:1]
    pixels = np.rint((digits.images[0, 0, 2:30, 2:30] * STD + MEAN) * 255).astype(np.uint8)
    image.fromarray(pixels).save(tmp_path / "digit.png")
    for pool in (1, 4):
        read = read_image(tmp_path / "digit.png", digits.pooled(pool), pool)
        assert np.abs(read - digits.pooled(pool).images).max() < 1e-5


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ({}, "either --image FILE or --index N"),
        ({"image": "x.npy", "index": 1}, "either --image FILE or --index N"),
        ({"index": 50}, r"the test set has images 0\.\.49"),
        ({"image": "none.npy"}, "cannot read this array"),
    ],
)
def test_what_cannot_be_predicted_is_explained(done: Path, what: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ask(done, **what)


# ------------------------------------------------------------------ from a configuration to objects


def poisoned_setting(kind: str) -> tuple[ExperimentData, Dataset]:
    """Malicious clients in one cluster, and the training set as it was. In partition `paper` others
    hold their images, too, which are therefore poisoned as copies."""
    config = load(
        SMALL,
        [
            f"partition.kind={kind}",
            "federation.engine=plain",
            "attack.name=slf",
            "attack.placement=cluster-focused",
            "attack.rate=0.25",
            "data.train=100",
            "schedule.samples_per_client=40"
            if kind == "paper"
            else "schedule.samples_per_client=10",
        ],
    )
    clean = read_data(config.data)
    return prepare_data(config, clean), clean[0]


@pytest.mark.parametrize("kind", ["iid", "paper"])
def test_malicious_clients_train_on_poisoned_images_and_nobody_else_does(kind: str) -> None:
    setting, clean = poisoned_setting(kind)
    assert sum(map(len, setting.malicious)) == 2
    assert (len(setting.train) > len(clean)) == (kind == "paper")
    for bad, clients in zip(setting.malicious, setting.partition, strict=True):
        for client, rows in enumerate(clients):
            same = (
                (setting.train.images[rows, None] == clean.images[None])
                .all(axis=(2, 3, 4))
                .argmax(1)
            )
            flipped = setting.train.labels[rows] != clean.labels[same]
            assert flipped.all() if client in bad else not flipped.any()


def test_a_federation_is_trained_on_the_partition_of_the_poisoned_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    real = Federation.fit

    def fit(
        self: Federation, train: Dataset, *args: Any, partition: Any = None, **options: Any
    ) -> Any:
        seen.append((len(train), max(int(rows.max()) for clients in partition for rows in clients)))
        return real(self, train, *args, partition=partition, **options)

    monkeypatch.setattr(Federation, "fit", fit)
    attack = (
        "partition.kind=paper",
        "data.train=100",
        "attack.name=slf",
        "attack.placement=cluster-focused",
    )
    go(tmp_path / "a", *attack, "attack.rate=0.25", "federation.engine=plain", "schedule.rounds=1")
    ((size, last),) = seen
    assert size > 100 and last == size - 1


@pytest.mark.parametrize("kind", ["iid", "paper", "dirichlet", "regions", "shards", "quantity"])
def test_every_kind_of_partition_gives_every_client_data(kind: str) -> None:
    found = prepare_data(load(SMALL, [f"partition.kind={kind}", "schedule.samples_per_client=30"]))
    assert [len(clients) for clients in found.partition] == [4, 4]
    assert all(len(rows) for clients in found.partition for rows in clients)


def test_data_sets_are_named_as_their_readers_are() -> None:
    names = get_args(get_type_hints(Data)["name"])
    assert set(names) == set(READERS)


def test_placements_are_named_as_in_the_attacks() -> None:
    assert set(get_args(PlacementName)) == set(Placement)


def test_some_trainers_of_plain_federated_learning_can_be_malicious() -> None:
    member = LocalTrainers(clients=10, attack="sign-flip", rate=0.3)
    config = replace(parse(""), federation=FederationTable(engine="plain", clusters=(member,)))
    with start_federation(config, prepare_data(config)) as federation:
        (trainers,) = federation.members
    assert (
        isinstance(trainers, LocalTrainers)
        and len(trainers.malicious) == 3
        and trainers.attack is not None
    )


def test_sets_of_trainers_that_are_alike_have_malicious_members_of_their_own() -> None:
    config = parse(
        """
        [[federation.clusters]]
        kind = "trainers"
        count = 3
        clients = 20
        attack = "sign-flip"
        rate = 0.25
        """
    )
    plan = config.schedule
    made = [p.spec for p in build_tree(Group("2pc", config.federation.clusters), plan).children]
    malicious = [member.malicious for member in made if isinstance(member, LocalTrainers)]
    assert len(set(malicious)) == 3 and {len(who) for who in malicious} == {5}
    few = replace(config.federation.clusters[0], rate=0.02)
    with pytest.raises(ConfigError, match="makes none of 20 clients malicious"):
        build_tree(Group("2pc", [few]), plan)


def test_malicious_trainers_are_those_of_the_first_release() -> None:
    """A run that is repeated must have the same attackers."""
    trainers = LocalTrainers(20, attack="sign-flip", rate=0.25, attack_seed=7)
    assert trainers.drawn(3).malicious == (3, 6, 9, 14, 19)


@pytest.mark.parametrize("engine", ["mpc", "simulate"])
def test_the_servers_refuse_to_open_a_model_that_the_configuration_keeps(engine: str) -> None:
    config = load(SMALL, [*QUICK, f"federation.engine={engine}", "schedule.rounds=1"])
    setting = prepare_data(config)
    with start_federation(config, setting) as federation:
        federation.fit(setting.train, None, rounds=1, partition=setting.partition)
        with pytest.raises(Refused, match="model"):
            federation.reveal("curiosity")


def test_engine_plain_hides_nothing_and_promises_nothing(tmp_path: Path) -> None:
    assert reveal_policy(load(SMALL, ["federation.engine=plain"])) is None
    go(tmp_path / "a", "federation.engine=plain", "reveal.when=final", "schedule.rounds=1")
    assert (tmp_path / "a" / "model.npz").exists()


PRIVATE = ("privacy.clip=1.0", "privacy.noise_multiplier=2.0", "schedule.rounds=2")


def test_a_private_run_tells_after_each_round_what_it_promises_and_for_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    metrics = go(tmp_path / "a", *PRIVATE)
    shown = capsys.readouterr().out
    first, second = (line["privacy"] for line in metrics)
    assert (
        first["epsilon"]
        == gaussian_epsilon(2.0, 1, 1e-5)
        < second["epsilon"]
        == gaussian_epsilon(2.0, 2, 1e-5)
    )
    assert shown.count(first["unit"]) == 2 and second["words"] in shown
    if find_spec("jinja2") and find_spec("matplotlib"):
        from wwfl.experiments.report.page import report_page

        assert second["unit"] in html.unescape(report_page([tmp_path / "a"]))


def test_a_spent_privacy_budget_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="budget"):
        go(tmp_path / "a", *PRIVATE, f"privacy.epsilon={gaussian_epsilon(2.0, 1, 1e-5) + 0.01}")
    assert len(RunFolder.open(tmp_path / "a").metrics()) == 1


# ---------------------------------------------------------------------- the command


def test_the_commands_write_json_to_standard_output(tmp_path: Path) -> None:
    changes = [word for change in (*QUICK, "schedule.rounds=1") for word in ("--set", change)]
    result = CliRunner().invoke(
        app, ["train", SMALL, *changes, "--run", str(tmp_path / "a"), "--json", "-"]
    )
    assert result.exit_code == 0, result.output
    assert [line["round"] for line in json.loads(result.stdout)["metrics"]] == [1]
    result = CliRunner().invoke(
        app, ["predict", str(tmp_path / "a"), "--index", "0", "--json", "-"]
    )
    assert json.loads(result.stdout)["rounds"] == 1
    result = CliRunner().invoke(app, ["train", SMALL, "--run", str(tmp_path / "a")])
    assert result.exit_code == 1 and "--resume" in result.output


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 1),
        (WwflError("x"), 1),
        (PeerLost("x"), 3),
        (VerificationFailed("x"), 4),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes_tell_errors_apart(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: str) -> None:
        raise error

    monkeypatch.setattr("wwfl.cli.train.train", fail)
    assert CliRunner().invoke(app, ["train", SMALL]).exit_code == code


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda p: p.stem)
def test_every_example_configuration_runs_in_small_form(path: Path, tmp_path: Path) -> None:
    small = [
        "schedule.rounds=1",
        "schedule.epochs=1",
        "schedule.samples_per_client=10",
        "data.test=20",
    ]
    metrics = train(str(path), small, run=str(tmp_path / "r"))
    assert len(metrics) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", SMALL, "--run", "{}/r", "--json", "{}/none/x.json"],
        ["attack", SMALL, "--plot", "{}/none/x.svg"],
        ["reproduce", "fig3", "--json", "{}"],
        ["train", SMALL, "--run", "{}/file/r"],
    ],
)
def test_what_cannot_be_written_is_said_before_anything_runs(
    arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    found = CliRunner().invoke(app, [a.format(tmp_path) for a in arguments])
    assert found.exit_code == 1 and isinstance(found.exception, SystemExit)
    assert "Error:" in found.stderr and found.stdout == ""
    assert not (tmp_path / "r").exists()


def test_the_command_starts_without_what_only_some_commands_need() -> None:
    heavy = ("torch", "numba", "pydantic", "matplotlib", "jinja2", "wwfl_core.cluster")
    code = (
        "import sys; from wwfl.cli.main import app; sys.argv[1:] = ['--help']\n"
        "try: app()\n"
        f"except SystemExit: print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "demo" in done.stdout and done.stdout.rstrip().endswith("[]")


def test_the_data_command_tells_what_lies_in_a_folder(tmp_path: Path) -> None:
    from wwfl.data.idx import write_idx

    for stem, count in (("train", 30), ("t10k", 20)):
        write_idx(tmp_path / f"{stem}-images-idx3-ubyte", np.zeros((count, 28, 28), np.uint8))
        write_idx(tmp_path / f"{stem}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    result = CliRunner().invoke(app, ["data", str(tmp_path), "--json", "-"])
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)) == 2 and "30" in result.stderr
