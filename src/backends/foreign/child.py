"""The child's side of `backends.foreign.engine`: `python -m backends.foreign.child MODULE FD`."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core.channel import Phase
from wwfl_core.numbers import U8, Array, Shape


class Relay:
    """What a foreign runtime has instead of sockets: its party sends and receives for it, during a
    call."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def send(self, peer: int, array: Array, phase: Phase = Phase.ONLINE) -> None:
        """Sends an array to a party; never waits for it."""
        self._pipe.send(("send", peer, np.ascontiguousarray(array).reshape(array.shape), phase))

    def recv(
        self, peer: int, dtype: npt.DTypeLike, shape: Shape, phase: Phase = Phase.ONLINE
    ) -> Array:
        """Waits for an array of known type and shape from a party; the copy may be written to."""
        self._pipe.send(("recv", peer, np.dtype(dtype), tuple(shape), phase))
        return np.array(self._pipe.recv())

    def exchange(
        self, outgoing: Mapping[int, bytes], phase: Phase = Phase.ONLINE
    ) -> dict[int, bytes]:
        """One round of byte strings, of any length, with all the parties named, who do the same."""
        arrays: dict[int, U8] = {
            peer: np.frombuffer(data, np.uint8) for peer, data in outgoing.items()
        }
        self._pipe.send(("exchange", arrays, phase))
        return {peer: array.tobytes() for peer, array in self._pipe.recv().items()}


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}\n{traceback.format_exc()}"


def main(module: str, fd: int) -> None:
    """Serves calls until the party closes the pipe."""
    pipe = Connection(fd)
    config: dict[str, Any] = pipe.recv()
    sys.argv = [module]  # what a runtime parses on import is not ours
    try:
        runtime = import_module(module).Runtime(Relay(pipe), **config)
    except BaseException as error:
        pipe.send(("raise", _said(error)))
        return
    pipe.send(("return", None))
    while True:
        try:
            _, method, args = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("return", getattr(runtime, method)(*args)))
        except Exception as error:  # the party raises it
            pipe.send(("raise", _said(error)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
