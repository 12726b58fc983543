"""`wwfl attack`: a grid of attacks, placements, rates, rules and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from wwfl.experiments import (
    executor_for,
    grouped_bars,
    load,
    read_data,
    require_package,
    run_sweep,
    summarise,
    sweep_cells,
)

from .options import Jobs, Json, Plot, Ray, Set, console_beside, write_json

KEYS = ("attack", "placement", "rate", "rule")


def attack(
    config: Annotated[
        str, typer.Argument(help="A TOML file whose section [grid] says what to combine.")
    ],
    set_: Set = None,
    plot: Plot = None,
    json: Json = None,
    jobs: Jobs = None,
    ray: Ray = None,
) -> None:
    """Run attacks x placements x rates x rules x seeds of one configuration."""
    console = console_beside(json)
    told = load(config, set_ or ())
    if plot is not None:
        require_package("matplotlib")
    train, test = read_data(told.data)
    for line in (train.describe(), test.describe()):
        console.print(escape(line), highlight=False)
    count = len(sweep_cells(told))
    console.print(f"{count} runs of {told.schedule.rounds} rounds, engine {told.federation.engine}")

    with executor_for(jobs, ray) as executor, Progress(console=console, transient=True) as bars:
        task = bars.add_task("runs", total=count)
        rows = run_sweep(told, executor=executor, on_row=lambda _: bars.advance(task))

    found = summarise(rows, KEYS)
    console.print(table(found))
    if plot is not None:
        Path(plot).write_text(bars_of(found))
    write_json({"data": [train.describe(), test.describe()], "rows": rows, "summary": found}, json)


def table(found: Sequence[dict[str, Any]]) -> Table:
    """Mean and standard deviation of the last round's accuracy; where attacks have a goal, how
    often they reach it."""
    made = Table(
        title="test accuracy after the last round, mean and standard deviation over seeds",
        box=SIMPLE,
    )
    for column in KEYS:
        made.add_column(column)
    aims = any(row["success_rate"] is not None for row in found)
    for column in ("seeds", "mean", "sd", *(["attack success"] if aims else [])):
        made.add_column(column, justify="right")
    for row in found:
        cells = ["" if row[key] is None else str(row[key]) for key in KEYS]
        success = "" if row["success_rate"] is None else f"{row['success_rate']:.2%}"
        numbers = [
            str(row["seeds"]),
            f"{row['mean']:.2%}",
            f"{row['sd']:.2%}",
            *([success] if aims else []),
        ]
        made.add_row(*map(escape, cells), *numbers)
    return made


def bars_of(found: Sequence[dict[str, Any]]) -> str:
    """One group per attack, placement and rate, one bar per rule, error bars of one standard
    deviation."""
    groups = list(dict.fromkeys(_group(row) for row in found))
    rules = list(dict.fromkeys(row["rule"] for row in found))
    at = {(_group(row), row["rule"]): row for row in found}
    means = {rule: [at[g, rule]["mean"] for g in groups] for rule in rules}
    spread = {rule: [at[g, rule]["sd"] for g in groups] for rule in rules}
    return grouped_bars(groups, means, spread, title="accuracy under attack")


def _group(row: dict[str, Any]) -> str:
    if row["placement"] is None:
        return "no attack"
    return f"{row['attack']}\n{row['placement']}\n{row['rate']:.0%}"
