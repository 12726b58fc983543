"""Engines on real protocols, and on their fixed-point arithmetic in the clear."""

from __future__ import annotations

import os
from typing import ClassVar, cast

from backends import Plain
from reshare import Reshared, reshare_with_report
from wwfl_core.channel import Authority
from wwfl_core.cluster import Handle, LocalCluster

from .. import server_programs as programs
from ..topology import Servers
from .engine import Engine, Node


class MPCEngine(Engine):
    """Every node runs its protocol, in threads or in processes over mutual TLS."""

    def __init__(self, *, processes: bool, insecure_seed: int | None, deadline_s: float) -> None:
        self.processes = processes
        self.insecure_seed = insecure_seed
        self.deadline_s = deadline_s
        self.authority = Authority() if processes else None

    def open(self, servers: Servers, name: str) -> LocalCluster:
        return LocalCluster(
            servers.backend,
            name=name,
            network=servers.network,
            hosts=servers.hosts,
            processes=self.processes,
            insecure_seed=self.insecure_seed,
            deadline_s=self.deadline_s,
            authority=self.authority,
            device=servers.device,
        )

    def move(self, x: Handle, to: Node, allow_weaker: bool) -> Reshared:
        return reshare_with_report(x, cast(LocalCluster, to), allow_weaker=allow_weaker)

    def align(self, node: Node, run: int) -> None:
        cast(LocalCluster, node).submit(programs.ready, run=run).result()

    def workers(self, leaves: int) -> int:
        return leaves


class SimulationEngine(MPCEngine):
    """Every protocol is replaced by `Plain` with its number format: the same fixed-point arithmetic
    with the same truncation error, without secrecy. Costs are those of `Plain`, which sends next to
    nothing."""

    keeps_uploads: ClassVar[bool] = False

    def open(self, servers: Servers, name: str) -> LocalCluster:
        protocol = servers.backend
        simulated = Plain(frac_bits=protocol.format.frac_bits, stands_for=protocol.sharing)
        return super().open(Servers(simulated, servers.network), name)

    def workers(self, leaves: int) -> int:
        return min(leaves, os.cpu_count() or 1)
