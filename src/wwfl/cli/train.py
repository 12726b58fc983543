"""`wwfl train`: a configuration becomes a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from wwfl.experiments import (
    Config,
    RunFolder,
    create_run,
    differing_keys,
    executor_for,
    finish_run,
    load,
    parse,
    plots_available,
    to_toml,
    write_plots,
)
from wwfl.federation.accounting import STAGE_KEYS, total
from wwfl.federation.topology import LocalTrainers, Member
from wwfl_core.errors import ConfigError

from .options import Jobs, Json, Ray, Set, console_beside, write_json
from .progress import Bars

RUNS = Path("runs")


def train(
    config: Annotated[
        str | None, typer.Argument(help="A TOML file; `wwfl config --example` prints one.")
    ] = None,
    set_: Set = None,
    run: Annotated[
        str | None, typer.Option(help="The run's folder; runs/NAME-TIME by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --run.")] = False,
    json: Json = None,
    jobs: Jobs = None,
    ray: Ray = None,
) -> list[dict[str, Any]]:
    """Run a configuration into a run folder: metrics, ledger, costs, plots and every party's
    checkpoint."""
    console = console_beside(json)
    overrides = set_ or ()
    kept = (_resumed if resume else _started)(config, overrides, run)
    told = kept.config
    console.print(f"run       {escape(str(kept.path))}")
    for split, line in kept.facts["data"].items():
        console.print(f"{split:<9} {escape(line)}", highlight=False)
    console.print(_who(told))
    if told.federation.insecure_seed is not None:
        console.print(
            "[yellow]all keys are derived from federation.insecure_seed: reproducible, not "
            "secure[/yellow]"
        )

    with (
        executor_for(jobs, ray) as executor,
        Bars(console, told.schedule.rounds, len(kept.metrics())) as bars,
    ):

        def show(line: dict[str, Any]) -> None:
            bars.finished(line["round"])
            console.print(_sentence(line))

        metrics = finish_run(kept, progress=bars.stage, on_round=show, executor=executor)

    console.print(_costs(metrics))
    if plots_available():
        write_plots(metrics, kept.path / "plots")
    console.print(f"the model is protected against: {kept.facts['guarantee']}")
    console.print(f"`wwfl report {escape(str(kept.path))}` makes a page of this run")
    write_json({"run": str(kept.path), "metrics": metrics}, json)
    return metrics


def _started(config_path: str | None, overrides: Sequence[str], folder: str | None) -> RunFolder:
    if config_path is None:
        raise ConfigError("name a configuration; `wwfl config --example` prints one")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return create_run(
        load(config_path, overrides), folder or RUNS / f"{Path(config_path).stem}-{stamp}"
    )


def _resumed(config_path: str | None, overrides: Sequence[str], folder: str | None) -> RunFolder:
    """The folder's own configuration; only the number of rounds may be another one now."""
    if folder is None:
        raise ConfigError("--resume needs --run FOLDER, the run to go on with")
    kept = RunFolder.open(folder)
    stored = to_toml(kept.config)
    wanted = (
        load(config_path, overrides)
        if config_path
        else parse(stored, overrides, source=f"{folder}/config.toml")
    )
    different = [key for key in differing_keys(kept.config, wanted) if key != "schedule.rounds"]
    if different:
        raise ConfigError(
            f"{folder} was made with another configuration ({', '.join(different)} differ); only "
            "schedule.rounds may change with --resume"
        )
    if wanted.schedule.rounds < (done := len(kept.metrics())):
        raise ConfigError(
            f"{folder} has {done} rounds; schedule.rounds={wanted.schedule.rounds} would be fewer"
        )
    with kept.locked():
        kept.extend(wanted)
    return kept


def _who(config: Config) -> str:
    section = config.federation
    names = ", ".join(
        f"{member.count} x {_what(member)}" if member.count > 1 else member.name or _what(member)
        for member in section.clusters
    )
    return escape(
        f"engine    {section.engine}; {names} for global servers {section.servers.protocol}"
    )


def _what(member: Member) -> str:
    return "trainers" if isinstance(member, LocalTrainers) else str(member.protocol)


def _sentence(line: dict[str, Any]) -> str:
    hits = "" if line["accuracy"] is None else f" {line['accuracy']:.2%} of the test images right"
    gone = "".join(f"; {name} left out: {why}" for name, why in line.get("absent", {}).items())
    private = f"\n           {line['privacy']['words']}" if line.get("privacy") else ""
    return escape(f"round {line['round']:>3}:{hits} ({line['measured_s']:.1f} s){gone}{private}")


def _costs(metrics: list[dict[str, Any]]) -> Table:
    table = Table(
        title="payload of all parties, time on the modelled network, time it took here", box=SIMPLE
    )
    for column in ("where", "stage"):
        table.add_column(column, no_wrap=True)
    for column in ("offline MB", "online MB", "rounds", "modelled s", "took s"):
        table.add_column(column, justify="right")
    for row in total([row for line in metrics for row in line["stages"]], STAGE_KEYS):
        table.add_row(
            row["where"],
            row["stage"],
            f"{row['bytes_offline'] / 1e6:.1f}",
            f"{row['bytes_online'] / 1e6:.1f}",
            str(row["rounds_online"]),
            f"{row['modelled_s_online'] + row['modelled_s_offline']:.1f}",
            f"{row['measured_s']:.1f}",
        )
    return table
