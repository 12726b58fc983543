"""Devices by name: those of this package, and those that other distributions add.

    [project.entry-points."wwfl.devices"]
    name = "package.module:Class"

Only names and factories are here; `wwfl_core.plugins` is how plug-ins are found and refused."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

from wwfl_core.errors import ConfigError
from wwfl_core.plugins import Registry

from .device import HOST, Device
from .gpu import Cuda

GROUP = "wwfl.devices"
Factory = Callable[[], Device]
"""Makes a party's end of a device, in the thread or process of the party."""


def checked(found: object, where: str) -> Factory:
    """`found` if it makes devices.

    Raises:
        ConfigError: when it is not a device class (or a function without arguments that makes one).
    """
    if inspect.isclass(found) and not issubclass(found, Device):
        raise ConfigError(f"{where} is a class, but not a Device")
    if inspect.isabstract(found):
        missing = sorted(getattr(found, "__abstractmethods__", ()))
        raise ConfigError(f"{where} does not define {', '.join(missing)}")
    if not callable(found):
        raise ConfigError(f"{where} is neither a Device class nor a function that makes a Device")

    def make() -> Device:
        made: object = found()
        if not isinstance(made, Device):
            raise ConfigError(f"{where} made a {type(made).__name__}, not a Device")
        return made

    return make


DEVICES: Registry[Factory] = Registry(
    GROUP, "device", checked, {HOST.name: lambda: HOST, "cuda": Cuda}
)


def named(device: str) -> Device:
    """A party's end of a device: "cpu", "cuda" (or "cuda:1", ...), the name of a plug-in, or
    "package.module:Class" of one that is not registered.

    >>> named("cpu").name
    'cpu'

    Raises:
        ConfigError: an unknown name, a plug-in that cannot be loaded, no CuPy, or CuPy without a
            device that it can use.
    """
    gpu = re.fullmatch(r"cuda:(\d+)", device)
    if gpu is not None:
        return Cuda(int(gpu[1]))
    try:
        make = DEVICES.resolve(device)
    except ConfigError as error:
        raise ConfigError(
            f"device={device!r} is unknown; choose 'cpu', 'cuda', 'cuda:N' for GPU N, or "
            f"package.module:Class of a Device ({error})"
        ) from error
    return make()
