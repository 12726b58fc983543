"""`wwfl reproduce`: tables and figures of the paper."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from wwfl import reproduce as catalogue
from wwfl.experiments import executors as spread
from wwfl_core.errors import ConfigError

from .backends import write_json


def reproduce(
    name: str | None,
    *,
    full: bool,
    folder: str | None,
    plot_path: str | None,
    json_path: str | None,
    console: Console,
    jobs: int | None = None,
    ray: str | None = None,
) -> dict[str, Any] | None:
    """Runs one reproduction and returns its result; without a name lists what there is.

    Raises:
        ConfigError: an unknown name, or an option that this one does not take.
    """
    if name is None:
        table = Table(title="wwfl reproduce NAME", box=SIMPLE)
        table.add_column("name")
        table.add_column("what")
        for known, description in catalogue.names().items():
            table.add_row(known, description)
        console.print(table)
        return None
    found = catalogue.module(name)
    options = catalogue.accepted(name, found, {"data": folder})
    if plot_path is not None and not hasattr(found, "plot"):
        raise ConfigError(f"`wwfl reproduce {name}` is a table; it has no plot")
    if not (jobs is ray is None or "executor" in inspect.signature(found.run).parameters):
        raise ConfigError(
            f"`wwfl reproduce {name}` is one computation: it takes neither --jobs nor --ray"
        )
    with spread.chosen(jobs, ray) as executor:
        result = found.run(
            console, full=full, **options, **({} if executor is None else {"executor": executor})
        )
    if plot_path is not None:
        Path(plot_path).write_text(found.plot(result))
    write_json(result, json_path)
    return result
