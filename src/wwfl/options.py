"""Options of classes that configurations name: which there are, and whether a value can be one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

from wwfl_core.errors import ConfigError

Known = tuple[type | None, Any]
"""The simple type of an option (None: another one) and its default (`inspect.Parameter.empty`:
there is none)."""


def options_of(make: Callable[..., Any]) -> dict[str, Known]:
    """All options of a class by name."""
    try:
        hints = get_type_hints(make)
    except Exception:  # names that a plug-in imports for type checkers only
        hints = {}
    found: dict[str, Known] = {}
    for name, p in inspect.signature(make).parameters.items():
        kinds = [hints.get(name), *get_args(hints.get(name))]
        simple = [kind for kind in (bool, int, float) if kind in kinds or type(p.default) is kind]
        found[name] = (simple[0] if simple else None), p.default
    return found


def check_option(who: str, option: str, known: Known, given: Any) -> None:
    """Raises ConfigError unless there is a number where the option is one, true or false where it
    is one of these."""
    kind, default = known
    wanted = {bool: bool, int: int, float: (int, float)}.get(kind) if kind is not None else None
    if wanted is None or (given is None and default is None):
        return
    if not isinstance(given, wanted) or isinstance(given, bool) != (wanted is bool):
        like = "" if default in (None, inspect.Parameter.empty) else f" like {default!r}"
        raise ConfigError(
            f"{who}: {option} is {given!r}, but it is{like} ({kind.__name__ if kind else ''})"
        )
