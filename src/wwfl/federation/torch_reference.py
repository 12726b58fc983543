"""The torch reference: the same federated training as the MPC run, in ordinary torch floats.

Same initial model, same samples, same batch order, same update rule; so any difference to the MPC
run is fixed-point arithmetic (or a bug). Parameters travel as dict name -> float64 array, as in
`wwfl.nn.tracing`; a float32 value fits into it exactly. The running statistics of batch norms are
among them, so they are averaged too."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wwfl.data import Dataset
from wwfl.nn import load_parameters, parameters
from wwfl_core.errors import ConfigError, Misuse

Params = dict[str, np.ndarray]
"""Name of a parameter or running statistic -> float64 array."""
Indices = Sequence[int] | npt.NDArray[np.integer[Any]]


def train_cluster(
    module: nn.Module,
    images: np.ndarray | torch.Tensor,
    labels: np.ndarray | torch.Tensor,
    batches: Sequence[Indices],
    lr: float,
    momentum: float = 0.0,
    *,
    weight_decay: float = 0.0,
    prox: float = 0.0,
) -> Params:
    """Train `module` in place by SGD over `batches` and return its new parameters.

    images: [n, c, h, w], used in the module's dtype. labels: integers [n]. batches: index arrays
    [b], visited in this order. Loss: softmax cross-entropy, mean over the batch. Momentum as in
    torch (v = momentum v + g, then w -= lr v), from v = 0 in every call. To the gradient g are
    added weight_decay w and FedProx's prox (w - w_0), with w_0 the module's parameters at the call.
    """
    _check_rate(lr, momentum, weight_decay, prox)
    _check_module(module)
    dtype = next(module.parameters()).dtype
    inputs = torch.as_tensor(images).to(dtype)
    targets = torch.as_tensor(labels).long()
    optimiser = torch.optim.SGD(
        module.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay
    )
    start = [p.detach().clone() for p in module.parameters()]
    was_training = module.training
    module.train()
    for at, batch in enumerate(batches):
        index = torch.from_numpy(_indices(batch, len(inputs), f"batch {at}"))
        optimiser.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(
            module(inputs[index]), targets[index], reduction="mean"
        ).backward()
        if prox:
            _pull(module, start, prox)
        optimiser.step()
    module.train(was_training)
    return parameters(module)


def _pull(module: nn.Module, start: Sequence[torch.Tensor], prox: float) -> None:
    """Adds the gradient of prox / 2 |w - start|^2."""
    for parameter, anchor in zip(module.parameters(), start, strict=True):
        if parameter.grad is not None:
            parameter.grad.add_(parameter.detach() - anchor, alpha=prox)


def fedavg(
    models: Sequence[Mapping[str, np.ndarray]], weights: Sequence[float] | None = None
) -> Params:
    """Weighted mean of parameter sets, in float64; equal weights by default.

    All sets need the same names and shapes. weights: one finite number of at least 0 each, not all
    0."""
    if not models:
        raise Misuse("fedavg needs at least one model")
    share = np.ones(len(models)) if weights is None else np.asarray(weights, np.float64)
    if share.shape != (len(models),):
        raise Misuse(
            f"fedavg needs one weight per model: {len(models)} models, weights of shape "
            f"{share.shape}"
        )
    if not (np.isfinite(share).all() and (share >= 0).all() and share.sum() > 0):
        raise Misuse(f"weights must be finite, at least 0 and not all 0, got {share.tolist()}")
    for at, model in enumerate(models):
        if set(model) != set(models[0]):
            raise Misuse(
                f"model {at} has parameters {sorted(model)}, model 0 has {sorted(models[0])}"
            )
        for name in model:
            if np.shape(model[name]) != np.shape(models[0][name]):
                raise Misuse(
                    f"{name}: model {at} has shape {np.shape(model[name])}, model 0 has "
                    f"{np.shape(models[0][name])}"
                )
    share = share / share.sum()
    result: Params = {}
    for name in models[0]:
        total = np.zeros(np.shape(models[0][name]))
        for factor, model in zip(share, models, strict=True):
            total += factor * np.asarray(model[name], np.float64)
        result[name] = total
    return result


def accuracy(module: nn.Module, dataset: Dataset, batch: int = 500) -> float:
    """Fraction (0 to 1) of `dataset` whose largest logit is the label; of equal logits the first
    counts."""
    if not len(dataset):
        raise Misuse(f"{dataset.name}: no images to measure the accuracy on")
    dtype = next(module.parameters()).dtype
    was_training = module.training
    module.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(dataset), batch):
            images = torch.from_numpy(dataset.images[start : start + batch]).to(dtype)
            guess = module(images).numpy().argmax(axis=1)
            right += int((guess == dataset.labels[start : start + batch]).sum())
    module.train(was_training)
    return right / len(dataset)


def run(
    model: nn.Module | Callable[[], nn.Module],
    train: Dataset,
    test: Dataset,
    schedule: Sequence[Sequence[Sequence[Indices]]],
    lr: float,
    rounds: int | None = None,
    *,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    prox: float = 0.0,
    dtype: torch.dtype | None = None,
) -> tuple[list[float], Params]:
    """Federated training in the clear: each round all clusters train the global model, then equal
    FedAvg.

    model: the initial module (left as it is), or a function that makes it.
    `schedule[round][cluster]`: index arrays into `train`, the batches in order; a cluster without
    batches is absent in that round and left out of the mean. rounds: how many of the schedule's
    rounds to do, all by default. dtype: torch.float32 or torch.float64; the module's own by
    default.

    Returns the accuracy on `test` after each round, and the final parameters.
    """
    rounds = len(schedule) if rounds is None else rounds
    if not 0 <= rounds <= len(schedule):
        raise Misuse(
            f"rounds must be in 0..{len(schedule)}, the length of the schedule, got {rounds}"
        )
    if dtype not in (None, torch.float32, torch.float64):
        raise Misuse(f"dtype must be torch.float32 or torch.float64, got {dtype}")
    module = copy.deepcopy(model) if isinstance(model, nn.Module) else model()
    _check_module(module)
    if dtype is not None:
        module.to(dtype)
    images = torch.from_numpy(train.images).to(next(module.parameters()).dtype)
    labels = torch.from_numpy(train.labels)
    current = parameters(module)
    accuracies: list[float] = []
    for clusters in schedule[:rounds]:
        trained: list[Params] = []
        for batches in clusters:
            if len(batches):
                load_parameters(module, current)
                options = {"weight_decay": weight_decay, "prox": prox}
                trained.append(
                    train_cluster(module, images, labels, batches, lr, momentum, **options)
                )
        if trained:
            current = fedavg(trained)
        load_parameters(module, current)
        current = parameters(
            module
        )  # what was really loaded: the mean rounded to the module's dtype
        accuracies.append(accuracy(module, test))
    return accuracies, current


def _check_rate(lr: float, momentum: float, weight_decay: float, prox: float) -> None:
    if not (np.isfinite(lr) and lr > 0):
        raise Misuse(f"lr must be a positive number, got {lr}")
    if not 0 <= momentum < 1:
        raise Misuse(f"momentum must be in 0..1 (1 excluded), got {momentum}")
    for name, value in (("weight_decay", weight_decay), ("prox", prox)):
        if not (np.isfinite(value) and value >= 0):
            raise Misuse(f"{name} must be a number of at least 0, got {value}")


def _check_module(module: nn.Module) -> None:
    if next(module.parameters(), None) is None:
        raise ConfigError("the model has no parameters, so there is nothing to train")
    for name, buffer in module.named_buffers():
        if not buffer.is_floating_point() and not name.endswith("num_batches_tracked"):
            # Batch norm's counter is used by no batch norm with a momentum; another would be left
            # behind.
            raise ConfigError(
                f"{name}: a buffer of {buffer.dtype} cannot be averaged; use layers without it"
            )
    for name, part in module.named_modules():
        if (
            isinstance(part, nn.modules.batchnorm._BatchNorm)
            and part.track_running_stats
            and part.momentum is None
        ):
            raise ConfigError(
                f"{name}: momentum=None counts batches, and counts are not averaged; set a momentum"
            )


def _indices(batch: Indices, count: int, where: str) -> np.ndarray:
    index = np.asarray(batch)
    if index.ndim != 1 or not index.size or not np.issubdtype(index.dtype, np.integer):
        raise Misuse(
            f"{where}: needs a 1-d integer array of at least one index, got {index.dtype} "
            f"{index.shape}"
        )
    if not (0 <= int(index.min()) and int(index.max()) < count):
        raise Misuse(
            f"{where}: indices {int(index.min())}..{int(index.max())}, there are {count} samples"
        )
    return index.astype(np.int64)
