"""Model poisoning, for plain federated learning: what malicious clients submit instead of the
models they trained.

With W the model before the round and g_i = W_i - W the honest updates that the malicious clients
know."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Literal, Self, get_args

import numpy as np

from wwfl_core.errors import ConfigError, Misuse

from .api import ModelAttack

Perturbation = Literal["std", "unit", "sign"]


@dataclass(frozen=True)
class SignFlip(ModelAttack):
    """Each submits W - scale g_i."""

    scale: float = 1.0
    name: ClassVar[str] = "sign-flip"

    def craft(
        self, honest: Sequence[np.ndarray], current: np.ndarray, rng: np.random.Generator
    ) -> list[np.ndarray]:
        return list(current - self.scale * _updates(self, honest, current))


@dataclass(frozen=True)
class Scaling(ModelAttack):
    """Each submits W + factor g_i: with factor = n it replaces a mean of n (Bagdasaryan et al.,
    AISTATS'20)."""

    factor: float = 10.0
    name: ClassVar[str] = "scaling"

    def craft(
        self, honest: Sequence[np.ndarray], current: np.ndarray, rng: np.random.Generator
    ) -> list[np.ndarray]:
        return list(current + self.factor * _updates(self, honest, current))


@dataclass(frozen=True)
class GaussianNoise(ModelAttack):
    """Each submits W plus fresh Gaussian noise, `sigma` its standard deviation (Blanchard et al.,
    NIPS'17)."""

    sigma: float = 1.0
    name: ClassVar[str] = "gaussian"

    def craft(
        self, honest: Sequence[np.ndarray], current: np.ndarray, rng: np.random.Generator
    ) -> list[np.ndarray]:
        return list(
            current + self.sigma * rng.standard_normal(_updates(self, honest, current).shape)
        )


class _Colluding(ModelAttack):
    """All malicious clients submit the same update."""

    needs: ClassVar[int] = 2

    @abstractmethod
    def update(self, known: np.ndarray) -> np.ndarray:
        """The update [d], from the known ones [n, d]."""

    def craft(
        self, honest: Sequence[np.ndarray], current: np.ndarray, rng: np.random.Generator
    ) -> list[np.ndarray]:
        known = _updates(self, honest, current)
        if len(known) < self.needs:
            raise ConfigError(
                f"{self.name} needs to know at least {self.needs} honest models, got {len(known)}"
            )
        model = current + self.update(known)
        return [model.copy() for _ in honest]


@dataclass(frozen=True)
class ALittleIsEnough(_Colluding):
    """LIE: mean - z std per coordinate, small enough to hide among the honest (Baruch et al.,
    NeurIPS'19)."""

    z: float = 1.0
    name: ClassVar[str] = "lie"

    @classmethod
    def among(cls, clients: int, malicious: int) -> Self:
        """With the z of the paper: as far out as so many honest values lie that they and the
        malicious ones are a majority of `clients`.

        Raises:
            ConfigError: the malicious ones are a majority themselves, or too few to move away from
                the mean at all.
        """
        supporters = clients // 2 + 1 - malicious
        honest = clients - malicious
        if not 0 < 2 * supporters < honest:
            raise ConfigError(
                f"lie: {malicious} malicious of {clients} clients need {supporters} of {honest} "
                "honest ones on their side; it must be more than none and fewer than half"
            )
        return cls(NormalDist().inv_cdf((honest - supporters) / honest))

    def update(self, known: np.ndarray) -> np.ndarray:
        return known.mean(0) - self.z * known.std(0)


@dataclass(frozen=True)
class InnerProduct(_Colluding):
    """IPM: -epsilon mean, so that the aggregate points away from the true one (Xie et al.,
    UAI'19)."""

    epsilon: float = 0.5
    name: ClassVar[str] = "ipm"
    needs: ClassVar[int] = 1

    def update(self, known: np.ndarray) -> np.ndarray:
        return -self.epsilon * known.mean(0)


class _Bounded(_Colluding):
    """mean + gamma p, with the largest gamma that keeps the update as close to the known ones as
    they are to each other (Shejwalkar and Houmansadr, NDSS'21). Both bounds are quadratic in gamma,
    so it is solved for, not searched."""

    perturbation: Perturbation

    def __post_init__(self) -> None:
        if self.perturbation not in get_args(Perturbation):
            raise ConfigError(
                f"{self.name}: perturbation must be std, unit or sign, got {self.perturbation!r}"
            )

    @abstractmethod
    def gamma(self, from_mean: np.ndarray, squared: np.ndarray, p: np.ndarray) -> float:
        """The largest gamma. from_mean: mean - g_i [n, d]; squared: the distances ‖g_i - g_j‖² [n,
        n]."""

    def update(self, known: np.ndarray) -> np.ndarray:
        mean = known.mean(0)
        p = _direction(self.perturbation, mean, known)
        if not p.any():
            return mean  # the known ones agree: nothing can be hidden
        return mean + self.gamma(mean - known, _squared_distances(known), p) * p


@dataclass(frozen=True)
class MinMax(_Bounded):
    """No farther from any known update than the two farthest ones are from each other.

    perturbation: "std" (minus the standard deviation), "unit" (minus the mean's direction), "sign"
    (minus its signs)."""

    perturbation: Perturbation = "std"
    name: ClassVar[str] = "min-max"

    def gamma(self, from_mean: np.ndarray, squared: np.ndarray, p: np.ndarray) -> float:
        a, b = float(p @ p), from_mean @ p
        slack = squared.max() - (from_mean**2).sum(1)
        return float(((np.sqrt(b**2 + a * np.maximum(slack, 0)) - b) / a).min())


@dataclass(frozen=True)
class MinSum(_Bounded):
    """Sum of squared distances to all known updates no larger than that of any known update. See
    `MinMax`."""

    perturbation: Perturbation = "std"
    name: ClassVar[str] = "min-sum"

    def gamma(self, from_mean: np.ndarray, squared: np.ndarray, p: np.ndarray) -> float:
        slack = squared.sum(1).max() - (from_mean**2).sum()
        return float(np.sqrt(max(slack, 0.0) / (len(from_mean) * (p @ p))))


def _direction(kind: Perturbation, mean: np.ndarray, known: np.ndarray) -> np.ndarray:
    if kind == "std":
        return -known.std(0)
    if kind == "sign":
        return -np.sign(mean)
    norm = float(np.linalg.norm(mean))
    return -mean / norm if norm else np.zeros_like(mean)


def _squared_distances(known: np.ndarray) -> np.ndarray:
    return np.array(
        [((known - one) ** 2).sum(1) for one in known]
    )  # n passes: [n, n, d] would not fit


def _updates(attack: ModelAttack, honest: Sequence[np.ndarray], current: np.ndarray) -> np.ndarray:
    """g_i, float64 [n, d]."""
    if not len(honest):
        raise Misuse(
            f"{attack.name}: no honest model to start from; pass those of the malicious clients"
        )
    shapes = {np.shape(model) for model in (*honest, current)}
    if len(shapes) != 1 or len(np.shape(current)) != 1:
        raise Misuse(
            f"{attack.name}: models must be flat and of one length, got shapes {sorted(shapes)}"
        )
    return np.asarray(honest, np.float64) - np.asarray(current, np.float64)
