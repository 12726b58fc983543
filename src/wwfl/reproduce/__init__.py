"""The tables and figures of the WW-FL paper (arXiv 2302.09904), one module each; `CATALOGUE` lists
them.

A module has `run(console, *, full, **options)`, which prints what was run, on how much data and
where it differs from the paper, and returns the same as plain data. It may have `plot(result)`, an
SVG text. What several of them share is in `accuracy_figures` (figures 3 to 6) and `measured_round`
(tables of costs); what is of use beyond this paper belongs to `wwfl.experiments`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from wwfl_core.errors import ConfigError
from wwfl_core.plugins import did_you_mean

__all__ = ["CATALOGUE", "accepted", "module"]

CATALOGUE: Mapping[str, str] = {
    "differencing": (
        "differencing: secure aggregation leaks a party's update and image, WW-FL does not unless "
        "it reveals"
    ),
    "fig3": (
        "accuracy over rounds, WW-FL against federated learning, with the control for the "
        "learning rate"
    ),
    "fig4": (
        "four data-poisoning attacks on WW-FL and on federated learning with FedAvg, seeds and "
        "error bars"
    ),
    "fig5": (
        "FedAvg, FLTrust and the trimmed mean under attack, by rate of malicious clients, seeds "
        "and error bars"
    ),
    "fig6": (
        "trimmed mean and its variant by placement of the attackers (equal, focused, "
        "cluster-focused)"
    ),
    "layers": (
        "topologies by composition (federated learning to WW-FL with four layers), bytes per layer"
    ),
    "round": (
        "one MPC training round of the paper's size (125 batches of 80) in 2PC with helper and in "
        "3PC"
    ),
    "table8": (
        "500 rounds with 1,000 clients: hours, traffic and storage, derived from measured "
        "per-round numbers"
    ),
    "table11": "cost of one secure aggregation by every rule, 2PC with helper and 3PC (Table 11)",
}
"""What there is, by name, with its description."""


def module(name: str) -> ModuleType:
    """The module of a name, imported when it is asked for.

    Raises:
        ConfigError: there is none, with the nearest name.
    """
    if name not in CATALOGUE:
        raise ConfigError(
            f"nothing to reproduce is called {name!r}; {did_you_mean(name, CATALOGUE)}there are "
            f"{', '.join(CATALOGUE)}"
        )
    return import_module(f"{__package__}.{name}")


def accepted(name: str, found: ModuleType, options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given (are not None), if the module takes them.

    Raises:
        ConfigError: one that it does not take.
    """
    given = {key: value for key, value in options.items() if value is not None}
    takes = inspect.signature(found.run).parameters
    for key in given:
        if key not in takes and not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
            raise ConfigError(f"`wwfl reproduce {name}` takes no --{key}")
    return given
