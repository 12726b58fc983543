"""Types of fields with bounds, for the dataclasses that a configuration is made of.

The bounds of a dataclass stand in its annotations (`epochs: Count`). A configuration file is
checked against them key by key, so that all errors are reported together; `check_bounds` holds a
Python caller to the same ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
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


def check_bounds(made: Any) -> None:
    """Holds the fields of a dataclass to the bounds in their annotations; None has none.

    Raises:
        ConfigError: for the first field that is out of bounds.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Plan:
    ...     rounds: Count
    ...     rate: Fraction | None = None
    >>> check_bounds(Plan(3))
    >>> check_bounds(Plan(3, rate=1.5))
    Traceback (most recent call last):
    wwfl_core.errors.ConfigError: Plan.rate must be at most 1, got 1.5
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
