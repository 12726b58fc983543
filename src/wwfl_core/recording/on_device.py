"""Recording what a party starts on a device: allocations and launches, so that a repetition has
none of the Python of the kernels' wrappers. What these decide depends on dtypes, shapes, strides
and on whether addresses are multiples of 16; what a program is given and receives is brought into
one form first (`settled`), so they decide the same again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from wwfl_core.accelerate import Kernels
from wwfl_core.accelerate.cuda import Dim3, Launcher, Stream, plain
from wwfl_core.numbers import Array
from wwfl_core.randomness import Prg

from .recorder import Recorder, Spread
from .traced import Traced, Variable


class RecordingLauncher(Launcher):
    """Starts kernels on traced arrays, and notes it."""

    kind, called = Traced, "traced array"

    def __init__(self, recorder: Recorder, device: Kernels) -> None:
        self._recorder, self._real = recorder, device.launcher

    def launch(
        self,
        source: str,
        kernel: str,
        grid: Dim3,
        block: Dim3,
        args: Sequence[Any],
        shared_bytes: int = 0,
        stream: Any = None,
    ) -> None:
        more = (shared_bytes, stream) if shared_bytes or stream is not None else ()
        self._recorder.do(self._real.launch, source, kernel, grid, block, list(args), *more)

    def int8_products(self, left: Any, right: Any, out: Any) -> None:
        self._recorder.do(self._real.int8_products, left, right, out)

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        return self._recorder.call(self._real.empty, shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        return self._recorder.call(self._real.zeros, shape, dtype)

    def address(self, array: Any) -> int:
        return self._real.address(array.value)


class RecordedStream(Stream):
    """A key stream whose nonce is another one in every run."""

    def __init__(self, words: Variable) -> None:
        object.__setattr__(self, "_words", words)

    def __repr__(self) -> str:
        return "RecordedStream()"

    def args(self) -> tuple[Any, ...]:
        return (Spread(self.__dict__["_words"]),)


def stream(recorder: Recorder, prg: Prg, operation: int, label: str) -> Stream:
    """The stream of a label in an operation, reserved in every run."""
    return RecordedStream(recorder.keep(_words, prg, recorder.number(operation), label))


def _words(prg: Prg, operation: int, label: str) -> tuple[int, ...]:
    return Stream(*prg.reserve(operation, label)).args()


def settled(device: Kernels, array: Array) -> Array:
    """An array on the device, in C order, at a multiple of 16 bytes."""
    here = device.put(array)
    return plain(here, "an array", here.dtype.type)
