"""`wwfl report`: run folders as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from wwfl.experiments.report.page import page
from wwfl_core.errors import ConfigError


def report(*, folders: Sequence[str], out: str | None, console: Console) -> Path:
    """Writes the page of these runs and returns where it is: in the run's folder, or for several
    runs `report.html`."""
    target = (
        Path(out)
        if out
        else (Path(folders[0]) / "report.html" if len(folders) == 1 else Path("report.html"))
    )
    text = page(folders)
    try:
        target.write_text(text)
    except OSError as error:
        raise ConfigError(
            f"{target}: cannot write the report ({error.strerror}); name another with --out"
        ) from error
    console.print(
        f"{escape(str(target))}: {len(text) / 1e3:.0f} kB, opens without a network", highlight=False
    )
    return target
