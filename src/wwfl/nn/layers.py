"""Layers over shared tensors: forward with what the backward pass needs, and backward.

Linear layers are bilinear maps, whose adjoints are their backward pass. `int_bits` is the declared range of
activations: a comparison looks at frac_bits + int_bits bits, so activations must stay below 2^(int_bits - 1) in
magnitude (2048 for the default 12).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from wwfl_core.bilinear import Bilinear, Conv2d, MatMul
from wwfl_core.errors import ConfigError
from wwfl_core.linear import SumPool2d
from wwfl_core.ops.nonlinear import PoolTree, relu_with_bits
from wwfl_core.tensor import SharedBits, SharedTensor, bilinear_many

from . import spec

Params = dict[str, SharedTensor]
DEFAULT_INT_BITS = 12


class Layer(ABC):
    """One layer of one forward pass: `forward` once, then `backward` at most once."""

    def __init__(self, description: spec.Layer, int_bits: int) -> None:
        self.description = description
        self.int_bits = int_bits

    def sign_bits(self, x: SharedTensor) -> int:
        """How many bits a comparison of activations looks at."""
        return min(64, x.frac_bits + self.int_bits)

    @abstractmethod
    def forward(self, x: SharedTensor, params: Params) -> SharedTensor: ...

    @abstractmethod
    def backward(self, gradient: SharedTensor, params: Params, grads: Params, first: bool) -> SharedTensor | None:
        """Adds this layer's parameter gradients to `grads`; returns the input's gradient (None if `first`)."""


class _Weighted(Layer):
    """y = f(x, w) / 2^shift + bias for a bilinear f; both gradients in the rounds of one product."""

    f: Bilinear
    shift = 0
    bias_axes: tuple[int, ...]
    bias_shape: tuple[int, ...]

    def __init__(self, description: spec.Conv2d | spec.Linear, int_bits: int) -> None:
        super().__init__(description, int_bits)
        self.weight, self.bias = description.weight, description.bias_name if description.bias else None

    def forward(self, x: SharedTensor, params: Params) -> SharedTensor:
        self._x = x
        y = self._products([(self.f, x, params[self.weight])])[0]
        return y + params[self.bias].reshape(*self.bias_shape) if self.bias else y

    def backward(self, gradient: SharedTensor, params: Params, grads: Params, first: bool) -> SharedTensor | None:
        x, w = self._x, params[self.weight]
        jobs = [(self.f.grad_y(x.shape, w.shape), x, gradient)]
        if not first:
            jobs.append((self.f.grad_x(x.shape, w.shape), gradient, w))
        products = self._products(jobs)
        grads[self.weight] = products[0]
        if self.bias:
            grads[self.bias] = gradient.sum(axis=self.bias_axes)
        return None if first else products[1]

    def _products(self, jobs: list[tuple[Bilinear, SharedTensor, SharedTensor]]) -> list[SharedTensor]:
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
        self.f = self.f.then(SumPool2d(pool.kernel))
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

    def backward(self, gradient: SharedTensor, params: Params, grads: Params, first: bool) -> SharedTensor | None:
        positive: SharedBits = self._positive
        return None if first else positive.times(gradient)


class MaxPoolLayer(Layer):
    def forward(self, x: SharedTensor, params: Params) -> SharedTensor:
        assert isinstance(self.description, spec.MaxPool2d)
        self._tree = PoolTree(self.description.kernel, self.sign_bits(x))
        return self._tree.forward(x)

    def backward(self, gradient: SharedTensor, params: Params, grads: Params, first: bool) -> SharedTensor | None:
        return None if first else self._tree.backward(gradient)


class AvgPoolLayer(Layer):
    def forward(self, x: SharedTensor, params: Params) -> SharedTensor:
        assert isinstance(self.description, spec.AvgPool2d)
        self._pool = SumPool2d(self.description.kernel)
        self._shape = x.shape
        algebra = x.data.algebra
        return x.linear(lambda a: self._pool.apply(algebra, a)) / self.description.kernel**2

    def backward(self, gradient: SharedTensor, params: Params, grads: Params, first: bool) -> SharedTensor | None:
        spread, algebra = self._pool.adjoint(self._shape), gradient.data.algebra
        small = gradient / self._pool.k**2
        return None if first else small.linear(lambda a: spread.apply(algebra, a))


class FlattenLayer(Layer):
    def forward(self, x: SharedTensor, params: Params) -> SharedTensor:
        self._shape = x.shape
        return x.reshape(x.shape[0], -1)

    def backward(self, gradient: SharedTensor, params: Params, grads: Params, first: bool) -> SharedTensor | None:
        return gradient.reshape(*self._shape)


class Network:
    """A model as a list of layer descriptions; parameters are passed in, so one network serves many models."""

    KINDS: ClassVar[dict[type[spec.Layer], type[Layer]]] = {
        spec.Conv2d: ConvLayer,
        spec.Linear: LinearLayer,
        spec.ReLU: ReLULayer,
        spec.MaxPool2d: MaxPoolLayer,
        spec.AvgPool2d: AvgPoolLayer,
        spec.Flatten: FlattenLayer,
    }

    def __init__(self, layers: list[spec.Layer], int_bits: int = DEFAULT_INT_BITS) -> None:
        for layer in layers:
            if type(layer) not in self.KINDS:
                raise ConfigError(
                    f"{layer!r} cannot be computed on shares; supported: {sorted(k.__name__ for k in self.KINDS)}"
                )
        self.layers = list(layers)
        self.int_bits = int_bits

    def forward(self, x: SharedTensor, params: Params) -> tuple[SharedTensor, list[Layer]]:
        """Logits, and the layers with what `backward` needs."""
        tape = self._tape()
        for layer in tape:
            with x.mpc.scope(layer.description.name or "model"):
                x = layer.forward(x, params)
        return x, tape

    def _tape(self) -> list[Layer]:
        """Fresh layers for one pass; a convolution takes an average-pool that follows it into its product."""
        tape: list[Layer] = []
        for layer in self.layers:
            last = tape[-1] if tape else None
            if isinstance(layer, spec.AvgPool2d) and type(last) is ConvLayer and _log2(layer.kernel**2) >= 0:
                assert isinstance(last.description, spec.Conv2d)
                tape[-1] = PooledConvLayer(last.description, layer, self.int_bits)
            else:
                tape.append(self.KINDS[type(layer)](layer, self.int_bits))
        return tape

    def backward(self, gradient: SharedTensor, params: Params, tape: list[Layer]) -> Params:
        """Gradients of all parameters, for the gradient of the logits."""
        grads: Params = {}
        trainable = [i for i, layer in enumerate(tape) if isinstance(layer, _Weighted)]
        stop = trainable[0] if trainable else len(tape)
        current: SharedTensor | None = gradient
        for i in range(len(tape) - 1, stop - 1, -1):
            assert current is not None
            with current.mpc.scope((tape[i].description.name or "model") + ".backward"):
                current = tape[i].backward(current, params, grads, first=i == stop)
        return grads
