"""Label flipping without any knowledge of a model: random, targeted and static (WW-FL, section
5)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from wwfl.data import Dataset
from wwfl_core.errors import ConfigError

from .api import Changed, DataAttack, Held, coin, words


@dataclass(frozen=True)
class RandomLabelFlip(DataAttack):
    """A pseudorandom label for each sample; in one of `classes` cases it is the old one.

    PRF(seed, sample id) mod classes, on 64 bits: the bias of the remainder is below 2^-60.
    """

    name: ClassVar[str] = "rlf"

    def corrupt(self, held: Held, seed: int) -> Changed:
        return Changed((words(held.ids, coin(seed, "rlf")) % held.data.classes).astype(np.int64))


@dataclass(frozen=True)
class TargetedLabelFlip(DataAttack):
    """Label `source` becomes `target`; the others stay."""

    source: int = 0
    target: int = 1
    name: ClassVar[str] = "tlf"

    def corrupt(self, held: Held, seed: int) -> Changed:
        self._check(held.data)
        labels = held.data.labels[held.ids]
        return Changed(np.where(labels == self.source, self.target, labels))

    def goal(self, test: Dataset) -> Dataset:
        """The samples of class `source`, labelled `target`."""
        self._check(test)
        wanted = test.take(np.flatnonzero(test.labels == self.source))
        return replace(
            wanted,
            labels=np.full_like(wanted.labels, self.target),
            name=f"{wanted.name}, goal of tlf",
            sha256=wanted.derived_sha256(repr(self).encode()),
        )

    def _check(self, data: Dataset) -> None:
        if self.source == self.target or not all(
            0 <= label < data.classes for label in (self.source, self.target)
        ):
            raise ConfigError(
                f"tlf needs two different labels in 0..{data.classes - 1} of {data.name}, got "
                f"source={self.source}, target={self.target}"
            )


@dataclass(frozen=True)
class StaticLabelFlip(DataAttack):
    """Label y becomes classes - y - 1."""

    name: ClassVar[str] = "slf"

    def corrupt(self, held: Held, seed: int) -> Changed:
        return Changed(held.data.classes - 1 - held.data.labels[held.ids])
