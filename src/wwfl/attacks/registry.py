"""Attacks by name: those of this package, and those that other distributions add.

[project.entry-points."wwfl.attacks"]           or "wwfl.model_attacks"
name = "package.module:Class"
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from wwfl_core.errors import ConfigError
from wwfl_core.plugins import Entry, Registry, checked_options

from .api import DataAttack, ModelAttack
from .backdoor import BadNets
from .dynamic import DynamicLabelFlip
from .labels import RandomLabelFlip, StaticLabelFlip, TargetedLabelFlip
from .updates import (
    ALittleIsEnough,
    GaussianNoise,
    InnerProduct,
    MinMax,
    MinSum,
    Scaling,
    SignFlip,
)

Kind = TypeVar("Kind", DataAttack, ModelAttack)

OWN_ON_DATA: Mapping[str, type[DataAttack]] = {
    "rlf": RandomLabelFlip,
    "tlf": TargetedLabelFlip,
    "slf": StaticLabelFlip,
    "dlf": DynamicLabelFlip,
    "badnets": BadNets,
}
OWN_ON_MODELS: Mapping[str, type[ModelAttack]] = {
    "sign-flip": SignFlip,
    "scaling": Scaling,
    "gaussian": GaussianNoise,
    "lie": ALittleIsEnough,
    "min-max": MinMax,
    "min-sum": MinSum,
    "ipm": InnerProduct,
}


def _is_a(kind: type[Kind]) -> Callable[[object, str], type[Kind]]:
    """A check for classes of one kind of attack."""

    def check(found: object, where: str) -> type[Kind]:
        if not inspect.isclass(found) or not issubclass(found, kind) or inspect.isabstract(found):
            raise ConfigError(f"{where} is no {kind.__name__}")
        return found

    return check


DATA_ATTACKS: Registry[type[DataAttack]] = Registry(
    "wwfl.attacks", "attack", _is_a(DataAttack), OWN_ON_DATA
)
MODEL_ATTACKS: Registry[type[ModelAttack]] = Registry(
    "wwfl.model_attacks", "attack on models", _is_a(ModelAttack), OWN_ON_MODELS
)


def attacks() -> dict[str, Entry[type[DataAttack]]]:
    """All attacks on data by name; see `Registry.entries`."""
    return DATA_ATTACKS.entries()


def model_attacks() -> dict[str, Entry[type[ModelAttack]]]:
    """All attacks on models by name; see `Registry.entries`."""
    return MODEL_ATTACKS.entries()


def attack(name: str, **options: Any) -> DataAttack:
    """The attack on data of this name (or `package.module:Class`).

    >>> attack("tlf", source=3, target=8)
    TargetedLabelFlip(source=3, target=8)

    Raises:
        ConfigError: an unknown name or option (with the nearest known one), or a plug-in that
            cannot be loaded.
    """
    return _made(DATA_ATTACKS, name, options)


def model_attack(name: str, **options: Any) -> ModelAttack:
    """The attack on models of this name, for instance `model_attack("lie", z=1.5)`. Raises as
    `attack` does."""
    return _made(MODEL_ATTACKS, name, options)


def _made(registry: Registry[type[Kind]], name: str, options: Mapping[str, Any]) -> Kind:
    make = registry.resolve(name)
    checked_options(f"attack {name!r}", make, options)
    return make(**options)
