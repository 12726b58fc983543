"""`wwfl reproduce`: tables and figures of the paper."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from wwfl import reproduce as catalogue
from wwfl.experiments import executor_for
from wwfl_core.errors import ConfigError

from .options import Jobs, Json, Plot, Ray, console_beside, write_json


def reproduce(
    name: Annotated[
        str | None, typer.Argument(help="What to reproduce; without it, what there is.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The paper's size; may take hours.")] = False,
    data: Annotated[str | None, typer.Option(help="Folder with the full data set.")] = None,
    plot: Plot = None,
    json: Json = None,
    jobs: Jobs = None,
    ray: Ray = None,
) -> None:
    """Tables and figures of the WW-FL paper (arXiv 2302.09904), with what was run and where it
    differs."""
    console = console_beside(json)
    if name is None:
        _list(console)
        return
    found = catalogue.module(name)
    options = catalogue.accepted(name, found, {"data": data})
    if plot is not None and not hasattr(found, "plot"):
        raise ConfigError(f"`wwfl reproduce {name}` is a table; it has no plot")
    if not (jobs is ray is None or "executor" in inspect.signature(found.run).parameters):
        raise ConfigError(
            f"`wwfl reproduce {name}` is one computation: it takes neither --jobs nor --ray"
        )
    with executor_for(jobs, ray) as executor:
        spread = {} if executor is None else {"executor": executor}
        result = found.run(console, full=full, **options, **spread)
    if plot is not None:
        Path(plot).write_text(found.plot(result))
    write_json(result, json)


def _list(console: Console) -> None:
    table = Table(title="wwfl reproduce NAME", box=SIMPLE)
    table.add_column("name")
    table.add_column("what")
    for known, description in catalogue.CATALOGUE.items():
        table.add_row(known, description)
    console.print(table)
