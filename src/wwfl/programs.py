"""What the servers run, one function per step of WW-FL's Algorithm 1. No torch here: server processes stay small."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from wwfl_core import checkpoint
from wwfl_core.backend import MPCBackend
from wwfl_core.ops import argmax
from wwfl_core.tensor import SharedTensor, concatenate

from . import policy
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
    policy.note_aggregation(mpc, len(models))
    with mpc.scope("aggregate"):
        coin = mpc.coin(f"aggregation by {type(rule).__name__}") if rule.needs_coin else None
        inputs = Inputs(models, weights, current, root, coin, dict(memory))
        return rule.aggregate(inputs), inputs.memory


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
        with policy.purpose(mpc, "accuracy", "everybody"):
            opened = mpc.reveal(total, reason)  # an exact integer, whatever its scale
        return None if opened is None else round(float(opened))


def logits(
    mpc: MPCBackend,
    layers: Sequence[spec.Layer],
    int_bits: int,
    flat: SharedTensor,
    images: SharedTensor,
    batch: int,
) -> SharedTensor:
    """The model's outputs [n, classes]; nothing is opened."""
    with mpc.scope("predict"):
        network, params = Network(list(layers), int_bits), unflatten(flat, layers)
        starts = range(0, len(images), batch)
        return concatenate([network.forward(images[at : at + batch], params)[0] for at in starts])


def labels(
    mpc: MPCBackend,
    layers: Sequence[spec.Layer],
    int_bits: int,
    flat: SharedTensor,
    images: SharedTensor,
    batch: int,
) -> SharedTensor:
    """The classes [n] of the images, as shared integers; nothing is opened."""
    outputs = logits(mpc, layers, int_bits, flat, images, batch)
    with mpc.scope("predict"):
        return argmax(outputs, axis=1, bits=min(64, outputs.frac_bits + int_bits))


def save(mpc: MPCBackend, folder: str, name: str, tensors: dict[str, SharedTensor], stamp: str) -> str:
    """Writes this party's shares."""
    return checkpoint.save(mpc, folder, name, tensors, stamp)


def load(mpc: MPCBackend, folder: str, name: str) -> tuple[dict[str, SharedTensor], str]:
    """Reads this party's shares; their stamp tells this server how many rounds its model went through."""
    tensors, stamp = checkpoint.load(mpc, folder, name)
    if found := re.match(r"round-(\d+)-", stamp):
        policy.note_restored(mpc, int(found[1]))
    return tensors, stamp
