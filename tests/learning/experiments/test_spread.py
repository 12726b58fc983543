"""Independent runs spread over processes and over Ray give the rows that they give one after
another."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from backends import Plain
from small_federations import SMALL, digits, model, weights
from wwfl import Cluster, Federation, LocalTrainers
from wwfl.cli.main import app
from wwfl.experiments import executors as spread
from wwfl.experiments import sweep as grid
from wwfl.experiments.config import Config, parse
from wwfl.reproduce import accuracy_figures as figures
from wwfl.reproduce import fig3
from wwfl_core.errors import ConfigError, Refused, WwflError

TINY = """
[model]
name = "mlp"
hidden = [8]
[data]
pool = 4
train = 300
test = 60
[federation]
engine = "plain"
servers = { protocol = "plain" }
clusters = [{ protocol = "plain", count = 2 }, { kind = "trainers" }]
[schedule]
rounds = 2
samples_per_client = 10
epochs = 1
[grid]
attacks = ["none", "rlf"]
placements = ["equal"]
rules = [{ rule = "fedavg" }, { rule = "median" }]
seeds = [0]
"""
NAMES = ("attack", "placement", "rate", "rule", "seed", "accuracies", "mode")


def facts(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Everything but the seconds."""
    return [tuple(row.get(name) for name in NAMES) for row in rows]


def trained(executor: Executor | None) -> bytes:
    train, test = digits()
    members = [Cluster(Plain(), 3), Cluster(Plain(), 3), LocalTrainers(3)]
    options: dict[str, Any] = {
        "schedule": SMALL,
        "engine": "plain",
        "insecure_seed": 3,
        "executor": executor,
    }
    with Federation(model(), Plain(), members, **options) as fed:
        fed.fit(train, test, rounds=2)
        return weights(fed)


def failing(executor: Executor | None) -> None:
    rules = "grid.rules=[{rule='median'}, {rule='trimmed-mean', options={trim=9}}]"
    config = parse(TINY, [rules, "grid.seeds=[4]", "grid.attacks=['none']"])
    with pytest.raises(
        ConfigError, match=r"^no attack, trimmed-mean \(trim 9\), seed 4: .*more than 18"
    ):
        grid.run_sweep(config, executor=executor)


def test_two_processes_give_the_rows_the_bits_and_the_errors_of_one() -> None:
    """All in one test: every worker process takes seconds to start."""
    grids: list[tuple[Config, dict[str, Any]]] = [(parse(TINY), {"mode": "a"})]
    seen: list[dict[str, Any]] = []
    with spread.processes(2) as two:
        rows = grid.run_sweeps(grids, executor=two, on_row=seen.append)
        assert two.submit(os.getpid).result() != os.getpid()
        assert trained(two) == trained(None)
        failing(two)
    assert facts(rows) == facts(grid.run_sweeps(grids)) and len(rows) == 4
    assert sorted(map(repr, seen)) == sorted(map(repr, rows))


class Counting(ThreadPoolExecutor):
    """A worker that starts at once, and counts what it is given. (One: torch.fx traces one model at
    a time.)"""

    given = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.given += 1
        return super().submit(fn, *args, **kwargs)


def test_commands_give_their_work_to_the_workers_that_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = tmp_path / "a.toml", tmp_path / "o.json"
    file.write_text(TINY)
    pools: list[Counting] = []
    monkeypatch.setattr(spread, "processes", lambda jobs: pools.append(Counting(1)) or pools[-1])

    def run(*command: str) -> Any:
        result = CliRunner().invoke(app, [*command, "--json", str(out)])
        assert result.exit_code == 0, result.output
        return json.loads(out.read_text())

    alone, spread_out = run("attack", str(file)), run("attack", str(file), "--jobs", "2")
    assert facts(alone["rows"]) == facts(spread_out["rows"]) and pools.pop().given == 4
    options = {
        "full": False,
        "small": figures.Size(2, 4, 2, 10, 10, 1, (0,), model='name = "mlp"\nhidden = [4]', pool=4),
    }
    with Counting(1) as pool:
        one, other = (fig3.run(Console(quiet=True), executor=e, **options) for e in (None, pool))
    assert facts(one["rows"]) == facts(other["rows"]) and pool.given == 3
    runs = [
        run("train", str(file), "--run", str(tmp_path / n), *more)
        for n, more in (("a", ()), ("b", ("--jobs", "2")))
    ]
    assert [[m["accuracy"] for m in r["metrics"]] for r in runs] == [
        [m["accuracy"] for m in runs[0]["metrics"]]
    ] * 2
    assert pools.pop().given == 2 * (2 + 2)  # rounds x (clusters + sampled trainers)


def test_a_failure_names_its_cell_and_stays_what_it_was() -> None:
    failing(None)
    config = parse(
        TINY, ["privacy.clip=1.0", "privacy.noise_multiplier=1.0", "privacy.epsilon=0.1"]
    )
    with pytest.raises(Refused, match="seed 0: release 1") as refusal:
        grid.run_sweep(config)
    assert refusal.value.rule == "privacy budget"


@pytest.mark.slow
def test_a_worker_that_dies_is_reported_with_a_cell() -> None:
    with spread.processes(1) as one:
        one.submit(os._exit, 1)
        with pytest.raises(WwflError, match=r"a worker died.* when it ran (no attack|rlf).*seed 0"):
            grid.run_sweep(parse(TINY), executor=one)


def test_a_run_that_trains_nothing_in_the_clear_takes_no_workers(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(
        TINY.replace('engine = "plain"', 'engine = "simulate"').replace(
            ', { kind = "trainers" }', ""
        )
    )
    result = CliRunner().invoke(
        app, ["train", str(file), "--run", str(tmp_path / "run"), "--jobs", "2"]
    )
    assert result.exit_code == 1 and 'engine "simulate" trains at its servers' in " ".join(
        result.output.split()
    )


def test_what_cannot_be_spread_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.toml"
    file.write_text(TINY)

    def says(*command: str) -> str:
        result = CliRunner().invoke(app, list(command))
        assert result.exit_code == 1
        return " ".join(result.output.split())

    assert "say one of them" in says("attack", str(file), "--jobs", "2", "--ray", "auto")
    assert "at least one" in says("attack", str(file), "--jobs", "0")
    assert "neither --jobs nor --ray" in says("reproduce", "layers", "--jobs", "2")
    monkeypatch.setattr(spread, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "ray", None)  # an import would fail
    for command in (
        ("attack", str(file)),
        ("reproduce", "fig3"),
        ("train", str(file), "--run", str(tmp_path / "r")),
    ):
        assert "pip install wwfl[ray]" in says(*command, "--ray", "local")


# ---------------------------------------------------------------------- Ray


@pytest.fixture(scope="module")
def ray_workers() -> Iterator[Executor]:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with spread.RayExecutor("local", cpus=2) as executor:
        yield executor


@pytest.mark.slow
def test_cells_in_ray_workers_give_the_rows_of_one_after_another(ray_workers: Executor) -> None:
    assert facts(grid.run_sweep(parse(TINY), executor=ray_workers)) == facts(
        grid.run_sweep(parse(TINY))
    )
    assert ray_workers.submit(os.getpid).result() != os.getpid()


@pytest.mark.slow
def test_leaves_in_ray_workers_are_trained_to_the_same_bits(ray_workers: Executor) -> None:
    assert trained(ray_workers) == trained(None)


@pytest.mark.slow
def test_an_error_in_a_ray_worker_is_that_error(ray_workers: Executor) -> None:
    def refuse() -> None:  # Ray sends a local function itself; workers need not find this file
        raise Refused("no", "a rule")

    with pytest.raises(Refused) as refusal:
        ray_workers.submit(refuse).result()
    assert refusal.value.rule == "a rule" and str(refusal.value) == "no"
    trims = parse(TINY, ["grid.rules=[{rule='trimmed-mean', options={trim=9}}]"])
    with pytest.raises(ConfigError, match=r"seed 0: .*more than 18"):
        grid.run_sweep(trims, executor=ray_workers)


@pytest.mark.slow
def test_a_cancelled_task_stops_in_ray(ray_workers: Executor) -> None:
    tasks = [ray_workers.submit(time.sleep, 600) for _ in range(4)]
    begun = time.monotonic()
    assert all(task.cancel() for task in tasks)
    assert ray_workers.submit(abs, -1).result() == 1 and time.monotonic() - begun < 120


@pytest.mark.slow
def test_a_ray_worker_that_dies_for_good_is_reported_with_a_cell(ray_workers: Executor) -> None:
    with pytest.raises(WwflError, match=r"a worker died.*seed 0") as lost:
        list(
            grid._spread([(parse(TINY), grid.sweep_cells(parse(TINY))[0], {})], Dying(ray_workers))
        )
    assert "Ray" in str(lost.value.__cause__)


class Dying(Executor):
    """Runs on another executor whatever kills its worker."""

    def __init__(self, other: Executor) -> None:
        self.other = other

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return self.other.submit(os._exit, 1)


@pytest.mark.slow
def test_no_cluster_at_an_address_is_a_configuration_error() -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    import ray

    if not ray.is_initialized():
        with pytest.raises(ConfigError, match="ray start --head"):
            spread.RayExecutor("auto")
