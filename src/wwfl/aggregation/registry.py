"""Rules by name. A distribution adds one with

[project.entry-points."wwfl.aggregations"]
name = "package.module:Class"
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args

from wwfl_core.channel import NetworkModel
from wwfl_core.errors import ConfigError
from wwfl_core.plugins import Entry, Registry, checked_options
from wwfl_core.tensors import Method

from .clipping import NormClipping
from .fedavg import FedAvg, FedAvgM
from .fltrust import FLTrust
from .krum import Krum, MultiKrum
from .rule_interface import Aggregation
from .screen import Screened
from .trimmed import Median, TrimmedMean
from .trimmed_variant import TrimmedMeanVariant

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
    "screened": Screened,
}


def checked(found: object, where: str) -> Factory:
    """`found` if it makes rules: an `Aggregation` class that can be instantiated.

    Raises:
        ConfigError: when it is something else.
    """
    if not inspect.isclass(found) or not issubclass(found, Aggregation):
        raise ConfigError(
            f"{where} is not a class of aggregation rules (a subclass of "
            "wwfl.aggregation.Aggregation)"
        )
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

    Options may come from a configuration file: `base` (a rule inside a rule) as a name or a table
    with `name` and options, `by` as a method's name or a table of a `NetworkModel`.

    Raises:
        ConfigError: an unknown rule or option, each with the nearest known one, or values that the
            rule refuses.
    """
    make = RULES.resolve(name)
    checked_options(f"rule {name!r}", make, options)
    try:
        return make(**{option: _value(option, given) for option, given in options.items()})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"rule {name!r} refuses {options}: {error}") from error


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
