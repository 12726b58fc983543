"""Where the arrays of a party live and are made: on the host, on a GPU, or where a plug-in
has them.

Only what no array can decide is asked here: where fresh arrays (zeros, key streams) are made, and
in which order things happen that two parties' streams do to one array. Everything else follows from
the arrays (`wwfl_core.numbers.arrays`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core.numbers import Algebra, Array, Shape, to_host
from wwfl_core.randomness import Prg


@dataclass(frozen=True)
class Memory:
    """What a process holds on a device, in bytes: in use, reserved by the pool (in use included),
    and the pool's limit (0: none)."""

    device: str
    used_bytes: int
    reserved_bytes: int
    limit_bytes: int


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
    def draw(self, prg: Prg, operation: int, label: str, algebra: Algebra, shape: Shape) -> Array:
        """Uniform elements: `prg.draw`, the same on every device."""

    def mask(self, prg: Prg, operation: int, label: str, algebra: Algebra, shape: Shape) -> Array:
        """`draw`, perhaps done only where the mask is added (`wwfl_core.numbers.lazy_array`)."""
        return self.draw(prg, operation, label, algebra, shape)

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

    def draw(self, prg: Prg, operation: int, label: str, algebra: Algebra, shape: Shape) -> Array:
        return prg.draw(operation, label, algebra, shape)

    def adopt(self, array: Array, mark: Any) -> Array:
        if mark is not None:
            mark.synchronize()
        return array


HOST: Device = _Host()
