"""Attacks x placements x rates x rules x seeds: one configuration, many runs, one row each."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from . import build
from .attacks import success_rate
from .config import Config
from .config.sections import Aggregation
from .federation import Progress


def _quiet(*_: Any) -> None:
    return


@dataclass(frozen=True)
class Cell:
    """One combination. Without an attack, placement and rate mean nothing and are None."""

    attack: str
    placement: str | None
    rate: float | None
    rule: Aggregation
    seed: int

    @property
    def rule_label(self) -> str:
        """The rule with its options, as a plot names it."""
        options = ", ".join(f"{key} {value}" for key, value in self.rule.options.items())
        return f"{self.rule.rule} ({options})" if options else self.rule.rule


def cells(config: Config) -> list[Cell]:
    """All combinations of the section [grid]; "none" occurs once per rule and seed."""
    grid, found = config.grid, list[Cell]()
    for attack, rule, seed in itertools.product(grid.attacks, grid.rules, grid.seeds):
        if attack == "none":
            found.append(Cell(attack, None, None, rule, seed))
            continue
        for placement, rate in itertools.product(grid.placements, grid.rates):
            found.append(Cell(attack, placement, rate, rule, seed))
    return found


def configured(config: Config, cell: Cell) -> Config:
    """The configuration of one cell."""
    poisoning: dict[str, Any] = {"name": None}
    if cell.attack != "none":
        poisoning = {"name": cell.attack, "placement": cell.placement, "rate": cell.rate}
    return config.model_copy(
        update={
            "aggregation": cell.rule,
            "attack": config.attack.model_copy(update=poisoning),
            "run": config.run.model_copy(update={"seed": cell.seed}),
        }
    )


def outcome(config: Config, sets: build.Sets, progress: Progress = _quiet) -> tuple[list[float], float | None]:
    """Runs a configuration without a folder, on data that was read: the test accuracy after each round, and at the end
    the success rate of an attack that has a goal (else None)."""
    setting = build.setting(config, sets)
    test, attack = setting.test, setting.attack
    with build.federation(config, setting) as federation:
        history = federation.fit(
            setting.train, test, rounds=config.schedule.rounds, partition=setting.partition, progress=progress
        )
        aims = attack is not None and attack.goal(test) is not None
        success = success_rate(attack, test, federation.predict) if attack is not None and aims else None
        return [record.accuracy or 0.0 for record in history], success


def run(
    config: Config, *, progress: Progress = _quiet, on_row: Callable[[dict[str, Any]], None] = _quiet, **extra: Any
) -> list[dict[str, Any]]:
    """One row per cell, in order; `extra` goes into every row. `on_row` sees each row when it is done.

    Raises:
        ConfigError: an attack or rule that does not exist or does not fit; all cells are checked before the first runs.
    """
    chosen = cells(config)
    for section in {cell.rule_label: cell.rule for cell in chosen}.values():
        build.rule(section, config.privacy)
    rows, sets = [], build.data(config.data)
    for cell in chosen:
        begun = time.monotonic()
        accuracies, success = outcome(configured(config, cell), sets, progress)
        row = {
            **extra,
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
        rows.append(row)
        on_row(row)
    return rows


def summary(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Mean and standard deviation (0 for a single seed) of the last accuracy, and of the curves, over seeds."""
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
