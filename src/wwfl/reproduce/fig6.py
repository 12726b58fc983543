"""Figure 6 (Q7): the trimmed mean and its variant where the attackers sit together."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from ..config.sections import Aggregation
from .figures import SMALL, Size, bar_plot, gridded, head, print_summary, result, run_all, shortened, size, ww_fl

DESCRIPTION = "trimmed mean and its variant by placement of the attackers (equal, focused, cluster-focused)"
LR = 0.05
PLACEMENTS = ("equal", "focused", "cluster-focused")
DIFFERENCES = (
    "label flipping (SLF), 20 % malicious clients; `wwfl attack` runs every other combination",
    "the variant looks at 100 coordinates and drops 4 of 10 models always, also without an attack",
    "the default is smaller than the paper's 1,000 clients and 500 rounds; --full is that size",
)
KEYS = ("attack", "placement", "rule")
FEWER = shortened(SMALL, rounds=5)
RULES = (
    Aggregation(rule="fedavg"),
    Aggregation(rule="trimmed-mean", options={"trim": 2}),
    Aggregation(rule="trimmed-mean-variant", options={"trim": 2, "beta": 100}),
)


def run(console: Console, *, full: bool, data: str | None = None, small: Size = FEWER) -> dict[str, Any]:
    """Every rule in every placement, and without an attack."""
    chosen = size(full, data, small)
    config = gridded(ww_fl(chosen, LR, data), attacks=("none", "slf"), placements=PLACEMENTS, rules=RULES)
    lines = head(console, "Figure 6: placements", config, chosen, DIFFERENCES)
    found = result(lines, chosen, DIFFERENCES, run_all(console, {"WW-FL": config}), KEYS, "fig6")
    print_summary(console, found, f"test accuracy after {chosen.rounds} rounds, 20 % malicious")
    return found


def plot(found: dict[str, Any]) -> str:
    """Bars per placement."""
    return bar_plot(found, ("attack", "placement"), ("rule",), "trimmed mean and its variant, 20 % malicious")
