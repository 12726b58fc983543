"""Endpoints of one process, connected by reference: no copy, no thread, no serialisation."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from wwfl_core.errors import Misuse, PeerLost

from .endpoint import Endpoint
from .frames import Abort, Frame

Tamper = Callable[[str, str, Frame], Frame | None]
"""(sender, receiver, frame) -> what arrives instead, or None to drop it."""


class MemoryNetwork:
    """Connects all endpoints that it creates. Create them all before the first one sends.

    `tamper` is a facility for tests of failures and attacks: it sees every array that is sent, in
    the thread of the sender, and decides what arrives. It must return a new frame
    (`dataclasses.replace`) with a new payload, since the original is shared with the sender. Aborts
    pass by it."""

    def __init__(self) -> None:
        self.tamper: Tamper | None = None
        self._lock = Lock()
        self._open: dict[str, Endpoint] = {}
        self._used: set[str] = set()
        self._bridged: list[MemoryNetwork] = []

    def bridge(self, other: MemoryNetwork) -> None:
        """Let endpoints of both networks reach each other; their addresses must differ.
        Idempotent."""
        if other is self or other in self._bridged:
            return
        common = self._used & other._used
        if common:
            raise Misuse(
                f"both networks have endpoints {sorted(common)}; give the clusters different names"
            )
        self._bridged.append(other)
        other._bridged.append(self)

    def _endpoints(self) -> list[Endpoint]:
        with self._lock:
            return list(self._open.values())

    def _find(self, to: str) -> Endpoint | None:
        return self._open.get(to)

    def endpoint(self, address: str) -> Endpoint:
        """Create the endpoint of `address`; every address can be used once."""
        with self._lock:
            if address in self._used:
                raise Misuse(
                    f"{address} already has (or had) an endpoint in this network; use a new network"
                )
            self._used.add(address)
            self._open[address] = endpoint = Endpoint(address, _Port(self, address))
        return endpoint

    def close(self) -> None:
        """Close all endpoints."""
        with self._lock:
            endpoints = list(self._open.values())
        for endpoint in endpoints:
            endpoint.close()

    def _post(self, sender: str, to: str, frame: Frame | Abort) -> None:
        tampered = frame
        if self.tamper is not None and isinstance(frame, Frame):
            tampered = self.tamper(sender, to, frame)
        receiver = self._find(to) or next(
            (found for n in self._bridged if (found := n._find(to)) is not None), None
        )
        if receiver is None:
            networks = [self, *self._bridged]
            was_open = any(to in n._used for n in networks)
            why = (
                "it closed its endpoint"
                if was_open
                else "no such endpoint was created in this network"
            )
            raise PeerLost(f"{sender}: cannot send to {to}: {why}")
        if tampered is not None:
            receiver.deliver(sender, tampered)

    def _leave(self, address: str) -> None:
        with self._lock:
            self._open.pop(address, None)
        others = [endpoint for n in [self, *self._bridged] for endpoint in n._endpoints()]
        for other in others:
            other.lost(address, "it closed its endpoint")


class _Port:
    """The transport of one endpoint."""

    def __init__(self, network: MemoryNetwork, address: str) -> None:
        self._network = network
        self._address = address

    def post(self, to: str, frame: Frame | Abort) -> None:
        self._network._post(self._address, to, frame)  # pyright: ignore[reportPrivateUsage]

    def close(self) -> None:
        self._network._leave(self._address)  # pyright: ignore[reportPrivateUsage]
