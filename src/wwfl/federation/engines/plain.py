"""Ordinary floats: the same federation, trained by torch and aggregated in float64. No secrecy at
all."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from backends.real import Real
from reshare import Reshared
from wwfl.aggregation import Aggregation
from wwfl.aggregation.plain import aggregate
from wwfl.federation import server_programs as programs
from wwfl.federation import torch_reference as plaintext
from wwfl.federation.topology import Servers
from wwfl.nn import spec
from wwfl.nn.trace import load_parameters
from wwfl.nn.train import SGD
from wwfl.privacy import policy
from wwfl_core.channel.cost import Cost
from wwfl_core.cluster.client import Revealed
from wwfl_core.cluster.server import map_tree
from wwfl_core.errors import Misuse, WwflError
from wwfl_core.numbers.algebra import BITS
from wwfl_core.party.ledger import Ledger
from wwfl_core.protocol.backend import MPCBackend
from wwfl_core.randomness.prg import KEY_BYTES, derive_key, fresh_key
from wwfl_core.randomness.uniform import permutation
from wwfl_core.sharing.semantics import Security

from . import Engine, files

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


def train_all(jobs: Iterable[tuple[Any, ...]], executor: Executor | None) -> Iterator[Floats]:
    """`train_flat` of every job, in order: here, one after another, or by an executor's workers at
    the same time. The models have the same bits: workers compute with as many threads as this
    process does.

    Raises:
        WwflError: a worker died.
    """
    if executor is None:
        for job in jobs:
            yield train_flat(*job)
        return
    threads = torch.get_num_threads()
    futures = [executor.submit(_train_there, threads, *job) for job in jobs]
    try:
        for future in futures:
            yield future.result()
    except BrokenExecutor as error:
        raise WwflError(
            f"a worker that trained in the clear died, perhaps for want of memory: {error}"
        ) from error
    finally:
        for future in futures:
            future.cancel()


def _train_there(threads: int, *job: Any) -> Floats:
    torch.set_num_threads(threads)
    return train_flat(*job)


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
    """A node that computes with ordinary floats; it carries out the programs of
    `wwfl.federation.server_programs` by its own means.

    Rules run at `server`, which draws the noise that the servers of the protocol would draw, in
    their number format."""

    broken: str | None = None

    def __init__(
        self,
        name: str,
        model: nn.Module,
        protocol: MPCBackend,
        executor: Executor | None = None,
        insecure_seed: int | None = None,
    ) -> None:
        self.name = name
        self.model = model
        self.executor = executor
        seed = None if insecure_seed is None else derive_key(b"wwfl", name, str(insecure_seed))
        self.server = Real.alone(protocol.format.frac_bits, protocol.sharing, seed)
        self._command = 0
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
                f"{fn.__module__}.{fn.__qualname__} has no counterpart in floats; use "
                "engine='simulate' or 'mpc'"
            ) from None
        self.begin()
        result = program(self, *map_tree(args, lambda x: x.array if isinstance(x, Held) else x))
        return map_tree(result, lambda x: Held(self, x.value) if isinstance(x, _Kept) else x)

    run_agreed = run

    def begin(self, number: int = 0) -> None:
        """The next command, or the one of this number if that is later: no two of them draw the
        same randomness."""
        self._command = max(self._command + 1, number)
        self.server.party.run, self.server.party.ops = self._command, self._command << 32

    def reveal(self, handle: Held, reason: str = "reveal") -> Floats:
        """The value; the ledger tells, as it would in MPC."""
        self.opened(reason, handle.shape)
        return np.array(handle.array, np.float64)

    def reveal_to_client(
        self, handle: Held, client: str, reason: str, program: Any = None
    ) -> Revealed:
        """The value; the ledger tells that a client got it."""
        self.ledger.record(
            run=0, op=0, label="", reason=reason, shape=handle.shape, to=f"client {client}"
        )
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
    return _Kept(np.concatenate([c[0] for c in clients])), _Kept(
        np.concatenate([c[1] for c in clients])
    )


def _select(node: FloatNode, clients: Sequence[tuple[Any, Any]], count: int) -> tuple[_Kept, _Kept]:
    """By the key of the single server, as a permuter of `wwfl_core.tensors.permuters` draws."""
    seed = node.server.party.op("select").random([0], "seed", BITS, (KEY_BYTES,)).tobytes()
    return _pool(node, [clients[i] for i in permutation(seed, len(clients))[:count]])


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
    (trained,) = train_all(
        [(node.model, layers, flat, images, one_hot.argmax(1), batches, sgd)], node.executor
    )
    return _Kept(trained), None


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
    new = aggregate(rule, models, weights, current, root, coin, kept, at=node.server)
    return _Kept(np.asarray(new, np.float64)), {key: _Kept(value) for key, value in kept.items()}


def _stack(node: FloatNode, models: Sequence[Floats]) -> _Kept:
    return _Kept(np.stack(models))


def _part(node: FloatNode, stacked: Floats, index: int, size: int) -> _Kept:
    return _Kept(stacked[index, :size])


def _members(node: FloatNode, stacked: Floats, size: int) -> _Kept:
    return _Kept(stacked[:, :size])


def _validate(
    node: FloatNode,
    layers: Sequence[spec.Layer],
    int_bits: int,
    models: Sequence[Floats],
    images: npt.NDArray[Any],
    one_hot: npt.NDArray[Any],
    batch: int,
    least: int,
) -> _Kept:
    hits = [_hits(node, layers, model, images, one_hot, batch) for model in models]
    return _Kept(
        np.stack(
            [np.append(model, float(n >= least)) for model, n in zip(models, hits, strict=True)]
        )
    )


def _scores(
    node: FloatNode,
    layers: Sequence[spec.Layer],
    flat: Floats,
    images: npt.NDArray[Any],
    batch: int,
) -> npt.NDArray[Any]:
    """A model's logits, or the votes of an ensemble, as in `programs.decide`."""
    if flat.ndim == 1:
        return _outputs(node, layers, flat, images, batch)
    size = spec.parameter_count(layers)
    voices = flat[:, size] if flat.shape[1] > size else np.ones(len(flat))
    votes = [_outputs(node, layers, model, images, batch).argmax(1) for model in flat]
    classes = spec.output_shape(layers, images.shape[1:])[0]
    return np.asarray(
        sum(voice * np.eye(classes)[mine] for voice, mine in zip(voices, votes, strict=True))
    )


def _outputs(
    node: FloatNode,
    layers: Sequence[spec.Layer],
    flat: Floats,
    images: npt.NDArray[Any],
    batch: int,
) -> npt.NDArray[Any]:
    """One model's logits."""
    module = load_flat(copy.deepcopy(node.model), layers, flat).eval()
    dtype = next(module.parameters()).dtype
    with torch.no_grad():
        parts = [
            module(torch.as_tensor(images[at : at + batch]).to(dtype)).numpy()
            for at in range(0, len(images), batch)
        ]
    return np.concatenate(parts)


def _hits(
    node: FloatNode,
    layers: Sequence[spec.Layer],
    flat: Floats,
    images: npt.NDArray[Any],
    one_hot: npt.NDArray[Any],
    batch: int,
) -> int:
    return int((_scores(node, layers, flat, images, batch).argmax(1) == one_hot.argmax(1)).sum())


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
    return _hits(node, layers, flat, images, one_hot, batch)


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


def _save(
    node: FloatNode, folder: str, name: str, tensors: dict[str, npt.NDArray[Any]], stamp: str
) -> str:
    return files.save(folder, name, tensors, stamp)


def _load(node: FloatNode, folder: str, name: str) -> tuple[dict[str, _Kept], str]:
    tensors, stamp = files.load(folder, name)
    programs.note_stamp(node.server, stamp)
    return {key: _Kept(value) for key, value in tensors.items()}, stamp


PROGRAMS: dict[Callable[..., Any], Callable[..., Any]] = {
    programs.toss: _toss,
    programs.pool: _pool,
    programs.select: _select,
    programs.train_batch: _train,
    programs.aggregate: _aggregate,
    programs.stack: _stack,
    programs.part: _part,
    programs.members: _members,
    programs.validate: _validate,
    programs.evaluate: _evaluate,
    programs.labels: _labels,
    programs.logits: _logits,
    policy.open_model: _open_model,
    policy.open_for_trainers: _open_model,
    policy.note_restored: lambda node, rounds: None,  # nobody counts here
    programs.save: _save,
    programs.load: _load,
}
"""What a float node does for each program."""


class PlainFloat(Engine):
    """Every node computes with floats; nothing is shared, sent or hidden. `executor` trains, if
    there is one."""

    keeps_uploads: ClassVar[bool] = False
    batches_per_command: ClassVar[int | None] = None

    def __init__(
        self,
        model: nn.Module,
        executor: Executor | None = None,
        *,
        insecure_seed: int | None = None,
    ) -> None:
        self.model = model
        self.executor = executor
        self.insecure_seed = insecure_seed

    def open(self, servers: Servers, name: str) -> FloatNode:
        return FloatNode(name, self.model, servers.backend, self.executor, self.insecure_seed)

    def move(self, x: Held, to: Any, allow_weaker: bool) -> Reshared:
        moved: Any = Held(to, x.array)
        return Reshared(moved, Cost(), (), "copy", 0)

    def align(self, node: Any, run: int) -> None:
        node.begin(run)

    def workers(self, leaves: int) -> int:
        return leaves if self.executor is not None else min(leaves, os.cpu_count() or 1)
