"""Rules by name. A distribution adds one with

[project.entry-points."wwfl.aggregations"]
name = "package.module:Class"
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_type_hints

from wwfl_core.cost import NetworkModel
from wwfl_core.errors import ConfigError
from wwfl_core.ops.exchange import Method
from wwfl_core.registry import Entry, Registry

from .clipping import NormClipping
from .fedavg import FedAvg, FedAvgM
from .fltrust import FLTrust
from .krum import Krum, MultiKrum
from .rules import Aggregation
from .trimmed import Median, TrimmedMean
from .variant import TrimmedMeanVariant

GROUP = "wwfl.aggregations"
Factory = Callable[..., Aggregation]

OWN: Mapping[str, Factory] = {
    "fedavg": FedAvg,
    "fltrust": FLTrust,
    "trimmed-mean": TrimmedMean,
    "trimmed-mean-variant": TrimmedMeanVariant,
    "median": Median,
    "krum": Krum,
    "multi-krum": MultiKrum,
    "norm-clipping": NormClipping,
    "fedavgm": FedAvgM,
}


def checked(found: object, where: str) -> Factory:
    """`found` if it makes rules: an `Aggregation` class that can be instantiated.

    Raises:
        ConfigError: when it is something else.
    """
    if not inspect.isclass(found) or not issubclass(found, Aggregation):
        raise ConfigError(f"{where} is not a class of aggregation rules (a subclass of wwfl.aggregation.Aggregation)")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise ConfigError(f"{where} does not define {', '.join(missing)}")
    return found


RULES: Registry[Factory] = Registry(GROUP, "aggregation rule", checked, OWN)


def rules() -> dict[str, Entry[Factory]]:
    """All rules by name, built-in ones first; a broken plug-in has `error` set."""
    return RULES.entries()


def rule(name: str, **options: Any) -> Aggregation:
    """A rule by its name (or `package.module:Class`), with the options of its class.

    Options may come from a configuration file: `base` (a rule inside a rule) as a name or a table with `name` and
    options, `by` as a method's name or a table of a `NetworkModel`.

    Raises:
        ConfigError: an unknown rule or option, each with the nearest known one, or values that the rule refuses.
    """
    make = RULES.resolve(name)
    known = _options(make)
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"rule {name!r} has no option {option!r}; {hint}its options are {', '.join(known) or 'none'}"
            )
        _check_type(name, option, known[option], options[option])
    try:
        return make(**{option: _value(option, given) for option, given in options.items()})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"rule {name!r} refuses {options}: {error}") from error


def _options(make: Factory) -> dict[str, tuple[type | None, Any]]:
    """Names of options with the simple type that each has (None: another one) and its default
    (`inspect.Parameter.empty` where there is none)."""
    try:
        hints = get_type_hints(make)
    except Exception:  # names that a plug-in imports for type checkers only
        hints = {}
    found = {}
    for name, p in inspect.signature(make).parameters.items():
        kinds = {hints.get(name), *get_args(hints.get(name))}
        simple = [kind for kind in (bool, int, float) if kind in kinds or type(p.default) is kind]
        found[name] = (simple[0] if simple else None), p.default
    return found


def _check_type(name: str, option: str, known: tuple[type | None, Any], given: Any) -> None:
    """A number where the option is one, true or false where it is one of these."""
    kind, default = known
    wanted = {bool: bool, int: int, float: (int, float)}.get(kind) if kind is not None else None
    if wanted is None or (given is None and default is None):
        return
    if not isinstance(given, wanted) or isinstance(given, bool) != (wanted is bool):
        like = "" if default in (None, inspect.Parameter.empty) else f" like {default!r}"
        raise ConfigError(f"rule {name!r}: {option} is {given!r}, but it is{like} ({kind.__name__ if kind else ''})")


def _value(option: str, given: Any) -> Any:
    """Names and tables of a configuration as what they stand for."""
    if option == "base" and isinstance(given, str):
        return rule(given)
    if option == "base" and isinstance(given, Mapping):
        table = dict(given)
        return rule(str(table.pop("name", "fedavg")), **table)
    if option == "base" and not isinstance(given, Aggregation):
        raise ConfigError(f"base is {given!r}: name a rule")
    if option == "by" and isinstance(given, Mapping):
        return NetworkModel(**given)
    if option == "by" and not isinstance(given, NetworkModel) and given not in get_args(Method):
        raise ConfigError(f"by is {given!r}: it can be {', '.join(get_args(Method))}, or a network")
    return given
