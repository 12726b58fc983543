"""`wwfl data FOLDER`: which data set lies there."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from ..build import room
from .backends import write_json


def describe(folder: str, *, json_path: str | None, console: Console) -> None:
    """Prints what `wwfl.data.describe` finds in a folder."""
    found = room("wwfl.data", "describe").describe(folder)
    for line in str(found["text"]).splitlines():
        console.print(escape(line), highlight=False)
    write_json(found, json_path)
