"""`wwfl conformance`: one protocol, judged by the conformance kit."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.markup import escape

from wwfl_core.errors import ConfigError
from wwfl_core.registry import resolve

from .backends import write_json


def judge(what: str, *, thorough: bool, only: str, json_path: str | None, console: Console) -> bool:
    """Runs all checks on a registered protocol or `package.module:Class`; whether none failed.

    Modules are also found in the current folder, so that a protocol need not be installed to be judged.
    """
    if ":" in what and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    factory = resolve(what)
    from wwfl_core.testing import NAMES, conformance

    def say(line: str) -> None:
        console.print(escape(line), highlight=False, soft_wrap=True)

    report = conformance(factory, thorough=thorough, only=only, progress=say)
    if not report.verdicts:
        raise ConfigError(f"no check has a name that starts with {only!r}; known are {', '.join(NAMES)}")
    say(report.summary())
    write_json(report.to_json(), json_path)
    return report.ok
