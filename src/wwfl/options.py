"""Options that a configuration can give: the types of fields with bounds, which options a class
has, and whether a value can be one.

The bounds of a dataclass stand in its annotations (`epochs: Count`). A configuration file is
checked against them key by key, so that all errors are reported together; `check_bounds` holds a
Python caller to the same ones."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, get_args, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from wwfl_core.errors import ConfigError

Count = Annotated[int, Ge(1)]
Seed = Annotated[int, Ge(0), Lt(1 << 63)]
Fraction = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0), Lt(math.inf)]
NotNegative = Annotated[float, Ge(0), Lt(math.inf)]
Option = bool | int | float | str
Options = Mapping[str, Option | Mapping[str, Option]]
"""Options of a class that is given by name; a rule or a network among them is a table."""

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


def check_bounds(made: Any) -> None:
    """Holds the fields of a dataclass to the bounds in their annotations; None has none.

    Raises:
        ConfigError: for the first field that is out of bounds.
    """
    for field, hint in get_type_hints(type(made), include_extras=True).items():
        value = getattr(made, field, None)
        if value is None:
            continue
        for ok, words in _bounds(hint, value):
            if not ok:
                raise ConfigError(f"{type(made).__name__}.{field} must be {words}, got {value!r}")


def _bounds(hint: Any, value: Any) -> Iterator[tuple[bool, str]]:
    """Every bound of a type: whether the value keeps it, and the bound in words."""
    for bound in getattr(hint, "__metadata__", ()):
        if isinstance(bound, Ge):
            yield value >= bound.ge, f"at least {bound.ge}"
        elif isinstance(bound, Gt):
            yield value > bound.gt, f"more than {bound.gt}"
        elif isinstance(bound, Le):
            yield value <= bound.le, f"at most {bound.le}"
        elif isinstance(bound, Lt):
            yield value < bound.lt, f"less than {bound.lt}"
    for inner in get_args(hint):
        if getattr(inner, "__metadata__", ()):
            yield from _bounds(inner, value)
