"""Private SGD: softmax cross-entropy, backward pass, update; one party's program.

Here belongs how a model is trained on shared rows. What a layer does is `layers`', who trains on
whose data is the federation's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Lt

from wwfl.bounds import NotNegative, Positive, check_bounds
from wwfl_core.errors import Misuse
from wwfl_core.recording import recorded
from wwfl_core.tensors import (
    Session,
    SharedTensor,
    concatenate,
    one_hot_argmax,
    softmax,
    weighted_sum,
)

from .layers import Network, Params


class Velocity(NamedTuple):
    """Accumulated gradients of all parameters, in units of a sum over `batch` samples."""

    flat: SharedTensor
    batch: int


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent on the mean cross-entropy of a batch, as in torch.

    lr: step size. momentum: v <- momentum v + g, then w <- w - lr v, from v = 0 in every round. The
    gradient of weight_decay / 2 |w|^2 + prox / 2 |w - anchor|^2 is added; the latter is FedProx's
    proximal term (Li et al., MLSys'20), anchored at the global model that the round started from.
    Neither costs communication: they are part of the update's truncation.

    Raises:
        ConfigError: a rate, momentum, decay or proximal term out of range.

    >>> SGD(0.1, momentum=0.9)
    SGD(lr=0.1, momentum=0.9, weight_decay=0.0, prox=0.0)
    """

    lr: Positive = 0.05
    """learning rate of SGD"""
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.0
    """momentum of SGD"""
    weight_decay: NotNegative = 0.0
    """weight decay of SGD"""
    prox: NotNegative = 0.0
    """FedProx mu; 0 is plain SGD"""

    def __post_init__(self) -> None:
        check_bounds(self)

    def update(
        self,
        params: Params,
        grads: Params,
        velocity: Velocity | None,
        batch: int,
        anchor: Params | None = None,
    ) -> tuple[Params, Velocity | None]:
        """One step on gradients of the SUM over the batch: dividing by the batch size is part of
        the learning rate, so that small gradients are not rounded away. All parameters in one
        truncation (with momentum two).

        Parameters without a gradient (running statistics) stay. `anchor` is what `prox` pulls
        towards."""
        trained = [name for name in params if name in grads]
        weights, flat = (_flatten([of[name] for name in trained]) for of in (params, grads))
        pulls = self._pulls(weights, trained, anchor)
        size = batch
        if self.momentum:
            terms: list[tuple[SharedTensor, float]] = []
            if velocity is not None:
                size = velocity.batch
                flat = flat if batch == size else flat * (size / batch)
                terms.append((velocity.flat, self.momentum))
            terms += [(tensor, size * factor) for tensor, factor in pulls]
            flat = flat + weighted_sum(terms) if terms else flat
            velocity, pulls = Velocity(flat, size), []
        step = weighted_sum(
            [(flat, self.lr / size), *((tensor, self.lr * factor) for tensor, factor in pulls)]
        )
        new, updated, at = weights - step, dict(params), 0
        for name in trained:
            old = params[name]
            updated[name] = new[at : at + old.size].reshape(*old.shape)
            at += old.size
        return updated, velocity

    def _pulls(
        self, weights: SharedTensor, trained: Sequence[str], anchor: Params | None
    ) -> list[tuple[SharedTensor, float]]:
        """The gradient of the regularisers, as terms of a weighted sum."""
        own = [(weights, self.weight_decay + self.prox)] if self.weight_decay + self.prox else []
        if not self.prox:
            return own
        if anchor is None:
            raise Misuse(
                f"SGD(prox={self.prox:g}) needs anchor=, the parameters that the round started from"
            )
        return [*own, (_flatten([anchor[name] for name in trained]), -self.prox)]


def _flatten(tensors: Sequence[SharedTensor]) -> SharedTensor:
    return concatenate([t.reshape(t.size) for t in tensors])


def loss_gradient(logits: SharedTensor, one_hot: SharedTensor) -> SharedTensor:
    """Gradient of the summed softmax cross-entropy with respect to the logits: softmax(logits) -
    one_hot."""
    with logits.mpc.scope("loss"):
        return softmax(logits) - one_hot


def gradients(network: Network, params: Params, x: SharedTensor, one_hot: SharedTensor) -> Params:
    """Gradients of the cross-entropy summed over the batch, in training mode. x: [b, ...], one_hot:
    [b, classes]."""
    return _learn(network, params, x, one_hot)[0]


def _learn(
    network: Network, params: Params, x: SharedTensor, one_hot: SharedTensor
) -> tuple[Params, Params]:
    """The gradients, and the parameters with the batch's new running statistics."""
    logits, tape = network.training_forward(x, params)
    moved = params | tape.statistics(params)
    return network.backward(loss_gradient(logits, one_hot), params, tape), moved


def train(
    mpc: Session,
    network: Network,
    params: Params,
    images: SharedTensor,
    one_hot: SharedTensor,
    batches: Sequence[Sequence[int]],
    sgd: SGD,
    velocity: Velocity | None = None,
    anchor: Params | None = None,
) -> tuple[Params, Velocity | None]:
    """SGD over the given batches of row indices (public, in order); returns parameters and
    momentum.

    images: [n, ...]; one_hot: [n, classes]. `anchor`: the parameters that the round started from,
    which `sgd.prox` pulls towards. A program: every party of a cluster calls it. Nothing is opened.

    >>> import numpy as np
    >>> from backends import Replicated3PC
    >>> from wwfl.nn import SGD, Network, spec, train
    >>> from wwfl_core import LocalCluster
    >>> network = Network([spec.Linear("", (2, 3), bias=False)])
    >>> def program(mpc, weight, x, y):
    ...     return train(mpc, network, {"weight": weight}, x, y, [[0]], SGD(1.0))[0]["weight"]
    >>> with LocalCluster(Replicated3PC()) as c:
    ...     inputs = c.share(np.zeros((2, 3))), c.share(np.ones((1, 3))), c.share(np.eye(2)[:1])
    ...     c.reveal(c.run(program, *inputs)).round(3).tolist()
    [[0.5, 0.5, 0.5], [-0.5, -0.5, -0.5]]
    """
    for batch in batches:
        rows = np.asarray(batch, np.intp)
        params, velocity = sgd_step(
            mpc, network, sgd, params, velocity, images[rows], one_hot[rows], anchor
        )
    return params, velocity


@recorded
def sgd_step(
    mpc: Session,
    network: Network,
    sgd: SGD,
    params: Params,
    velocity: Velocity | None,
    images: SharedTensor,
    one_hot: SharedTensor,
    anchor: Params | None = None,
) -> tuple[Params, Velocity | None]:
    """One step of `train`, on one batch: new parameters and momentum. Steps alike are recorded and
    repeated."""
    grads, params = _learn(network, params, images, one_hot)
    with mpc.scope("update"):
        return sgd.update(params, grads, velocity, len(images), anchor)


def count_correct(
    network: Network, params: Params, images: SharedTensor, one_hot: SharedTensor
) -> SharedTensor:
    """How many images the model classifies right (in evaluation mode), as a secret integer."""
    logits, _ = network.forward(images, params)
    with logits.mpc.scope("argmax"):
        chosen = one_hot_argmax(logits, bits=min(64, logits.frac_bits + network.int_bits))
        return (chosen * one_hot).sum()
