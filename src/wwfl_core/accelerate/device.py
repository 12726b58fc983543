"""Where the arrays of a party live and are made: on the host, on a GPU, or on an emulated one.

Only what no array can decide is asked here: where fresh arrays (zeros, key streams) are made, and
in which order things happen that two parties' streams do to one array. Everything else follows from
the arrays (`wwfl_core.numbers.arrays`)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import ConfigError
from wwfl_core.numbers.arrays import Array, Shape, to_host
from wwfl_core.randomness.keystream import KeyStreams

if TYPE_CHECKING:
    from wwfl_core.numbers.algebra import Algebra
    from wwfl_core.randomness.prg import PendingDraw


@dataclass(frozen=True)
class Memory:
    """What a process holds on a device, in bytes: in use, reserved by the pool (in use included),
    and the pool's limit (0: none)."""

    device: str
    used_bytes: int
    reserved_bytes: int
    limit_bytes: int


class Hiding:
    """A mask that is made inside the kernel that adds it. (No ABC, whose `isinstance` of an array
    is slow.)"""

    streams: Sequence[Any]
    """The key streams that it is the sum of, for kernels that do more than `combined`."""
    launcher: Any
    """What starts kernels where the mask is made."""

    def combined(self, plus: Sequence[Array | Hiding], minus: Sequence[Array | Hiding]) -> Array:
        """sum(plus) - sum(minus) of arrays and masks of this one's shape and algebra, in one
        pass."""
        raise NotImplementedError


class Device(ABC):
    """One party's view of a device. A party works in one thread, inside `working()`."""

    name: str

    @abstractmethod
    def put(self, array: Array) -> Array:
        """The array here; itself if it is here already."""

    @abstractmethod
    def zeros(self, shape: Shape, dtype: npt.DTypeLike) -> Array:
        """A new array of zeros."""

    @abstractmethod
    def key_stream(self, keyed: KeyStreams, nonce: bytes, size: int) -> Array:
        """The first `size` bytes of the ChaCha20 key stream (RFC 8439, block counter from 0): uint8
        (size,)."""

    def mask(
        self, algebra: Algebra, plus: Sequence[PendingDraw], minus: Sequence[PendingDraw]
    ) -> Array | Hiding:
        """sum of `plus` - sum of `minus`, of at least one draw: an array, or what adds it without
        ever storing it."""
        added, taken = [d.array() for d in plus], [d.array() for d in minus]
        return algebra.difference(added, taken)

    def working(self) -> AbstractContextManager[Any]:
        """Everything that a party does happens in here."""
        return nullcontext()

    def mark(self, array: Array) -> Any:
        """Travels with an array that is handed to another party of this process: what it must wait
        for."""
        return None

    def adopt(self, array: Array, mark: Any) -> Array:
        """An array from another party of this process, wherever it is, in a state that this party
        can use."""
        return array

    def finish(self) -> None:
        """Waits until everything that this party started is done."""
        return

    def memory(self) -> Memory | None:
        """What the process holds here; None where nobody counts."""
        return None


class _Host(Device):
    """NumPy arrays. Arrays of a device that other parties hand over are brought home."""

    name = "cpu"

    def put(self, array: Array) -> Array:
        return to_host(array)

    def zeros(self, shape: Shape, dtype: npt.DTypeLike) -> Array:
        return np.zeros(shape, dtype)

    def key_stream(self, keyed: KeyStreams, nonce: bytes, size: int) -> Array:
        return keyed.stream(nonce, size)

    def adopt(self, array: Array, mark: Any) -> Array:
        if mark is not None:
            mark.synchronize()
        return array


HOST: Device = _Host()


def named(device: str) -> Device:
    """A party's end of a device: "cpu", "cuda" (or "cuda:1", ...), or "shim".

    Raises:
        ConfigError: an unknown name, no CuPy, or CuPy without a device that it can use.
    """
    if device == HOST.name:
        return HOST
    gpu = re.fullmatch(r"cuda(?::(\d+))?", device)
    if gpu is not None or device == "shim":
        from .gpu import Cuda, Shim

        return Shim() if gpu is None else Cuda(int(gpu[1] or 0))
    raise ConfigError(
        f"device={device!r} is unknown; choose 'cpu', 'cuda', 'cuda:N' for GPU N, or 'shim' (tests)"
    )
