"""`wwfl config`: the example, the schema, and what a file is resolved to, on standard output."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from wwfl import experiments

from .options import Set


def config(
    example: Annotated[
        bool, typer.Option("--example", help="A commented TOML file with every default.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="The JSON schema.")] = False,
    check: Annotated[
        str | None, typer.Option(help="Check this TOML file and print what it is resolved to.")
    ] = None,
    set_: Set = None,
) -> None:
    """Print an example of a configuration, its schema, or what a file is resolved to."""
    if [example, schema, check is not None].count(True) != 1:
        raise typer.BadParameter("say one of --example, --schema and --check FILE")
    if example:
        sys.stdout.write(experiments.example())
    elif schema:
        sys.stdout.write(json.dumps(experiments.schema(), indent=1) + "\n")
    else:
        resolved = experiments.load(str(check), set_ or ())
        experiments.check_names(resolved)
        sys.stdout.write(experiments.to_toml(resolved))
