# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false,
# reportUnknownArgumentType=false
"""How kernels are started: the arrays decide where.

A `Launcher` runs a kernel of a `.cu` file (of `csrc/` here, or of a protocol's own folder) on
arrays of its kind: CuPy arrays on a GPU (`CupyLauncher`), or `ShimArray`s on a CPU, with the same
sources compiled by g++ (`ShimLauncher`).
Kernel arguments are arrays, passed as pointers, and integers, passed as 64-bit words."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import Misuse
from wwfl_core.numbers.lazy import LazyArray, computed

DeviceArray = (
    Any  # a cupy.ndarray or a ShimArray: CuPy need not be installed, so there is no type to name
)
Dim3 = tuple[int, int, int]
SOURCE_DIR = Path(__file__).parent / "csrc"
OPTIONS = ("-std=c++17",)  # of every compilation for a GPU
BLOCK = 256
MAX_BLOCKS = 132 * 16  # grid of kernels that walk their work: enough to fill a large GPU
WORD = (1 << 64) - 1


class Launcher(ABC):
    """Starts kernels and allocates arrays in one place. `kind` is the type of its arrays, `called`
    what to call one."""

    kind: type[Any]
    called: str

    @abstractmethod
    def launch(
        self,
        source: str,
        kernel: str,
        grid: Dim3,
        block: Dim3,
        args: Sequence[Any],
        shared_bytes: int = 0,
        stream: Any = None,
    ) -> None:
        """Run `kernel` of a file over grid x block threads; returns without waiting on a GPU.

        source: the name of a file of `csrc/`, or the absolute path of one elsewhere (a protocol's).
        args: arrays of this launcher's kind, and integers (modulo 2^64). stream: a CuPy stream,
        None for the current.

        Raises:
            Misuse: for an array of another kind.
            ConfigError: where the kernel cannot be compiled.
        """

    @abstractmethod
    def int8_products(self, left: DeviceArray, right: DeviceArray, out: DeviceArray) -> None:
        """out[i] = left[i] @ right[i]^T modulo 2^32 for all i, by the device's library.

        left: int8 (count, m, k); right: int8 (count, n, k); out: int32 (count, m, n); last axes
        contiguous. On a GPU, addresses should be multiples of 16, as k, n and the distances of rows
        in bytes (4 is what is needed).

        Raises:
            ConfigError: where the library is missing, or refuses these products.
        """

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> DeviceArray:
        """A new C-contiguous array with undefined contents."""

    @abstractmethod
    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> DeviceArray:
        """A new C-contiguous array of zeros."""

    @abstractmethod
    def address(self, array: DeviceArray) -> int:
        """Address of the first element."""

    def words(self, args: Sequence[Any], kernel: str) -> list[int]:
        """Kernel arguments as 64-bit words: addresses of arrays, and integers in two's complement.

        Raises:
            Misuse: for an array of another kind, or anything else.
        """
        return [value & WORD if type(value) is int else self._word(value, kernel) for value in args]

    def _word(self, value: Any, kernel: str) -> int:
        if isinstance(value, self.kind):
            return self.address(value)
        if isinstance(value, (int, np.integer)):
            return int(value) & WORD
        raise Misuse(
            f"{kernel}: an argument must be a {self.called} or an integer, not "
            f"{type(value).__name__}"
        )


def sources() -> list[str]:
    """Names of all files with kernels in this package."""
    return sorted(path.name for path in SOURCE_DIR.glob("*.cu"))


@cache
def source_text(name: str) -> str:
    """The text of a file of `csrc/`, or of the file at an absolute path, with the files that it
    includes in their places, each once. Those lie beside it, or in `csrc/`."""
    seen: set[Path] = set()

    def expanded(path: Path) -> str:
        if path in seen:
            return ""
        seen.add(path)

        def included(found: re.Match[str]) -> str:
            beside = path.parent / found[1]
            return expanded(beside if beside.exists() else SOURCE_DIR / found[1])

        text = path.read_text().replace("#pragma once\n", "")
        return re.sub(r'^#include "([\w.]+)"$', included, text, flags=re.MULTILINE)

    return expanded(SOURCE_DIR / name)


def launcher_for(array: object) -> Launcher:
    """The launcher of an array's kind, or what records launches on it (`wwfl_core.recording`).

    Raises:
        Misuse: for anything but a CuPy array or a ShimArray.
    """
    if isinstance(array, LazyArray):
        return launcher_for(array.array())
    recorder = getattr(array, "recorder", None)
    return _launcher_of(type(array))() if recorder is None else recorder.launcher


@cache
def _launcher_of(kind: type[Any]) -> Callable[[], Launcher]:
    """Where the launcher of a type of arrays is found."""
    from . import shim

    if issubclass(kind, shim.ShimArray):
        return lambda: shim.shim_launcher()
    if kind.__module__.partition(".")[0] == "cupy":
        from . import device

        return device.cupy_launcher
    raise Misuse(
        f"a device kernel needs CuPy arrays (or ShimArrays, to run on a CPU), not {kind.__name__}"
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
