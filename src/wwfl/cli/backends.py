"""`wwfl backends`: which protocols are installed, what they promise, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wwfl.experiments import OPERATIONS, cost_cell, measure_operations, search_current_folder
from wwfl_core.plugins import Entry
from wwfl_core.protocol.registry import backends as registered
from wwfl_core.protocol.registry import resolve
from wwfl_core.sharing.semantics import SharingSemantics

from .options import Json, Protocols, console_beside, write_json

SHOWN = {
    "share": "share (by a party)",
    "reveal": "reveal to all",
    "product": "product, exact truncation",
    "sign": "sign, 64 bits",
}


def chosen(names: Sequence[str]) -> list[Entry]:
    """The protocols of these names, registered or `package.module:Class` (the current folder
    included); without names all that are registered.

    Raises:
        ConfigError: when there is no such protocol, or one that is not registered cannot be loaded.
    """
    known = registered()
    if not names:
        return list(known.values())
    search_current_folder(*names)
    found: dict[str, Entry] = {}
    for name in names:
        if name in known:  # also a plug-in that cannot be loaded: its entry says why
            found[name] = known[name]
            continue
        factory = resolve(name)
        short = str(getattr(factory, "name", name))
        label = name if short in known or short in found else short
        found[label] = Entry(label, factory, None, name.partition(":")[0])
    return list(found.values())


def backends(protocols: Protocols = None, json: Json = None) -> None:
    """Built-in and third-party protocols: security model, parties, who holds what, measured
    costs."""
    console = console_beside(json)
    rows: list[dict[str, Any]] = []
    with Console(stderr=True).status("measuring") as status:
        for entry in chosen(protocols or ()):
            status.update(f"measuring {entry.name}")
            rows.append(describe(entry))
    working = [row for row in rows if row["error"] is None]
    console.print(_what(working))
    console.print(_costs(working))
    console.print(
        "bits per number, all links: offline / online / rounds, measured; products with exact "
        "truncation"
    )
    console.print("set-up: bytes that a fresh cluster sends once, all links")
    for row in working:
        reasons: dict[str, list[str]] = {}
        for check, why in row["known_defects"].items():
            reasons.setdefault(why, []).append(check)
        for why, checks in reasons.items():
            console.print(
                f"{row['name']}, known defect ({', '.join(checks)}): {why}",
                markup=False,
                highlight=False,
            )
    for row in rows:
        if row["error"] is not None:
            console.print(
                f"[yellow]{escape(row['name'])} ({row['from']}) does not work:[/yellow] "
                f"{escape(row['error'])}"
            )
    write_json(rows, json)


def describe(entry: Entry) -> dict[str, Any]:
    """One protocol as plain data. Never raises: whatever goes wrong in a plug-in becomes its
    `error`."""
    row: dict[str, Any] = {"name": entry.name, "from": entry.distribution, "error": entry.error}
    if entry.factory is None:
        return row
    try:
        protocol = entry.factory()
        sharing = protocol.sharing
        costs = measure_operations(protocol, {name: OPERATIONS[name] for name in SHOWN.values()})
        return row | {
            "sharing": sharing.name,
            "security": security(sharing),
            "malicious": sharing.security.malicious,
            "corruptions": sharing.security.corruptions,
            "caveats": list(sharing.security.caveats),
            "known_defects": dict(protocol.known_defects),
            "parties": sharing.parties,
            "helpers": [p for p in range(sharing.parties) if p not in sharing.evaluators],
            "holders": [sorted(h) for h in sharing.holders],
            "coefficients": list(sharing.coefficients),
            "domains": [protocol.numbers.name, protocol.bits.algebra.name],
            "setup_bytes": costs[0]["setup_bytes"],
            "costs": {
                short: {k: cost[k] for k in ("bits_offline", "bits_online", "rounds")}
                for short, cost in zip(SHOWN, costs, strict=True)
            },
        }
    except (Exception, SystemExit) as error:
        return row | {"error": f"{type(error).__name__}: {error}"}


def security(sharing: SharingSemantics) -> str:
    """The security model in words."""
    return (
        str(sharing.security)
        if sharing.security.corruptions
        else "none: a single party sees everything"
    )


def _what(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="protocols", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in (
        "name",
        "from",
        "parties",
        "who holds which component",
        "numbers; bits",
        "security",
    ):
        table.add_column(column)
    for row in rows:
        helpers = "".join(f", helper {p}" for p in row["helpers"])
        words = row["security"].replace("security ", "").replace("corrupt party", "corrupt")
        domains = "; ".join(dict.fromkeys(row["domains"])).replace(", packed", "")
        cells = (
            row["name"],
            row["from"],
            f"{row['parties']}{helpers}",
            _components(row),
            domains,
            words,
        )
        table.add_row(*map(escape, cells))
    return table


def _components(row: dict[str, Any]) -> str:
    """Component, sign and holders: "x0:012 -x1:023"; points of a polynomial have no sign."""
    signs = {1: "", -1: "-"}
    return " ".join(
        f"{signs.get(k, '')}x{c}:{''.join(map(str, held))}"
        for c, (k, held) in enumerate(zip(row["coefficients"], row["holders"], strict=True))
    )


def _costs(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="measured costs", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("name")
    for column in (*SHOWN, "set-up"):
        table.add_column(column, justify="right")
    for row in rows:
        cells = [cost_cell(row["costs"][short]) for short in SHOWN]
        table.add_row(escape(row["name"]), *cells, f"{row['setup_bytes']:,}")
    return table
