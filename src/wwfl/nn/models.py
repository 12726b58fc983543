"""Ready-made models: ordinary torch modules that `wwfl.nn.tracing` understands.

The initial model is public, so it comes from torch's default initialisation with a plain seed. The
seed works on the CPU generator alone and leaves the caller's random state as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn

from wwfl_core.errors import Misuse


def lenet5(seed: int = 0) -> nn.Sequential:
    """LeNet-5 with ReLU and max-pooling: float32 [n, 1, 32, 32] -> logits [n, 10]; 61,706
    parameters.

    >>> sum(p.numel() for p in lenet5().parameters())
    61706
    """
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
    """Fully connected ReLU net: float32 [n, ...] with `inputs` values each -> logits [n, classes].

    Raises:
        Misuse: a size that is not a positive integer.

    >>> mlp(64, [8], 10)(torch.zeros(5, 8, 8)).shape
    torch.Size([5, 10])
    """
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
    """Multinomial logistic regression: float32 [n, ...] with `inputs` values each -> logits [n,
    classes]."""
    return mlp(inputs, (), classes, seed)


class BasicBlock(nn.Module):
    """relu(f(x) + shortcut(x)) with f two 3x3 convolutions (He et al., CVPR'16); the shortcut is a
    1x1 convolution where f changes the shape."""

    def __init__(self, before: int, after: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = _conv3x3(before, after, stride, norm)
        self.conv2 = _conv3x3(after, after, 1, norm)
        self.norm1, self.norm2 = _norm(after, norm), _norm(after, norm)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False, **_PLACE), _norm(after, norm)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


def _conv3x3(before: int, after: int, stride: int, norm: str) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, 1, bias=norm == "none", **_PLACE)


def _norm(channels: int, norm: str) -> nn.Module:
    return nn.BatchNorm2d(channels, **_PLACE) if norm == "batch" else nn.Identity()


def resnet9(norm: str = "batch", width: int = 64, seed: int = 0) -> nn.Sequential:
    """ResNet with one basic block per stage: float32 [n, 3, h, w] (CIFAR: 32 x 32) -> logits [n,
    10].

    Widths `width` times 1, 2, 4, 8, a stem of one 3x3 convolution, stride-2 stages, average pool.
    norm: "batch" (4,903,242 parameters, and 5,760 running statistics) or "none" (4,899,466; the 3x3
    convolutions then have a bias)."""
    if norm not in ("batch", "none"):
        raise Misuse(f'norm must be "batch" or "none", got {norm!r}')
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise Misuse(f"width must be an integer of at least 1, got {width!r}")

    def build() -> nn.Sequential:
        layers = [_conv3x3(3, width, 1, norm), _norm(width, norm), nn.ReLU()]
        before = width
        for stage in range(4):
            layers.append(BasicBlock(before, width << stage, 1 if stage == 0 else 2, norm))
            before = width << stage
        return nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10, **_PLACE)
        )

    return _seeded(seed, build)


def ResNet9(norm: str = "batch", width: int = 64, seed: int = 0) -> nn.Sequential:
    """The same as `resnet9`."""
    return resnet9(norm, width, seed)


def LeNet(seed: int = 0) -> nn.Sequential:
    """The same as `lenet5`."""
    return lenet5(seed)


def MLP(inputs: int, hidden: Sequence[int], classes: int, seed: int = 0) -> nn.Sequential:
    """The same as `mlp`."""
    return mlp(inputs, hidden, classes, seed)


def LogisticRegression(inputs: int, classes: int, seed: int = 0) -> nn.Sequential:
    """The same as `logistic_regression`."""
    return logistic_regression(inputs, classes, seed)


# Said for every layer: with the user's own torch defaults (a GPU, float64) one seed would give
# another model.
_PLACE = {"device": "cpu", "dtype": torch.float32}


def _seeded(seed: int, build: Callable[[], nn.Sequential]) -> nn.Sequential:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 63:
        raise Misuse(f"seed must be an integer in 0..2^63-1, got {seed!r}")
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would also reseed the caller's GPU generators, which the fork
        # does not restore.
        torch.default_generator.manual_seed(seed)
        return build()
