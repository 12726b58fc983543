"""Options that several commands have, and what they mean for a command's output.

What only one command has stands in its own signature."""

from __future__ import annotations

import json as json_format
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console


def writable(path: str | None) -> str | None:
    """Checks a file that the command will write at its end: it may run for hours.

    Raises:
        ConfigError: there is no such folder, or it may not be written to.
    """
    if path is None or path == "-":
        return path
    from wwfl_core.errors import ConfigError  # here, so that --help need not wait for the library

    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise ConfigError(
            f"{path} cannot be written: there is no folder {folder}; make it, or name another file"
        )
    if Path(path).is_dir() or not os.access(path if Path(path).exists() else folder, os.W_OK):
        raise ConfigError(
            f"{path} cannot be written: name a file in a folder that you may write to"
        )
    return path


Json = Annotated[
    str | None,
    typer.Option(
        help="Write the result to this file ('-' for standard output).", callback=writable
    ),
]

Plot = Annotated[
    str | None,
    typer.Option(help="Write the plot, where there is one, to this SVG file.", callback=writable),
]

Protocols = Annotated[
    list[str] | None,
    typer.Argument(
        help="Registered names, or package.module:Class; by default all registered ones."
    ),
]

Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="section.key=value, a TOML value; may be given several times."),
]

Jobs = Annotated[
    int | None, typer.Option(help="Spread the work over so many processes of this machine.")
]

Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Spread it over a Ray cluster (auto, host:port); local starts one here.",
    ),
]


def console_beside(json: str | None) -> Console:
    """Where people read: standard error, if standard output is for JSON."""
    return Console(stderr=json == "-")


def write_json(data: Any, path: str | None) -> None:
    """Writes JSON to a file, or to standard output for '-'; nothing for None."""
    if path is None:
        return
    text = json_format.dumps(data, indent=1) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        Path(path).write_text(text)
