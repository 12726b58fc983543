"""Experiments: a configuration becomes a run in a folder, or a sweep of many runs; what was
measured becomes tables and pages.

What is trained, and how, is the federation's matter (`wwfl.federation`). A configuration is read by
`load`, its data by `prepare_data`, its servers are started by `start_federation`; `create_run`,
`finish_run` and `use_run` keep a run on disk; `sweep` runs a grid of them."""

from . import executors, sweep
from .config import Config, did_you_mean, example, load, parse, schema, to_toml
from .conversion_costs import measure_pairs
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
from .operation_costs import measure
from .run import create_run, finish_run, use_run
from .run_folder import RunFolder

__all__ = [
    "Config",
    "ExperimentData",
    "RunFolder",
    "aggregation_rule",
    "check_names",
    "create_run",
    "did_you_mean",
    "example",
    "executors",
    "finish_run",
    "initial_model",
    "load",
    "measure",
    "measure_pairs",
    "parse",
    "prepare_data",
    "protocol",
    "read_data",
    "schema",
    "search_current_folder",
    "start_federation",
    "sweep",
    "to_toml",
    "use_run",
]
