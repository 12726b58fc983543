"""Figure 5 (Q6): robust aggregation under attack, in WW-FL and in federated learning, by poison
rate."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

from rich.console import Console

from wwfl.federation import NamedRule

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

LR = 0.05
RATES = (0.1, 0.2)
ROOT = 200
DIFFERENCES = (
    (
        "label flipping (SLF), equal placement; `wwfl attack` runs every other combination of "
        "attack and placement"
    ),
    "the root set of FLTrust is the last 200 training images, which no client holds",
    (
        "both modes train with the same learning rate; the paper's federated learning has a ten "
        "times smaller one (fig3)"
    ),
    "the default is smaller than the paper's 1,000 clients and 500 rounds; --full is that size",
)
KEYS = ("mode", "rate", "rule")
FEWER = shortened(SMALL, rounds=5)


def rules(inputs: int) -> tuple[NamedRule, ...]:
    """The rules for so many inputs; the trimmed mean drops a fifth at each end, as in the paper."""
    return (
        NamedRule(rule="fedavg"),
        NamedRule(rule="fltrust"),
        NamedRule(rule="trimmed-mean", options={"trim": max(1, inputs // 5)}),
    )


def run(
    console: Console,
    *,
    full: bool,
    data: str | None = None,
    executor: Executor | None = None,
    small: Size = FEWER,
) -> dict[str, Any]:
    """Every rule at every rate in both modes."""
    chosen = size(full, data, small)
    inputs = {"WW-FL": chosen.clusters, "FL": chosen.clusters * chosen.per_round}
    configs = {
        mode: gridded(
            make(chosen, LR, data),
            attacks=("slf",),
            rates=RATES,
            rules=rules(inputs[mode]),
            root=ROOT,
        )
        for mode, make in (("WW-FL", ww_fl), ("FL", fl))
    }
    lines = head(console, "Figure 5: robust rules", configs["WW-FL"], chosen, DIFFERENCES)
    found = result(lines, chosen, DIFFERENCES, run_all(console, configs, executor), KEYS, "fig5")
    print_summary(console, found, f"test accuracy after {chosen.rounds} rounds under SLF")
    return found


def plot(found: dict[str, Any]) -> str:
    """Bars per mode and rate."""
    return bar_plot(found, ("mode", "rate"), ("rule",), "robust rules under label flipping")
