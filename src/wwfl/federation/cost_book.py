"""Commands to nodes, with their costs booked: where, in which stage, how many bytes and how
long."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy.typing as npt

from wwfl_core.channel.cost import Cost

from .engines import Engine, Node


class Books:
    """Runs programs, uploads and transfers of a federation and accounts for them as (where, stage).
    A node is used by one thread at a time; different nodes may be used at once."""

    def __init__(self, engine: Engine, allow_weaker: bool) -> None:
        self.engine = engine
        self.allow_weaker = allow_weaker
        self.costs: dict[tuple[str, str], Cost] = {}
        self.seconds: dict[tuple[str, str], float] = {}
        self._lock = Lock()

    def run(self, node: Node, stage: str, fn: Callable[..., Any], *args: Any) -> Any:
        """Runs a program whose public results all servers report alike."""
        begun = time.monotonic()
        result = node.run_agreed(fn, *args)
        self.spent(node.name, stage, node.last_cost, begun)
        return result

    def share(self, node: Node, value: npt.ArrayLike, stage: str | None = "upload") -> Any:
        """A client's upload; not booked without a stage."""
        begun = time.monotonic()
        handle = node.share(value)
        if stage is not None:
            self.spent(node.name, stage, node.last_cost, begun)
        return handle

    def move(self, x: Any, to: Node, outvoted: list[str], stage: str = "reshare") -> Any:
        """Hands a value on to another node; names of outvoted servers are appended to
        `outvoted`."""
        if x.cluster is to:
            return x
        begun = time.monotonic()
        moved = self.engine.move(x, to, self.allow_weaker)
        self.spent(f"{x.cluster.name} -> {to.name}", stage, moved.cost, begun)
        outvoted.extend(moved.outvoted)
        return moved.handle

    def spent(self, where: str, stage: str, cost: Cost, begun: float) -> None:
        """Books a cost, and the time since `begun`."""
        key = where, stage
        with self._lock:
            self.costs[key] = self.costs.get(key, Cost()) + cost
            self.seconds[key] = self.seconds.get(key, 0.0) + time.monotonic() - begun

    def bytes_by_stage(self) -> dict[str, int]:
        """Payload bytes so far, all places together."""
        total: dict[str, int] = {}
        with self._lock:
            for (_, stage), cost in self.costs.items():
                total[stage] = total.get(stage, 0) + cost.bytes_sent()
        return total
