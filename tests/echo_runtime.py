"""A foreign runtime that only talks, for tests/protocols/test_foreign.py."""

from __future__ import annotations

import os
from typing import Any

import numpy as np


class Runtime:
    def __init__(self, relay: Any, index: int, size: int) -> None:
        if size < 2:
            raise ValueError("too few parties")
        self.relay, self.index, self.size = relay, index, size

    def ring(self, value: Any) -> Any:
        self.relay.send((self.index + 1) % self.size, value)
        return self.relay.recv((self.index - 1) % self.size, value.dtype, value.shape)

    def gossip(self, word: bytes) -> Any:
        others = {p: word * (self.index + p) for p in range(self.size) if p != self.index}
        return self.relay.exchange(others)

    def fail(self) -> None:
        raise ValueError("on purpose")

    def die(self) -> None:
        os.write(2, b"last words")
        os._exit(3)

    def pid(self) -> int:
        return os.getpid()

    def noise(self) -> Any:
        return np.zeros(3)
