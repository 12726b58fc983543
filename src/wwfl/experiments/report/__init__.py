"""Pages and pictures of runs. Needs the extra `report` (jinja2, matplotlib), and no network.

What a run did is in its folder (`wwfl.experiments.run_folder`); here it is only shown."""

from .page import page
from .plots import Series, available, curves, grouped_bars, require, write_plots

__all__ = [
    "Series",
    "available",
    "curves",
    "grouped_bars",
    "page",
    "require",
    "write_plots",
]
