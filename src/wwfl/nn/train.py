"""Private SGD: softmax cross-entropy, backward pass, update - one party's program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wwfl_core.backend import MPCBackend
from wwfl_core.errors import ConfigError
from wwfl_core.ops import one_hot_argmax, softmax
from wwfl_core.tensor import SharedTensor, concatenate

from .layers import Network, Params


class Velocity(NamedTuple):
    """Accumulated gradients of all parameters, in units of a sum over `batch` samples."""

    flat: SharedTensor
    batch: int


@dataclass(frozen=True)
class SGD:
    """Plain stochastic gradient descent on the mean cross-entropy of a batch, with optional momentum."""

    lr: float = 0.05
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if not (self.lr > 0 and np.isfinite(self.lr)):
            raise ConfigError(f"learning rate {self.lr} must be a positive number")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum {self.momentum} is outside [0, 1)")

    def update(
        self, params: Params, grads: Params, velocity: Velocity | None, batch: int
    ) -> tuple[Params, Velocity | None]:
        """One step on gradients of the SUM over the batch: dividing by the batch size is part of the learning rate,
        so that small gradients are not rounded away. All parameters in one truncation."""
        flat = _flatten(list(grads[name] for name in params))
        size = batch
        if self.momentum:
            if velocity is not None:
                size = velocity.batch
                flat = (flat if batch == size else flat * (size / batch)) + velocity.flat * self.momentum
            velocity = Velocity(flat, size)
        new = _flatten(list(params.values())) - flat * (self.lr / size)
        updated: Params = {}
        at = 0
        for name, old in params.items():
            updated[name] = new[at : at + old.size].reshape(*old.shape)
            at += old.size
        return updated, velocity


def _flatten(tensors: Sequence[SharedTensor]) -> SharedTensor:
    return concatenate([t.reshape(t.size) for t in tensors])


def loss_gradient(logits: SharedTensor, one_hot: SharedTensor) -> SharedTensor:
    """Gradient of the summed softmax cross-entropy with respect to the logits: softmax(logits) - one_hot."""
    with logits.mpc.scope("loss"):
        return softmax(logits) - one_hot


def gradients(network: Network, params: Params, x: SharedTensor, one_hot: SharedTensor) -> Params:
    """Gradients of the cross-entropy summed over the batch. x: [b, ...], one_hot: [b, classes]."""
    logits, tape = network.forward(x, params)
    return network.backward(loss_gradient(logits, one_hot), params, tape)


def train(
    mpc: MPCBackend,
    network: Network,
    params: Params,
    images: SharedTensor,
    one_hot: SharedTensor,
    batches: Sequence[Sequence[int]],
    sgd: SGD,
    velocity: Velocity | None = None,
) -> tuple[Params, Velocity | None]:
    """SGD over the given batches of row indices (public, in order); returns parameters and momentum."""
    for batch in batches:
        rows = np.asarray(batch, np.intp)
        grads = gradients(network, params, images[rows], one_hot[rows])
        with mpc.scope("update"):
            params, velocity = sgd.update(params, grads, velocity, len(rows))
    return params, velocity


def count_correct(network: Network, params: Params, images: SharedTensor, one_hot: SharedTensor) -> SharedTensor:
    """How many images the model classifies right, as a secret integer."""
    logits, _ = network.forward(images, params)
    with logits.mpc.scope("argmax"):
        chosen = one_hot_argmax(logits, bits=min(64, logits.frac_bits + network.int_bits))
        return (chosen * one_hot).sum()
