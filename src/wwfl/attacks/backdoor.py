"""A backdoor: images with a small pattern get the label that the attacker wants (BadNets, Gu et al.
2017)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from wwfl.data import Dataset, Scale
from wwfl_core.errors import ConfigError

from .api import ALL_WORDS, Changed, DataAttack, Held, coin, words


@dataclass(frozen=True)
class BadNets(DataAttack):
    """A white square at the bottom right, and the label `target`, on a fraction of each malicious
    client's samples.

    size: pixels per side. margin: pixels between the square and the border. fraction: how many of
    the samples carry the trigger (each decided by its id and the seed); the rest stay clean, so
    that the model still learns its task."""

    target: int = 0
    size: int = 3
    margin: int = 1
    fraction: float = 0.5
    name: ClassVar[str] = "badnets"

    def corrupt(self, held: Held, seed: int) -> Changed:
        self._check(held.data)
        chosen = words(held.ids, coin(seed, "badnets")) < self.fraction * ALL_WORDS
        images, labels = held.data.images[held.ids], held.data.labels[held.ids]
        images[chosen] = self.stamp(images[chosen], held.data)
        labels[chosen] = self.target
        return Changed(labels, images)

    def stamp(self, images: np.ndarray, data: Dataset) -> np.ndarray:
        """Copies of images [n, c, h, w] with the trigger; `data` says what number a white pixel
        is."""
        white = self._check(data).of(1.0)
        stamped = images.copy()
        bottom, right = (side - self.margin for side in images.shape[2:])
        stamped[:, :, bottom - self.size : bottom, right - self.size : right] = white[:, None, None]
        return stamped

    def goal(self, test: Dataset) -> Dataset:
        """All samples of other classes, with the trigger, labelled `target`."""
        self._check(test)
        wanted = test.take(np.flatnonzero(test.labels != self.target))
        return replace(
            wanted,
            images=self.stamp(wanted.images, test),
            labels=np.full_like(wanted.labels, self.target),
            name=f"{wanted.name}, with the trigger of badnets",
            sha256=wanted.derived_sha256(repr(self).encode()),
        )

    def _check(self, data: Dataset) -> Scale:
        if not 0 <= self.target < data.classes:
            raise ConfigError(
                f"badnets: target {self.target} is no label of {data.name}, 0..{data.classes - 1}"
            )
        if not 0 < self.fraction <= 1:
            raise ConfigError(
                f"badnets: fraction must be in 0..1 (0 excluded), got {self.fraction}"
            )
        if self.size < 1 or self.margin < 0 or self.size + self.margin > min(data.images.shape[2:]):
            raise ConfigError(
                f"badnets: a square of {self.size} pixels, {self.margin} from the border, does "
                f"not fit into images of {data.images.shape[2]}x{data.images.shape[3]}"
            )
        if data.scale is None:
            raise ConfigError(
                f"badnets: {data.name} does not say what a white pixel is; give the Dataset its "
                "scale"
            )
        return data.scale
