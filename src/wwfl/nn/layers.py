"""Layers over shared tensors, and networks of them.

Here belongs what a layer computes on shares, forward and backward. Linear layers are bilinear maps,
whose adjoints are their backward pass. What a model consists of is described in `spec`, without
tensors; a new layer has its description there and its class here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from wwfl_core.errors import ConfigError, Misuse
from wwfl_core.numbers import Bilinear, Conv2d, MatMul, SumPool2d
from wwfl_core.tensors import PoolTree, SharedBits, SharedTensor, bilinear_many, relu_with_bits

from . import batch_norm, spec
from .batch_norm import BatchNormLayer, FrozenBatchNormLayer
from .layer_interface import DEFAULT_INT_BITS, Layer, Params


class _Weighted(Layer):
    """y = f(x, w) / 2^shift + bias for a bilinear f; both gradients in the rounds of one
    product."""

    f: Bilinear
    shift = 0
    bias_axes: tuple[int, ...]
    bias_shape: tuple[int, ...]

    def __init__(self, description: spec.Conv2d | spec.Linear, int_bits: int) -> None:
        super().__init__(description, int_bits)
        self.weight, self.bias = (
            description.weight,
            description.bias_name if description.bias else None,
        )

    def forward(self, x: SharedTensor, params: Params) -> SharedTensor:
        self._x = x
        y = self._products([(self.f, x, params[self.weight])])[0]
        return y + params[self.bias].reshape(*self.bias_shape) if self.bias else y

    def backward(
        self, gradient: SharedTensor, params: Params, grads: Params, first: bool
    ) -> SharedTensor | None:
        x, w = self._x, params[self.weight]
        jobs = [(self.f.grad_y(x.shape, w.shape), x, gradient)]
        if not first:
            jobs.append((self.f.grad_x(x.shape, w.shape), gradient, w))
        products = self._products(jobs)
        grads[self.weight] = products[0]
        if self.bias:
            grads[self.bias] = gradient.sum(axis=self.bias_axes)
        return None if first else products[1]

    def _products(
        self, jobs: list[tuple[Bilinear, SharedTensor, SharedTensor]]
    ) -> list[SharedTensor]:
        """Dividing by 2^shift is part of the truncation that follows a product anyway."""
        return bilinear_many(jobs, shift=self.shift)


class ConvLayer(_Weighted):
    bias_axes, bias_shape = (0, 2, 3), (1, -1, 1, 1)

    def __init__(self, description: spec.Conv2d, int_bits: int) -> None:
        super().__init__(description, int_bits)
        self.f = Conv2d(description.stride, description.padding)


class PooledConvLayer(ConvLayer):
    """Convolution and average-pooling as one bilinear map: only the pooled output is re-shared.

    For kernels whose area is a power of two, so that the mean is a shift.
    """

    def __init__(self, description: spec.Conv2d, pool: spec.AvgPool2d, int_bits: int) -> None:
        super().__init__(description, int_bits)
        self.f = self.f.then(SumPool2d(pool.kernel, pool.stride))
        self.shift = _log2(pool.kernel**2)


def _log2(n: int) -> int:
    """log2 of a power of two, -1 for other numbers."""
    return n.bit_length() - 1 if n & (n - 1) == 0 else -1


class LinearLayer(_Weighted):
    f = MatMul(False, True)
    bias_axes, bias_shape = (0,), (1, -1)


class ReLULayer(Layer):
    def forward(self, x: SharedTensor, params: Params) -> SharedTensor:
        y, self._positive = relu_with_bits(x, self.sign_bits(x))
        return y

    def backward(
        self, gradient: SharedTensor, params: Params, grads: Params, first: bool
    ) -> SharedTensor | None:
        positive: SharedBits = self._positive
        return None if first else positive.times(gradient)


class MaxPoolLayer(Layer):
    def forward(self, x: SharedTensor, params: Params) -> SharedTensor:
        assert isinstance(self.description, spec.MaxPool2d)
        self._tree = PoolTree(self.description.kernel, self.sign_bits(x), self.description.stride)
        return self._tree.forward(x)

    def backward(
        self, gradient: SharedTensor, params: Params, grads: Params, first: bool
    ) -> SharedTensor | None:
        return None if first else self._tree.backward(gradient)


class AvgPoolLayer(Layer):
    def forward(self, x: SharedTensor, params: Params) -> SharedTensor:
        assert isinstance(self.description, spec.AvgPool2d)
        self._pool = SumPool2d(self.description.kernel, self.description.stride)
        self._shape = x.shape
        algebra = x.data.algebra
        return x.linear(lambda a: self._pool.apply(algebra, a)) / self.description.kernel**2

    def backward(
        self, gradient: SharedTensor, params: Params, grads: Params, first: bool
    ) -> SharedTensor | None:
        if first:
            return None
        spread, algebra = self._pool.adjoint(self._shape), gradient.data.algebra
        small = gradient / self._pool.k**2
        return small.linear(lambda a: spread.apply(algebra, a))


class GlobalAvgPoolLayer(Layer):
    def forward(self, x: SharedTensor, params: Params) -> SharedTensor:
        self._shape = x.shape
        return x.mean(axis=(2, 3), keepdims=True)

    def backward(
        self, gradient: SharedTensor, params: Params, grads: Params, first: bool
    ) -> SharedTensor | None:
        if first:
            return None
        return (gradient / (self._shape[2] * self._shape[3])).broadcast_to(self._shape)


class AddLayer(Layer):
    """Nothing is left to do: a network hands every layer the sum of its inputs, and its gradient to
    all of them."""

    def forward(self, x: SharedTensor, params: Params) -> SharedTensor:
        return x

    def backward(
        self, gradient: SharedTensor, params: Params, grads: Params, first: bool
    ) -> SharedTensor | None:
        return None if first else gradient


class FlattenLayer(Layer):
    def forward(self, x: SharedTensor, params: Params) -> SharedTensor:
        self._shape = x.shape
        return x.reshape(x.shape[0], -1)

    def backward(
        self, gradient: SharedTensor, params: Params, grads: Params, first: bool
    ) -> SharedTensor | None:
        return gradient.reshape(*self._shape)


@dataclass(frozen=True)
class _Step:
    """A layer to compute (with the average-pool that its product takes in), and the steps whose
    outputs it takes."""

    layer: spec.Layer
    inputs: tuple[int, ...]
    pool: spec.AvgPool2d | None = None

    @property
    def label(self) -> str:
        return self.layer.name or "model"


@dataclass
class Tape:
    """What the backward pass needs of a forward pass in training mode; empty after one in
    evaluation mode."""

    layers: list[Layer] = field(default_factory=list)

    def statistics(self, params: Params) -> Params:
        """The batch norms' new running statistics, by name."""
        return batch_norm.statistics(
            [layer for layer in self.layers if isinstance(layer, BatchNormLayer)], params
        )


class Network:
    """A model as a list of layer descriptions; parameters are passed in, so one network serves many
    models. Networks of equal layers are equal.

    `int_bits` is the declared width of activations: a comparison looks at frac_bits + int_bits
    bits.

    Raises:
        ConfigError: a layer that cannot be computed on shares.

    >>> from wwfl.nn import Network, spec
    >>> Network([spec.Linear("", (2, 3), bias=True)]).int_bits
    12
    """

    TRAINING: ClassVar[Mapping[type[spec.Layer], type[Layer]]] = {
        spec.Conv2d: ConvLayer,
        spec.Linear: LinearLayer,
        spec.BatchNorm2d: BatchNormLayer,
        spec.ReLU: ReLULayer,
        spec.MaxPool2d: MaxPoolLayer,
        spec.AvgPool2d: AvgPoolLayer,
        spec.GlobalAvgPool2d: GlobalAvgPoolLayer,
        spec.Flatten: FlattenLayer,
        spec.Add: AddLayer,
    }
    EVALUATION: ClassVar[Mapping[type[spec.Layer], type[Layer]]] = {
        **TRAINING,
        spec.BatchNorm2d: FrozenBatchNormLayer,
    }

    def __init__(self, layers: Sequence[spec.Layer], int_bits: int = DEFAULT_INT_BITS) -> None:
        for layer in layers:
            if type(layer) not in self.TRAINING:
                supported = sorted(k.__name__ for k in self.TRAINING)
                raise ConfigError(f"{layer!r} cannot be computed on shares; supported: {supported}")
        self.layers = list(layers)
        self.int_bits = int_bits
        self._steps = _steps(self.layers)
        self._takers = Counter(i for step in self._steps for i in step.inputs)
        self._last = len(self._steps) - 1

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (other.layers, other.int_bits) == (
            self.layers,
            self.int_bits,
        )

    def __hash__(self) -> int:
        return hash((tuple(self.layers), self.int_bits))

    def forward(self, x: SharedTensor, params: Params) -> tuple[SharedTensor, Tape]:
        """Evaluation mode: logits, and an empty tape (there is no way back). Batch norms use the
        running statistics.

        With batch norms, `freeze` the parameters once before several calls.
        """
        params = self.freeze(params)
        return self._run(x, params, self.EVALUATION, []), Tape()

    def training_forward(self, x: SharedTensor, params: Params) -> tuple[SharedTensor, Tape]:
        """Training mode: logits, and what `backward` needs. Batch norms use the batch's
        statistics."""
        tape = Tape()
        return self._run(x, params, self.TRAINING, tape.layers), tape

    def freeze(self, params: Params) -> Params:
        """The parameters with every batch norm's scale and shift in evaluation mode; as they are
        where that is done."""
        return batch_norm.freeze(
            [layer for layer in self.layers if isinstance(layer, spec.BatchNorm2d)], params
        )

    def _run(
        self,
        x: SharedTensor,
        params: Params,
        kinds: Mapping[type[spec.Layer], type[Layer]],
        tape: list[Layer],
    ) -> SharedTensor:
        """The output for x; in training mode the layers are appended to `tape`."""
        values, left = {-1: x}, self._takers.copy()
        for at, step in enumerate(self._steps):
            layer = self._layer(step, kinds)
            with x.mpc.scope(step.label):
                values[at] = layer.forward(_total([values[i] for i in step.inputs]), params)
            if kinds is self.TRAINING:
                tape.append(layer)
            left.subtract(step.inputs)
            for i in set(step.inputs):
                if not left[i]:
                    del values[i]  # activations are large, and nobody else takes this one
        return values[self._last]

    def _layer(self, step: _Step, kinds: Mapping[type[spec.Layer], type[Layer]]) -> Layer:
        if step.pool is not None:
            assert isinstance(step.layer, spec.Conv2d)
            return PooledConvLayer(step.layer, step.pool, self.int_bits)
        return kinds[type(step.layer)](step.layer, self.int_bits)

    def backward(self, gradient: SharedTensor, params: Params, tape: Tape) -> Params:
        """Gradients of all parameters that have one, for the gradient of the logits."""
        if len(tape.layers) != len(self._steps):
            raise Misuse(
                "backward needs the tape of a training_forward of this network; forward is "
                "evaluation mode"
            )
        grads: Params = {}
        depends = _depends(self._steps)  # which outputs change with some parameter
        waiting = {self._last: gradient}
        for at in range(self._last, -1, -1):
            step = self._steps[at]
            if not depends[at]:
                continue
            sources = [i for i in step.inputs if i >= 0 and depends[i]]
            with gradient.mpc.scope(step.label + ".backward"):
                back = tape.layers[at].backward(waiting.pop(at), params, grads, first=not sources)
                for i in sources:
                    assert back is not None
                    waiting[i] = waiting[i] + back if i in waiting else back
        return grads


def _steps(layers: Sequence[spec.Layer]) -> list[_Step]:
    """The layers as steps; a convolution takes an average-pool that alone follows it into its
    product."""
    inputs = spec.inputs(layers)
    takers = Counter(i for sources in inputs for i in sources)
    steps: list[_Step] = []
    made_by = {-1: -1}  # the step that computes a layer's output
    for at, (layer, sources) in enumerate(zip(layers, inputs, strict=True)):
        before = sources[0]
        if (
            isinstance(layer, spec.AvgPool2d)
            and before >= 0
            and isinstance(layers[before], spec.Conv2d)
            and takers[before] == 1
            and _log2(layer.kernel**2) >= 0
        ):
            steps[made_by[before]] = replace(steps[made_by[before]], pool=layer)
            made_by[at] = made_by[before]
        else:
            made_by[at] = len(steps)
            steps.append(_Step(layer, tuple(made_by[i] for i in sources)))
    return steps


def _depends(steps: Sequence[_Step]) -> list[bool]:
    """For each step, whether its output depends on a parameter that has a gradient."""
    result: list[bool] = []
    for step in steps:
        result.append(bool(step.layer.trainable()) or any(result[i] for i in step.inputs if i >= 0))
    return result


def _total(tensors: Sequence[SharedTensor]) -> SharedTensor:
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total
