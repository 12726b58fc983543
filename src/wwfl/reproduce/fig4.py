"""Figure 4 (Q5): data poisoning against WW-FL and federated learning with plain averaging."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

from rich.console import Console

from .accuracy_figures import (
    SMALL,
    Size,
    bar_plot,
    fl,
    gridded,
    head,
    print_summary,
    result,
    run_all,
    shortened,
    size,
    ww_fl,
)

ATTACKS = ("none", "rlf", "tlf", "slf", "dlf")
LR = 0.05
DIFFERENCES = (
    (
        "both modes train with the same learning rate; the paper's federated learning has a ten "
        "times smaller one (fig3)"
    ),
    "equal placement, 20 % malicious clients; on MNIST and few rounds the attacks hardly bite, as "
    "the paper says; --data takes a folder with harder images in the same format (Fashion-MNIST)",
    "the default is smaller than the paper's 1,000 clients and 500 rounds; --full is that size",
)
KEYS = ("mode", "attack")
FEWER = shortened(SMALL, rounds=5)


def run(
    console: Console,
    *,
    full: bool,
    data: str | None = None,
    executor: Executor | None = None,
    small: Size = FEWER,
) -> dict[str, Any]:
    """Every attack in both modes."""
    chosen = size(full, data, small)
    configs = {
        "WW-FL": gridded(ww_fl(chosen, LR, data), attacks=ATTACKS),
        "FL": gridded(fl(chosen, LR, data), attacks=ATTACKS),
    }
    lines = head(console, "Figure 4: attacks with FedAvg", configs["WW-FL"], chosen, DIFFERENCES)
    found = result(lines, chosen, DIFFERENCES, run_all(console, configs, executor), KEYS, "fig4")
    print_summary(console, found, f"test accuracy after {chosen.rounds} rounds, 20 % malicious")
    return found


def plot(found: dict[str, Any]) -> str:
    """Bars per attack."""
    return bar_plot(
        found, ("attack",), ("mode",), "FedAvg under data poisoning, 20 % malicious clients"
    )
