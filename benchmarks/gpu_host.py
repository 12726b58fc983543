"""What a training step asks of the host: kernel launches, calls of the array library, views and
allocations, counted.

    python -m benchmarks.gpu_host --json benchmarks/results/gpu_host.json && python -m
    benchmarks.gpu --docs

On a GPU the host starts every kernel, and all parties of one process share one interpreter, so a
step takes at least what starting takes: about 6 to 15 us per launch in CuPy, 5 to 8 us per ufunc, 2
to 4 us per allocation, 0.5 to 2 us per view. Counted is one LeNet step (forward, loss gradient,
backward, update) of all parties on the emulated device, whose kernels are not executed here: what
is called never depends on values, since those are secret. What CuPy would compute or copy is a
call; what NumPy returns as a window into an argument is a view. Launches do not depend on the
batch, calls hardly: operands that begin in the middle of 16 bytes are copied first.

What no count shows is the Python between the launches. Two measurements bracket it, each the least
of several runs, in seconds of one core (the parties' threads stay on it): a step of one image on
the host, whose arithmetic is next to nothing (`host_s`), and on the emulated device with kernels
that are not executed (`device_s`), where what the emulation does for array calls and views is
included in place of CuPy, but starting kernels costs nothing and allocating little. Both for
ordinary steps and for steps repeated from their recording (`wwfl_core.recording`), as training
does."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import numpy as np

from wwfl.nn import lenet5, pool_first, trace
from wwfl_core import LocalCluster

from .emulated import EMULATED, EmulatedArray, EmulatedLauncher
from .lenet_step import PROTOCOLS, RECORDING, repeated, step
from .machine import describe

BATCH = 128
COUNTED = ("3pc", "4pc")
PLUMBING = (  # files that carry out what somebody else asked for
    *(
        "algebra",
        "arrays",
        "backend",
        "bilinear",
        "bit_format",
        "dealing",
        "device",
        "gpu",
        "lazy",
        "party",
        "prg",
    ),
    *("share", "shares", "tensor", "truncation", "linear"),
)
STARTED = ("launch", "call")
METHODS = ("__getitem__", "astype", "copy", "reshape", "transpose", "ravel", "sum")


class Tally:
    """Counts by kind (launch, call, view, allocation), by name within a kind, and by who asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.kinds: Counter[str] = Counter()
        self.names: Counter[tuple[str, str]] = Counter()
        self.sites: Counter[tuple[str, str, str]] = Counter()

    def add(self, kind: str, name: str) -> None:
        where = _asker(sys._getframe(1))
        with self._lock:
            self.kinds[kind] += 1
            self.names[kind, name] += 1
            self.sites[kind, name, where] += 1

    @property
    def started(self) -> int:
        """Launches and calls: what a GPU is asked to do."""
        return sum(self.kinds[kind] for kind in STARTED)

    def askers(self) -> Counter[str]:
        """Launches and calls by who asked."""
        found: Counter[str] = Counter()
        for (kind, _, where), n in self.sites.items():
            found[where] += n if kind in STARTED else 0
        return found

    def result(self, result: Any, inputs: Any, name: str) -> None:
        """A function of the array library returned: a view of an argument, or new arrays that it
        computed."""
        if not isinstance(result, EmulatedArray):
            return
        if any(np.may_share_memory(result, a) for a in _arrays(inputs)):
            self.add("view", name)
        else:
            self.add("call", name)
            self.add("allocation", name)


def _arrays(values: Any) -> Iterator[EmulatedArray]:
    for value in values:
        if isinstance(value, EmulatedArray):
            yield value
        elif isinstance(value, list | tuple):
            yield from _arrays(value)


def _asker(frame: FrameType | None) -> str:
    """The innermost function that is no plumbing, as file:function."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        inside = {"kernels", "cuda", "emulated_gpu", "numpy", "benchmarks", "_core"} & set(
            path.parts[-5:]
        )
        if not inside and path.stem not in PLUMBING and not frame.f_code.co_name.startswith("<"):
            return f"{path.name}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "?"


@contextmanager
def counting() -> Iterator[Tally]:
    """Counts what is asked of the emulated device in here, by all threads, and executes no
    kernel."""
    tally = Tally()

    def launch(
        launcher: EmulatedLauncher, source: str, kernel: str, *args: Any, **kwargs: Any
    ) -> None:
        tally.add("launch", kernel)

    def allocating(name: str, kind: str | None) -> Callable[..., Any]:
        original = getattr(EmulatedLauncher, name)

        def allocate(*args: Any, **kwargs: Any) -> Any:
            tally.add("allocation", name)
            if kind:
                tally.add(kind, name)
            return original(*args, **kwargs)

        return allocate

    def ufunc(array: EmulatedArray, fn: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if kwargs.get("out"):
            tally.add("call", fn.__name__)
        result = original_ufunc(array, fn, method, *inputs, **kwargs)
        if not kwargs.get("out"):
            tally.result(result, (), fn.__name__)
        return result

    def function(array: EmulatedArray, fn: Any, types: Any, args: Any, kwargs: Any) -> Any:
        result = original_function(array, fn, types, args, kwargs)
        tally.result(result, args, fn.__name__)
        return result

    def assign(array: EmulatedArray, index: Any, value: Any) -> None:
        tally.add("call", "assignment")
        np.ndarray.__setitem__(array, index, value)

    def method(name: str) -> Callable[..., Any]:
        original = getattr(np.ndarray, name)

        def called(array: EmulatedArray, *args: Any, **kwargs: Any) -> Any:
            result = original(array, *args, **kwargs)
            tally.result(result, (array,), name)
            return result

        return called

    original_ufunc, original_function = (
        EmulatedArray.__array_ufunc__,
        EmulatedArray.__array_function__,
    )
    changes = [
        (EmulatedLauncher, "launch", launch),
        (EmulatedLauncher, "empty", allocating("empty", None)),
        (EmulatedLauncher, "zeros", allocating("zeros", "call")),
        (EmulatedArray, "__array_ufunc__", ufunc),
        (EmulatedArray, "__array_function__", function),
        (EmulatedArray, "__setitem__", assign),
        *((EmulatedArray, name, method(name)) for name in METHODS),
    ]
    with ExitStack() as stack:
        for owner, name, replacement in changes:
            stack.enter_context(patch.object(owner, name, replacement, create=True))
        yield tally


@contextmanager
def lenet(protocol: str, batch: int, device: str) -> Iterator[Callable[..., object]]:
    """One LeNet step of all parties of a protocol, to be called (with `repeated`, from its
    recording)."""
    layers, initial = trace(lenet5(0))
    layers, rng = (
        pool_first(layers),
        np.random.default_rng(0),
    )  # public: what is counted does not depend on values
    with LocalCluster(PROTOCOLS[protocol](), name=protocol, device=device) as cluster:
        params = {key: cluster.share(value) for key, value in initial.items()}
        x, labels = (
            cluster.share(rng.random((batch, 1, 32, 32))),
            cluster.share(np.eye(10)[np.arange(batch) % 10]),
        )
        yield lambda program=step: cluster.run(program, layers, params, x, labels)


def count(protocol: str, batch: int = BATCH) -> Tally:
    """What one step asks for."""
    with lenet(protocol, batch, EMULATED) as run, counting() as tally:
        run()
    return tally


@contextmanager
def one_core() -> Iterator[None]:
    """In here this process has one core: threads that wait for each other's interpreter lock would
    be measured too."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def nothing_runs() -> Iterator[None]:
    """In here no kernel is executed, and the emulated device allocates at once: values mean
    nothing."""

    def launch(launcher: EmulatedLauncher, *args: Any) -> None: ...

    def empty(launcher: EmulatedLauncher, shape: tuple[int, ...], dtype: Any) -> Any:
        return np.empty(shape, dtype).view(EmulatedArray)

    with (
        patch.object(EmulatedLauncher, "launch", launch),
        patch.object(EmulatedLauncher, "empty", empty),
    ):
        yield


def seconds(protocol: str, device: str, repeats: int = 20) -> dict[str, float]:
    """Seconds of one core that a step of one image takes, all parties; on a device without its
    kernels. Ordinary and repeated steps take turns, since machines have slow hours."""
    found: dict[str, list[float]] = {"ordinary": [], "repeated": []}
    with one_core(), lenet(protocol, 1, device) as run, nothing_runs():
        for _ in range(RECORDING):
            run(repeated)
        for _ in range(repeats):
            for kind, program in (("ordinary", step), ("repeated", repeated)):
                begun = time.process_time()
                run(program)
                found[kind].append(time.process_time() - begun)
    return {kind: min(times) for kind, times in found.items()}


def measure(protocol: str) -> dict[str, Any]:
    """A protocol's row of the result."""
    tally = count(protocol)

    def named(kind: str) -> dict[str, int]:
        return {name: n for (of, name), n in tally.names.most_common() if of == kind}

    return {
        "protocol": protocol,
        "parties": PROTOCOLS[protocol]().sharing.parties,
        "host_s": seconds(protocol, "cpu"),
        "device_s": seconds(protocol, EMULATED),
        "totals": dict(tally.kinds),
        "launches": named("launch"),
        "calls": named("call"),
        "askers": [[n, where] for where, n in tally.askers().most_common(12)],
        "sites": [[n, *key] for key, n in tally.sites.most_common() if key[0] in STARTED][:20],
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", metavar="FILE", help="write the counts to FILE")
    parser.add_argument("--protocols", default=",".join(COUNTED))
    args = parser.parse_args(argv)
    rows = [measure(name) for name in args.protocols.split(",")]
    for row in rows:
        print(f"{row['protocol']}, {row['parties']} parties, one LeNet step: {row['totals']}")
        for where in ("host_s", "device_s"):
            print(
                f"  {where}: "
                + ", ".join(f"{kind} {found:.3f}" for kind, found in row[where].items())
            )
        for kind in ("launches", "calls"):
            print(f"  {kind}: " + ", ".join(f"{n} {name}" for name, n in row[kind].items()))
        for n, kind, name, where in row["sites"]:
            print(f"  {n:6} {kind} {name} for {where}")
    if args.json:
        result = {"machine": describe(), "batch": BATCH, "rows": rows}
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
