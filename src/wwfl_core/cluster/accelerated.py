"""The subclass of a protocol that a device runs in its place: the same messages, draws and results,
with local steps in kernels.

A distribution registers one by the protocol's name,

    [project.entry-points."wwfl.accelerated"]
    name = "package.module:Class"

It takes over for exactly the class that it is derived from. A subclass of a protocol may have
changed any step, so it runs as it is written."""

from __future__ import annotations

import inspect
import warnings
from functools import cache

from wwfl_core.accelerate import Device, Kernels
from wwfl_core.errors import ConfigError
from wwfl_core.plugins import Entry, Registry
from wwfl_core.protocol import MPCBackend

GROUP = "wwfl.accelerated"


def accelerated(protocol: MPCBackend, device: Device) -> MPCBackend:
    """The protocol as a device runs it: with its registered kernels, if it has some and the device
    runs kernels; else itself."""
    if not isinstance(device, Kernels):
        return protocol
    if not _registered():
        warnings.warn(
            "no kernels of protocols are registered, so local steps run one operation at a time: "
            "install wwfl, so that its entry points are found (in a checkout: pip install -e .)",
            stacklevel=2,
        )
    entry = _registered().get(protocol.name)
    if entry is None:
        return protocol
    if entry.factory is None:
        warnings.warn(
            f"the kernels of {protocol.name} ({entry.distribution}) cannot be loaded, so it runs "
            f"without them: {entry.error}",
            stacklevel=2,
        )
        return protocol
    if entry.factory.__base__ is not type(protocol):
        return protocol
    made = entry.factory.__new__(entry.factory)
    vars(made).update(vars(protocol))
    return made


def forget() -> None:
    """Entry points are read again when they are asked for next, because what is installed has
    changed."""
    _registered.cache_clear()


@cache
def _registered() -> dict[str, Entry[type[MPCBackend]]]:
    return Registry(GROUP, "accelerated protocol", _checked).entries()


def _checked(found: object, where: str) -> type[MPCBackend]:
    if not (inspect.isclass(found) and issubclass(found, MPCBackend)):
        raise ConfigError(f"{where} is not a subclass of the protocol that it accelerates")
    return found


__all__ = ["GROUP", "accelerated", "forget"]
