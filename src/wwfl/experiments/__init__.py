"""Experiments: a configuration becomes a run in a folder, or a sweep of many runs; what was
measured becomes tables and pages.

What is trained, and how, is the federation's matter (`wwfl.federation`). `load` reads a
configuration, `prepare_data` its data, `start_federation` starts its servers; `create_run`,
`finish_run` and `use_run` keep a run on disk; `run_sweep` runs a grid of them."""

from .config import (
    Config,
    PlacementName,
    differing_keys,
    example,
    load,
    parse,
    schema,
    to_toml,
)
from .conversion_costs import CONVERTED_NUMBERS, ConversionRow, measure_conversions
from .executors import RayExecutor, executor_for, processes
from .from_config import (
    ExperimentData,
    aggregation_rule,
    check_names,
    initial_model,
    prepare_data,
    protocol,
    read_data,
    search_current_folder,
    start_federation,
)
from .operation_costs import OPERATIONS, cost_cell, measure_operations
from .report import (
    Series,
    curves,
    grouped_bars,
    plots_available,
    report_page,
    require_package,
    write_plots,
)
from .run import create_run, finish_run, use_run
from .run_folder import RunFolder
from .sweep import Cell, config_of_cell, run_sweep, run_sweeps, summarise, sweep_cells

__all__ = [
    "CONVERTED_NUMBERS",
    "OPERATIONS",
    "Cell",
    "Config",
    "ConversionRow",
    "ExperimentData",
    "PlacementName",
    "RayExecutor",
    "RunFolder",
    "Series",
    "aggregation_rule",
    "check_names",
    "config_of_cell",
    "cost_cell",
    "create_run",
    "curves",
    "differing_keys",
    "example",
    "executor_for",
    "finish_run",
    "grouped_bars",
    "initial_model",
    "load",
    "measure_conversions",
    "measure_operations",
    "parse",
    "plots_available",
    "prepare_data",
    "processes",
    "protocol",
    "read_data",
    "report_page",
    "require_package",
    "run_sweep",
    "run_sweeps",
    "schema",
    "search_current_folder",
    "start_federation",
    "summarise",
    "sweep_cells",
    "to_toml",
    "use_run",
    "write_plots",
]
