"""`wwfl attack`: a grid of attacks, placements, rates, rules and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from wwfl.experiments import executors as spread
from wwfl.experiments import from_config as build
from wwfl.experiments import sweep as grid
from wwfl.experiments.config import load
from wwfl.experiments.report.plots import grouped_bars, require

from .backends import write_json

KEYS = ("attack", "placement", "rate", "rule")


def attack(
    *,
    config_path: str,
    overrides: Sequence[str],
    plot_path: str | None,
    json_path: str | None,
    console: Console,
    jobs: int | None = None,
    ray: str | None = None,
) -> list[dict[str, Any]]:
    """Runs the grid of a configuration; prints mean and deviation over seeds and returns one row
    per run."""
    config = load(config_path, overrides)
    if plot_path is not None:
        require("matplotlib")
    train, test = build.data(config.data)
    for line in (train.describe(), test.describe()):
        console.print(escape(line), highlight=False)
    count = len(grid.cells(config))
    console.print(
        f"{count} runs of {config.schedule.rounds} rounds, engine {config.federation.engine}"
    )
    with spread.chosen(jobs, ray) as executor, Progress(console=console, transient=True) as bars:
        task = bars.add_task("runs", total=count)
        rows = grid.run(config, executor=executor, on_row=lambda _: bars.advance(task))
    found = grid.summary(rows, KEYS)
    console.print(table(found))
    if plot_path is not None:
        Path(plot_path).write_text(plot(found))
    write_json(
        {"data": [train.describe(), test.describe()], "rows": rows, "summary": found}, json_path
    )
    return rows


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


def plot(found: Sequence[dict[str, Any]]) -> str:
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
