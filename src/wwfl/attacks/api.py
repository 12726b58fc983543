"""What an attack is: on data, which every client can mount, or on models, which only clients who
train can."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wwfl.data import Dataset
from wwfl_core.errors import Misuse
from wwfl_core.randomness import chacha20, derive_key

MAX_SEED = 1 << 63
ALL_WORDS = 2.0**64


@dataclass(frozen=True, eq=False)
class Held:
    """What the malicious clients hold.

    data: the whole clean training set. ids: int64 [k], the samples that some malicious client
    holds, each once, ascending. pool: int64 [m], the same client after client, as often as they are
    held."""

    data: Dataset
    ids: np.ndarray
    pool: np.ndarray


@dataclass(frozen=True, eq=False)
class Changed:
    """What becomes of `Held.ids`: labels int64 [k], and images float32 [k, c, h, w], or None if
    they stay."""

    labels: np.ndarray
    images: np.ndarray | None = None


class DataAttack(ABC):
    """Changes the samples that malicious clients hold, once, before the first round.

    The change of a sample depends on the sample and the seed, not on who holds it: a sample has one
    poisoned version everywhere. (The seed is public: this is the randomness of an experiment.)"""

    name: ClassVar[str]

    @abstractmethod
    def corrupt(self, held: Held, seed: int) -> Changed:
        """The poisoned version of every sample in `held.ids`."""

    def goal(self, test: Dataset) -> Dataset | None:
        """The test samples that the attacker cares for, with the labels that it wants: accuracy on
        them is the attack's success rate. None for an attack that only wants to lower the
        accuracy."""
        return None


class ModelAttack(ABC):
    """Replaces the models that malicious clients of plain federated learning submit.

    In WW-FL a client submits data and never a model, so that nothing of this kind can be mounted
    there. `needs` is how many honest models it must know; in a round with fewer malicious clients
    they submit what they trained."""

    name: ClassVar[str]
    needs: ClassVar[int] = 1

    @abstractmethod
    def craft(
        self, honest: Sequence[np.ndarray], current: np.ndarray, rng: np.random.Generator
    ) -> list[np.ndarray]:
        """One flat model for each of `honest`, float64 [d].

        honest: the flat models, float [d], that the malicious clients have trained as honest ones
            would; followed by those of others, if they know them (then only the first vectors of
            the result are submitted). current: the model before the round. rng: public, of the
            experiment.
        """


def success_rate(
    attack: DataAttack, test: Dataset, predict: Callable[[np.ndarray], np.ndarray]
) -> float:
    """Fraction (0 to 1) of the attack's goal that a model fulfils.

    predict: images float32 [n, c, h, w] -> labels [n], for instance `Federation.predict`.

    Raises:
        Misuse: the attack has no goal, or `test` has no sample for it.
    """
    goal = attack.goal(test)
    if goal is None:
        raise Misuse(
            f"{attack.name} wants nothing in particular, so it has no success rate; compare "
            "accuracies"
        )
    if not len(goal):
        raise Misuse(
            f"{test.name} has no sample on which {attack.name} could succeed; use a larger test set"
        )
    return float((np.asarray(predict(goal.images)) == goal.labels).mean())


def coin(seed: int, *context: str) -> bytes:
    """A key for one purpose of an experiment."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < MAX_SEED:
        raise Misuse(f"seed must be an integer in 0..2^63-1, got {seed!r}")
    return derive_key(int(seed).to_bytes(32, "little"), "attacks", *context)


def words(ids: np.ndarray, key: bytes) -> np.ndarray:
    """A pseudorandom uint64 for every sample id: word `id` of the key's stream, whichever ids are
    asked for."""
    count = int(ids.max(initial=-1)) + 1
    return chacha20(key, b"\0" * 12, 8 * count).view("<u8")[ids]
