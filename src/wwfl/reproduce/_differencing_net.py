"""The network of the differencing experiment in NumPy, what an estimated update gives away, and
measures of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wwfl.nn import Model, mlp, trace
from wwfl_core.randomness import UniformWords, derive_key

F64 = npt.NDArray[np.float64]
CLASSES = 10
ROWS = 20


@dataclass(frozen=True)
class Net:
    """pixels-hidden-10 with ReLU; `flat` is W1, b1, W2, b2 in the order of the layers."""

    pixels: int
    hidden: int
    model: Model
    flat: F64

    @classmethod
    def initial(cls, pixels: int, hidden: int, seed: int) -> Net:
        """torch's default initialisation."""
        layers, params = trace(mlp(pixels, [hidden], CLASSES, seed=seed))
        return cls(
            pixels,
            hidden,
            Model(tuple(layers)),
            np.concatenate([p.reshape(-1) for p in params.values()]).astype(np.float64),
        )

    def __str__(self) -> str:
        return f"{self.pixels}-{self.hidden}-{CLASSES}"

    def split(self, flat: F64) -> list[F64]:
        """W1, b1, W2, b2."""
        shapes = (self.hidden, self.pixels), (self.hidden,), (CLASSES, self.hidden), (CLASSES,)
        sizes = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
        return [
            part.reshape(shape) for part, shape in zip(np.split(flat, sizes), shapes, strict=True)
        ]

    def update(self, images: F64, labels: npt.NDArray[np.int64], lr: float) -> F64:
        """What one step of SGD on images [b, pixels] adds to the model."""
        w1, b1, w2, b2 = self.split(self.flat)
        pre = images @ w1.T + b1
        hidden = np.maximum(pre, 0)
        logits = hidden @ w2.T + b2
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        d2 = p / p.sum(axis=1, keepdims=True) - np.eye(CLASSES)[labels]
        d1 = (d2 @ w2) * (pre > 0)
        gradients = [d1.T @ images, d1.sum(0), d2.T @ hidden, d2.sum(0)]
        return -lr / len(images) * np.concatenate([g.reshape(-1) for g in gradients])

    def leaning(self, update: F64) -> float:
        """How much an (estimated) update of the last biases speaks for a 1 rather than a 0."""
        return float(update[-CLASSES + 1] - update[-CLASSES])

    def recover_digits(self, update: F64) -> tuple[F64, list[F64]]:
        """Images in an update of one sample: each row of dW1 is the input times its entry of db1.
        The row with the largest bias, and the `ROWS` largest."""
        rows, biases, *_ = self.split(update)
        largest = np.argsort(-np.abs(biases))[:ROWS]
        digits = [rows[i] / biases[i] for i in largest if biases[i]]
        return (digits[0], digits) if digits else (np.zeros(self.pixels), [np.zeros(self.pixels)])


def decide(seed: int, what: str, available: int, count: int) -> list[int]:
    """`count` of `available`, each at random but reproducible: which digits an experiment takes is
    public."""
    source = UniformWords(derive_key(b"wwfl", "differencing", str(seed), what))
    return [int(i) for i in source.below(available, count)]


def relative_error(estimate: F64, truth: F64) -> float:
    """|estimate - truth| / |truth|."""
    return float(np.linalg.norm(estimate - truth) / np.linalg.norm(truth))


def cosine(estimate: F64, truth: F64) -> float:
    """The cosine of their angle."""
    return float(estimate @ truth / (np.linalg.norm(estimate) * np.linalg.norm(truth)))


def psnr(found: F64, truth: F64) -> float:
    """Peak signal-to-noise ratio in dB for pixels in [0, 1]; found pixels are cut to that range."""
    error = float(np.mean((np.clip(found, 0, 1) - truth) ** 2))
    return 200.0 if error < 1e-20 else float(-10 * np.log10(error))


def auc(scores: F64, truth: npt.NDArray[np.int64]) -> float:
    """The probability that a positive scores above a negative (ties count half)."""
    positive, negative = scores[truth == 1], scores[truth == 0]
    above = (positive[:, None] > negative[None, :]).mean() + (
        positive[:, None] == negative[None, :]
    ).mean() / 2
    return float(above)
