"""Pages and pictures of runs. Needs the extra `report` (jinja2, matplotlib), and no network.

What a run did is in its folder (`wwfl.experiments.run_folder`); here it is only shown."""

from .page import report_page
from .plots import Series, curves, grouped_bars, plots_available, require_package, write_plots

__all__ = [
    "Series",
    "curves",
    "grouped_bars",
    "plots_available",
    "report_page",
    "require_package",
    "write_plots",
]
