"""`wwfl report`: run folders as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from wwfl.experiments import report_page
from wwfl_core.errors import ConfigError

from .options import writable


def report(
    runs: Annotated[list[str], typer.Argument(help="Folders of runs.")],
    out: Annotated[
        str | None,
        typer.Option(
            help="The page; report.html in the run's folder by default.", callback=writable
        ),
    ] = None,
) -> None:
    """One self-contained HTML page: accuracy, bytes per layer and link, ledger, configuration,
    versions."""
    beside = Path(runs[0]) / "report.html" if len(runs) == 1 else Path("report.html")
    target = Path(out) if out else beside
    text = report_page(runs)
    try:
        target.write_text(text)
    except OSError as error:
        raise ConfigError(
            f"{target}: cannot write the report ({error.strerror}); name another with --out"
        ) from error
    Console().print(
        f"{escape(str(target))}: {len(text) / 1e3:.0f} kB, opens without a network", highlight=False
    )
