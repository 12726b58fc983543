"""Which protocols are installed: the entry points of group `wwfl.backends`, of this package and of any other.

A distribution adds a protocol with

    [project.entry-points."wwfl.backends"]
    name = "package.module:Class"

A plug-in that cannot be loaded is reported in its `Entry` and disturbs nobody else.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from .backend import MPCBackend
from .errors import ConfigError

GROUP = "wwfl.backends"
BUILT_IN = "wwfl"  # the distribution of the built-in protocols

Factory = Callable[[], MPCBackend]


@dataclass(frozen=True)
class Entry:
    """One registered protocol: how to make it, or why that is not possible; `distribution` is where it comes from."""

    name: str
    factory: Factory | None
    error: str | None
    distribution: str

    @property
    def built_in(self) -> bool:
        return self.distribution == BUILT_IN


def backends() -> dict[str, Entry]:
    """All registered protocols by name, built-in ones first. Never raises: a broken plug-in has `error` set.

    A name that a second distribution claims is listed as `name (distribution)` with an error; built-in names win.
    """
    points = sorted(entry_points(group=GROUP), key=lambda p: (_distribution(p) != BUILT_IN, p.name, _distribution(p)))
    found: dict[str, Entry] = {}
    for point in points:
        entry = _load(point)
        if point.name in found:
            holder = found[point.name].distribution
            name = f"{point.name} ({entry.distribution})"
            entry = Entry(name, None, f"the name {point.name!r} is taken by {holder}", entry.distribution)
        found[entry.name] = entry
    return found


def get(name: str) -> Factory:
    """The factory of a registered protocol.

    Raises:
        ConfigError: an unknown name (with the nearest known one), or a plug-in that cannot be loaded (with the reason).
    """
    known = backends()
    entry = known.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"no protocol is registered as {name!r}; {hint}known are {', '.join(known) or 'none'}. "
            f"One that is not registered is written package.module:Class"
        )
    if entry.factory is None:
        raise ConfigError(f"protocol {name!r} of {entry.distribution} cannot be loaded: {entry.error}")
    return entry.factory


def resolve(what: str) -> Factory:
    """The factory that a registered name or `package.module:Class` stands for.

    Raises:
        ConfigError: when there is no such thing, or it is not a protocol.
    """
    if ":" not in what:
        return get(what)
    module, _, path = what.partition(":")
    if not path or not all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
        raise ConfigError(f"{what!r} is not of the form package.module:Class (a module, not a file)")
    try:
        return checked(reduce(getattr, path.split("."), import_module(module)), what)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{what} cannot be loaded: {_reason(error)}") from error


def checked(found: object, where: str) -> Factory:
    """`found` if it makes protocols.

    Raises:
        ConfigError: when it is not a protocol class (or a function without arguments that makes one).
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
        raise ConfigError(f"{where} is neither a protocol class nor a function that makes a protocol")

    def make() -> MPCBackend:
        made: object = found()
        if not isinstance(made, MPCBackend):
            raise ConfigError(f"{where} made a {type(made).__name__}, not an MPCBackend")
        return made

    return make


def _load(point: EntryPoint) -> Entry:
    factory, problem = None, None
    try:
        factory = checked(point.load(), point.value)
    except (Exception, SystemExit) as error:  # whatever a plug-in does when it is imported is its own matter
        problem = _reason(error)
    return Entry(point.name, factory, problem, _distribution(point))


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"
