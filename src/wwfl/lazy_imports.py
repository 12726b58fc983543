"""Faces that load a name when it is first used, so that server processes never import torch.

A lazy room lists its public names once, in its stub `__init__.pyi`, as `from .module import Name as
Name`. Type checkers and documentation tools read the stub; `lazy_face` reads it, too, so that there
is no second list."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def lazy_face(package: str, file: str) -> tuple[Callable[[str], Any], list[str]]:
    """`__getattr__` and `__all__` of the package whose `__init__.py` is `file`.

        __getattr__, __all__ = lazy_face(__name__, __file__)

    Names of modules in the room (`from . import module as module`) are public, too.
    """
    homes = _homes(package, Path(file).with_suffix(".pyi"))

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = _imported(package, *homes[name])
        setattr(sys.modules[package], name, value)  # the next access does not come here
        return value

    return load, sorted(homes)


def _imported(package: str, home: str, name: str) -> Any:
    """What `from home import name` gives: an attribute, or a module in the package `home`."""
    if home != package:
        module = import_module(home)
        if hasattr(module, name):
            return getattr(module, name)
    return import_module(f"{home}.{name}")


def _homes(package: str, stub: Path) -> dict[str, tuple[str, str]]:
    """Public name -> where the stub imports it from, and what it is called there."""
    homes: dict[str, tuple[str, str]] = {}
    for statement in ast.parse(stub.read_text(encoding="utf-8")).body:
        if not isinstance(statement, ast.ImportFrom):
            continue
        above = package.rsplit(".", statement.level - 1)[0] if statement.level else ""
        home = ".".join(part for part in (above, statement.module) if part)
        for alias in statement.names:
            if alias.asname is not None:  # others are imported for the stub's own use
                homes[alias.asname] = home, alias.name
    return homes
