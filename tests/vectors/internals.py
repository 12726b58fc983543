"""Every name of the library that the vectors use. When a module moves, this file changes and
nothing else here.

Recorded programs call public operations of tensors and clusters wherever one exists. What has no
public name (the components that a party holds, a word dealt in a phase of its own, the tap on the
wire) is a helper of a few lines here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from backends import Additive2PC, Additive2PCOT, Plain, Replicated3PC, Tetrad4PC
from reshare import reshare_with_report
from wwfl_core import (
    Conv2d,
    Handle,
    LocalCluster,
    MatMul,
    MPCBackend,
    Mul,
    NetworkModel,
    Phase,
    SharedBits,
    SharedTensor,
    recorded,
)
from wwfl_core.channel.memory import MemoryNetwork
from wwfl_core.numbers.algebra import RING, RING32
from wwfl_core.numbers.linear import SumPool2d, SumTo
from wwfl_core.tensors import (
    Session,
    bilinear_many,
    concatenate,
    ops,
    secret_selection,
    stack_tensors,
    weighted_sum,
)
from wwfl_core.tensors.ops import wide_inv_sqrt, wide_reciprocal

Tap = Callable[[str, str, Any], Any]
"""(sender, receiver, frame) -> the frame. Runs in the sender's thread."""


@contextmanager
def tapped(tap: Tap) -> Iterator[None]:
    """Every memory network that is made inside shows `tap` each array that is sent."""
    make = MemoryNetwork.__init__

    def with_tap(self: MemoryNetwork) -> None:
        make(self)
        self.tamper = tap

    with patch.object(MemoryNetwork, "__init__", with_tap):
        yield


def components(x: SharedTensor | SharedBits) -> Mapping[int, np.ndarray]:
    """The components of a shared value that this party holds."""
    return x.data.parts


def integers(x: SharedTensor) -> SharedTensor:
    """The words behind a tensor, as integers."""
    return SharedTensor(x.mpc, x.data, 0)


def is_zero(x: SharedTensor, bits: int) -> SharedBits:
    """[x == 0 mod 2^bits]."""
    return SharedBits(x.mpc, x.mpc.protocol.is_zero(x.data, bits), x.shape)


def deal_words(
    mpc: Session, words: Sequence[tuple[np.ndarray, Sequence[int]]]
) -> list[SharedTensor]:
    """Several words of one shape, each known to some parties, dealt in the round of one."""
    jobs = [(word if mpc.me in dealers else None, dealers) for word, dealers in words]
    return [
        SharedTensor(mpc, share, 0) for share in mpc.protocol.deal_many(jobs, words[0][0].shape)
    ]


def deal_sum(
    mpc: Session, words: Sequence[tuple[np.ndarray, Sequence[int], Phase]]
) -> SharedTensor:
    """The sum of several words, each known to some parties and dealt in a phase of its own."""
    jobs = [(word if mpc.me in dealers else None, dealers, phase) for word, dealers, phase in words]
    return SharedTensor(mpc, mpc.protocol.deal_sum(jobs, words[0][0].shape), 0)


def holders(mpc: Session) -> Sequence[int]:
    """The parties that hold components."""
    return mpc.sharing.evaluators


__all__ = [
    "RING",
    "RING32",
    "Additive2PC",
    "Additive2PCOT",
    "Conv2d",
    "Handle",
    "LocalCluster",
    "MPCBackend",
    "MatMul",
    "Mul",
    "NetworkModel",
    "Phase",
    "Plain",
    "Replicated3PC",
    "Session",
    "SharedBits",
    "SharedTensor",
    "SumPool2d",
    "SumTo",
    "Tetrad4PC",
    "bilinear_many",
    "components",
    "concatenate",
    "deal_sum",
    "deal_words",
    "holders",
    "integers",
    "is_zero",
    "ops",
    "recorded",
    "reshare_with_report",
    "secret_selection",
    "stack_tensors",
    "tapped",
    "weighted_sum",
    "wide_inv_sqrt",
    "wide_reciprocal",
]
