"""Attacks x placements x rates x rules x seeds: one configuration, many runs, one row each."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from wwfl.attacks import success_rate
from wwfl.federation.topology import NamedRule
from wwfl_core.errors import WwflError

from .config import Config, Data
from .from_config import Sets, aggregation_rule, prepare_data, read_data, start_federation


def _quiet(*_: Any) -> None:
    return


@dataclass(frozen=True)
class Cell:
    """One combination. Without an attack, placement and rate mean nothing and are None."""

    attack: str
    placement: str | None
    rate: float | None
    rule: NamedRule
    seed: int

    @property
    def rule_label(self) -> str:
        """The rule with its options, as a plot names it."""
        options = ", ".join(f"{key} {value}" for key, value in self.rule.options.items())
        return f"{self.rule.rule} ({options})" if options else self.rule.rule

    def __str__(self) -> str:
        """The combination in words."""
        who = (
            "no attack"
            if self.placement is None
            else f"{self.attack}, {self.placement}, rate {self.rate:g}"
        )
        return f"{who}, {self.rule_label}, seed {self.seed}"


def sweep_cells(config: Config) -> list[Cell]:
    """All combinations of the section [grid]; "none" occurs once per rule and seed."""
    grid, found = config.grid, list[Cell]()
    for attack, rule, seed in itertools.product(grid.attacks, grid.rules, grid.seeds):
        if attack == "none":
            found.append(Cell(attack, None, None, rule, seed))
            continue
        for placement, rate in itertools.product(grid.placements, grid.rates):
            found.append(Cell(attack, placement, rate, rule, seed))
    return found


def config_of_cell(config: Config, cell: Cell) -> Config:
    """The configuration of one cell."""
    poisoning: dict[str, Any] = {"name": None}
    if cell.attack != "none":
        poisoning = {"name": cell.attack, "placement": cell.placement, "rate": cell.rate}
    return replace(
        config,
        aggregation=cell.rule,
        attack=replace(config.attack, **poisoning),
        run=replace(config.run, seed=cell.seed),
    )


def outcome(config: Config, sets: Sets) -> tuple[list[float], float | None]:
    """Runs a configuration without a folder, on data that was read: the test accuracy after each
    round, and at the end the success rate of an attack that has a goal (else None)."""
    data = prepare_data(config, sets)
    test, attack = data.test, data.attack
    with start_federation(config, data) as federation:
        history = federation.fit(
            data.train, test, rounds=config.schedule.rounds, partition=data.partition
        )
        aims = attack is not None and attack.goal(test) is not None
        success = (
            success_rate(attack, test, federation.predict) if attack is not None and aims else None
        )
        return [record.accuracy or 0.0 for record in history], success


def run_sweep(
    config: Config,
    *,
    executor: Executor | None = None,
    on_row: Callable[[dict[str, Any]], None] = _quiet,
    **extra: Any,
) -> list[dict[str, Any]]:
    """One row per cell, in order; `extra` goes into every row. See `run_sweeps`."""
    return run_sweeps([(config, extra)], executor=executor, on_row=on_row)


def run_sweeps(
    grids: Sequence[tuple[Config, dict[str, Any]]],
    *,
    executor: Executor | None = None,
    on_row: Callable[[dict[str, Any]], None] = _quiet,
) -> list[dict[str, Any]]:
    """One row per cell of every grid, in order; what stands beside a configuration goes into its
    rows. `on_row` sees each row when it is done.

    Cells are independent: `executor` (see `executors`) runs them elsewhere, several at
    a time, and the rows are the same, measured seconds apart. Every cell computes with one thread
    of torch per model that it trains, so that floats do not depend on where it runs; workers read
    the data themselves, once for all cells that they run. They must be processes, since torch.fx
    traces one model at a time.

    Raises:
        ConfigError: an attack or rule that does not exist or does not fit; all cells are checked
            before the first runs.
        WwflError: a worker died. Whatever a cell raises; the message (or a note) names the cell.
    """
    jobs = [(config, cell, extra) for config, extra in grids for cell in sweep_cells(config)]
    for config, _ in grids:
        for section in {cell.rule_label: cell.rule for cell in sweep_cells(config)}.values():
            aggregation_rule(section, config.privacy)
    rows: dict[int, dict[str, Any]] = {}
    for at, row in _here(jobs) if executor is None else _spread(jobs, executor):
        rows[at] = jobs[at][2] | row
        on_row(rows[at])
    return [rows[at] for at in range(len(jobs))]


Job = tuple[Config, Cell, dict[str, Any]]


def _here(jobs: Sequence[Job]) -> Iterator[tuple[int, dict[str, Any]]]:
    sets: dict[Data, Sets] = {}
    for at, (config, cell, _) in enumerate(jobs):
        with _naming(cell):
            if config.data not in sets:
                sets = {config.data: read_data(config.data)}
            row = _run_cell(config, cell, sets[config.data])
        yield at, row


def _spread(jobs: Sequence[Job], executor: Executor) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows as they are done. After a failure nothing more is started."""
    futures = {
        executor.submit(_run_there, _found_anywhere(c), cell): at
        for at, (c, cell, _) in enumerate(jobs)
    }
    try:
        for future in as_completed(futures):
            with _naming(jobs[futures[future]][1]):
                row = future.result()
            yield futures[future], row
    finally:
        for future in futures:
            future.cancel()


def _found_anywhere(config: Config) -> Config:
    """The configuration with the data's folder as an absolute path: a worker may run in another
    folder."""
    if config.data.folder is None:
        return config
    return replace(config, data=replace(config.data, folder=os.path.abspath(config.data.folder)))


@contextmanager
def _naming(cell: Cell) -> Generator[None]:
    """Errors inside say which cell it was."""
    try:
        yield
    except BrokenExecutor as error:
        raise WwflError(
            f"a worker died, perhaps for want of memory, when it ran {cell} or another cell"
        ) from error
    except WwflError as error:
        error.args = (f"{cell}: {error}", *error.args[1:])
        raise
    except Exception as error:
        error.add_note(f"in the cell {cell}")
        raise


@lru_cache(maxsize=1)
def _read(section: Data) -> Sets:
    """In a worker: the data of the last cell, which most likely is that of the next one."""
    return read_data(section)


def _run_there(config: Config, cell: Cell) -> dict[str, Any]:
    return _run_cell(config, cell, _read(config.data))


def _run_cell(config: Config, cell: Cell, sets: Sets) -> dict[str, Any]:
    begun = time.monotonic()
    with _one_thread():
        accuracies, success = outcome(config_of_cell(config, cell), sets)
    return {
        "attack": cell.attack,
        "placement": cell.placement,
        "rate": cell.rate,
        "rule": cell.rule_label,
        "seed": cell.seed,
        "accuracy": accuracies[-1],
        "accuracies": accuracies,
        "success_rate": success,
        "measured_s": time.monotonic() - begun,
    }


@contextmanager
def _one_thread() -> Generator[None]:
    """Sums of floats depend on how many threads share them; clusters train in threads of their own
    anyway."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def summarise(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Mean and standard deviation (0 for a single seed) of the last accuracy, and of the curves,
    over seeds."""
    found = []
    for key, group in _grouped(rows, keys):
        last = [row["accuracy"] for row in group]
        curves = list(zip(*(row["accuracies"] for row in group), strict=True))
        found.append(
            {
                **dict(zip(keys, key, strict=True)),
                "seeds": len(group),
                "mean": statistics.fmean(last),
                "sd": statistics.stdev(last) if len(last) > 1 else 0.0,
                "success_rate": _mean_if_known([row.get("success_rate") for row in group]),
                "curve": [statistics.fmean(c) for c in curves],
                "curve_sd": [statistics.stdev(c) if len(c) > 1 else 0.0 for c in curves],
            }
        )
    return found


def _mean_if_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _grouped(
    rows: Sequence[dict[str, Any]], keys: Sequence[str]
) -> Iterator[tuple[tuple[Any, ...], list[dict[str, Any]]]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[k] for k in keys), []).append(row)
    yield from groups.items()
