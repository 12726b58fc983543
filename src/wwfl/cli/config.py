"""`wwfl config`: the example, the schema, and what a file is resolved to, on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from wwfl.experiments import from_config as build
from wwfl.experiments.config import Config, load, to_toml
from wwfl.experiments.config import example as example_text


def show(*, example: bool, schema: bool, check: str | None, overrides: Sequence[str]) -> bool:
    """Prints the one thing that was asked for; False if it was not exactly one."""
    if [example, schema, check is not None].count(True) != 1:
        return False
    if example:
        sys.stdout.write(example_text())
    elif schema:
        sys.stdout.write(json.dumps(Config.model_json_schema(), indent=1) + "\n")
    else:
        config = load(str(check), overrides)
        build.names(config)
        sys.stdout.write(to_toml(config))
    return True
