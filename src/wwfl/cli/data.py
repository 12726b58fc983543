"""`wwfl data FOLDER`: which data set lies there."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from wwfl.data import describe_folder

from .options import Json, console_beside, write_json


def data(
    folder: Annotated[str, typer.Argument(help="A folder with a data set.")],
    json: Json = None,
) -> None:
    """Describe the data set in a folder."""
    console = console_beside(json)
    rows = describe_folder(folder)
    for row in rows:
        for key, value in row.items():
            console.print(f"{escape(str(key)):<14} {escape(str(value))}", highlight=False)
        console.print()
    write_json(rows, json)
