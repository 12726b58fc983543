"""`wwfl backends`: which protocols are installed, what they promise, and what they cost."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wwfl_core.algebra import BITS, RING
from wwfl_core.registry import Entry, backends
from wwfl_core.sharing import SharingSemantics

from ..measure import OPERATIONS, cell, measure

SHOWN = {
    "share": "share (by a party)",
    "reveal": "reveal to all",
    "product": "product, exact truncation",
    "sign": "sign, 64 bits",
}


def list_backends(*, json_path: str | None, console: Console) -> list[dict[str, Any]]:
    """Prints and returns one row per registered protocol; a plug-in that does not work has `error` set."""
    rows = [describe(entry) for entry in backends().values()]
    working = [row for row in rows if row["error"] is None]
    console.print(_what(working))
    console.print(_costs(working))
    console.print(f"every protocol computes over {RING.name} and {BITS.name}; costs are measured:")
    console.print("bits per 64-bit element, all links: offline / online / rounds; product with exact truncation")
    for row in rows:
        if row["error"] is not None:
            console.print(
                f"[yellow]{escape(row['name'])} ({row['from']}) does not work:[/yellow] {escape(row['error'])}"
            )
    write_json(rows, json_path)
    return rows


def describe(entry: Entry) -> dict[str, Any]:
    """One protocol as plain data. Never raises: whatever goes wrong in a plug-in becomes its `error`."""
    row: dict[str, Any] = {"name": entry.name, "from": entry.distribution, "error": entry.error}
    if entry.factory is None:
        return row
    try:
        protocol = entry.factory()
        sharing = protocol.sharing
        costs = measure(protocol, {name: OPERATIONS[name] for name in SHOWN.values()})
        return row | {
            "sharing": sharing.name,
            "security": security(sharing),
            "malicious": sharing.security.malicious,
            "corruptions": sharing.security.corruptions,
            "parties": sharing.parties,
            "helpers": [p for p in range(sharing.parties) if p not in sharing.evaluators],
            "holders": [sorted(h) for h in sharing.holders],
            "coefficients": list(sharing.coefficients),
            "domains": [RING.name, BITS.name],
            "costs": {
                short: {k: cost[k] for k in ("bits_offline", "bits_online", "rounds")}
                for short, cost in zip(SHOWN, costs, strict=True)
            },
        }
    except (Exception, SystemExit) as error:
        return row | {"error": f"{type(error).__name__}: {error}"}


def security(sharing: SharingSemantics) -> str:
    """The security model in words."""
    return str(sharing.security) if sharing.security.corruptions else "none: a single party sees everything"


def _what(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="protocols", box=SIMPLE)
    for column in ("name", "from", "parties", "who holds which component", "security"):
        table.add_column(column)
    for row in rows:
        helpers = "".join(f", helper {p}" for p in row["helpers"])
        signs = ["" if c == 1 else "-" for c in row["coefficients"]]
        parts = [
            f"{sign}x{c}:{''.join(map(str, h))}" for c, (sign, h) in enumerate(zip(signs, row["holders"], strict=True))
        ]
        words = row["security"].replace("security ", "").replace("corrupt party", "corrupt")
        table.add_row(row["name"], row["from"], f"{row['parties']}{helpers}", " ".join(parts), words)
    return table


def _costs(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="measured costs", box=SIMPLE)
    table.add_column("name")
    for column in SHOWN:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(row["name"], *[cell(row["costs"][short]) for short in SHOWN])
    return table


def write_json(data: Any, path: str | None) -> None:
    """Writes JSON to a file, or to standard output for '-'; nothing for None."""
    if path is None:
        return
    text = json.dumps(data, indent=1) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        Path(path).write_text(text)
