"""What users name in configurations and on command lines: plug-ins, and the options of their
classes.

Here belongs the one mechanism that all kinds of plug-ins share (a registry over the entry points of
installed distributions), the one check of options, and the one guess at what a misspelt word meant.
What kinds there are is not known here: `wwfl_core.protocol.registry` is the registry of protocols,
`wwfl.aggregation.registry` that of rules, `wwfl.attacks.registry` those of attacks. A distribution
adds, for example, a protocol with

    [project.entry-points."wwfl.backends"]
    name = "package.module:Class"

A plug-in that cannot be loaded is reported in its `Entry` and disturbs nobody else."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from .errors import ConfigError

BUILT_IN = "wwfl"
"""The distribution of what needs no plug-in."""

T = TypeVar("T")


# ---------------------------------------------------------------------- names


def did_you_mean(word: str, known: Iterable[str], at_most: int = 1) -> str:
    """ "did you mean 'x'? " for the known words that are nearest; nothing if none is near.

    >>> did_you_mean("multikrum", ["krum", "multi-krum", "median"])
    "did you mean 'multi-krum'? "
    >>> did_you_mean("multikrum", ["median"])
    ''
    """
    near = difflib.get_close_matches(word, list(known), n=at_most, cutoff=0.4)
    return f"did you mean {' or '.join(map(repr, near))}? " if near else ""


# ---------------------------------------------------------------------- plug-ins


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
    """Plug-ins of one kind.

    Args:
        group: the group of their entry points.
        what: the kind, as messages call it.
        check: `check(found, where)` returns what was loaded if it is of this kind and raises
            ConfigError if not.
        own: built-in ones that need no entry point.
    """

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
        """The plug-in of that name. A built-in one is found without loading anybody else's.

        Raises:
            ConfigError: an unknown name (with the nearest known one), or a plug-in that cannot be
                loaded (with the reason).
        """
        if name in self.own:
            return self.own[name]
        known = self.entries()
        entry = known.get(name)
        if entry is None:
            raise ConfigError(
                f"no {self.what} is registered as {name!r}; {did_you_mean(name, known)}known are "
                f"{', '.join(known) or 'none'}. One that is not registered is written "
                "package.module:Class"
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


# ---------------------------------------------------------------------- options


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


def _check_option(who: str, option: str, known: Known, given: Any) -> None:
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


def checked_options(who: str, make: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuses what a class has no option for, and values that an option cannot have.

    >>> class Clip:
    ...     def __init__(self, norm: float = 1.0) -> None: ...
    >>> checked_options("rule 'clip'", Clip, {"nrom": 2.0})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    wwfl_core.errors.ConfigError: rule 'clip' has no option 'nrom'; did you mean 'norm'? its ...

    Raises:
        ConfigError: an unknown option (with the nearest known one), or a value of another type.
    """
    known = options_of(make)
    for option, given in options.items():
        if option not in known:
            raise ConfigError(
                f"{who} has no option {option!r}; {did_you_mean(option, known)}its options are "
                f"{', '.join(known) or 'none'}"
            )
        _check_option(who, option, known[option], given)
