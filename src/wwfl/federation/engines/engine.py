"""What an engine is: it starts the servers of a federation and moves values between them.

One coordinator serves all engines: it samples, distributes and collects, and asks *nodes* to run
the functions of `wwfl.federation.server_programs`. Engines differ in where the servers' sessions
live and how values move; the programs are the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import numpy.typing as npt

from reshare import Reshared
from wwfl.aggregation import Aggregation
from wwfl.nn import Model
from wwfl_core.channel import Cost
from wwfl_core.party import Ledger

from ..topology import Servers
from ..torch_model import TorchModel


class Node(Protocol):
    """Servers that keep values and run programs on them, as the coordinator sees them.
    `LocalCluster` is a node as it is."""

    name: str
    ledger: Ledger
    cost: Cost
    last_cost: Cost
    deadline_s: float

    @property
    def broken(self) -> str | None:
        """Why the servers can no longer work together, if so."""
        ...

    def share(self, value: npt.ArrayLike) -> Any:
        """A client's upload; what comes back has `.shape`, `.cluster` (this node) and
        `.guarantee`."""
        ...

    def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Runs a program of `wwfl.federation.server_programs`."""
        ...

    def run_agreed(self, fn: Callable[..., Any], *args: Any) -> Any:
        """The same, for public results that all servers report alike."""
        ...

    def reveal(self, handle: Any, reason: str = "reveal") -> Any:
        """Opens a value as a float64 array; recorded in the ledger."""
        ...

    def reveal_to_client(self, handle: Any, client: str, reason: str, program: Any = ...) -> Any:
        """Opens a value to a client alone (`wwfl_core.cluster.client.Revealed`)."""
        ...

    def close(self) -> None:
        """Stops the servers."""
        ...


class Engine(ABC):
    """Makes the nodes of a federation and moves values between them.

    `keeps_uploads`: clients share their data once and it stays; otherwise they bring it each time,
    since it costs nothing and a thousand clients' data would fill the memory.
    `batches_per_command`: how many batches a node trains in one command (None: all of a round).
    `evaluation_batch`: how many images servers classify at a time."""

    keeps_uploads: ClassVar[bool] = True
    batches_per_command: ClassVar[int | None] = 1
    evaluation_batch: ClassVar[int] = 100

    def model(self, traced: TorchModel) -> Model:
        """The model that programs get: its description."""
        return traced.model

    def rule(self, rule: Aggregation) -> Aggregation:
        """The rule that programs get: as it is."""
        return rule

    @abstractmethod
    def open(self, servers: Servers, name: str) -> Node:
        """Starts the servers of a node."""

    @abstractmethod
    def move(self, x: Any, to: Node, allow_weaker: bool) -> Reshared:
        """The value, at another node."""

    @abstractmethod
    def align(self, node: Node, run: int) -> None:
        """Lets the node's randomness go on from command number `run`, so that a resumed run draws
        what an uninterrupted one draws. Raises ProtocolError if the node's servers are gone."""

    @abstractmethod
    def workers(self, leaves: int) -> int:
        """How many leaves should train at the same time."""
