"""One server: executes commands in order, keeps its shares, and reports outcomes. Runs in a thread
or a process."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wwfl_core.accelerate.device import HOST, Device, Memory
from wwfl_core.channel import Cost, Endpoint, NetworkModel
from wwfl_core.errors import (
    DeadlineExceeded,
    Desync,
    Misuse,
    PeerAborted,
    PeerLost,
    VerificationFailed,
)
from wwfl_core.numbers.algebra import Algebra
from wwfl_core.numbers.arrays import Shape, to_host
from wwfl_core.party import Opening, Party
from wwfl_core.protocol.backend import MPCBackend
from wwfl_core.sharing import Security
from wwfl_core.tensors import Session, SharedBits, SharedTensor

from .accelerated import accelerated


@dataclass(frozen=True)
class Ref:
    """Names a shared tensor that every server of a cluster keeps; `frac_bits` is None for bits."""

    id: str
    shape: Shape
    frac_bits: int | None
    algebra: Algebra


@dataclass(frozen=True)
class PerParty:
    """An argument that differs between parties: `values[i]` goes to party i."""

    values: tuple[Any, ...] = field(repr=False)


@dataclass(frozen=True)
class Command:
    """Run `fn(mpc, *args)` at this server. All servers of a run get the same command but for
    per-party arguments.

    `after_failure`: an earlier run failed, so protocols forget what they cached with tensors (the
    parties may have cached different things). `drop` names tensors that are no longer needed.
    `guarantee` is what the results are protected against, unless the program reads something
    weaker."""

    run: int
    fn: Callable[..., Any]
    args: tuple[Any, ...] = field(repr=False)
    deadline_s: float
    network: NetworkModel | None
    guarantee: Security
    after_failure: bool = False
    drop: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What one server reports about a command."""

    value: Any = field(default=None, repr=False)
    error: BaseException | None = None
    cost: Cost = field(default_factory=Cost)
    openings: tuple[Opening, ...] = ()
    compute_s: float = 0.0
    at: float = 0.0
    guarantee: Security | None = None
    memory: Memory | None = None


def map_tree(tree: Any, leaf: Callable[[Any], Any]) -> Any:
    """Applies `leaf` to everything inside tuples, lists and dicts (named tuples are leaves)."""
    kind = type(tree)  # pyright: ignore[reportUnknownVariableType]
    items: Any = tree
    if kind is tuple:
        return tuple([map_tree(item, leaf) for item in items])
    if kind is list:
        return [map_tree(item, leaf) for item in items]
    if kind is dict:
        return {key: map_tree(value, leaf) for key, value in items.items()}
    return leaf(tree)


def home(item: Any) -> Any:
    """What a program returns, as the caller gets it: a device's arrays come home."""
    return to_host(item) if hasattr(item, "dtype") and hasattr(item, "nbytes") else item


TOLD = (Desync, PeerLost, PeerAborted, DeadlineExceeded, VerificationFailed)
"""Errors of the channels and checks, whose messages name servers and operations only."""


def for_peers(error: BaseException) -> str:
    """What the other servers are told of an error here. Messages of other errors may show values (a
    number of a party's input that is out of range, whatever a program puts into an exception), so
    they go to the coordinator only."""
    name = type(error).__name__
    return f"{name}: {error}" if type(error) in TOLD else f"{name} (its own report says more)"


class Server:
    """Party `index` of a cluster: its end of the protocol and the shares that it keeps between
    commands."""

    def __init__(
        self,
        protocol: MPCBackend,
        index: int,
        addresses: tuple[str, ...],
        endpoint: Endpoint,
        device: Device = HOST,
    ) -> None:
        endpoint.device = device
        self.mpc = Session(accelerated(protocol, device).at(Party(index, addresses, endpoint)))
        self._store: dict[str, SharedTensor | SharedBits] = {}

    def execute(self, command: Command) -> Outcome:
        """Runs a command; errors are reported to the other servers and in the outcome, never
        raised."""
        party = self.mpc.party
        started = len(list(party.ledger))
        outcome = Outcome()
        begun = time.thread_time()
        try:
            party.endpoint.begin(
                command.run,
                deadline_s=command.deadline_s,
                network=command.network,
                members=party.addresses,
            )
            party.run, party.guests, party.guarantee = command.run, (), command.guarantee
            # Operation numbers never repeat, whatever became of earlier runs: they are part of
            # every PRG nonce, and two parties that drew one stream for two secrets would reveal
            # their difference.
            party.ops = command.run << 32
            if command.after_failure:
                self.mpc.protocol.reset()
                for kept in self._store.values():
                    kept.data.cache.clear()
            for name in command.drop:
                self._store.pop(name, None)
            value = command.fn(self.mpc, *map_tree(command.args, self._resolve))
            outcome.value = self._keep(command.run, value)
            party.device.finish()
        except (
            BaseException
        ) as error:  # reported to the coordinator, which raises it in the caller's thread
            outcome.at = time.time()
            error.add_note("".join(traceback.format_exception(error)).rstrip())
            outcome.error = error
            party.abort(for_peers(error))
        outcome.compute_s = time.thread_time() - begun
        outcome.cost = party.endpoint.cost()
        outcome.openings = tuple(party.ledger)[started:]
        outcome.guarantee = party.guarantee
        try:
            outcome.memory = party.device.memory()
        except (
            Exception
        ) as error:  # a device that broke; the coordinator must hear of it all the same
            outcome.error = outcome.error or error
        return outcome

    def close(self) -> None:
        """Stops the protocol's end here."""
        self.mpc.protocol.close()

    def _resolve(self, leaf: Any) -> Any:
        if not isinstance(leaf, Ref):
            return leaf
        try:
            return self._store[leaf.id]
        except KeyError:
            raise Misuse(
                f"tensor {leaf.id} is not known here; it was dropped or belongs to another cluster"
            ) from None

    def _keep(self, run: int, value: Any) -> Any:
        count = 0

        def leaf(item: Any) -> Any:
            nonlocal count
            if not isinstance(item, SharedTensor | SharedBits):
                return home(item)
            count += 1
            name = f"{run}.{count}"
            self._store[name] = item
            frac_bits = item.frac_bits if isinstance(item, SharedTensor) else None
            return Ref(name, item.shape, frac_bits, item.data.algebra)

        return map_tree(value, leaf)
