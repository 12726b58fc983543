"""What `wwfl demo` trains: a model, its data and its schedule; and the protocols that a user
names."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from wwfl.data.datasets import Dataset, mnist
from wwfl.federation import Schedule
from wwfl.nn import SGD, lenet5, mlp
from wwfl_core.errors import ConfigError
from wwfl_core.plugins import resolve
from wwfl_core.protocol.backend import MPCBackend

POOL = 4


@dataclass(frozen=True)
class Scenario:
    """A model (from a seed) for the embedded digits, averaged over `pool` x `pool` blocks of their
    32x32 pixels."""

    title: str
    model: Callable[[int], nn.Module]
    schedule: Schedule
    pool: int = 1

    def data(self) -> tuple[Dataset, Dataset]:
        """Training and test set."""
        train, test = mnist()
        return train.pooled(self.pool), test.pooled(self.pool)


def _small(seed: int) -> nn.Module:
    return mlp((32 // POOL) ** 2, [32], 10, seed)


SCENARIOS = {
    "lenet": Scenario("LeNet-5, 61,706 parameters", lenet5, Schedule()),
    "small": Scenario(
        "an MLP 64-32-10 on 8x8 digits, 2,410 parameters",
        _small,
        Schedule(epochs=2, sgd=SGD(0.2)),
        pool=POOL,
    ),
}


def scenario(name: str) -> Scenario:
    """The scenario of a name.

    Raises:
        ConfigError: there is none, with the nearest name.
    """
    if name in SCENARIOS:
        return SCENARIOS[name]
    near = difflib.get_close_matches(name, SCENARIOS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"--model {name!r} is unknown; {hint}known are {', '.join(SCENARIOS)}")


def protocol(what: str, option: str) -> MPCBackend:
    """The protocol of a registered name or `package.module:Class`; modules are also found in the
    current folder.

    Raises:
        ConfigError: there is no such protocol, or it cannot run here.
    """
    name = what.strip()
    if not name:
        raise ConfigError(f"{option}: a protocol's name is missing; `wwfl backends` lists them")
    if ":" in name and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return resolve(name)()
