"""A foreign runtime in a child process of a party. Its messages travel over the party's own
channels.

So a foreign protocol gets what every other one has: mutual TLS between processes, deadlines, aborts
that name the first cause, and bytes and rounds counted where they are sent. What such a runtime
does on import (parse arguments, configure logging, own a global communicator) stays in the child,
one party per process.

The child (`backends.foreign.child`) executes one call at a time; while it does, it asks for
messages to be sent and received. Nothing but shares of this party passes the pipe between them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from wwfl_core.errors import ConfigError, ProtocolError
from wwfl_core.numbers import Array
from wwfl_core.party import Op

COMPUTE_DEADLINE_S = 600.0
STDERR_TAIL = 2000


class EngineFailed(ProtocolError):
    """The foreign runtime of this party broke or died; the message carries what it said last."""


class Engine:
    """One party's end of a foreign runtime.

    `module` is imported in the child; its `Runtime(relay, **config)` is created there, and
    `call("name", ...)` runs its method `name`. The child starts with the first call. Anything
    picklable may be an argument or a result."""

    def __init__(
        self,
        module: str,
        config: Mapping[str, Any],
        *,
        compute_deadline_s: float = COMPUTE_DEADLINE_S,
    ):
        self._module, self._config = module, dict(config)
        self._deadline_s = compute_deadline_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._stderr: Any = None

    def call(self, op: Op, method: str, *args: Any) -> Any:
        """Runs a method of the child's runtime; the messages that it exchanges belong to `op`.

        Raises:
            EngineFailed: the runtime raised or died, or computed for longer than the deadline.
            ConfigError: the runtime cannot be started, for example because it is not installed.
            ProtocolError: a message did not arrive; see `Op.recv`. The child is stopped then, since
                it waits for it.
        """
        try:
            self._start()
            self._send(("call", method, args))
            while True:
                kind, *rest = self._receive(op, method)
                if kind == "return":
                    return rest[0]
                if kind == "raise":
                    raise EngineFailed(
                        f"{self._module} at party {op.party.index}, {method}: {rest[0]}"
                    )
                self._serve(op, kind, rest)
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Starts the child unless it runs, and waits until it can be called.

        Raises:
            ConfigError: the runtime cannot be started, for example because it is not installed.
            EngineFailed: the child died, or was not ready by the deadline.
        """
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _serve(self, op: Op, kind: str, rest: list[Any]) -> None:
        """What the child asks for while it executes a call."""
        if kind == "send":
            peer, payload, phase = rest
            op.send(peer, payload, phase)
        elif kind == "recv":
            peer, dtype, shape, phase = rest
            self._send(op.recv(peer, dtype, shape, phase))
        elif kind == "exchange":
            outgoing, phase = rest
            for peer, payload in outgoing.items():
                op.send(peer, np.array([payload.size], np.uint64), phase)
                op.send(peer, payload, phase)
            incoming: dict[int, Array] = {}
            for peer in outgoing:
                size = int(op.recv(peer, np.uint64, (1,), phase)[0])
                incoming[peer] = op.recv(peer, np.uint8, (size,), phase)
            self._send(incoming)

    def _start(self) -> None:
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()
        with ours, theirs:
            command = [
                sys.executable,
                "-m",
                "backends.foreign.child",
                self._module,
                str(theirs.fileno()),
            ]
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
            )
            self._pipe = Connection(os.dup(ours.fileno()))
        self._send(self._config)
        reply = self._receive(None, "start")
        if reply[0] != "return":
            raise ConfigError(f"{self._module} cannot be started: {reply[1]}")

    def _send(self, message: Any) -> None:
        assert self._pipe is not None
        with suppress(OSError):  # the next receive finds the end of the pipe and says why
            self._pipe.send(message)

    def _receive(self, op: Op | None, doing: str) -> Any:
        assert self._pipe is not None
        where = self._module if op is None else f"{self._module} at party {op.party.index}"
        if not self._pipe.poll(self._deadline_s):
            raise EngineFailed(f"{where} computed {doing} for more than {self._deadline_s:g} s")
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            raise EngineFailed(f"{where} died in {doing}: {self._last_words()}") from None

    def _last_words(self) -> str:
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace")[-STDERR_TAIL:].strip()
        return f"exit code {self._process.returncode}{': ' + said if said else ''}"

    def close(self) -> None:
        """Stops the child; the next call starts a fresh one. Closing twice is fine."""
        if self._process is None:
            return
        if self._pipe is not None:
            self._pipe.close()
        self._process.kill()
        self._process.wait()
        self._stderr.close()
        self._process = self._pipe = self._stderr = None
