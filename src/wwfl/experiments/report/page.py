"""`wwfl report`: one HTML page of one or more runs that opens anywhere, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from wwfl.experiments.config import to_toml
from wwfl.experiments.run_folder import RunFolder
from wwfl.federation.accounting import LINK_KEYS, STAGE_KEYS, total
from wwfl_core.errors import DataError

from .plots import accuracy_of, curves, layers, megabytes, require_package, traffic

MAX_LINKS = 40


def report_page(folders: Sequence[str | Path]) -> str:
    """The page of these runs as HTML.

    Raises:
        ConfigError: jinja2 or matplotlib is not installed.
        DataError: a folder that is no run, or has no finished round.
    """
    for package in ("jinja2", "matplotlib"):
        require_package(package)
    import jinja2

    runs = [_facts(RunFolder.open(folder)) for folder in folders]
    names = [run["name"] for run in runs]
    for run, folder in zip(runs, folders, strict=True):
        if names.count(run["name"]) > 1:
            run["name"] = str(folder)
    series = [
        s
        for run in runs
        if (s := accuracy_of(run["metrics"], run["name"] if len(runs) > 1 else "")) is not None
    ]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["bytes"] = megabytes
    template = environment.from_string(
        (resources.files("wwfl.experiments.report") / "page.html.j2").read_text()
    )
    return template.render(runs=runs, accuracy=curves(series) if series else None)


def _facts(folder: RunFolder) -> dict[str, Any]:
    metrics = folder.metrics()
    if not metrics:
        raise DataError(
            f"{folder.path} has no finished round yet; let it run, then ask for its report"
        )
    stages = total([row for line in metrics for row in line["stages"]], STAGE_KEYS)
    links = total([row for line in metrics for row in line["links"]], LINK_KEYS)
    links.sort(key=lambda row: -(row["bytes_offline"] + row["bytes_online"]))
    known = [line["accuracy"] for line in metrics if line["accuracy"] is not None]
    by_layer = layers(metrics)
    return {
        "name": folder.path.name,
        "path": str(folder.path),
        "config": folder.config,
        "toml": to_toml(folder.config),
        "facts": folder.facts,
        "metrics": metrics,
        "done": len(metrics),
        "wanted": folder.config.schedule.rounds,
        "accuracy": known[-1] if known else None,
        "best": max(known, default=None),
        "bytes": sum(row["bytes_offline"] + row["bytes_online"] for row in stages),
        "modelled_s": sum(_slowest(line["stages"]) for line in metrics),
        "measured_s": sum(line["measured_s"] for line in metrics),
        "stages": stages,
        "links": links[:MAX_LINKS],
        "links_left_out": max(0, len(links) - MAX_LINKS),
        "layers": by_layer,
        "traffic": traffic(by_layer) if any(off + on for _, off, on in by_layer) else None,
        "ledger": _summary(folder.ledger()),
        "privacy": (metrics[-1].get("privacy") or {}).get("words"),
    }


def _slowest(stages: Sequence[dict[str, Any]]) -> float:
    """Modelled seconds of a round's online phase: clusters work side by side, the global servers
    after them."""
    found: dict[str, dict[str, float]] = {}
    for row in stages:
        if row["stage"] != "upload":
            lane = found.setdefault(row["stage"], {})
            lane[row["where"]] = lane.get(row["where"], 0.0) + row["modelled_s_online"]
    return sum(max(lane.values()) for lane in found.values())


def _summary(openings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ledger by place and reason; reasons that differ in a number only are one line."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for entry in openings:
        reason = "".join("#" if ch.isdigit() else ch for ch in entry["reason"])
        while "##" in reason:
            reason = reason.replace("##", "#")
        row = found.setdefault(
            (entry["where"], reason, entry["to"]), {"openings": 0, "values": 0, "first": entry}
        )
        row["openings"] += 1
        row["values"] += entry["count"]
    return [
        {
            "where": where,
            "reason": row["first"]["reason"] if row["openings"] == 1 else reason,
            "to": to,
            **row,
        }
        for (where, reason, to), row in found.items()
    ]
