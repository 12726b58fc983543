"""Layer descriptions: what a model computes, without torch and without parameter values.

`name` is always the module's path in the torch model ("3.1"; "" for a model that is one bare layer), and
parameters are called as torch calls them: "3.1.weight", "3.1.bias". Shapes never count the batch dimension.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wwfl_core.errors import ConfigError


@dataclass(frozen=True)
class _Named:
    name: str

    @property
    def title(self) -> str:
        """How messages call the layer, for instance "3.1: Conv2d"."""
        return f"{self.name or '(the model)'}: {type(self).__name__}"


@dataclass(frozen=True)
class _Weighted(_Named):
    @property
    def weight(self) -> str:
        """Name of the weight parameter."""
        return f"{self.name}.weight" if self.name else "weight"

    @property
    def bias_name(self) -> str:
        """Name of the bias parameter (there is one if the layer's `bias` is true)."""
        return f"{self.name}.bias" if self.name else "bias"


@dataclass(frozen=True)
class Conv2d(_Weighted):
    """Cross-correlation as in torch, zero padding, equal stride and padding in both directions.

    weight_shape: (out channels, in channels, kernel height, kernel width). bias: one value per out channel.
    """

    weight_shape: tuple[int, int, int, int]
    stride: int
    padding: int
    bias: bool


@dataclass(frozen=True)
class Linear(_Weighted):
    """x W^T + b. weight_shape: (outputs, inputs). bias: one value per output."""

    weight_shape: tuple[int, int]
    bias: bool


@dataclass(frozen=True)
class ReLU(_Named):
    """max(x, 0), element by element."""


@dataclass(frozen=True)
class MaxPool2d(_Named):
    """Maximum of each kernel x kernel window; stride equals kernel; a rest at the far edges is dropped."""

    kernel: int
    stride: int


@dataclass(frozen=True)
class AvgPool2d(_Named):
    """Mean of each kernel x kernel window; stride equals kernel; a rest at the far edges is dropped."""

    kernel: int
    stride: int


@dataclass(frozen=True)
class Flatten(_Named):
    """Everything but the batch becomes one dimension, in C order."""


Layer = Conv2d | Linear | ReLU | MaxPool2d | AvgPool2d | Flatten


def pool_first(layers: Iterable[Layer]) -> list[Layer]:
    """Swap every ReLU that stands directly before a MaxPool2d: the same function with fewer comparisons.

    The maximum commutes with ReLU. Gradients agree too: a window whose maximum is at most 0 passes nothing
    either way, and else the positive maximum is the same element. Only windows with equal positive maxima can
    differ, by which of the tied elements a max-pool picks.
    """
    result = list(layers)
    swapped = True
    while swapped:  # a swap can put another ReLU in front of the pool, as in ReLU, ReLU, MaxPool2d
        swapped = False
        for at in range(len(result) - 1):
            if isinstance(result[at], ReLU) and isinstance(result[at + 1], MaxPool2d):
                result[at], result[at + 1] = result[at + 1], result[at]
                swapped = True
    return result


def layer_shapes(layers: Iterable[Layer], input_shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Shape after each layer, without the batch dimension; ConfigError at the first that does not fit."""
    shape = tuple(int(size) for size in input_shape)
    if not shape or min(shape) < 1:
        raise ConfigError(f"input shape {shape}: every size must be at least 1 (leave the batch dimension out)")
    shapes: list[tuple[int, ...]] = []
    for layer in layers:
        shape = _after(layer, shape)
        shapes.append(shape)
    return shapes


def output_shape(layers: Iterable[Layer], input_shape: Sequence[int]) -> tuple[int, ...]:
    """Shape of the model's output for inputs of `input_shape`, both without the batch dimension."""
    return [tuple(int(size) for size in input_shape), *layer_shapes(layers, input_shape)][-1]


def parameter_shapes(layers: Iterable[Layer]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, in the order of the layers, weight before bias."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        if isinstance(layer, Conv2d | Linear):
            shapes[layer.weight] = layer.weight_shape
            if layer.bias:
                shapes[layer.bias_name] = layer.weight_shape[:1]
    return shapes


def _after(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    match layer:
        case ReLU():
            return shape
        case Flatten():
            return (math.prod(shape),)
        case Linear(weight_shape=(outputs, inputs)):
            if len(shape) != 1:
                raise ConfigError(f"{layer.title} takes flat inputs, gets {shape}; put a Flatten before it")
            if shape[0] != inputs:
                raise ConfigError(f"{layer.title} takes {inputs} inputs, gets {shape[0]}; set in_features={shape[0]}")
            return (outputs,)
        case Conv2d(weight_shape=(outputs, channels, *kernel), stride=stride, padding=padding):
            height, width = _image(layer, shape)
            if shape[0] != channels:
                raise ConfigError(
                    f"{layer.title} takes {channels} channels, gets {shape[0]}; set in_channels={shape[0]}"
                )
            padded = (height + 2 * padding, width + 2 * padding)
            return (outputs, *_windows(layer, padded, (kernel[0], kernel[1]), stride))
        case MaxPool2d(kernel=size, stride=stride) | AvgPool2d(kernel=size, stride=stride):
            return (shape[0], *_windows(layer, _image(layer, shape), (size, size), stride))
    raise ConfigError(f"{layer!r} is not a layer description")


def _image(layer: Layer, shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) != 3:
        raise ConfigError(f"{layer.title} takes inputs (channels, height, width), gets {shape}")
    return shape[1], shape[2]


def _windows(layer: Layer, size: tuple[int, int], kernel: tuple[int, int], stride: int) -> tuple[int, int]:
    if kernel[0] > size[0] or kernel[1] > size[1]:
        raise ConfigError(
            f"{layer.title}: its {kernel[0]}x{kernel[1]} window does not fit into {size[0]}x{size[1]}; "
            "use larger inputs or fewer layers that shrink them"
        )
    return (size[0] - kernel[0]) // stride + 1, (size[1] - kernel[1]) // stride + 1
