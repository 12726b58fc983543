"""What the measurements on a GPU share: arrays of random words, device events, medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from wwfl_core.accelerate import cuda
from wwfl_core.accelerate.cuda.device import require_device
from wwfl_core.accelerate.cuda.launch import Launcher

from .emulated import emulated_launcher


@dataclass(frozen=True)
class Bench:
    """A device to measure on. `xp` is its array module; the emulated GPU (xp is numpy) only shows
    that the measurements run."""

    xp: Any
    launcher: Launcher
    repeats: int = 20

    @property
    def on_gpu(self) -> bool:
        return self.xp is not np

    def words(self, *shape: int) -> Any:
        """Uniform words, made on the device."""
        key = np.random.default_rng(sum(shape)).bytes(32)  # public test data
        return cuda.random_words(key, bytes(12), shape, launcher=self.launcher)

    def bytes(self, *shape: int) -> Any:
        """Uniform bytes, made on the device."""
        key = np.random.default_rng(sum(shape) + 1).bytes(32)
        return cuda.random_bytes(key, bytes(12), shape, launcher=self.launcher)

    def host(self, array: Any) -> np.ndarray:
        return self.xp.asnumpy(array) if self.on_gpu else np.asarray(array)

    def seconds(self, calls: Sequence[Callable[[], object]]) -> float:
        """Median time of one call between two device events, over `repeats`, taking turns among the
        calls.

        Several calls on different inputs keep a device's cache from answering for its memory. Calls
        are made twice before, so that compilation and allocation are not timed."""
        for call in (*calls, *calls):
            call()
        turns: Iterator[Callable[[], object]] = cycle(calls)
        return statistics.median(self._once(next(turns)) for _ in range(self.repeats))

    def _once(self, call: Callable[[], object]) -> float:
        if not self.on_gpu:
            begun = time.perf_counter()
            call()
            return time.perf_counter() - begun
        start, stop = self.xp.cuda.Event(), self.xp.cuda.Event()
        start.record()
        call()
        stop.record()
        stop.synchronize()
        return float(self.xp.cuda.get_elapsed_time(start, stop)) * 1e-3

    def release(self) -> None:
        """Gives memory that nobody uses back to the device, between measurements."""
        if self.on_gpu:
            self.xp.get_default_memory_pool().free_all_blocks()


def on_device(repeats: int) -> Bench:
    """The current GPU.

    Raises:
        ConfigError: without CuPy or a device; the message says which.
    """
    xp = require_device()
    return Bench(xp, cuda.launcher_for(xp.zeros(1)), repeats)


def on_emulated(repeats: int = 1) -> Bench:
    """The emulation on a CPU: its times mean nothing."""
    return Bench(np, emulated_launcher(), repeats)


def describe_device(bench: Bench) -> dict[str, Any]:
    """Name, multiprocessors, memory, driver, versions."""
    if not bench.on_gpu:
        return {"name": "emulation on a CPU"}
    runtime = bench.xp.cuda.runtime
    properties = runtime.getDeviceProperties(bench.xp.cuda.Device().id)
    name = properties["name"]
    found: dict[str, Any] = {
        "name": name.decode() if isinstance(name, bytes) else str(name),
        "multiprocessors": int(properties["multiProcessorCount"]),
        "memory_bytes": int(properties["totalGlobalMem"]),
        "cupy": bench.xp.__version__,
        "cuda_driver": int(runtime.driverGetVersion()),
        "cuda_runtime": int(runtime.runtimeGetVersion()),
    }
    with suppress(KeyError):
        found["l2_bytes"] = int(properties["l2CacheSize"])
    return found
