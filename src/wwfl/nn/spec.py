"""Layer descriptions: what a model computes, without torch and without parameter values.

A model is a list of layers. Each takes the output of the layer before it, unless its `source` names
another one (or `INPUT`, the model's input); the last layer's output is the model's. `name` is the
module's path in the torch model ("3.1"; "" for a model that is one bare layer), and parameters are
called as torch calls them: "3.1.weight", "3.1.bias". Shapes never count the batch dimension."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from wwfl_core.errors import ConfigError

INPUT = "<input>"
"""What `source` says for the model's input; no module's path looks like it."""


@dataclass(frozen=True)
class _Named:
    name: str
    source: str | None = field(default=None, kw_only=True)

    @property
    def title(self) -> str:
        """How messages call the layer, for instance "3.1: Conv2d"."""
        return f"{self.name or '(the model)'}: {type(self).__name__}"

    @property
    def sources(self) -> tuple[str | None, ...]:
        """Whose outputs the layer takes; None for the layer before."""
        return (self.source,)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of everything that training changes, weight before bias."""
        return {}

    def trainable(self) -> tuple[str, ...]:
        """Those of them that have a gradient."""
        return tuple(self.parameters())

    def _member(self, name: str) -> str:
        return f"{self.name}.{name}" if self.name else name


@dataclass(frozen=True)
class _Weighted(_Named):
    weight_shape: tuple[int, ...]

    @property
    def weight(self) -> str:
        """Name of the weight parameter."""
        return self._member("weight")

    @property
    def bias_name(self) -> str:
        """Name of the bias parameter (there is one if the layer's `bias` is true)."""
        return self._member("bias")

    def _weights(self, *, bias: bool) -> dict[str, tuple[int, ...]]:
        return {self.weight: self.weight_shape} | (
            {self.bias_name: self.weight_shape[:1]} if bias else {}
        )


@dataclass(frozen=True)
class Conv2d(_Weighted):
    """Cross-correlation as in torch, zero padding, equal stride and padding in both directions.

    weight_shape: (out channels, in channels, kernel height, kernel width). bias: one value per out
    channel."""

    weight_shape: tuple[int, int, int, int]
    stride: int
    padding: int
    bias: bool

    def parameters(self) -> dict[str, tuple[int, ...]]:
        return self._weights(bias=self.bias)


@dataclass(frozen=True)
class Linear(_Weighted):
    """x W^T + b. weight_shape: (outputs, inputs). bias: one value per output."""

    weight_shape: tuple[int, int]
    bias: bool

    def parameters(self) -> dict[str, tuple[int, ...]]:
        return self._weights(bias=self.bias)


@dataclass(frozen=True)
class BatchNorm2d(_Named):
    """(x - mean) / sqrt(variance + eps) * weight + bias per channel, over batch, height and width.

    In training mean and variance are the batch's, and the running statistics move towards them by
    `momentum` (the variance without bias, as in torch); in evaluation they are the running
    statistics, which are parameters without a gradient."""

    channels: int
    eps: float
    momentum: float

    @property
    def weight(self) -> str:
        return self._member("weight")

    @property
    def bias_name(self) -> str:
        return self._member("bias")

    @property
    def running_mean(self) -> str:
        return self._member("running_mean")

    @property
    def running_var(self) -> str:
        return self._member("running_var")

    def parameters(self) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(
            (self.weight, self.bias_name, self.running_mean, self.running_var), (self.channels,)
        )

    def trainable(self) -> tuple[str, ...]:
        return self.weight, self.bias_name


@dataclass(frozen=True)
class ReLU(_Named):
    """max(x, 0), element by element."""


@dataclass(frozen=True)
class MaxPool2d(_Named):
    """Maximum of each kernel x kernel window; a rest at the far edges is dropped."""

    kernel: int
    stride: int


@dataclass(frozen=True)
class AvgPool2d(_Named):
    """Mean of each kernel x kernel window; a rest at the far edges is dropped."""

    kernel: int
    stride: int


@dataclass(frozen=True)
class GlobalAvgPool2d(_Named):
    """Mean over height and width, which become 1."""


@dataclass(frozen=True)
class Flatten(_Named):
    """Everything but the batch becomes one dimension, in C order."""


@dataclass(frozen=True)
class Add(_Named):
    """The sum of two outputs of equal shape: `source` (or the layer before) and `other`."""

    other: str

    @property
    def sources(self) -> tuple[str | None, ...]:
        return self.source, self.other


Layer = (
    Conv2d | Linear | BatchNorm2d | ReLU | MaxPool2d | AvgPool2d | GlobalAvgPool2d | Flatten | Add
)


def inputs(layers: Sequence[Layer]) -> list[tuple[int, ...]]:
    """For each layer, the positions of the layers whose outputs it takes; -1 is the model's input.

    ConfigError for two layers of one name, a source that is not an earlier layer, or an output that
    nobody takes."""
    position = {INPUT: -1}
    result: list[tuple[int, ...]] = []
    for at, layer in enumerate(layers):
        if layer.name in position:
            raise ConfigError(f"{layer.title}: another layer has the same name; names must differ")
        for source in layer.sources:
            if source is not None and source not in position:
                raise ConfigError(
                    f"{layer.title} takes the output of {source!r}, which is no layer before it"
                )
        result.append(
            tuple(at - 1 if source is None else position[source] for source in layer.sources)
        )
        position[layer.name] = at
    used = {i for sources in result for i in sources} | {len(layers) - 1}
    for at, layer in enumerate(layers):
        if at not in used:
            raise ConfigError(
                f"{layer.title}: no layer takes its output; leave it out of the model"
            )
    return result


def pool_first(layers: Iterable[Layer]) -> list[Layer]:
    """Swap every ReLU that stands directly before a MaxPool2d: the same function with fewer
    comparisons.

    The maximum commutes with ReLU. Gradients agree too: a window whose maximum is at most 0 passes
    nothing either way, and else the positive maximum is the same element. Only windows with equal
    positive maxima can differ, by which of the tied elements a max-pool picks. A ReLU whose output
    another layer takes too stays."""
    result = list(layers)
    swapped = True
    while swapped:  # a swap can put another ReLU in front of the pool, as in ReLU, ReLU, MaxPool2d
        swapped = False
        for at in range(len(result) - 1):
            relu, pool = result[at : at + 2]
            if (
                isinstance(relu, ReLU)
                and isinstance(pool, MaxPool2d)
                and pool.source in (None, relu.name)
            ):
                if any(relu.name in layer.sources for layer in result if layer is not pool):
                    continue
                # The pair's output was called by the pool's name and is now called by the ReLU's.
                after = [_renamed(layer, pool.name, relu.name) for layer in result[at + 2 :]]
                first, second = replace(pool, source=relu.source), replace(relu, source=None)
                result = [*result[:at], first, second, *after]
                swapped = True
    return result


def _renamed(layer: Layer, before: str, after: str) -> Layer:
    """The layer with `after` as its source wherever it was `before`."""
    if layer.source == before:
        layer = replace(layer, source=after)
    if isinstance(layer, Add) and layer.other == before:
        layer = replace(layer, other=after)
    return layer


def layer_shapes(layers: Iterable[Layer], input_shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Shape after each layer, without the batch dimension; ConfigError at the first that does not
    fit."""
    shape = tuple(int(size) for size in input_shape)
    if not shape or min(shape) < 1:
        raise ConfigError(
            f"input shape {shape}: every size must be at least 1 (leave the batch dimension out)"
        )
    model = list(layers)
    shapes: list[tuple[int, ...]] = []
    for layer, sources in zip(model, inputs(model), strict=True):
        taken = [shapes[i] if i >= 0 else shape for i in sources]
        if len(set(taken)) > 1:
            raise ConfigError(
                f"{layer.title}: its inputs have different shapes, {' and '.join(map(str, taken))}"
            )
        shapes.append(_after(layer, taken[0]))
    return shapes


def output_shape(layers: Iterable[Layer], input_shape: Sequence[int]) -> tuple[int, ...]:
    """Shape of the model's output for inputs of `input_shape`, both without the batch dimension."""
    return [tuple(int(size) for size in input_shape), *layer_shapes(layers, input_shape)][-1]


def parameter_shapes(layers: Iterable[Layer]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter and running statistic, in the order of the layers, weight
    before bias."""
    return {name: shape for layer in layers for name, shape in layer.parameters().items()}


def parameter_count(layers: Iterable[Layer]) -> int:
    """How many numbers a flat model has."""
    return sum(math.prod(shape) for shape in parameter_shapes(layers).values())


def _after(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    match layer:
        case ReLU() | Add():
            return shape
        case Flatten():
            return (math.prod(shape),)
        case Linear(weight_shape=(outputs, inputs)):
            if len(shape) != 1:
                raise ConfigError(
                    f"{layer.title} takes flat inputs, gets {shape}; put a Flatten before it"
                )
            if shape[0] != inputs:
                raise ConfigError(
                    f"{layer.title} takes {inputs} inputs, gets {shape[0]}; set "
                    f"in_features={shape[0]}"
                )
            return (outputs,)
        case Conv2d(weight_shape=(outputs, channels, *kernel), stride=stride, padding=padding):
            height, width = _image(layer, shape)
            if shape[0] != channels:
                raise ConfigError(
                    f"{layer.title} takes {channels} channels, gets {shape[0]}; set "
                    f"in_channels={shape[0]}"
                )
            padded = (height + 2 * padding, width + 2 * padding)
            return (outputs, *_windows(layer, padded, (kernel[0], kernel[1]), stride))
        case BatchNorm2d(channels=channels):
            _image(layer, shape)
            if shape[0] != channels:
                raise ConfigError(
                    f"{layer.title} takes {channels} channels, gets {shape[0]}; set "
                    f"num_features={shape[0]}"
                )
            return shape
        case MaxPool2d(kernel=size, stride=stride) | AvgPool2d(kernel=size, stride=stride):
            return (shape[0], *_windows(layer, _image(layer, shape), (size, size), stride))
        case GlobalAvgPool2d():
            _image(layer, shape)
            return (shape[0], 1, 1)
    raise ConfigError(f"{layer!r} is not a layer description")


def _image(layer: Layer, shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) != 3:
        raise ConfigError(f"{layer.title} takes inputs (channels, height, width), gets {shape}")
    return shape[1], shape[2]


def _windows(
    layer: Layer, size: tuple[int, int], kernel: tuple[int, int], stride: int
) -> tuple[int, int]:
    if kernel[0] > size[0] or kernel[1] > size[1]:
        raise ConfigError(
            f"{layer.title}: its {kernel[0]}x{kernel[1]} window does not fit into "
            f"{size[0]}x{size[1]}; use larger inputs or fewer layers that shrink them"
        )
    return (size[0] - kernel[0]) // stride + 1, (size[1] - kernel[1]) // stride + 1
