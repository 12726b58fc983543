"""`wwfl reproduce` and `wwfl attack`: what they measure, derive and say, in sizes that take
seconds."""

from __future__ import annotations

import inspect
import io
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from wwfl import reproduce
from wwfl.cli import attack
from wwfl.cli.main import app
from wwfl.experiments import sweep as grid
from wwfl.experiments.config import Config, parse
from wwfl.federation.topology import NamedRule
from wwfl.reproduce import accuracy_figures as figures
from wwfl.reproduce import fig3, fig4, fig5, fig6, layers, table8
from wwfl.reproduce import measured_round as setup
from wwfl.reproduce import round as one_round
from wwfl.reproduce.measured_round import Trained
from wwfl_core.errors import ConfigError

SILENT = Console(quiet=True)
TINY = figures.Size(10, 12, 2, 15, 10, 1, (0,), model='name = "mlp"\nhidden = [8]', pool=4)


def text_of(run: Any, **options: Any) -> tuple[dict[str, Any], str]:
    """The result, which must be plain data, and what was printed."""
    out = io.StringIO()
    result = run(Console(width=100, file=out), full=False, **options)
    assert json.loads(json.dumps(result)) == result
    return result, " ".join(out.getvalue().split())


# ---------------------------------------------------------------------- the catalogue


def test_every_reproduction_has_a_description_and_takes_full() -> None:
    for name, description in reproduce.CATALOGUE.items():
        assert len(description) > 20
        assert "full" in inspect.signature(reproduce.module(name).run).parameters


def test_every_module_with_a_run_is_in_the_catalogue() -> None:
    folder = Path(reproduce.__file__).parent
    found = {file.stem for file in folder.glob("*.py") if "\ndef run(" in file.read_text()}
    assert found == set(reproduce.CATALOGUE)


def test_an_unknown_name_or_option_is_explained() -> None:
    with pytest.raises(ConfigError, match="did you mean 'table8'"):
        reproduce.module("tabel8")
    result = CliRunner().invoke(app, ["reproduce", "layers", "--data", "x"])
    assert result.exit_code == 1 and "takes no --data" in result.output
    result = CliRunner().invoke(app, ["reproduce", "round", "--plot", "x.svg"])
    assert result.exit_code == 1 and "no plot" in result.output
    result = CliRunner().invoke(app, ["reproduce"])
    assert result.exit_code == 0 and "table8" in result.output


@pytest.mark.parametrize("name", ["fig3", "fig4", "fig5", "fig6"])
def test_the_papers_size_needs_the_full_data(name: str) -> None:
    with pytest.raises(ConfigError, match="--data FOLDER"):
        reproduce.module(name).run(SILENT, full=True)


def test_the_papers_size_has_its_steps_per_round() -> None:
    """1,000 clients, 100 per round; 125 steps in both modes: 10 x 200 images in batches of 80, 200
    in batches of 8."""
    paper = figures.PAPER
    assert (paper.clusters * paper.clients, paper.clusters * paper.per_round, paper.steps) == (
        1000,
        100,
        125,
    )
    pooled, alone = figures.ww_fl(paper, 0.05, "x"), figures.fl(paper, 0.05, "x")
    assert (pooled.schedule.batch, pooled.schedule.clients_per_round) == (80, 10)
    assert (alone.schedule.batch, alone.schedule.clients_per_round) == (8, 100)
    assert alone.schedule.epochs * paper.samples // alone.schedule.batch == paper.steps


# ---------------------------------------------------------------------- round and table 8


@pytest.fixture(scope="module")
def measured() -> dict[int, Trained]:
    """One and two batches of 80, in 3PC."""
    return {n: setup.train_once("3pc", 8 * n, 1, SILENT) for n in (1, 2)}


def test_every_batch_costs_the_same(measured: dict[int, Trained]) -> None:
    """What table 8 rests on: bytes and rounds of a round are those of a batch times their
    number."""
    one, two = measured[1], measured[2]
    assert (one.batches, two.batches) == (1, 2)
    for key in ("bytes_offline", "bytes_online", "rounds_online"):
        assert two.stages["train"][key] == 2 * one.stages["train"][key] > 0
    assert two.modelled_s("train") == pytest.approx(2 * one.modelled_s("train"), rel=1e-6)
    assert {name: 2 * n for name, n in one.by_party.items()} == two.by_party


def test_a_clients_upload_is_its_share_of_images_and_labels(measured: dict[int, Trained]) -> None:
    """3PC: two whole components of 1024 pixels and 10 labels per image, the third as a seed of 32
    bytes per tensor."""
    one = measured[1].bytes_sent("upload")
    two = measured[2].bytes_sent("upload")
    assert two - one == setup.CLIENTS * 8 * (1024 + 10) * 8 * 2
    assert measured[1].bytes_sent("up") == measured[2].bytes_sent("up") >= setup.PARAMETERS * 8 * 2


def test_the_round_says_what_it_ran_and_stands_beside_the_paper() -> None:
    result, text = text_of(one_round.run, protocols=("2pc",), samples=8, epochs=1)
    (row,) = result["rows"]
    assert (row["protocol"], row["batches"], result["paper"]) == (
        "2pc",
        1,
        {"bytes": 5.28e9, "seconds": 315.0},
    )
    assert (
        row["bytes"]
        == row["bytes_offline"] + row["bytes_online"]
        == sum(row["bytes_by_party"].values())
    )
    assert 40e6 < row["bytes_per_batch"] < 120e6  # README: 86.8 MB per step
    assert row["modelled_s"] > 0 and row["compute_s"] > 0
    for words in (
        "10 clients x 8 digits",
        "5.28",
        "315",
        "contain no computation",
        "paper does not say",
    ):
        assert words in text, words


def trained(batches: int) -> Trained:
    def stage(nbytes: int, seconds: float) -> dict[str, float]:
        half = {
            "bytes_offline": 0,
            "bytes_online": nbytes,
            "modelled_s_offline": 0.0,
            "modelled_s_online": seconds,
        }
        return {"measured_s": 1.0, **half}

    stages = {
        "train": stage(1000 * batches, 2.0 * batches),
        "upload": stage(800, 0.0),
        "up": stage(50, 0.25),
        "down": stage(60, 0.25),
        "aggregate": stage(7, 0.5),
    }
    return Trained("2pc", "semi-honest", batches, 9.0, 0.5 * batches, stages, {}, 2)


@pytest.mark.parametrize("batches", [5, 125])
def test_table_8_follows_its_formulae(batches: int) -> None:
    """125 batches of 1000 bytes, 2 modelled and 0.5 computed seconds; from 5 measured ones as from
    all."""
    whole, alone = table8.derive(trained(batches), table8.SAMPLES)
    assert whole["hours"] == pytest.approx(500 * (125 * 2.5 + 1.0) / 3600)
    assert whole["bytes"] == 500 * (10 * (125_000 + 110) + 7) + 1000 * 80
    assert alone["hours"] == pytest.approx(500 * 10 * 125 * 2.5 / 3600)
    assert alone["bytes"] == 500 * 10 * 125_000 + 1000 * 80


def test_table_8_stores_what_the_servers_keep() -> None:
    """Two servers with 8 bytes each: the paper's 3.31 GB of images and 3.32 GB with the models."""
    whole, alone = table8.derive(trained(5), 40)
    images = 1000 * 200 * 1034 * 8 * 2
    assert images == pytest.approx(3.31e9, rel=1e-3)
    assert (whole["storage_bytes"], alone["storage_bytes"]) == (
        images + 11 * 61_706 * 16,
        images + 61_706 * 16,
    )
    assert whole["bytes"] == table8.derive(trained(5), 200)[0]["bytes"] + 1000 * (5 - 1) * 80
    assert [setup.copies(name) for name in ("2pc", "3pc", "4pc")] == [2, 6, 12]


# ---------------------------------------------------------------------- topologies


def test_layers_are_measured_by_topology() -> None:
    result, text = text_of(layers.run)
    rows = {row["topology"]: row for row in result["rows"]}
    ours = rows["WW-FL"]
    assert ours["error"] is None and ours["guarantee"] == "semi-honest, 1 corrupt party"
    assert all(ours["bytes"][stage]["online"] > 0 for stage in ("upload", "train", "reshare"))
    assert "who sees models" in text
    assert [row["error"] for row in result["rows"]] == [None] * len(layers.TOPOLOGIES)
    four = rows["WW-FL, four layers"]["bytes"]["reshare"]["online"]
    assert four > rows["WW-FL"]["bytes"]["reshare"]["online"]
    assert "train" not in rows["secure aggregation, two servers"]["bytes"]


# ---------------------------------------------------------------------- attacks and figures


GRID = """
[grid]
attacks = ["none", "rlf", "tlf"]
placements = ["equal", "focused"]
rates = [0.1, 0.2]
rules = [{ rule = "fedavg" }, { rule = "trimmed-mean", options = { trim = 1 } }]
seeds = [3, 4]
"""


def test_a_grid_has_every_combination_once_and_no_attack_once_per_rule_and_seed() -> None:
    cells = grid.sweep_cells(parse(GRID))
    assert len(cells) == len(set(map(repr, cells))) == (1 + 2 * 2 * 2) * 2 * 2
    assert {c.rule_label for c in cells} == {"fedavg", "trimmed-mean (trim 1)"}
    assert all((c.placement is None) == (c.rate is None) == (c.attack == "none") for c in cells)
    made = grid.config_of_cell(parse(GRID), cells[-1])
    assert (made.attack.name, made.attack.placement, made.attack.rate) == ("tlf", "focused", 0.2)
    assert (made.run.seed, made.aggregation.options) == (4, {"trim": 1})
    assert grid.config_of_cell(parse(GRID), cells[0]).attack.name is None


def test_a_summary_is_mean_and_deviation_over_seeds() -> None:
    def row(rule: str, accuracies: list[float]) -> dict[str, Any]:
        return {"rule": rule, "accuracy": accuracies[-1], "accuracies": accuracies}

    rows = [row("a", [0.1, 0.5]), row("b", [0.2, 0.9]), row("a", [0.3, 0.7])]
    first, second = grid.summarise(rows, ["rule"])
    assert (first["mean"], first["curve"], first["seeds"]) == (0.6, [0.2, 0.6], 2)
    assert first["sd"] == pytest.approx(0.02**0.5) and second["sd"] == 0.0


def test_a_rule_that_does_not_exist_is_found_before_the_first_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grid, "outcome", lambda *_: pytest.fail("a run began"))
    rules = (NamedRule(rule="fedavg"), NamedRule(rule="fedaverage"))
    config = replace(Config(), grid=replace(Config().grid, rules=rules))
    with pytest.raises(ConfigError, match="fedavg"):
        grid.run_sweep(config)


def test_the_attack_command_writes_rows_summary_and_a_plot(tmp_path: Path) -> None:
    """Without an attack it needs no engine of its own: two seeds of one rule, in the fixed point of
    `plain`."""
    pytest.importorskip("matplotlib", reason="the extra `report` is not installed")
    file = tmp_path / "a.toml"
    file.write_text(
        """
        [model]
        name = "mlp"
        hidden = [8]
        [data]
        pool = 4
        test = 50
        [federation]
        allow_weaker = true
        servers = { protocol = "plain" }
        clusters = [{ protocol = "plain", count = 2 }]
        [schedule]
        rounds = 2
        samples_per_client = 20
        epochs = 1
        [grid]
        attacks = ["none"]
        seeds = [0, 1]
        """
    )
    plot, out = tmp_path / "p.svg", tmp_path / "o.json"
    result = CliRunner().invoke(app, ["attack", str(file), "--plot", str(plot), "--json", str(out)])
    assert result.exit_code == 0, result.output
    body = json.loads(out.read_text())
    assert [row["seed"] for row in body["rows"]] == [0, 1] and all(
        len(r["accuracies"]) == 2 for r in body["rows"]
    )
    assert body["summary"][0]["seeds"] == 2 and "no attack" in plot.read_text()


def test_a_backdoors_success_is_measured_where_it_has_a_goal() -> None:
    small = parse(
        """
        [model]
        name = "logistic_regression"
        [data]
        pool = 2
        test = 60
        [federation]
        engine = "plain"
        clusters = [{ protocol = "2pc" }]
        [schedule]
        rounds = 1
        samples_per_client = 20
        epochs = 1
        [grid]
        attacks = ["none", "rlf", "badnets"]
        placements = ["equal"]
        rates = [0.5]
        seeds = [0]
        """
    )
    rows = grid.run_sweep(small)
    rates = {row["attack"]: row["success_rate"] for row in rows}
    assert rates["none"] is None and rates["rlf"] is None and 0 <= rates["badnets"] <= 1
    assert "attack success" in [
        str(c.header) for c in attack.table(grid.summarise(rows, attack.KEYS)).columns
    ]


def test_figure_3_shows_the_control_for_the_learning_rate() -> None:
    result, text = text_of(
        fig3.run, small=figures.shortened(TINY, clusters=3, seeds=(0, 1), rounds=2)
    )
    modes = {row["mode"] for row in result["summary"]}
    assert len(modes) == 3 and any("control" in mode for mode in modes)
    assert all(row["seeds"] == 2 and len(row["curve"]) == 2 for row in result["summary"])
    assert "ten times the learning rate" in text and "MNIST-small" in text
    if find_spec("matplotlib"):
        assert "control" in fig3.plot(result)


@pytest.mark.parametrize(
    ("module", "combinations"),
    [
        pytest.param(fig4, 2 * len(fig4.ATTACKS), id="fig4", marks=pytest.mark.slow),
        pytest.param(fig5, 2 * len(fig5.RATES) * 3, id="fig5", marks=pytest.mark.slow),
        pytest.param(fig6, 4 * len(fig6.rules(4)), id="fig6", marks=pytest.mark.slow),
    ],
)
def test_figures_run_every_combination(module: Any, combinations: int) -> None:
    result, text = text_of(module.run, small=TINY)
    assert len(result["summary"]) == combinations and "differs:" in text
    assert all(0 <= row["mean"] <= 1 for row in result["summary"])
    if find_spec("matplotlib"):
        assert module.plot(result).startswith("<svg")
