"""Protocols by name: those of this package, and those that other distributions add.

    [project.entry-points."wwfl.backends"]
    name = "package.module:Class"

Only names and factories are here; `wwfl_core.plugins` is how plug-ins are found and refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from wwfl_core.errors import ConfigError
from wwfl_core.plugins import Entry, Registry

from .backend import MPCBackend

GROUP = "wwfl.backends"
Factory = Callable[[], MPCBackend]


def checked(found: object, where: str) -> Factory:
    """`found` if it makes protocols.

    Raises:
        ConfigError: when it is not a protocol class (or a function without arguments that makes
        one).
    """
    if inspect.isclass(found):
        if not issubclass(found, MPCBackend):
            raise ConfigError(f"{where} is a class, but not an MPCBackend")
        missing = sorted(getattr(found, "__abstractmethods__", ()))
        missing += [what for what in ("name", "sharing") if not hasattr(found, what)]
        if missing:
            raise ConfigError(f"{where} does not define {', '.join(missing)}")
        return found
    if not callable(found):
        raise ConfigError(
            f"{where} is neither a protocol class nor a function that makes a protocol"
        )

    def make() -> MPCBackend:
        made: object = found()
        if not isinstance(made, MPCBackend):
            raise ConfigError(f"{where} made a {type(made).__name__}, not an MPCBackend")
        return made

    return make


PROTOCOLS: Registry[Factory] = Registry(GROUP, "protocol", checked)


def backends() -> dict[str, Entry[Factory]]:
    """All registered protocols by name; see `Registry.entries`."""
    return PROTOCOLS.entries()


def get(name: str) -> Factory:
    """The factory of a registered protocol; see `Registry.get`."""
    return PROTOCOLS.get(name)


def resolve(what: str) -> Factory:
    """The factory that a registered name or `package.module:Class` stands for; see
    `Registry.resolve`."""
    return PROTOCOLS.resolve(what)
