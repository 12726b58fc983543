"""What servers run: one function per step of WW-FL's Algorithm 1.

Every engine runs these programs, the protocols on shares and the float engine on floats. Here
belongs what servers do with values; who asks them, when and in which order is the coordinator's
(`run_round`). No torch here: server processes stay small."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from wwfl.aggregation import Aggregation, Inputs
from wwfl.nn import SGD, Model, Momentum
from wwfl.privacy import reveal_policy as policy
from wwfl_core.cluster import load_shares, save_shares
from wwfl_core.errors import Misuse
from wwfl_core.tensors import (
    Session,
    SharedTensor,
    argmax,
    concatenate,
    one_hot_argmax,
    secret_selection,
    stack_tensors,
)

Rows = tuple[SharedTensor, SharedTensor]  # images [n, ...], one-hot labels [n, classes]


def ready(mpc: Session) -> None:
    """Nothing: shows that the servers are there, and sets the number of their next command."""


def toss(mpc: Session, reason: str) -> bytes:
    """Sample: a joint coin of the cluster's servers."""
    with mpc.scope("sample"):
        return mpc.coin(reason)


def stack(mpc: Session, models: Sequence[SharedTensor]) -> SharedTensor:
    """Models of an ensemble [parameters] as [models, parameters]."""
    return stack_tensors(list(models))


def part(mpc: Session, stacked: SharedTensor, index: int, size: int) -> SharedTensor:
    """One model of an ensemble, [parameters]; `size` is their number."""
    return stacked[index, :size]


def members(mpc: Session, stacked: SharedTensor, size: int) -> SharedTensor:
    """All models of an ensemble [models, parameters], without what else is kept of them."""
    return stacked[:, :size]


def validate(
    mpc: Session,
    model: Model,
    models: Sequence[SharedTensor],
    images: SharedTensor,
    one_hot: SharedTensor,
    batch: int,
    least: int,
) -> SharedTensor:
    """Models of an ensemble with their voices [models, parameters + 1]: 1 for a model that gets at
    least `least` of the images right, else 0. Nothing is opened.

    Per model what `evaluate` costs for these images; then one comparison of all counts, and one
    conversion of bits."""
    with mpc.scope("validate"):
        counts = [_hits(model, voters(model, flat), images, one_hot, batch) for flat in models]
        found = stack_tensors(counts) - least
        short = found.negative(min(64, len(images).bit_length() + 2 + found.frac_bits))
        voices = (~short).to_integers().rescale(models[0].frac_bits)
        return concatenate([stack_tensors(list(models)), voices.reshape(len(models), 1)], axis=1)


def pool(mpc: Session, clients: Sequence[Rows]) -> Rows:
    """The pooled training set of this round."""
    return concatenate([c[0] for c in clients]), concatenate([c[1] for c in clients])


def select(mpc: Session, clients: Sequence[Rows], count: int) -> Rows:
    """Hidden sampling: the rows of `count` of these clients, drawn uniformly by nobody, in random
    order.

    All clients have equally many rows; images [count rows, ...] and labels [count rows, classes]
    come back, in one product of matrices, exact and without a truncation, since a selection is of
    integers. Nothing is opened, and no message's size depends on who is drawn.

    Bytes for n clients of b elements each (rows times pixels and classes), k drawn, online /
    offline, rounds online: 2PC 16 (2 k n + n^2 + n b) / 8 (k n + k b), 2; 3PC 24 (k n + k b) / 8 (k
    n + n^2), 2; Tetrad 24 (k n + k b) / 8 (3 k n + n^2 + 2 k b), 3."""
    with mpc.scope("select"):
        images, labels = clients[0]
        rows, pixels = len(images), images.size
        blocks = [concatenate([x.reshape(x.size), y.reshape(y.size)]) for x, y in clients]
        drawn = secret_selection(mpc, len(blocks), count) @ stack_tensors(blocks)
        total = count * rows
        return (
            drawn[:, :pixels].reshape(total, *images.shape[1:]),
            drawn[:, pixels:].reshape(total, *labels.shape[1:]),
        )


def train_batch(
    mpc: Session,
    model: Model,
    flat: SharedTensor,
    images: SharedTensor,
    one_hot: SharedTensor,
    batches: Sequence[Sequence[int]],
    sgd: SGD,
    momentum: Momentum | None,
    anchor: SharedTensor | None = None,
) -> tuple[SharedTensor, Momentum | None]:
    """Train: SGD steps on the pooled data; returns the model and the momentum. `anchor` is the
    model that the round started from, which FedProx (`sgd.prox`) needs."""
    with mpc.scope("train"):
        return model.train(mpc, flat, images, one_hot, batches, sgd, momentum, anchor)


def aggregate(
    mpc: Session,
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
        inputs = Inputs(
            models, weights, current, root, coin if tossed and coin else tossed, dict(memory)
        )
        model = rule.aggregate(inputs)  # perhaps with more fractional bits than the format has
        for kept in inputs.memory.values():  # a restored run has no cached masks either
            kept.data.cache.clear()
        return model.rescale(mpc.format.frac_bits), inputs.memory


Voters = tuple[list[SharedTensor], SharedTensor | None]
"""Flat models that decide, and their voices [models, 1, 1], 1 or 0, where not all of them may
vote."""

Frozen = tuple[list[Any], SharedTensor | None]
"""The same, ready for `Model.logits`."""


def voters(model: Model, flat: SharedTensor) -> Voters:
    """Of one model [parameters], or of an ensemble [models, parameters] or [models, parameters + 1]
    (`validate`)."""
    if flat.ndim == 1:
        return [flat], None
    count, size = flat.shape[0], model.size
    voices = flat[:, size].reshape(count, 1, 1) if flat.shape[1] > size else None
    return [flat[i, :size] for i in range(count)], voices


def freeze(model: Model, voters: Voters) -> Frozen:
    """The same, in evaluation mode."""
    models, voices = voters
    return [model.freeze(flat) for flat in models], voices


def decide(model: Model, frozen: Frozen, images: SharedTensor) -> tuple[SharedTensor, int]:
    """Scores [n, classes], the largest of which is the prediction, and the bits to compare them
    with: one model's logits, or the sum of several models' votes."""
    models, voices = frozen
    ballots = []
    for one in models:
        logits = model.logits(images, one)
        bits = model.logit_bits(logits)
        if len(models) == 1 and voices is None:
            return logits, bits
        ballots.append(one_hot_argmax(logits, bits=bits))
    votes = stack_tensors(ballots)
    if voices is not None:
        votes = votes * voices.broadcast_to(votes.shape)
    return votes.sum(axis=0), len(models).bit_length() + 2 + votes.frac_bits


def _hits(
    model: Model, voters: Voters, images: SharedTensor, one_hot: SharedTensor, batch: int
) -> SharedTensor:
    """How many images are classified right: an integer, whatever its scale."""
    frozen, total = freeze(model, voters), None
    for start in range(0, len(images), batch):
        rows = slice(start, start + batch)
        scores, bits = decide(model, frozen, images[rows])
        with images.mpc.scope("argmax"):
            correct = (one_hot_argmax(scores, bits=bits) * one_hot[rows]).sum()
        total = correct if total is None else total + correct
    assert total is not None
    return total


def evaluate(
    mpc: Session,
    model: Model,
    flat: SharedTensor,
    images: SharedTensor,
    one_hot: SharedTensor,
    batch: int,
    reason: str,
) -> int | None:
    """How many test images the model classifies right; only this number is opened."""
    wanted = (len(images), *model.output_shape(images.shape[1:]))
    if one_hot.shape != wanted:
        raise Misuse(
            f"labels of shape {one_hot.shape} for images of shape {images.shape}: {wanted} are "
            "needed"
        )
    policy.consent(mpc, "accuracy", "everybody")
    with mpc.scope("evaluate"):
        total = _hits(model, voters(model, flat), images, one_hot, batch)
        with policy.purpose(mpc, "accuracy", "everybody"):
            opened = mpc.reveal(total, reason)  # an exact integer, whatever its scale
        return None if opened is None else round(float(opened))


def logits(
    mpc: Session, model: Model, flat: SharedTensor, images: SharedTensor, batch: int
) -> SharedTensor:
    """The model's outputs, or an ensemble's votes [n, classes]; nothing is opened."""
    with mpc.scope("predict"):
        return policy.predicted(mpc, _scores(model, flat, images, batch)[0])


def labels(
    mpc: Session, model: Model, flat: SharedTensor, images: SharedTensor, batch: int
) -> SharedTensor:
    """The classes [n] of the images, as shared integers; nothing is opened."""
    with mpc.scope("predict"):
        scores, bits = _scores(model, flat, images, batch)
        return policy.predicted(mpc, argmax(scores, axis=1, bits=bits))


def _scores(
    model: Model, flat: SharedTensor, images: SharedTensor, batch: int
) -> tuple[SharedTensor, int]:
    frozen = freeze(model, voters(model, flat))
    found = [decide(model, frozen, images[at : at + batch]) for at in range(0, len(images), batch)]
    return concatenate([scores for scores, _ in found]), found[0][1]


def save(mpc: Session, folder: str, name: str, tensors: dict[str, SharedTensor], stamp: str) -> str:
    """Writes this party's shares."""
    return save_shares(mpc, folder, name, tensors, stamp)


def load(mpc: Session, folder: str, name: str) -> tuple[dict[str, SharedTensor], str]:
    """Reads this party's shares; their stamp tells this server how many rounds its model went
    through."""
    tensors, stamp = load_shares(mpc, folder, name)
    note_stamp(mpc, stamp)
    return tensors, stamp


def note_stamp(mpc: Session, stamp: str) -> None:
    """A server continues from files with this stamp."""
    if found := re.match(r"round-(\d+)-", stamp):
        policy.note_restored(mpc, int(found[1]))
