# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
"""What starts kernels, and where their sources are.

A `Launcher` runs a kernel of a `.cu` file (of `csrc/` here, or of a protocol's own folder) on
arrays of its kind: `CupyLauncher` on CuPy arrays on a GPU; a plug-in's device brings its own.
Kernel arguments are arrays, passed as pointers, and integers, passed as 64-bit words."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import Misuse

DeviceArray = Any
"""A cupy.ndarray, or another device's: CuPy need not be installed, so there is no type to name."""
Dim3 = tuple[int, int, int]
SOURCE_DIR = Path(__file__).parent / "csrc"
OPTIONS = ("-std=c++17",)  # of every compilation for a GPU
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
