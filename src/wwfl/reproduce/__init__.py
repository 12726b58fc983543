"""The tables and figures of the WW-FL paper (arXiv 2302.09904), one module each.

A module has `DESCRIPTION`, a line, and `run(console, *, full, **options)`, which prints what was
run, on how much data and where it differs from the paper, and returns the same as plain data. It
may have `plot(result)`, an SVG text."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module, resources
from types import ModuleType
from typing import Any

from wwfl_core.errors import ConfigError
from wwfl_core.plugins import did_you_mean


def names() -> dict[str, str]:
    """What there is, with its description; nothing is imported for that. Modules without one are
    helpers."""
    files = [e for e in resources.files("wwfl.reproduce").iterdir() if e.name.endswith(".py")]
    found = {
        e.name.removesuffix(".py"): _description(e.read_text())
        for e in sorted(files, key=lambda e: e.name)
    }
    return {name: description for name, description in found.items() if description is not None}


def module(name: str) -> ModuleType:
    """The module of a name.

    Raises:
        ConfigError: there is none, with the nearest name.
    """
    known = names()
    if name not in known:
        raise ConfigError(
            f"nothing to reproduce is called {name!r}; {did_you_mean(name, known)}there are "
            f"{', '.join(known)}"
        )
    return import_module(f"{__package__}.{name}")


def accepted(name: str, found: ModuleType, options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given (are not None), if the module takes them.

    Raises:
        ConfigError: one that it does not take.
    """
    given = {key: value for key, value in options.items() if value is not None}
    takes = inspect.signature(found.run).parameters
    for key in given:
        if key not in takes and not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
            raise ConfigError(f"`wwfl reproduce {name}` takes no --{key}")
    return given


def _description(source: str) -> str | None:
    """The constant DESCRIPTION of a module's text."""
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(t, ast.Name) and t.id == "DESCRIPTION" for t in targets):
            return str(ast.literal_eval(node.value))
    return None
