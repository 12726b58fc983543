"""What is installed under a name: the entry points of a group, of this package and of any other.

`Registry` is one kind of plug-in; the functions below are the registry of protocols, whose group is
`wwfl.backends`. A distribution adds a protocol with

    [project.entry-points."wwfl.backends"]
    name = "package.module:Class"

A plug-in that cannot be loaded is reported in its `Entry` and disturbs nobody else.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from .errors import ConfigError
from .protocol.backend import MPCBackend

GROUP = "wwfl.backends"
BUILT_IN = "wwfl"  # the distribution of the built-in protocols

T = TypeVar("T")
Factory = Callable[[], MPCBackend]


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered plug-in: how to make it, or why that is not possible; `distribution` is where
    it comes from."""

    name: str
    factory: T | None
    error: str | None
    distribution: str

    @property
    def built_in(self) -> bool:
        return self.distribution == BUILT_IN


@dataclass(frozen=True)
class Registry(Generic[T]):
    """Plug-ins of one kind. `what` names the kind in messages; `check(found, where)` returns what
    was loaded if it is one and raises ConfigError if not; `own` are built-in ones that need no
    entry point."""

    group: str
    what: str
    check: Callable[[object, str], T]
    own: Mapping[str, T] = field(default_factory=dict[str, T])

    def entries(self) -> dict[str, Entry[T]]:
        """All plug-ins by name, built-in ones first. Never raises: a broken plug-in has `error`
        set.

        A name that a second distribution claims is listed as `name (distribution)` with an error;
        built-in names win."""
        found = {name: Entry(name, made, None, BUILT_IN) for name, made in self.own.items()}
        points = entry_points(group=self.group)
        for point in sorted(
            points, key=lambda p: (_distribution(p) != BUILT_IN, p.name, _distribution(p))
        ):
            entry = self._load(point)
            if point.name in found:
                holder = found[point.name].distribution
                name = f"{point.name} ({entry.distribution})"
                entry = Entry[T](
                    name, None, f"the name {point.name!r} is taken by {holder}", entry.distribution
                )
            found[entry.name] = entry
        return found

    def get(self, name: str) -> T:
        """The plug-in of that name.

        Raises:
            ConfigError: an unknown name (with the nearest known one), or a plug-in that cannot be
                loaded (with the reason).
        """
        known = self.entries()
        entry = known.get(name)
        if entry is None:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"no {self.what} is registered as {name!r}; {hint}known are "
                f"{', '.join(known) or 'none'}. "
                f"One that is not registered is written package.module:Class"
            )
        if entry.factory is None:
            raise ConfigError(
                f"{self.what} {name!r} of {entry.distribution} cannot be loaded: {entry.error}"
            )
        return entry.factory

    def resolve(self, what: str) -> T:
        """What a registered name or `package.module:Class` stands for.

        Raises:
            ConfigError: when there is no such thing, or it is not of this kind.
        """
        if ":" not in what:
            return self.get(what)
        module, _, path = what.partition(":")
        if not path or not all(
            part.isidentifier() for part in (*module.split("."), *path.split("."))
        ):
            raise ConfigError(
                f"{what!r} is not of the form package.module:Class (a module, not a file)"
            )
        try:
            return self.check(reduce(getattr, path.split("."), import_module(module)), what)
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(f"{what} cannot be loaded: {_reason(error)}") from error

    def _load(self, point: EntryPoint) -> Entry[T]:
        made, problem = None, None
        try:
            made = self.check(point.load(), point.value)
        except (
            Exception,
            SystemExit,
        ) as error:  # whatever a plug-in does when it is imported is its own matter
            problem = _reason(error)
        return Entry(point.name, made, problem, _distribution(point))


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"


# ---------------------------------------------------------------------- protocols


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
