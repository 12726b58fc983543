"""Where the time of a training step goes on a device: local work, packing, transfer, and the rest.

Spans are taken on every party's own stream, between two device events (in the emulation: by the
clock of the host): `local` are kernels that compute, `packing` those that lay out bits and words
for the wire, `transfer` everything from asking for a message until the stream may read it, and
sending. What remains of the step is the host's own code, the array library's kernels, and a stream
with nothing to do. Every span costs two events, so a metered step is slower."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

from wwfl_core.accelerate.cuda.launch import Launcher
from wwfl_core.channel import Endpoint

PACKING_SOURCE, PACKING_KERNELS = "bits.cu", ("wrap_message",)
KINDS = ("local", "packing", "transfer")


def kind_of(source: str, kernel: str) -> str:
    """What a kernel does for a step."""
    return "packing" if source == PACKING_SOURCE or kernel in PACKING_KERNELS else "local"


class Meter:
    """Spans of all parties, each of which is a thread."""

    def __init__(self, array_module: Any) -> None:
        """array_module: CuPy, or NumPy for the emulation."""
        self._cuda = getattr(array_module, "cuda", None)
        self._spans: dict[int, list[tuple[str, Any, Any]]] = defaultdict(list)
        self._inside = threading.local()

    @contextmanager
    def span(self, kind: str) -> Generator[None]:
        """Only the outermost of nested spans counts."""
        if getattr(self._inside, "busy", False):
            yield
            return
        self._inside.busy = True
        begun = self._now()
        try:
            yield
        finally:
            self._spans[threading.get_ident()].append((kind, begun, self._now()))
            self._inside.busy = False

    def _now(self) -> Any:
        if self._cuda is None:
            return time.perf_counter()
        event = self._cuda.Event()
        event.record()
        return event

    def _seconds(self, begun: Any, ended: Any) -> float:
        if self._cuda is None:
            return ended - begun
        return float(self._cuda.get_elapsed_time(begun, ended)) * 1e-3

    def parties(self) -> list[dict[str, float]]:
        """Seconds per kind of every party, once all have finished their streams."""
        found = []
        for spans in self._spans.values():
            totals = dict.fromkeys(KINDS, 0.0)
            for kind, begun, ended in spans:
                totals[kind] += self._seconds(begun, ended)
            found.append(totals)
        return found


@contextmanager
def metered(launcher: Launcher, array_module: Any) -> Generator[Meter]:
    """Everything that parties of this process launch, send and receive in here is metered."""
    meter = Meter(array_module)
    launch = launcher.launch

    def timed_launch(source: str, kernel: str, *args: Any, **kwargs: Any) -> None:
        with meter.span(kind_of(source, kernel)):
            launch(source, kernel, *args, **kwargs)

    def timed(kind: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def run(*args: Any, **kwargs: Any) -> Any:
            with meter.span(kind):
                return method(*args, **kwargs)

        return run

    with (
        patch.object(launcher, "launch", timed_launch),
        patch.object(launcher, "int8_products", timed("local", launcher.int8_products)),
        patch.object(Endpoint, "send", timed("transfer", Endpoint.send)),
        patch.object(Endpoint, "recv", timed("transfer", Endpoint.recv)),
    ):
        yield meter


def split(step: Callable[[], object], launcher: Launcher, array_module: Any) -> dict[str, Any]:
    """One metered call: wall-clock seconds, and of them the parties' mean seconds per kind, and the
    rest."""
    with metered(launcher, array_module) as meter:
        begun = time.perf_counter()
        step()
        seconds = time.perf_counter() - begun
    parties = meter.parties()
    mean = {kind: sum(p[kind] for p in parties) / len(parties) for kind in KINDS}
    return {
        "seconds": seconds,
        "parties": len(parties),
        **mean,
        "rest": max(0.0, seconds - sum(mean.values())),
    }
