"""What the figures share: WW-FL and federated learning at one size, several seeds, curves with
their spread."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from wwfl.experiments import (
    Config,
    PlacementName,
    Series,
    curves,
    grouped_bars,
    parse,
    read_data,
    run_sweeps,
    summarise,
    sweep_cells,
)
from wwfl.federation.topology import NamedRule
from wwfl_core.errors import ConfigError

from .measured_round import announce

ENGINE = 'engine "plain": ordinary floats in the clear, no secrecy'


@dataclass(frozen=True)
class Size:
    """How large an experiment is. WW-FL pools `per_round` clients of each cluster; federated
    learning trains the same clients one by one, `clusters` x `per_round` of them in a round, with
    as many steps of SGD per model."""

    clusters: int
    clients: int
    per_round: int
    samples: int
    batch: int
    rounds: int
    seeds: tuple[int, ...]
    partition: str = "iid"
    model: str = 'name = "lenet5"'
    pool: int = 1
    test: int | None = None

    @property
    def steps(self) -> int:
        """Steps of SGD per model and round."""
        return -(-self.per_round * self.samples // self.batch) * 5

    def describe(self) -> str:
        """One line for a run's head."""
        return (
            f"{self.clusters} clusters x {self.clients} clients x {self.samples} images "
            f"({self.partition}), {self.per_round} clients per cluster and round, 5 epochs = "
            f"{self.steps} steps, {self.rounds} rounds, seeds {', '.join(map(str, self.seeds))}"
        )


SMALL = Size(10, 20, 5, 40, 40, 8, (0, 1))
PAPER = Size(10, 100, 10, 200, 80, 500, (0, 1, 2), "paper")


def size(full: bool, data: str | None, small: Size = SMALL) -> Size:
    """The paper's size or the small one.

    Raises:
        ConfigError: the paper's size without a full data set.
    """
    if full and data is None:
        raise ConfigError(
            "--full needs the full data set: --data FOLDER (`wwfl data FOLDER` tells what lies "
            "there)"
        )
    return PAPER if full else small


def ww_fl(size: Size, lr: float, data: str | None) -> Config:
    """Clusters that train on pooled data."""
    members = f'[{{ count = {size.clusters}, protocol = "plain", clients = {size.clients} }}]'
    return _config(size, members, size.per_round, size.batch, lr, data)


def fl(size: Size, lr: float, data: str | None) -> Config:
    """The same clients, each on its own; their batch is smaller by the number of clients that a
    cluster pools."""
    members = f'[{{ kind = "trainers", clients = {size.clusters * size.clients} }}]'
    batch = max(1, size.batch // size.per_round)
    return _config(size, members, size.clusters * size.per_round, batch, lr, data)


def _config(
    size: Size, members: str, per_round: int, batch: int, lr: float, data: str | None
) -> Config:
    folder = "" if data is None else f"folder = {data!r}"
    return parse(
        f"""
        [model]
        {size.model}
        [data]
        pool = {size.pool}
        {"" if size.test is None else f"test = {size.test}"}
        {folder}
        [partition]
        kind = "{size.partition}"
        [federation]
        engine = "plain"
        allow_weaker = true
        servers = {{ protocol = "plain" }}
        clusters = {members}
        [schedule]
        rounds = {size.rounds}
        samples_per_client = {size.samples}
        clients_per_round = {per_round}
        batch = {batch}
        lr = {lr}
        [grid]
        attacks = ["none"]
        seeds = {list(size.seeds)}
        """
    )


def gridded(
    config: Config,
    *,
    attacks: Sequence[str] = ("none",),
    placements: Sequence[PlacementName] = ("equal",),
    rates: Sequence[float] = (0.2,),
    rules: Sequence[NamedRule] = (NamedRule(),),
    root: int | None = None,
) -> Config:
    """The configuration with another grid, and with a root set for rules that need one."""
    chosen = replace(
        config.grid,
        attacks=tuple(attacks),
        placements=tuple(placements),
        rates=tuple(rates),
        rules=tuple(rules),
    )
    return replace(config, grid=chosen, data=replace(config.data, root=root))


def run_all(
    console: Console, configs: dict[str, Config], executor: Executor | None = None
) -> list[dict[str, Any]]:
    """The grids of several configurations, on `executor`'s workers if there is one; every row has
    the `mode`, their key."""
    grids: list[tuple[Config, dict[str, Any]]] = [
        (config, {"mode": mode}) for mode, config in configs.items()
    ]
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task(
            "runs", total=sum(len(sweep_cells(config)) for config in configs.values())
        )
        return run_sweeps(grids, executor=executor, on_row=lambda _: bars.advance(task))


def head(
    console: Console, title: str, config: Config, size: Size, differences: Sequence[str]
) -> list[str]:
    """Prints what is run and on what; returns the data's descriptions."""
    train, test = read_data(config.data)
    lines = [train.describe(), test.describe()]
    announce(
        console, title, *lines, size.describe(), ENGINE, *(f"differs: {d}" for d in differences)
    )
    return lines


def result(
    data: list[str],
    size: Size,
    differences: Sequence[str],
    rows: list[dict[str, Any]],
    keys: Sequence[str],
    name: str,
) -> dict[str, Any]:
    """A figure as plain data."""
    return {
        "data": data,
        "what": size.describe(),
        "engine": ENGINE,
        "differences": list(differences),
        "rows": rows,
        "keys": list(keys),
        "summary": summarise(rows, keys),
        "full_command": f"wwfl reproduce {name} --full --data FOLDER",
    }


def print_summary(console: Console, found: dict[str, Any], title: str) -> None:
    """Mean and standard deviation per combination."""
    table = Table(title=title, box=SIMPLE)
    for key in found["keys"]:
        table.add_column(key)
    for column in ("seeds", "accuracy", "sd"):
        table.add_column(column, justify="right")
    for row in found["summary"]:
        cells = ["" if row[key] is None else str(row[key]) for key in found["keys"]]
        table.add_row(
            *map(escape, cells), str(row["seeds"]), f"{row['mean']:.2%}", f"{row['sd']:.2%}"
        )
    console.print(table)
    console.print(f"the paper's size: {found['full_command']}", highlight=False)


def curve_plot(found: dict[str, Any], title: str) -> str:
    """One curve per combination, shaded by one standard deviation over seeds."""
    series = [
        Series(
            ", ".join(str(row[key]) for key in found["keys"] if row[key] is not None),
            list(range(1, len(row["curve"]) + 1)),
            row["curve"],
            row["curve_sd"] if row["seeds"] > 1 else None,
        )
        for row in found["summary"]
    ]
    return curves(series, title=title)


def bar_plot(
    found: dict[str, Any], group_keys: Sequence[str], bar_keys: Sequence[str], title: str
) -> str:
    """Groups of bars with error bars of one standard deviation over seeds."""

    def label(row: dict[str, Any], keys: Sequence[str], between: str) -> str:
        return between.join(_cell(key, row[key]) for key in keys if row[key] is not None)

    rows = {(label(r, group_keys, "\n"), label(r, bar_keys, ", ")): r for r in found["summary"]}
    groups, bars = (list(dict.fromkeys(key[i] for key in rows)) for i in (0, 1))
    missing = float("nan")
    means = {b: [rows[g, b]["mean"] if (g, b) in rows else missing for g in groups] for b in bars}
    spread = {b: [rows[g, b]["sd"] if (g, b) in rows else 0.0 for g in groups] for b in bars}
    return grouped_bars(groups, means, spread, title=title)


def _cell(key: str, value: Any) -> str:
    if key == "rate":
        return f"{value:.0%}"
    if key == "rule":
        return str(value).partition(" (")[0]  # its options are in the table
    return "no attack" if (key, value) == ("attack", "none") else str(value)


def shortened(size: Size, **changes: Any) -> Size:
    """The size with other values, for figures that have many runs."""
    return replace(size, **changes)
