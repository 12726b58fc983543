"""Attacks by name: those of this package, and those that other distributions add as entry points.

    [project.entry-points."wwfl.attacks"]           or "wwfl.model_attacks"
    name = "package.module:Class"

A plug-in that cannot be loaded has `error` set in its `Entry` and disturbs nobody else. Built-in
names cannot be taken."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from wwfl.options import check_option, options_of
from wwfl_core.errors import ConfigError

from .api import DataAttack, ModelAttack

DATA_GROUP = "wwfl.attacks"
MODEL_GROUP = "wwfl.model_attacks"
BUILT_IN = "wwfl"

_DATA = {
    "rlf": "wwfl.attacks.labels:RandomLabelFlip",
    "tlf": "wwfl.attacks.labels:TargetedLabelFlip",
    "slf": "wwfl.attacks.labels:StaticLabelFlip",
    "dlf": "wwfl.attacks.dynamic:DynamicLabelFlip",
    "badnets": "wwfl.attacks.backdoor:BadNets",
}
_MODEL = {
    "sign-flip": "wwfl.attacks.updates:SignFlip",
    "scaling": "wwfl.attacks.updates:Scaling",
    "gaussian": "wwfl.attacks.updates:GaussianNoise",
    "lie": "wwfl.attacks.updates:ALittleIsEnough",
    "min-max": "wwfl.attacks.updates:MinMax",
    "min-sum": "wwfl.attacks.updates:MinSum",
    "ipm": "wwfl.attacks.updates:InnerProduct",
}

Kind = TypeVar("Kind", DataAttack, ModelAttack)


@dataclass(frozen=True)
class Entry(Generic[Kind]):
    """One attack: its class, or why there is none; `distribution` is where it comes from."""

    name: str
    made_by: type[Kind] | None
    error: str | None
    distribution: str


def attacks() -> dict[str, Entry[DataAttack]]:
    """All attacks on data by name, built-in ones first. Never raises: a broken plug-in has `error`
    set."""
    return _all(DATA_GROUP, _DATA, DataAttack)


def model_attacks() -> dict[str, Entry[ModelAttack]]:
    """All attacks on models by name, built-in ones first. Never raises: a broken plug-in has
    `error` set."""
    return _all(MODEL_GROUP, _MODEL, ModelAttack)


def attack(name: str, **options: Any) -> DataAttack:
    """The attack on data of this name, for instance `attack("tlf", source=3, target=8)`.

    Raises:
        ConfigError: an unknown name or option (with the nearest known one), or a plug-in that
            cannot be loaded.
    """
    return _make(attacks(), name, options)


def model_attack(name: str, **options: Any) -> ModelAttack:
    """The attack on models of this name, for instance `model_attack("lie", z=1.5)`. Raises as
    `attack` does."""
    return _make(model_attacks(), name, options)


def _all(group: str, built_in: Mapping[str, str], kind: type[Kind]) -> dict[str, Entry[Kind]]:
    found = {name: _entry(name, where, BUILT_IN, kind) for name, where in built_in.items()}
    points = [
        (p.name, p.value, p.dist.name if p.dist is not None else "unknown")
        for p in entry_points(group=group)
    ]
    for name, where, distribution in sorted(points):
        if name in found:
            label, problem = (
                f"{name} ({distribution})",
                f"the name {name!r} is taken by {found[name].distribution}",
            )
            found[label] = Entry(label, None, problem, distribution)
        else:
            found[name] = _entry(name, where, distribution, kind)
    return found


def _entry(name: str, where: str, distribution: str, kind: type[Kind]) -> Entry[Kind]:
    try:
        module, _, attribute = where.partition(":")
        found = getattr(import_module(module), attribute)
        if not inspect.isclass(found) or not issubclass(found, kind) or inspect.isabstract(found):
            raise ConfigError(f"{where} is no {kind.__name__}")
        return Entry(name, found, None, distribution)
    except (
        Exception,
        SystemExit,
    ) as error:  # whatever a plug-in does when it is imported is its own matter
        return Entry(name, None, f"{type(error).__name__}: {error}", distribution)


def _make(known: Mapping[str, Entry[Kind]], name: str, options: Mapping[str, Any]) -> Kind:
    entry = known.get(name)
    if entry is None:
        raise ConfigError(
            f"no attack is called {name!r}; {_nearest(name, known)}known are {', '.join(known)}"
        )
    if entry.made_by is None:
        raise ConfigError(
            f"attack {name!r} of {entry.distribution} cannot be loaded: {entry.error}"
        )
    known_options = options_of(entry.made_by)
    accepted = list(known_options)
    for option, given in options.items():
        if option not in accepted:
            raise ConfigError(
                f"attack {name!r} has no option {option!r}; {_nearest(option, accepted)}"
                f"it has {', '.join(accepted) or 'none'}"
            )
        check_option(f"attack {name!r}", option, known_options[option], given)
    return entry.made_by(**options)


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"did you mean {near[0]!r}? " if near else ""
