"""Where servers run: as threads of this process, or as processes of their own connected by TLS."""

from __future__ import annotations

import multiprocessing
import pickle
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Protocol

from wwfl_core.accelerate import HOST, named
from wwfl_core.channel import Endpoint, HostPort, Identity, MemoryNetwork, TcpNode
from wwfl_core.errors import Misuse, PeerLost
from wwfl_core.protocol import MPCBackend

from .server import Command, Outcome, Server


class Worker(Protocol):
    """A running server."""

    def submit(self, command: Command) -> Future[Outcome]:
        """Queues a command; commands of one server run in order."""
        ...

    def connect(self, directory: Mapping[str, HostPort]) -> None:
        """Connects the server to others (no-op where they share memory)."""
        ...

    def close(self) -> None:
        """Stops the server."""
        ...


class ThreadWorker:
    """A server in a thread of this process."""

    def __init__(
        self,
        protocol: MPCBackend,
        index: int,
        addresses: tuple[str, ...],
        network: MemoryNetwork,
        device: str = HOST.name,
    ) -> None:
        self._endpoint: Endpoint = network.endpoint(addresses[index])
        self._device = named(device)
        self._server = Server(protocol, index, addresses, self._endpoint, self._device)
        self._queue: SimpleQueue[tuple[Command, Future[Outcome]] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=f"wwfl {addresses[index]}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        with self._device.working():
            while (item := self._queue.get()) is not None:
                command, future = item
                future.set_result(self._server.execute(command))
            self._server.close()

    def submit(self, command: Command) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        self._queue.put((command, future))
        return future

    def connect(self, directory: Mapping[str, HostPort]) -> None:
        return

    def close(self) -> None:
        self._queue.put(None)
        self._endpoint.close()
        self._thread.join()


@dataclass(frozen=True)
class _Connect:
    directory: dict[str, HostPort]


def _serve(
    pipe: Connection,
    protocol: MPCBackend,
    index: int,
    addresses: tuple[str, ...],
    identity: Identity,
    device_name: str,
) -> None:
    """The main function of a server process."""
    device = named(device_name)
    with device.working():
        node = TcpNode(addresses[index], identity=identity)
        server = Server(protocol, index, addresses, node.endpoint, device)
        pipe.send(node.host_port)
        _answer(pipe, server, node)


def _answer(pipe: Connection, server: Server, node: TcpNode) -> None:
    """Executes what the coordinator sends until it is gone."""
    try:
        while True:
            request = pipe.recv()
            if request is None:
                return
            if isinstance(request, _Connect):
                try:
                    node.connect(request.directory)
                    pipe.send(Outcome())
                except Exception as error:  # the coordinator raises it
                    pipe.send(Outcome(error=error))
            else:
                pipe.send(_picklable(server.execute(request)))
    except EOFError:
        return  # the coordinator is gone
    finally:
        server.close()
        node.close()


def _picklable(outcome: Outcome) -> Outcome:
    if outcome.error is not None:
        try:
            pickle.loads(pickle.dumps(outcome.error))
        except Exception:
            outcome.error = RuntimeError(f"{type(outcome.error).__name__}: {outcome.error}")
    return outcome


class ProcessWorker:
    """A server in a process of its own; shares never leave it but through its TLS connections."""

    def __init__(
        self,
        protocol: MPCBackend,
        index: int,
        addresses: tuple[str, ...],
        identity: Identity,
        device: str = HOST.name,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.address = addresses[index]
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve,
            args=(theirs, protocol, index, addresses, identity, device),
            name=f"wwfl {self.address}",
            daemon=True,
        )
        self.process.start()
        theirs.close()
        self._lock = Lock()
        self._waiting: deque[Future[Outcome]] = deque()
        self._dead: str | None = None
        self._where: HostPort | None = None
        self._reader: Thread | None = None

    def host_port(self) -> HostPort:
        """Where the process listens; waits until it does."""
        if self._where is None:
            try:
                where: HostPort = self._pipe.recv()
            except EOFError:
                raise PeerLost(f"the process of {self.address} died while starting") from None
            self._where = where
            self._reader = Thread(
                target=self._read, name=f"wwfl outcomes of {self.address}", daemon=True
            )
            self._reader.start()
        return self._where

    def _read(self) -> None:
        while True:
            try:
                outcome = self._pipe.recv()
            except (EOFError, OSError):
                break
            with self._lock:
                future = self._waiting.popleft()
            future.set_result(outcome)
        self.process.join(5)
        with self._lock:
            self._dead = f"the process of {self.address} ended (exit code {self.process.exitcode})"
            orphans = list(self._waiting)
            self._waiting.clear()
        for future in orphans:
            future.set_result(Outcome(error=PeerLost(f"{self._dead}; restart the cluster")))

    def _request(self, request: Any) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        try:
            message = pickle.dumps(request)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise Misuse(
                f"{request.fn if isinstance(request, Command) else request} cannot be sent to the "
                f"server processes ({error}); programs for processes must be functions of an "
                "importable module"
            ) from error
        with self._lock:
            if self._dead is not None:
                future.set_result(Outcome(error=PeerLost(f"{self._dead}; restart the cluster")))
                return future
            self._waiting.append(future)
            try:
                self._pipe.send_bytes(message)
            except OSError:
                pass  # the reader sees the end of the pipe and answers
        return future

    def submit(self, command: Command) -> Future[Outcome]:
        return self._request(command)

    def connect(self, directory: Mapping[str, HostPort]) -> None:
        outcome = self._request(_Connect(dict(directory))).result()
        if outcome.error is not None:
            raise outcome.error

    def close(self) -> None:
        try:
            self._pipe.send(None)
        except OSError:
            pass
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self._pipe.close()
        if self._reader is not None:
            self._reader.join(5)
