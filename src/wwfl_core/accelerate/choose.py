"""The device that a name stands for."""

from __future__ import annotations

import re

from wwfl_core.errors import ConfigError

from .device import HOST, Device
from .gpu import Cuda, Shim


def named(device: str) -> Device:
    """A party's end of a device: "cpu", "cuda" (or "cuda:1", ...), or "shim".

    Raises:
        ConfigError: an unknown name, no CuPy, or CuPy without a device that it can use.
    """
    if device == HOST.name:
        return HOST
    gpu = re.fullmatch(r"cuda(?::(\d+))?", device)
    if gpu is not None or device == "shim":
        return Shim() if gpu is None else Cuda(int(gpu[1] or 0))
    raise ConfigError(
        f"device={device!r} is unknown; choose 'cpu', 'cuda', 'cuda:N' for GPU N, or 'shim' (tests)"
    )
