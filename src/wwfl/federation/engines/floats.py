"""The float engine: the servers' programs on ordinary floats, in this process. No secrecy at all.

A node is one session of `Real`, which computes in float64 and rounds nothing. Aggregation, votes,
selection and checkpoints are the very programs that servers run on shares. One step is not: a
model's forward and backward pass runs in torch (`FloatModel`), since attack grids train thousands
of clients this way, and float32 convolutions in torch are many times faster than float64 ones on
`Real` would be."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from backends import Real
from reshare import Reshared
from wwfl.aggregation import Aggregation, InRange, floats, held
from wwfl.nn import SGD, Model, Momentum
from wwfl_core.channel import Cost
from wwfl_core.cluster import Revealed, combine, hand_over, map_tree
from wwfl_core.errors import Misuse
from wwfl_core.numbers import F64
from wwfl_core.protocol import MPCBackend
from wwfl_core.randomness import derive_key
from wwfl_core.sharing import Security
from wwfl_core.tensors import Session, SharedBits, SharedTensor

from ..topology import Servers
from ..torch_model import Job, TorchModel, train_all
from .engine import Engine, Node

UNPROTECTED = Security(corruptions=0)
INFERENCE_BATCH = 100


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatModel(Model):
    """A model whose forward and backward pass runs in torch, on the floats of a `Real` session.
    `executor` trains, if there is one."""

    torch_model: TorchModel
    executor: Executor | None

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
    ) -> tuple[SharedTensor, None]:
        """All batches of a round in one call, so there is no momentum to hand on; the anchor is
        `flat`."""
        labels = one_hot.data.parts[0].argmax(1)
        job = Job(self.torch_model, floats(flat), self._inputs(images), labels, batches, sgd)
        (trained,) = train_all([job], self.executor)
        return held(mpc, trained), None

    def freeze(self, flat: SharedTensor) -> nn.Module:
        """A module with these parameters, in evaluation mode."""
        return self.torch_model.load(floats(flat)).eval()

    def logits(self, images: SharedTensor, frozen: nn.Module) -> SharedTensor:
        """The module's outputs, in its dtype. Few images at a time, so that activations stay in the
        cache; comparisons, which follow, are cheapest for many."""
        inputs = torch.from_numpy(self._inputs(images))
        with torch.no_grad():
            found = [frozen(part).numpy() for part in inputs.split(INFERENCE_BATCH)]
        return held(images.mpc, np.concatenate(found))

    def _inputs(self, images: SharedTensor) -> npt.NDArray[Any]:
        """Images in the module's dtype: exact for float32, the dtype that data sets have."""
        single = self.torch_model.dtype == torch.float32
        inputs = images.data.parts[0].astype(np.float32 if single else np.float64)
        inputs *= 2.0**-images.frac_bits  # a power of two: nothing is rounded
        return inputs


@dataclass(frozen=True)
class FloatHandle:
    """A value at a float node."""

    cluster: FloatNode
    tensor: SharedTensor | SharedBits
    guarantee: Security = UNPROTECTED

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape


class FloatNode:
    """Servers that are one session of `Real`, with the number format of `protocol`. What each of
    its servers would do by itself (drawing noise), the session does for all of them."""

    broken: str | None = None

    def __init__(self, name: str, protocol: MPCBackend, insecure_seed: int | None = None) -> None:
        self.name = name
        seed = None if insecure_seed is None else derive_key(b"wwfl", name, str(insecure_seed))
        self.session = Real.alone(protocol.format.frac_bits, protocol.sharing, seed)
        self.ledger = self.session.party.ledger
        self.cost = Cost()
        self.last_cost = Cost()
        self.deadline_s = 0.0
        self._command = 0

    def share(self, value: npt.ArrayLike) -> FloatHandle:
        """Keeps an array, as float64."""
        return FloatHandle(self, held(self.session, value))

    def take(self, x: FloatHandle) -> FloatHandle:
        """A number tensor of another node, in this node's format."""
        assert isinstance(x.tensor, SharedTensor)
        frac_bits = self.session.format.frac_bits
        scale = 2.0 ** (frac_bits - x.tensor.frac_bits)
        data = x.tensor.data.map(lambda a: a * scale)
        return FloatHandle(self, SharedTensor(self.session, data, frac_bits))

    def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Runs a program; tensors in its result stay here, as handles."""
        self.begin()
        return map_tree(fn(self.session, *map_tree(args, self._resolve)), self._keep)

    run_agreed = run

    def begin(self, number: int = 0) -> None:
        """The next command, or the one of this number if that is later: no two of them draw the
        same randomness."""
        self._command = max(self._command + 1, number)
        self.session.party.run, self.session.party.ops = self._command, self._command << 32

    def reveal(self, handle: FloatHandle, reason: str = "reveal") -> F64:
        """The value; the ledger tells, as it would in MPC."""
        return np.array(self.session.reveal(handle.tensor, reason), np.float64)

    def reveal_to_client(
        self, handle: FloatHandle, client: str, reason: str, program: Callable[..., Any] = hand_over
    ) -> Revealed:
        """The value; the ledger tells that a client got it."""
        x = handle.tensor
        assert isinstance(x, SharedTensor)
        pieces = self.run(program, handle, client, reason)
        sharing, algebra = self.session.sharing, x.data.algebra
        found = combine(sharing, algebra, x.shape, [pieces])[0] * 2.0**-x.frac_bits
        return Revealed(found if x.frac_bits else np.rint(found).astype(np.int64))

    def close(self) -> None:
        """Nothing to stop."""

    def _resolve(self, item: Any) -> Any:
        if not isinstance(item, FloatHandle):
            return item
        if item.cluster is not self:
            raise Misuse(f"a value of {item.cluster.name} is not at {self.name}; move it first")
        return item.tensor

    def _keep(self, item: Any) -> Any:
        return FloatHandle(self, item) if isinstance(item, SharedTensor | SharedBits) else item


class FloatEngine(Engine):
    """Every node computes with floats; nothing is shared, sent or hidden. `executor` trains, if
    there is one."""

    keeps_uploads: ClassVar[bool] = False
    batches_per_command: ClassVar[int | None] = None
    evaluation_batch: ClassVar[int] = sys.maxsize  # all: `FloatModel.logits` cuts them itself

    def __init__(
        self, executor: Executor | None = None, *, insecure_seed: int | None = None
    ) -> None:
        self.executor = executor
        self.insecure_seed = insecure_seed

    def model(self, traced: TorchModel) -> Model:
        described = traced.model
        return FloatModel(
            described.layers, described.int_bits, torch_model=traced, executor=self.executor
        )

    def rule(self, rule: Aggregation) -> Aggregation:
        return InRange(rule)

    def open(self, servers: Servers, name: str) -> FloatNode:
        return FloatNode(name, servers.backend, self.insecure_seed)

    def move(self, x: FloatHandle, to: Node, allow_weaker: bool) -> Reshared:
        moved: Any = cast(FloatNode, to).take(x)
        return Reshared(moved, Cost(), (), "copy", 0)

    def align(self, node: Node, run: int) -> None:
        cast(FloatNode, node).begin(run)

    def workers(self, leaves: int) -> int:
        return leaves if self.executor is not None else min(leaves, os.cpu_count() or 1)
