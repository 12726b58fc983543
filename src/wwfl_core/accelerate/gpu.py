"""Devices that run the CUDA kernels of `wwfl_core.accelerate.cuda`: what they share (`Kernels`),
and a GPU through CuPy.

Every party of a process has a stream of its own. An array that one party hands to another carries
an event recorded on the sender's stream; the receiver's stream waits for it, the host does not.
Memory goes back to the pool of the stream that allocated it, so a received array is a loan: when
the receiver drops it, it is kept until the receiver's stream has passed that point, and only then
released (`_Loan`). Without that, the sender could overwrite what is still being read."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import ConfigError
from wwfl_core.numbers import Algebra, Array, Shape, on_host, to_host
from wwfl_core.randomness import Prg, check_size

from .cuda import Launcher, Stream, random_bytes
from .cuda.device import cupy_launcher, require_device
from .device import Device, Memory
from .lazy_mask import LazyMask

POOL_FRACTION = 0.9
"""Of a GPU's memory, what this process may use."""
DRAWN_LATE = (np.dtype(np.uint64), np.dtype(np.uint8))
"""Elements whose masks the kernels draw where they add them."""


class Kernels(Device):
    """A device with the CUDA kernels, whatever executes them."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    @property
    def launcher(self) -> Launcher:
        """What starts its kernels."""
        return self._launcher

    def zeros(self, shape: Shape, dtype: npt.DTypeLike) -> Array:
        return self._launcher.zeros(shape, dtype)

    def draw(self, prg: Prg, operation: int, label: str, algebra: Algebra, shape: Shape) -> Array:
        size = algebra.random_bytes(shape)
        check_size(size)
        stream = prg.reserve(operation, label)
        return algebra.from_bytes(random_bytes(*stream, (size,), launcher=self._launcher), shape)

    def mask(self, prg: Prg, operation: int, label: str, algebra: Algebra, shape: Shape) -> Array:
        if np.dtype(algebra.dtype) not in DRAWN_LATE:
            return self.draw(prg, operation, label, algebra, shape)
        stream = Stream(*prg.reserve(operation, label))
        mask: Any = LazyMask(self._launcher, algebra.dtype, shape, [stream])
        return mask


class Cuda(Kernels):
    """One party's stream on GPU `number`.

    Raises:
        ConfigError: no CuPy, no device, or no device of this number.
    """

    def __init__(self, number: int = 0) -> None:
        self._cupy = require_device()
        self._number, self.name = number, f"cuda:{number}"
        count = int(self._cupy.cuda.runtime.getDeviceCount())
        if number >= count:
            raise ConfigError(
                f"device='{self.name}' does not exist: this machine has {count} (the first is "
                "'cuda:0')"
            )
        super().__init__(cupy_launcher())
        with self._cupy.cuda.Device(number):
            self._stream = self._cupy.cuda.Stream(non_blocking=True)
        self._pool = _pool(number)
        self._returned: deque[tuple[Any, Any]] = deque()

    def put(self, array: Array) -> Array:
        return self._cupy.asarray(array)

    def working(self) -> AbstractContextManager[Any]:
        return self._working()

    @contextmanager
    def _working(self) -> Generator[None]:
        cuda = self._cupy.cuda
        with cuda.Device(self._number), cuda.using_allocator(self._malloc), self._stream:
            yield
            self.finish()
            self._pool.free_all_blocks(
                self._stream
            )  # nobody else can use what this stream has left

    def _malloc(self, nbytes: int) -> Any:
        """From the pool. Its limit also counts the blocks that lie free for other streams, and CuPy
        gives up there: so let go of what is free, and ask again."""
        try:
            return self._pool.malloc(nbytes)
        except self._cupy.cuda.memory.OutOfMemoryError:
            self._cupy.cuda.Device(self._number).synchronize()
            self._release()
            self._pool.free_all_blocks()
            return self._pool.malloc(nbytes)

    def mark(self, array: Array) -> Any:
        return None if on_host(array) else self._event()

    def adopt(self, array: Any, mark: Any) -> Array:
        self._release()
        if mark is None or on_host(array):
            return array
        if (
            array.device.id != self._number
        ):  # another GPU's memory, which kernels here may not be able to reach
            mark.synchronize()
            return self.put(to_host(array))
        self._stream.wait_event(mark)
        return self._borrow(array)

    def finish(self) -> None:
        self._stream.synchronize()
        self._release()

    def memory(self) -> Memory:
        used, reserved = self._pool.used_bytes(), self._pool.total_bytes()
        return Memory(self.name, int(used), int(reserved), int(self._pool.get_limit()))

    def _release(self) -> None:
        """Lets go of what this party's stream has passed."""
        while self._returned and self._returned[0][0].done:
            self._returned.popleft()

    def _event(self) -> Any:
        with self._cupy.cuda.Device(self._number):
            event = self._cupy.cuda.Event(disable_timing=True)
            event.record(self._stream)
        return event

    def _borrow(self, array: Any) -> Any:
        """The same memory as an array of this party's own."""
        if not array.nbytes:
            return array
        cuda = self._cupy.cuda
        memory = cuda.UnownedMemory(
            array.data.ptr, array.nbytes, _Loan(self, array), array.device.id
        )
        return self._cupy.ndarray(
            array.shape, array.dtype, cuda.MemoryPointer(memory, 0), array.strides
        )

    def give_back(self, array: Any) -> None:
        """A borrowed array is not needed any more by what this party will start from now on."""
        self._returned.append((self._event(), array))


class _Loan:
    """Keeps a lender's array for as long as the borrower holds it, and until the borrower's stream
    is done with it."""

    def __init__(self, borrower: Cuda, array: Any) -> None:
        self._borrower, self._array = borrower, array

    def __del__(self) -> None:
        self._borrower.give_back(self._array)


@cache
def _pool(number: int) -> Any:
    """The memory pool of all parties of this process on a GPU."""
    cupy = require_device()
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.Device(number):
        pool.set_limit(fraction=POOL_FRACTION)
    return pool
