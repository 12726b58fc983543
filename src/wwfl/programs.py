"""What the servers run, one function per step of WW-FL's Algorithm 1. No torch here: server processes stay small."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from wwfl_core import checkpoint
from wwfl_core.backend import MPCBackend
from wwfl_core.errors import Misuse
from wwfl_core.ops import argmax, one_hot_argmax
from wwfl_core.tensor import SharedTensor, concatenate, stack_tensors

from . import policy
from .aggregation import Aggregation, Inputs
from .nn import spec
from .nn.layers import Network, Params
from .nn.train import SGD, Velocity, train

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


def ready(mpc: MPCBackend) -> None:
    """Nothing: shows that the servers are there, and sets the number of their next command."""


def toss(mpc: MPCBackend, reason: str) -> bytes:
    """Sample: a joint coin of the cluster's servers."""
    with mpc.scope("sample"):
        return mpc.coin(reason)


def stack(mpc: MPCBackend, models: Sequence[SharedTensor]) -> SharedTensor:
    """Models of an ensemble [parameters] as [models, parameters]."""
    return stack_tensors(list(models))


def part(mpc: MPCBackend, stacked: SharedTensor, index: int) -> SharedTensor:
    """One model of an ensemble."""
    return stacked[index]


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
    anchor: SharedTensor | None = None,
) -> tuple[SharedTensor, tuple[SharedTensor, int] | None]:
    """Train: SGD steps on the pooled data; returns the model and the momentum. `anchor` is the model that the round
    started from, which FedProx (`sgd.prox`) needs."""
    with mpc.scope("train"):
        network = Network(list(layers), int_bits)
        velocity = Velocity(*momentum) if momentum else None
        params, start = unflatten(flat, layers), None if anchor is None else unflatten(anchor, layers)
        params, velocity = train(mpc, network, params, images, one_hot, batches, sgd, velocity, start)
        return flatten(params), tuple(velocity) if velocity else None


def aggregate(
    mpc: MPCBackend,
    rule: Aggregation,
    models: Sequence[SharedTensor],
    weights: Sequence[float],
    current: SharedTensor,
    root: SharedTensor | None,
    memory: dict[str, SharedTensor],
    coin: bytes | None = None,
) -> tuple[SharedTensor, dict[str, SharedTensor]]:
    """Agg at the servers: the next model, and what the rule keeps for the next round.

    `coin` replaces the tossed one in a run from a public seed, so that all engines draw alike.
    """
    with policy.aggregation(mpc, len(models)), mpc.scope("aggregate"):
        tossed = mpc.coin(f"aggregation by {type(rule).__name__}") if rule.needs_coin else None
        inputs = Inputs(models, weights, current, root, coin if tossed and coin else tossed, dict(memory))
        model = rule.aggregate(inputs)  # perhaps with more fractional bits than the format has
        for kept in inputs.memory.values():  # a restored run has no cached masks either
            kept.data.cache.clear()
        return model.rescale(mpc.fixed.frac_bits), inputs.memory


def voters(flat: SharedTensor, layers: Sequence[spec.Layer]) -> list[Params]:
    """The models that decide: one [parameters], or those of an ensemble [models, parameters]."""
    models = [flat] if len(flat.shape) == 1 else [flat[i] for i in range(flat.shape[0])]
    return [unflatten(model, layers) for model in models]


def decide(network: Network, models: Sequence[Params], images: SharedTensor) -> tuple[SharedTensor, int]:
    """Scores [n, classes], the largest of which is the prediction, and the bits to compare them with: one model's
    logits, or several models' votes, as integers."""
    ballots = []
    for params in models:
        logits, _ = network.forward(images, params)
        bits = min(64, logits.frac_bits + network.int_bits)
        if len(models) == 1:
            return logits, bits
        ballots.append(one_hot_argmax(logits, bits=bits))
    return stack_tensors(ballots).sum(axis=0), len(models).bit_length() + 2


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
    wanted = (len(images), *spec.output_shape(layers, images.shape[1:]))
    if one_hot.shape != wanted:
        raise Misuse(f"labels of shape {one_hot.shape} for images of shape {images.shape}: {wanted} are needed")
    policy.consent(mpc, "accuracy", "everybody")
    with mpc.scope("evaluate"):
        network = Network(list(layers), int_bits)
        models = [network.freeze(params) for params in voters(flat, layers)]
        total: SharedTensor | None = None
        for start in range(0, len(images), batch):
            rows = slice(start, start + batch)
            scores, bits = decide(network, models, images[rows])
            with mpc.scope("argmax"):
                correct = (one_hot_argmax(scores, bits=bits) * one_hot[rows]).sum()
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
    """The model's outputs, or an ensemble's votes [n, classes]; nothing is opened."""
    with mpc.scope("predict"):
        return policy.predicted(mpc, _scores(layers, int_bits, flat, images, batch)[0])


def labels(
    mpc: MPCBackend,
    layers: Sequence[spec.Layer],
    int_bits: int,
    flat: SharedTensor,
    images: SharedTensor,
    batch: int,
) -> SharedTensor:
    """The classes [n] of the images, as shared integers; nothing is opened."""
    with mpc.scope("predict"):
        scores, bits = _scores(layers, int_bits, flat, images, batch)
        return policy.predicted(mpc, argmax(scores, axis=1, bits=bits))


def _scores(
    layers: Sequence[spec.Layer], int_bits: int, flat: SharedTensor, images: SharedTensor, batch: int
) -> tuple[SharedTensor, int]:
    network = Network(list(layers), int_bits)
    models = [network.freeze(params) for params in voters(flat, layers)]
    found = [decide(network, models, images[at : at + batch]) for at in range(0, len(images), batch)]
    return concatenate([scores for scores, _ in found]), found[0][1]


def save(mpc: MPCBackend, folder: str, name: str, tensors: dict[str, SharedTensor], stamp: str) -> str:
    """Writes this party's shares."""
    return checkpoint.save(mpc, folder, name, tensors, stamp)


def load(mpc: MPCBackend, folder: str, name: str) -> tuple[dict[str, SharedTensor], str]:
    """Reads this party's shares; their stamp tells this server how many rounds its model went through."""
    tensors, stamp = checkpoint.load(mpc, folder, name)
    if found := re.match(r"round-(\d+)-", stamp):
        policy.note_restored(mpc, int(found[1]))
    return tensors, stamp
