"""Figure 3 (Q1): accuracy of WW-FL and of federated learning over rounds, with the control for the
learning rate."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

from rich.console import Console

from .accuracy_figures import (
    SMALL,
    Size,
    curve_plot,
    fl,
    head,
    print_summary,
    result,
    run_all,
    size,
    ww_fl,
)

LR, PAPER_FL_LR = 0.05, 0.005
DIFFERENCES = (
    "the paper trains WW-FL with ten times the learning rate of federated learning; the row `FL, "
    "control` trains federated learning with the rate of WW-FL: what is left between these two is "
    "the gain of pooling",
    (
        "the default is smaller than the paper's 1,000 clients, 200 images each, 500 rounds; "
        "--full is that size"
    ),
    "LeNet-5 on digits only (the paper has ResNet9 on CIFAR-10, too)",
)
KEYS = ("mode",)


def run(
    console: Console,
    *,
    full: bool,
    data: str | None = None,
    executor: Executor | None = None,
    small: Size = SMALL,
) -> dict[str, Any]:
    """The three curves."""
    chosen = size(full, data, small)
    configs = {
        f"WW-FL, rate {LR}": ww_fl(chosen, LR, data),
        f"FL as in the paper, rate {PAPER_FL_LR}": fl(chosen, PAPER_FL_LR, data),
        f"FL, control, rate {LR}": fl(chosen, LR, data),
    }
    lines = head(
        console,
        "Figure 3: WW-FL and federated learning",
        next(iter(configs.values())),
        chosen,
        DIFFERENCES,
    )
    found = result(lines, chosen, DIFFERENCES, run_all(console, configs, executor), KEYS, "fig3")
    print_summary(console, found, f"test accuracy after {chosen.rounds} rounds")
    return found


def plot(found: dict[str, Any]) -> str:
    """The curves as SVG."""
    return curve_plot(found, "WW-FL and federated learning")
