"""Ready-made models: ordinary torch modules that `wwfl.nn.trace` understands.

The initial model is public, so it comes from torch's default initialisation with a plain seed. The seed works
on the CPU generator alone and leaves the caller's random state as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn

from wwfl_core.errors import Misuse


def lenet5(seed: int = 0) -> nn.Sequential:
    """LeNet-5 with ReLU and max-pooling: float32 [n, 1, 32, 32] -> logits [n, 10]; 61,706 parameters."""
    return _seeded(
        seed,
        lambda: nn.Sequential(
            nn.Conv2d(1, 6, 5, **_PLACE),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5, **_PLACE),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 120, 5, **_PLACE),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(120, 84, **_PLACE),
            nn.ReLU(),
            nn.Linear(84, 10, **_PLACE),
        ),
    )


def mlp(inputs: int, hidden: Sequence[int], classes: int, seed: int = 0) -> nn.Sequential:
    """Fully connected ReLU net: float32 [n, ...] with `inputs` values each -> logits [n, classes]."""
    sizes = [inputs, *hidden, classes]
    if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise Misuse(f"inputs, hidden and classes must be integers of at least 1, got {sizes}")

    def build() -> nn.Sequential:
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after, **_PLACE), nn.ReLU()]
        return nn.Sequential(*layers[:-1])  # no ReLU on the logits

    return _seeded(seed, build)


def logistic_regression(inputs: int, classes: int, seed: int = 0) -> nn.Sequential:
    """Multinomial logistic regression: float32 [n, ...] with `inputs` values each -> logits [n, classes]."""
    return mlp(inputs, (), classes, seed)


def LeNet(seed: int = 0) -> nn.Sequential:
    """The same as `lenet5`."""
    return lenet5(seed)


def MLP(inputs: int, hidden: Sequence[int], classes: int, seed: int = 0) -> nn.Sequential:
    """The same as `mlp`."""
    return mlp(inputs, hidden, classes, seed)


def LogisticRegression(inputs: int, classes: int, seed: int = 0) -> nn.Sequential:
    """The same as `logistic_regression`."""
    return logistic_regression(inputs, classes, seed)


# Said for every layer: with the user's own torch defaults (a GPU, float64) one seed would give another model.
_PLACE = {"device": "cpu", "dtype": torch.float32}


def _seeded(seed: int, build: Callable[[], nn.Sequential]) -> nn.Sequential:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 63:
        raise Misuse(f"seed must be an integer in 0..2^63-1, got {seed!r}")
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would also reseed the caller's GPU generators, which the fork does not
        # restore.
        torch.default_generator.manual_seed(seed)
        return build()
