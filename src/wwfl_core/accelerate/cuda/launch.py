# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
"""How kernels are started: the arrays decide where. Checks of their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wwfl_core.errors import Misuse
from wwfl_core.numbers import computed

from .device import cupy_launcher
from .launcher import WORD, DeviceArray, Dim3, Launcher, source_text, sources

BLOCK = 256
MAX_BLOCKS = 132 * 16  # grid of kernels that walk their work: enough to fill a large GPU


def launcher_for(array: object) -> Launcher:
    """The launcher of an array's kind, or what records launches on it (`wwfl_core.recording`).

    Raises:
        Misuse: for anything but a device's array.
    """
    recorder = getattr(array, "recorder", None)
    if recorder is not None:
        return recorder.launcher
    own = getattr(array, "launcher", None)  # of a plug-in device's arrays, and of lazy ones
    if own is not None:
        return own
    if type(array).__module__.partition(".")[0] == "cupy":
        return cupy_launcher()
    raise Misuse(
        "a device kernel needs a device's arrays (CuPy's, or such as have a `launcher`), not "
        f"{type(array).__name__}; move them there first"
    )


def blocks(threads: int, block: int = BLOCK) -> Dim3:
    """A one-dimensional grid for this many threads; kernels walk what exceeds it."""
    return min(MAX_BLOCKS, -(-threads // block)), 1, 1


def over(source: str, kernel: str, threads: int, args: Sequence[Any], like: DeviceArray) -> None:
    """Launch a one-dimensional kernel over `threads` threads where `like` lives; nothing for no
    threads."""
    if threads:
        launcher_for(like).launch(source, kernel, blocks(threads), (BLOCK, 1, 1), args)


def check_device(
    value: Any, name: str, dtype: type[np.generic], ndim: int | None = None
) -> Launcher:
    """The launcher of value; raises `Misuse` naming the argument for another kind, dtype or
    dimension."""
    launcher = launcher_for(value)
    if value.dtype != dtype:
        raise Misuse(
            f"{name} must have dtype {dtype.__name__}, not {value.dtype}; convert it explicitly"
        )
    if ndim is not None and value.ndim != ndim:
        raise Misuse(f"{name} must have {ndim} dimensions, not shape {value.shape}")
    return launcher


def sized(value: Any, name: str, n: int) -> DeviceArray:
    """`plain` words, of which there must be n."""
    words = plain(value, name, np.uint64)
    if words.size != n:
        raise Misuse(f"{name} must have {n} elements, not shape {words.shape}")
    return words


def plain(value: Any, name: str, dtype: type[np.generic], ndim: int | None = None) -> DeviceArray:
    """Checked, and C-contiguous at an address that is a multiple of 16 bytes; copied where it is
    not. An array that is not computed yet is computed."""
    value = computed(value)
    launcher = check_device(value, name, dtype, ndim)
    if value.flags.c_contiguous and launcher.address(value) % 16 == 0:
        return value
    out = launcher.empty(value.shape, dtype)
    out[...] = value
    return out


__all__ = [
    "BLOCK",
    "MAX_BLOCKS",
    "WORD",
    "DeviceArray",
    "Dim3",
    "Launcher",
    "blocks",
    "check_device",
    "launcher_for",
    "over",
    "plain",
    "sized",
    "source_text",
    "sources",
]
