"""`wwfl matrix`: conversion between every ordered pair of registered protocols, measured and checked."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reshare import Reshared, reshare_with_report
from wwfl_core.arrays import F64
from wwfl_core.backend import MPCBackend
from wwfl_core.cluster import LocalCluster
from wwfl_core.registry import Entry, Factory, backends

from .backends import write_json

ELEMENTS = 1000
DEADLINE_S = 30.0

INTRODUCTION = f"""# Conversion between protocols

Made by `wwfl matrix --markdown docs/matrix.md`.

A tensor of {ELEMENTS} elements is shared at one cluster, converted to another one and opened there; its value is
compared exactly. Bytes are payload over all links, with the check points of malicious-secure protocols; rounds are
measured along the message dependencies. The guarantee of the result is the weaker one of both clusters. No pair has
code of its own: paths follow from the two component tables (`src/reshare`), also for protocols that are not built in.
The last two columns are the same conversion when the i-th servers of both clusters have one host: bytes between hosts,
and the path that was then the cheapest.
"""


def matrix(*, json_path: str | None, markdown_path: str | None, console: Console) -> list[dict[str, Any]]:
    """Prints and returns one row per ordered pair of protocols that work; broken plug-ins are named and left out.

    With `markdown_path` only built-in protocols are measured, and their table is written there.
    """
    entries = [e for e in backends().values() if markdown_path is None or e.built_in]
    rows, problems = measure_pairs(entries)
    console.print(_table(rows))
    console.print(f"{ELEMENTS} elements of 64 bits; bytes and rounds as measured, all links; every value checked")
    for name, problem in problems.items():
        console.print(f"[yellow]{escape(name)} does not work:[/yellow] {escape(problem)}")
    for row in rows:
        if row["error"] is not None:
            console.print(f"[red]{row['source']} -> {row['target']}:[/red] {escape(row['error'])}")
    write_json(rows, json_path)
    if markdown_path is not None:
        Path(markdown_path).write_text(f"{INTRODUCTION}\n{markdown(rows)}")
    return rows


def measure_pairs(entries: list[Entry]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The rows, and the protocols that do not start with the reason."""
    working: dict[str, Factory] = {}
    problems: dict[str, str] = {}
    for entry in entries:
        if entry.factory is None:
            problems[entry.name] = entry.error or "unknown"
            continue
        try:
            LocalCluster(entry.factory(), deadline_s=DEADLINE_S).close()
            working[entry.name] = entry.factory
        except (Exception, SystemExit) as error:
            problems[entry.name] = f"{type(error).__name__}: {error}"
    return [_row(*source, *target) for source, target in product(working.items(), repeat=2)], problems


def _row(source: str, make_source: Factory, target: str, make_target: Factory) -> dict[str, Any]:
    """One pair, on clusters of its own, so that a failure concerns no other pair."""
    row: dict[str, Any] = {"source": source, "target": target, "value": ""}
    row |= dict.fromkeys(("bytes", "rounds", "guarantee", "path", "shared_bytes", "shared_path"))
    here, there = make_source(), make_target()
    values = here.fixed.decode(here.fixed.encode(np.linspace(-1000, 1000, ELEMENTS)))
    try:
        moved, error = _convert(here, there, values, shared=False)
        together, error_together = _convert(here, there, values, shared=True)
    except (Exception, SystemExit) as problem:
        return row | {"error": f"{type(problem).__name__}: {problem}"}
    # A target with fewer fractional bits rounds to its own format; all else is exact.
    unit = 2.0**-there.fixed.frac_bits if there.fixed.frac_bits < here.fixed.frac_bits else 0.0
    error = max(error, error_together)
    return row | {
        "bytes": moved.cost.bytes_sent(),
        "rounds": max(moved.cost.rounds.values()),
        "guarantee": str(moved.handle.guarantee),
        "path": moved.path,
        "shared_bytes": together.cost.bytes_sent(),
        "shared_path": together.path,
        "value": "WRONG" if error > unit else "rounded" if error else "exact",
        "error": None if error <= unit else f"the value is wrong by up to {error:g}",
    }


def _convert(here: MPCBackend, there: MPCBackend, values: F64, *, shared: bool) -> tuple[Reshared, float]:
    """One conversion between fresh clusters, and its error; `shared`: the i-th servers of both have one host."""
    hosts = [[f"host {i}" for i in range(p.sharing.parties)] if shared else None for p in (here, there)]
    with (
        LocalCluster(here, deadline_s=DEADLINE_S, hosts=hosts[0]) as a,
        LocalCluster(there, deadline_s=DEADLINE_S, hosts=hosts[1]) as b,
    ):
        moved = reshare_with_report(a.share(values), b, allow_weaker=True)
        return moved, float(np.max(np.abs(b.reveal(moved.handle) - values)))


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="conversion of shares between protocols", box=SIMPLE)
    for column in ("source", "target"):
        table.add_column(column)
    for column in ("bytes", "rounds"):
        table.add_column(column, justify="right")
    for column in ("guarantee of the result", "path", "value"):
        table.add_column(column)
    table.add_column("shared hosts: bytes", justify="right")
    table.add_column("path")
    for row in rows:
        table.add_row(*(text.replace(", security with abort", "").replace(" party", "") for text in _cells(row)))
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    if row["bytes"] is None:
        return [row["source"], row["target"], *[""] * 7]
    figures = [f"{row['bytes']:,}", str(row["rounds"]), row["guarantee"], row["path"], row["value"]]
    return [row["source"], row["target"], *figures, f"{row['shared_bytes']:,}", row["shared_path"]]


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| source | target | bytes | rounds | guarantee of the result | path | value | shared hosts: bytes | path |",
        "| --- | --- | ---: | ---: | --- | --- | --- | ---: | --- |",
    ]
    return "\n".join([*lines, *("| " + " | ".join(_cells(row)) + " |" for row in rows)]) + "\n"
