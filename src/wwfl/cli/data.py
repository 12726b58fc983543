"""`wwfl data FOLDER`: which data set lies there."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from wwfl.data.describe import folder as describe_folder

from .backends import write_json


def describe(folder: str, *, json_path: str | None, console: Console) -> None:
    """Prints what `wwfl.data.describe` finds in a folder."""
    rows = describe_folder(folder)
    for row in rows:
        for key, value in row.items():
            console.print(f"{escape(str(key)):<14} {escape(str(value))}", highlight=False)
        console.print()
    write_json(rows, json_path)
