"""What engines are called. It stands apart from the engines, so that whoever reads a configuration
need not load torch."""

from __future__ import annotations

import warnings
from typing import Literal, cast, get_args

from wwfl_core.errors import ConfigError

EngineName = Literal["mpc", "simulate", "float"]
"""The protocols, their fixed-point arithmetic without secrecy, or ordinary floats."""


def engine_name(name: str) -> EngineName:
    """The name of an engine. "plain" is the former name of "float", and warns.

    Raises:
        ConfigError: an unknown name.

    >>> engine_name("float")
    'float'
    """
    if name == "plain":
        # Everybody who has a configuration sees it, so it is no DeprecationWarning.
        warnings.warn('engine "plain" is called "float" now', FutureWarning, stacklevel=2)
        return "float"
    if name not in get_args(EngineName):
        raise ConfigError(
            f"engine {name!r} is unknown; it can be {', '.join(get_args(EngineName))}"
        )
    return cast(EngineName, name)
