"""`wwfl matrix`: conversion between every ordered pair of protocols, measured and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wwfl.experiments import CONVERTED_NUMBERS, ConversionRow, measure_conversions

from .backends import chosen
from .options import Json, Protocols, console_beside, writable, write_json

COUNT = CONVERTED_NUMBERS
INTRODUCTION = f"""# Conversion between protocols

Made by `wwfl matrix --markdown docs/reference/matrix.md`, for the built-in protocols. Those whose
engines are optional packages (`crypten`, `shamir`) are among them where these are installed.

For each pair, a tensor of {COUNT} numbers, up to the largest that both clusters hold, is shared
at one cluster, converted to the other and opened there. Its value is compared exactly, and so is
that of {COUNT} bits.

- **bytes**: payload over all links, with the check points of malicious-secure protocols, and
  without a target's set-up (`2pc-ot`: 32,832 bytes, once).
- **rounds**: measured along the message dependencies.
- **guarantee of the result**: the weaker one of both clusters.
- **modulus**: where it changes, the target multiplies (two words) or compares (more words) to undo
  wraps.
- **shared hosts**: the same conversion when the i-th servers of both clusters have one host: bytes
  between hosts, and the path that was then the cheapest.

No pair has code of its own. Paths follow from the two component tables (`src/reshare`), also for
protocols that are not built in.
"""
COLUMNS = {
    "source": "---",
    "target": "---",
    "bytes": "---:",
    "rounds": "---:",
    "guarantee of the result": "---",
    "path": "---",
    "modulus": "---",
    "value": "---",
    "shared hosts: bytes": "---:",
    "shared hosts: path": "---",
}


def matrix(
    protocols: Protocols = None,
    json: Json = None,
    markdown: Annotated[
        str | None,
        typer.Option(
            help="Write the table of the built-in protocols to this file, as in docs/matrix.md.",
            callback=writable,
        ),
    ] = None,
    long: Annotated[
        bool, typer.Option("--long", help="One line per pair, with guarantee, path and bytes.")
    ] = False,
) -> None:
    """Convert shares between every ordered pair of protocols: bytes, rounds and guarantee, every
    value checked."""
    console = console_beside(json)
    named = protocols or ()
    entries = [e for e in chosen(named) if named or markdown is None or e.built_in]
    with Console(stderr=True).status("converting") as status:
        rows, problems = measure_conversions(entries, status.update)
    for table in [_list(rows)] if long else _pivots(rows, console):
        console.print(table)
    console.print(_legend(rows, long=long), highlight=False)
    for name, problem in problems.items():
        console.print(f"[yellow]{escape(name)} does not work:[/yellow] {escape(problem)}")
    for row in rows:
        if row["error"] is not None:
            console.print(
                f"[red]{escape(row['source'])} -> {escape(row['target'])}:[/red] "
                f"{escape(row['error'])}"
            )
    write_json(rows, json)
    if markdown is not None:
        Path(markdown).write_text(f"{INTRODUCTION}\n{markdown_table(rows)}")
    if any(row["error"] is not None for row in rows):
        raise typer.Exit(1)


# ---------------------------------------------------------------------- the terminal


def _pivots(rows: list[ConversionRow], console: Console) -> list[Table]:
    """Sources down, targets across, in as many tables as the terminal's width needs."""
    targets = list(dict.fromkeys(row["target"] for row in rows))
    tables: list[Table] = []
    while targets:
        count = len(targets)
        while count > 1 and console.measure(_pivot(rows, targets[:count])).maximum > console.width:
            count -= 1
        tables.append(_pivot(rows, targets[:count]))
        targets = targets[count:]
    return tables


def _pivot(rows: list[ConversionRow], targets: list[str]) -> Table:
    table = Table(
        title="bytes per number / rounds, from (down) to (across)",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    table.add_column("")
    for target in targets:
        table.add_column(escape(target), justify="right")
    for source in dict.fromkeys(row["source"] for row in rows):
        cells = {row["target"]: _short(row) for row in rows if row["source"] == source}
        table.add_row(escape(source), *(cells[target] for target in targets))
    return table


def _short(row: ConversionRow) -> str:
    if row["error"] is not None:
        return "[red]fails[/red]"
    return f"{row['bytes'] / COUNT:.0f}/{row['rounds']}{'*' if row['domain'] else ''}"


def _list(rows: list[ConversionRow]) -> Table:
    table = Table(
        title="conversion of shares between protocols", box=SIMPLE_HEAD, padding=0, pad_edge=False
    )
    table.add_column("pair")
    table.add_column("bytes", justify="right")
    table.add_column("rds", justify="right")
    for column in ("sec", "path", "value"):
        table.add_column(column)
    table.add_column("same hosts", justify="right")
    table.add_column("path")
    for row in rows:
        pair = escape(f"{row['source']} -> {row['target']}{' *' if row['domain'] else ''}")
        if row["bytes"] is None:
            table.add_row(pair, "[red]fails[/red]", *[""] * 6)
            continue
        figures = [
            f"{row['bytes']:,}",
            str(row["rounds"]),
            brief(row["guarantee"]),
            row["path"],
            row["value"],
        ]
        table.add_row(pair, *figures, _shared_bytes(row), row["shared_path"])
    return table


def brief(guarantee: str) -> str:
    """A guarantee in a few letters: M or S and how many may be corrupt, + for caveats; - for
    none."""
    words, *caveats = guarantee.split("; ")
    if words == "none":
        return "-"
    kind = "M" if words.startswith("malicious") else "S"
    count = next(word for word in words.split() if word.isdigit())
    return kind + count + ("+" if caveats else "")


def _legend(rows: list[ConversionRow], *, long: bool) -> str:
    """What the abbreviations of the tables stand for."""
    changes = sorted({row["domain"] for row in rows if row["domain"]})
    lines = [f"{COUNT} numbers; all links; every value and {COUNT} bits compared exactly"]
    if changes:
        lines.append(f"* the modulus changes: {', '.join(changes)}")
    if long:
        meaning = {
            brief(row["guarantee"]): row["guarantee"]
            for row in rows
            if row["guarantee"] is not None
        }
        lines.append(
            "sec: guarantee of the result; "
            + "; ".join(f"{k} = {v}" for k, v in sorted(meaning.items()))
        )
        lines.append(
            "same hosts: the i-th servers of both clusters have one host; bytes between hosts"
        )
    else:
        lines.append("--long lists guarantees, paths and exact bytes")
    return escape("\n".join(lines))


# ---------------------------------------------------------------------- Markdown


def _shared_bytes(row: ConversionRow) -> str:
    return "" if row["shared_bytes"] is None else f"{row['shared_bytes']:,}"


def _cells(row: ConversionRow) -> list[str]:
    if row["bytes"] is None:
        return [row["source"], row["target"], *[""] * (len(COLUMNS) - 2)]
    figures = [
        f"{row['bytes']:,}",
        str(row["rounds"]),
        row["guarantee"],
        row["path"],
        row["domain"],
        row["value"],
    ]
    return [row["source"], row["target"], *figures, _shared_bytes(row), row["shared_path"]]


def markdown_table(rows: list[ConversionRow]) -> str:
    """The rows as a Markdown table."""
    lines = [list(COLUMNS), list(COLUMNS.values()), *map(_cells, rows)]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
