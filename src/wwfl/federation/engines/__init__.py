"""Engines: what carries out a federation. Real protocols, their fixed-point arithmetic alone, or
ordinary floats.

Here belongs where servers live and how values move between them. What servers do is written once,
in `wwfl.federation.server_programs`."""

from __future__ import annotations

from concurrent.futures import Executor

from ..engine_names import EngineName
from .engine import Engine, Node
from .floats import FloatEngine
from .mpc import MPCEngine, SimulationEngine

__all__ = ["Engine", "Node", "make"]


def make(
    name: EngineName,
    *,
    processes: bool,
    insecure_seed: int | None,
    deadline_s: float,
    executor: Executor | None,
) -> Engine:
    """An engine by name. `executor` is where the float engine trains; the other options are those
    of the protocols' servers."""
    if name == "float":
        return FloatEngine(executor, insecure_seed=insecure_seed)
    kind = SimulationEngine if name == "simulate" else MPCEngine
    return kind(
        processes=processes and name == "mpc", insecure_seed=insecure_seed, deadline_s=deadline_s
    )
