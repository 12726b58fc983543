"""A model as servers know it: its layers, and how its numbers lie in one flat vector.

Here belongs what every part of a federation must know of a model, built once by
`wwfl.nn.model_of` and passed around: no torch (server processes never load it) and no values of
parameters, which travel as flat shared vectors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from wwfl_core.errors import ConfigError
from wwfl_core.tensors import Session, SharedTensor, concatenate

from . import spec
from .layer_interface import DEFAULT_INT_BITS, Params
from .layers import Network
from .sgd import SGD, Velocity, train

Momentum = tuple[SharedTensor, int]
"""Accumulated gradients [parameters] in units of a sum over so many samples (`Velocity`)."""


@dataclass(frozen=True)
class Model:
    """What a model computes, and the layout of its parameters.

    `layers` describe it in the order of execution. `int_bits` is the declared width of
    activations: they stay below 2^(int_bits - 1) in magnitude, so that comparisons look at no more
    than frac_bits + int_bits bits.

    Parameters are one flat vector [size]: weights, biases and running statistics in the order of
    the layers, each in C order. A model declares no shape of its inputs, as a torch module declares
    none; what depends on it (`classes`) is asked with the shape of one input.

    `train`, `freeze` and `logits` are what the servers' programs ask of a model. They are written
    here for shares; an engine that computes with floats hands its programs a model that does the
    same in torch.

    >>> from wwfl.nn import MLP, model_of
    >>> model = model_of(MLP(4, [3], 2))
    >>> model.size, model.classes((4,))
    (23, 2)
    >>> list(model.shapes)
    ['1.weight', '1.bias', '3.weight', '3.bias']
    """

    layers: tuple[spec.Layer, ...]
    int_bits: int = DEFAULT_INT_BITS

    @classmethod
    def of(cls, layers: Iterable[spec.Layer], int_bits: int = DEFAULT_INT_BITS) -> Model:
        """The model of these layers, with max-pools before ReLUs (`spec.pool_first`).

        >>> Model.of([spec.Linear("", (2, 4), True)]).size
        10
        """
        return cls(tuple(spec.pool_first(layers)), int_bits)

    # ------------------------------------------------------------------ shapes

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter and running statistic, in the order of the vector."""
        return spec.parameter_shapes(self.layers)

    @property
    def size(self) -> int:
        """How many numbers the flat vector has."""
        return spec.parameter_count(self.layers)

    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of the output for one input of `input_shape`; the batch is not counted in either.

        Raises:
            ConfigError: the first layer that does not fit.
        """
        return spec.output_shape(self.layers, input_shape)

    def classes(self, input_shape: Sequence[int]) -> int:
        """How many classes the model tells apart for inputs of `input_shape`.

        Raises:
            ConfigError: inputs that do not fit, or a model that does not classify them.
        """
        shape = self.output_shape(input_shape)
        if len(shape) != 1:
            raise ConfigError(
                f"the model's output for {tuple(input_shape)} is {shape}; classification needs "
                "[classes]"
            )
        return shape[0]

    # ------------------------------------------------------------------ parameters

    def unflatten(self, flat: SharedTensor) -> Params:
        """A flat vector [size] as named tensors, in the order of the layers. Local."""
        params: Params = {}
        at = 0
        for name, shape in self.shapes.items():
            size = math.prod(shape)
            params[name] = flat[at : at + size].reshape(*shape)
            at += size
        return params

    @staticmethod
    def flatten(params: Params) -> SharedTensor:
        """The inverse of `unflatten`. Local."""
        return concatenate([p.reshape(p.size) for p in params.values()])

    # ------------------------------------------------------------------ what programs ask

    @property
    def network(self) -> Network:
        """The layers over shared tensors."""
        return Network(self.layers, self.int_bits)

    def train(
        self,
        mpc: Session,
        flat: SharedTensor,
        images: SharedTensor,
        one_hot: SharedTensor,
        batches: Sequence[Sequence[int]],
        sgd: SGD,
        momentum: Momentum | None = None,
        anchor: SharedTensor | None = None,
    ) -> tuple[SharedTensor, Momentum | None]:
        """SGD from `flat` over `batches` (rows of the data, public, in order): the new vector, and
        the momentum for the next call.

        images: [n, ...]; one_hot: [n, classes]. `anchor` is the vector that `sgd.prox` pulls
        towards. Every batch costs the rounds and bytes of one `sgd_step` (docs/costs.md).
        """
        velocity = Velocity(*momentum) if momentum else None
        start = None if anchor is None else self.unflatten(anchor)
        params, velocity = train(
            mpc, self.network, self.unflatten(flat), images, one_hot, batches, sgd, velocity, start
        )
        return self.flatten(params), None if velocity is None else (velocity.flat, velocity.batch)

    def freeze(self, flat: SharedTensor) -> Any:
        """The vector made ready for `logits` in evaluation mode.

        Local, but for batch norms: all of a model together cost one inverse root
        (`wwfl.nn.batch_norm.freeze`).
        """
        return self.network.freeze(self.unflatten(flat))

    def logits(self, images: SharedTensor, frozen: Any) -> SharedTensor:
        """Outputs [n, classes] for images [n, ...], by what `freeze` returned."""
        return self.network.forward(images, frozen)[0]

    def logit_bits(self, logits: SharedTensor) -> int:
        """How many bits a comparison of logits looks at."""
        return min(64, logits.frac_bits + self.int_bits)
