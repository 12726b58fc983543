"""What the servers run, one function per step of WW-FL's Algorithm 1. No torch here: server processes stay small."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wwfl_core import checkpoint
from wwfl_core.backend import MPCBackend
from wwfl_core.ops import argmax
from wwfl_core.tensor import SharedTensor, concatenate

from .aggregation import Aggregation, Inputs
from .nn import spec
from .nn.layers import Network, Params
from .nn.train import SGD, Velocity, count_correct, train

Rows = tuple[SharedTensor, SharedTensor]  # images [n, ...], one-hot labels [n, classes]


def unflatten(flat: SharedTensor, layers: Sequence[spec.Layer]) -> Params:
    """A flat model [parameters] as named tensors, in the order of the layers."""
    params: Params = {}
    at = 0
    for name, shape in spec.parameter_shapes(layers).items():
        size = int(np.prod(shape))
        params[name] = flat[at : at + size].reshape(*shape)
        at += size
    return params


def flatten(params: Params) -> SharedTensor:
    """The inverse of `unflatten`."""
    return concatenate([p.reshape(p.size) for p in params.values()])


def toss(mpc: MPCBackend, reason: str) -> bytes:
    """Sample: a joint coin of the cluster's servers."""
    with mpc.scope("sample"):
        return mpc.coin(reason)


def pool(mpc: MPCBackend, clients: Sequence[Rows]) -> Rows:
    """The pooled training set of this round."""
    return concatenate([c[0] for c in clients]), concatenate([c[1] for c in clients])


def train_batch(
    mpc: MPCBackend,
    layers: Sequence[spec.Layer],
    int_bits: int,
    flat: SharedTensor,
    images: SharedTensor,
    one_hot: SharedTensor,
    batches: Sequence[Sequence[int]],
    sgd: SGD,
    momentum: tuple[SharedTensor, int] | None,
) -> tuple[SharedTensor, tuple[SharedTensor, int] | None]:
    """Train: SGD steps on the pooled data; returns the model and the momentum."""
    with mpc.scope("train"):
        network = Network(list(layers), int_bits)
        velocity = Velocity(*momentum) if momentum else None
        params, velocity = train(mpc, network, unflatten(flat, layers), images, one_hot, batches, sgd, velocity)
        return flatten(params), tuple(velocity) if velocity else None


def aggregate(
    mpc: MPCBackend,
    rule: Aggregation,
    models: Sequence[SharedTensor],
    weights: Sequence[float],
    current: SharedTensor,
    root: SharedTensor | None,
    memory: dict[str, SharedTensor],
) -> tuple[SharedTensor, dict[str, SharedTensor]]:
    """Agg at the servers: the next model, and what the rule keeps for the next round."""
    with mpc.scope("aggregate"):
        coin = mpc.coin(f"aggregation by {type(rule).__name__}") if rule.needs_coin else None
        inputs = Inputs(models, weights, current, root, coin, dict(memory))
        model = rule.aggregate(inputs)  # perhaps with more fractional bits than the format has
        return model.rescale(mpc.fixed.frac_bits), inputs.memory


def evaluate(
    mpc: MPCBackend,
    layers: Sequence[spec.Layer],
    int_bits: int,
    flat: SharedTensor,
    images: SharedTensor,
    one_hot: SharedTensor,
    batch: int,
    reason: str,
) -> int | None:
    """How many test images the model classifies right; only this number is opened."""
    with mpc.scope("evaluate"):
        network, params = Network(list(layers), int_bits), unflatten(flat, layers)
        total: SharedTensor | None = None
        for start in range(0, len(images), batch):
            rows = slice(start, start + batch)
            correct = count_correct(network, params, images[rows], one_hot[rows])
            total = correct if total is None else total + correct
        assert total is not None
        opened = mpc.reveal(total, reason)  # an exact integer, whatever its scale
        return None if opened is None else round(float(opened))


def predict(
    mpc: MPCBackend,
    layers: Sequence[spec.Layer],
    int_bits: int,
    flat: SharedTensor,
    images: SharedTensor,
    batch: int,
) -> np.ndarray | None:
    """Labels of the images; the labels are opened, nothing else."""
    with mpc.scope("predict"):
        network, params = Network(list(layers), int_bits), unflatten(flat, layers)
        labels = []
        for start in range(0, len(images), batch):
            logits, _ = network.forward(images[start : start + batch], params)
            labels.append(argmax(logits, axis=1, bits=min(64, logits.frac_bits + int_bits)))
        return mpc.reveal(concatenate(labels), "predicted labels")


def save(mpc: MPCBackend, folder: str, name: str, tensors: dict[str, SharedTensor], stamp: str) -> str:
    """Writes this party's shares."""
    return checkpoint.save(mpc, folder, name, tensors, stamp)


def load(mpc: MPCBackend, folder: str, name: str) -> tuple[dict[str, SharedTensor], str]:
    """Reads this party's shares."""
    return checkpoint.load(mpc, folder, name)
