"""Ordinary floats: the same federation, trained by torch and aggregated in float64. No secrecy at all."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from reshare import Reshared
from wwfl_core.client import Revealed
from wwfl_core.cost import Cost
from wwfl_core.errors import DataError, Misuse
from wwfl_core.ledger import Ledger
from wwfl_core.prg import fresh_key
from wwfl_core.server import map_tree
from wwfl_core.sharing import Security

from .. import plaintext, policy, programs
from ..aggregation import Aggregation
from ..aggregation.plain import aggregate
from ..nn import spec
from ..nn.trace import load_parameters
from ..nn.train import SGD
from ..topology import Servers
from . import Engine

Floats = npt.NDArray[np.float64]
UNPROTECTED = Security(corruptions=0)


def load_flat(module: nn.Module, layers: Sequence[spec.Layer], flat: Floats) -> nn.Module:
    """Writes a flat model [parameters] into a torch module, rounded to its dtype."""
    params, at = {}, 0
    for name, shape in spec.parameter_shapes(layers).items():
        size = int(np.prod(shape))
        params[name] = flat[at : at + size].reshape(shape)
        at += size
    load_parameters(module, params)
    return module


def train_flat(
    model: nn.Module,
    layers: Sequence[spec.Layer],
    flat: Floats,
    images: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    batches: Sequence[Sequence[int]],
    sgd: SGD,
) -> Floats:
    """SGD in torch from a flat model; `model` itself is left as it is."""
    module = load_flat(copy.deepcopy(model), layers, flat)
    rows = [np.asarray(batch, np.int64) for batch in batches]
    options = {term.name: getattr(sgd, term.name) for term in dataclasses.fields(sgd)}
    params = plaintext.train_cluster(module, images, labels, rows, **options)
    return np.concatenate([params[name].reshape(-1) for name in spec.parameter_shapes(layers)])


@dataclass
class Held:
    """A value at a float node."""

    cluster: FloatNode
    array: npt.NDArray[Any]
    guarantee: Security = UNPROTECTED

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape


class FloatNode:
    """A node that computes with ordinary floats; it carries out the programs of `wwfl.programs` by its own means."""

    broken: str | None = None

    def __init__(self, name: str, model: nn.Module) -> None:
        self.name = name
        self.model = model
        self.ledger = Ledger()
        self.cost = Cost()
        self.last_cost = Cost()
        self.deadline_s = 0.0

    def share(self, value: npt.ArrayLike) -> Held:
        """Keeps an array as it is: no copy, no rounding."""
        return Held(self, np.asarray(value))

    def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Runs a program; Misuse for one that has no counterpart in floats."""
        try:
            program = PROGRAMS[fn]
        except KeyError:
            raise Misuse(
                f"{fn.__module__}.{fn.__qualname__} has no counterpart in floats; use engine='simulate' or 'mpc'"
            ) from None
        result = program(self, *map_tree(args, lambda x: x.array if isinstance(x, Held) else x))
        return map_tree(result, lambda x: Held(self, x.value) if isinstance(x, _Kept) else x)

    run_agreed = run

    def reveal(self, handle: Held, reason: str = "reveal") -> Floats:
        """The value; the ledger tells, as it would in MPC."""
        self.opened(reason, handle.shape)
        return np.array(handle.array, np.float64)

    def reveal_to_client(self, handle: Held, client: str, reason: str, program: Any = None) -> Revealed:
        """The value; the ledger tells that a client got it."""
        self.ledger.record(run=0, op=0, label="", reason=reason, shape=handle.shape, to=f"client {client}")
        return Revealed(handle.array)

    def opened(self, reason: str, shape: tuple[int, ...] = ()) -> None:
        """Records what a protocol would have opened here."""
        self.ledger.record(run=0, op=0, label="", reason=reason, shape=shape)

    def close(self) -> None:
        """Nothing to stop."""


@dataclass
class _Kept:
    """An array that stays at the node."""

    value: npt.NDArray[Any]


def _toss(node: FloatNode, reason: str) -> bytes:
    return fresh_key()


def _pool(node: FloatNode, clients: Sequence[tuple[Any, Any]]) -> tuple[_Kept, _Kept]:
    return _Kept(np.concatenate([c[0] for c in clients])), _Kept(np.concatenate([c[1] for c in clients]))


def _train(
    node: FloatNode,
    layers: Sequence[spec.Layer],
    int_bits: int,
    flat: Floats,
    images: npt.NDArray[Any],
    one_hot: npt.NDArray[Any],
    batches: Sequence[Sequence[int]],
    sgd: SGD,
    momentum: None,
    anchor: Floats | None = None,
) -> tuple[_Kept, None]:
    return _Kept(train_flat(node.model, layers, flat, images, one_hot.argmax(1), batches, sgd)), None


def _aggregate(
    node: FloatNode,
    rule: Aggregation,
    models: Sequence[Floats],
    weights: Sequence[float],
    current: Floats,
    root: Floats | None,
    memory: dict[str, Floats],
    coin: bytes | None,
) -> tuple[_Kept, dict[str, _Kept]]:
    kept = dict(memory)
    if rule.needs_coin and coin is None:
        coin = fresh_key()
    new = aggregate(rule, models, weights, current, root, coin, kept)
    return _Kept(np.asarray(new, np.float64)), {key: _Kept(value) for key, value in kept.items()}


def _stack(node: FloatNode, models: Sequence[Floats]) -> _Kept:
    return _Kept(np.stack(models))


def _part(node: FloatNode, stacked: Floats, index: int) -> _Kept:
    return _Kept(stacked[index])


def _scores(
    node: FloatNode, layers: Sequence[spec.Layer], flat: Floats, images: npt.NDArray[Any], batch: int
) -> npt.NDArray[Any]:
    """A model's logits, or the votes of an ensemble [models, parameters], as in `programs.decide`."""
    votes: npt.NDArray[Any] | None = None
    for one in np.atleast_2d(flat):
        module = load_flat(copy.deepcopy(node.model), layers, one).eval()
        dtype = next(module.parameters()).dtype
        with torch.no_grad():
            outputs = [
                module(torch.as_tensor(images[at : at + batch]).to(dtype)).numpy()
                for at in range(0, len(images), batch)
            ]
        logits = np.concatenate(outputs)
        if flat.ndim == 1:
            return logits
        mine = np.eye(logits.shape[1], dtype=np.int64)[logits.argmax(1)]
        votes = mine if votes is None else votes + mine
    assert votes is not None
    return votes


def _evaluate(
    node: FloatNode,
    layers: Sequence[spec.Layer],
    int_bits: int,
    flat: Floats,
    images: npt.NDArray[Any],
    one_hot: npt.NDArray[Any],
    batch: int,
    reason: str,
) -> int:
    node.opened(reason)
    return int((_scores(node, layers, flat, images, batch).argmax(1) == one_hot.argmax(1)).sum())


def _logits(
    node: FloatNode,
    layers: Sequence[spec.Layer],
    int_bits: int,
    flat: Floats,
    images: npt.NDArray[Any],
    batch: int,
) -> _Kept:
    return _Kept(_scores(node, layers, flat, images, batch))


def _labels(node: FloatNode, *args: Any) -> _Kept:
    return _Kept(_logits(node, *args).value.argmax(1))


def _open_model(node: FloatNode, flat: Floats, who: str, reason: str) -> Floats:
    node.opened(reason, flat.shape)
    return np.array(flat, np.float64)


def _save(node: FloatNode, folder: str, name: str, tensors: dict[str, npt.NDArray[Any]], stamp: str) -> str:
    """One file per node: an npz archive and its SHA-256."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{f"tensor {key}": value for key, value in tensors.items()})
    body = stamp.encode().ljust(_STAMP, b"\0") + buffer.getvalue()
    digest = hashlib.sha256(body)
    path = _path(folder, name)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(digest.digest() + body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return digest.hexdigest()


def _load(node: FloatNode, folder: str, name: str) -> tuple[dict[str, _Kept], str]:
    path = _path(folder, name)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read this file ({error.strerror}); give the checkpoint's folder") from error
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        raise DataError(f"{path} is truncated or altered: its SHA-256 does not match; restore it from a copy")
    try:
        with np.load(io.BytesIO(data[32 + _STAMP :]), allow_pickle=False) as archive:
            tensors = {key.removeprefix("tensor "): _Kept(archive[key]) for key in archive.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a checkpoint of wwfl: {error}") from error
    return tensors, data[32 : 32 + _STAMP].rstrip(b"\0").decode()


_STAMP = 64


def _path(folder: str, name: str) -> Path:
    return Path(folder) / f"{name}.float.share"


PROGRAMS: dict[Callable[..., Any], Callable[..., Any]] = {
    programs.toss: _toss,
    programs.pool: _pool,
    programs.train_batch: _train,
    programs.aggregate: _aggregate,
    programs.stack: _stack,
    programs.part: _part,
    programs.evaluate: _evaluate,
    programs.labels: _labels,
    programs.logits: _logits,
    policy.open_model: _open_model,
    policy.open_for_trainers: _open_model,
    programs.save: _save,
    programs.load: _load,
}
"""What a float node does for each program."""


class PlainFloat(Engine):
    """Every node computes with floats; nothing is shared, sent or hidden."""

    keeps_uploads: ClassVar[bool] = False
    batches_per_command: ClassVar[int | None] = None

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def open(self, servers: Servers, name: str) -> FloatNode:
        return FloatNode(name, self.model)

    def move(self, x: Held, to: Any, allow_weaker: bool) -> Reshared:
        moved: Any = Held(to, x.array)
        return Reshared(moved, Cost(), (), "copy", 0)

    def align(self, node: Any, run: int) -> None:
        """Floats draw no randomness."""

    def workers(self, leaves: int) -> int:
        return min(leaves, os.cpu_count() or 1)
