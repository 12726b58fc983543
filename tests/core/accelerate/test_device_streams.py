"""Parties of one process on one GPU: each has a stream, and what one hands to another is neither
read too early nor overwritten too early. The order of calls is checked with a stand-in for CuPy;
`-m gpu` tests run the real thing."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wwfl_core.accelerate import gpu
from wwfl_core.accelerate.device import HOST, Memory


class Event:
    """Done when the test says so, if it was recorded."""

    def __init__(self, disable_timing: bool) -> None:
        assert disable_timing
        self.stream: Any = None
        self.done = False
        self.waited_for_by_host = False

    def record(self, stream: Any) -> None:
        assert self.stream is None
        self.stream = stream
        stream.recorded.append(self)

    def synchronize(self) -> None:
        self.waited_for_by_host = True


class Stream:
    def __init__(self, non_blocking: bool) -> None:
        assert non_blocking
        self.waits: list[Event] = []
        self.recorded: list[Event] = []
        self.synchronized = 0

    def __enter__(self) -> None:
        return

    def __exit__(self, *error: object) -> None:
        return

    def wait_event(self, event: Event) -> None:
        self.waits.append(event)

    def synchronize(self) -> None:
        self.synchronized += 1
        for event in self.recorded:
            event.done = True


class ndarray:
    """An array of the stand-in: memory that it keeps alive, and a shape."""

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, memory: Any, strides: Any = None
    ) -> None:
        self.shape, self.dtype, self.strides = shape, np.dtype(dtype), strides
        self.nbytes = int(np.prod(shape)) * self.dtype.itemsize
        self.data, self.device = memory, SimpleNamespace(id=0)


class Block:
    """What a pool gave away."""

    ptr = 4096


class OutOfMemoryError(MemoryError):
    pass


class Pool:
    """A pool whose limit is reached until everything that lies free is given back."""

    def __init__(self) -> None:
        self.full, self.freed = False, []

    def malloc(self, nbytes: int) -> Any:
        if self.full:
            raise OutOfMemoryError
        return nbytes

    def free_all_blocks(self, stream: Any = None) -> None:
        self.full = False
        self.freed.append(stream)

    def set_limit(self, fraction: float) -> None:
        assert 0 < fraction < 1

    def used_bytes(self) -> int:
        return 64

    def total_bytes(self) -> int:
        return 512

    def get_limit(self) -> int:
        return 4096


class Device(nullcontext[None]):
    def __init__(self, number: int) -> None:
        super().__init__()

    def synchronize(self) -> None:
        return


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    fake: Any = ModuleType("cupy")
    fake.ndarray, fake.asnumpy, fake.asarray = (
        ndarray,
        lambda a: np.zeros(a.shape, a.dtype),
        lambda a: a,
    )
    ndarray.__module__ = "cupy"
    fake.cuda = SimpleNamespace(
        MemoryPool=Pool,
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        using_allocator=lambda allocator: nullcontext(),
        runtime=SimpleNamespace(getDeviceCount=lambda: 1),
        Device=Device,
        Stream=Stream,
        Event=Event,
        UnownedMemory=lambda ptr, size, owner, device: SimpleNamespace(ptr=ptr, owner=owner),
        MemoryPointer=lambda memory, offset: SimpleNamespace(ptr=memory.ptr + offset, mem=memory),
    )
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setattr(gpu, "cupy_launcher", lambda: None)
    gpu._pool.cache_clear()
    yield fake
    gpu._pool.cache_clear()


def array(elements: int = 8) -> ndarray:
    return ndarray((elements,), np.uint64, Block(), (8,))


def test_the_receiver_waits_on_its_stream_for_what_the_sender_had_started(cupy: Any) -> None:
    sender, receiver = gpu.Cuda(), gpu.Cuda()
    sent = array()
    mark = sender.mark(sent)
    assert mark.stream is sender._stream
    received = receiver.adopt(sent, mark)
    assert receiver._stream.waits == [mark]
    assert not mark.waited_for_by_host and not receiver._stream.synchronized
    assert (received.data.ptr, received.shape, received.strides) == (
        sent.data.ptr,
        sent.shape,
        sent.strides,
    )


def test_an_array_of_another_gpu_comes_by_way_of_the_host(cupy: Any) -> None:
    sender, receiver = gpu.Cuda(), gpu.Cuda()
    sent = array()
    sent.device = SimpleNamespace(id=1)
    mark = sender.mark(sent)
    received = receiver.adopt(sent, mark)
    assert mark.waited_for_by_host and not receiver._stream.waits
    assert received.shape == sent.shape and not isinstance(received, ndarray)


def test_the_host_waits_for_what_a_device_hands_to_it(cupy: Any) -> None:
    sender, sent = gpu.Cuda(), array()
    mark = sender.mark(sent)
    assert HOST.adopt(sent, mark) is sent
    assert mark.waited_for_by_host


def test_arrays_of_the_host_need_no_marks(cupy: Any) -> None:
    sender, receiver = gpu.Cuda(), gpu.Cuda()
    value = np.arange(3)
    assert sender.mark(value) is None
    assert receiver.adopt(value, None) is value
    assert not receiver._stream.waits


def test_memory_goes_back_only_when_the_borrowers_stream_is_done_with_it(cupy: Any) -> None:
    sender, receiver = gpu.Cuda(), gpu.Cuda()
    sent = array()
    kept = weakref.ref(sent.data)
    received = receiver.adopt(sent, sender.mark(sent))
    view = SimpleNamespace(data=received.data)  # a view of an array keeps its memory
    del sent
    gc.collect()
    assert kept() is not None, "the receiver holds it"
    del received
    gc.collect()
    assert not receiver._returned, "a view holds it"
    del view
    gc.collect()
    ((event, _),) = receiver._returned
    assert event.stream is receiver._stream
    assert kept() is not None, "the receiver's stream may still read it"
    receiver.adopt(np.zeros(1), None)
    assert kept() is not None
    event.done = True
    receiver._stream.recorded.clear()
    del event, _
    receiver.adopt(np.zeros(1), None)
    gc.collect()
    assert kept() is None


def test_the_end_of_a_command_waits_for_the_stream_and_releases_everything(cupy: Any) -> None:
    sender, receiver = gpu.Cuda(), gpu.Cuda()
    sent = array()
    kept = weakref.ref(sent.data)
    received = receiver.adopt(sent, sender.mark(sent))
    del sent, received
    receiver.finish()
    gc.collect()
    assert receiver._stream.synchronized == 1
    assert kept() is None


def test_empty_arrays_are_not_borrowed(cupy: Any) -> None:
    sender, receiver = gpu.Cuda(), gpu.Cuda()
    sent = array(0)
    assert receiver.adopt(sent, sender.mark(sent)) is sent


def test_the_pool_of_a_gpu_is_bounded_and_reported(cupy: Any) -> None:
    first, second = gpu.Cuda(), gpu.Cuda()
    assert first._pool is second._pool, "parties of one process share a pool"
    assert first.memory() == Memory("cuda:0", used_bytes=64, reserved_bytes=512, limit_bytes=4096)


def test_at_the_pools_limit_free_memory_of_all_streams_is_released_before_giving_up(
    cupy: Any,
) -> None:
    party = gpu.Cuda()
    party._pool.full = True
    assert party._malloc(100) == 100
    assert party._pool.freed == [None]
    assert party._malloc(8) == 8
    assert party._pool.freed == [None]


def test_a_party_that_stops_leaves_no_memory_that_only_its_stream_could_use(cupy: Any) -> None:
    party = gpu.Cuda()
    with party.working():
        assert not party._pool.freed
    assert party._pool.freed == [party._stream]
    assert party._stream.synchronized == 1
