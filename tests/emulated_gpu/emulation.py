"""The emulated GPU: its arrays, what starts kernels on them, and the device of a party.

`EmulatedArray` stands for a CuPy array: NumPy functions take it, and it refuses to be mixed with
ordinary NumPy arrays, as a CuPy array does. This module has `asarray` and `asnumpy`, as CuPy's has,
by which the core moves arrays (`wwfl_core.numbers.arrays`)."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core.accelerate import Kernels
from wwfl_core.accelerate.cuda.launcher import DeviceArray, Dim3, Launcher, source_text
from wwfl_core.errors import ConfigError, Misuse, WwflError
from wwfl_core.numbers.arrays import Array, on_host

FLAGS = (
    *("-std=c++17", "-O2", "-fPIC", "-shared", "-fno-strict-aliasing"),
    # else libraries share their state, and fibres of one run the code of another
    "-fno-gnu-unique",
    "-U_FORTIFY_SOURCE",  # it takes the jumps between fibres for errors
    *("-Wall", "-Wno-unused-function", "-Wno-unknown-pragmas"),
)
RACES = (  # of a build that finds races (races.h); the sanitizer's own library stays out
    *(*FLAGS, "-DEMULATED_RACES", "-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0"),
    *("-nodefaultlibs", "-Wl,--no-as-needed", "-lstdc++", "-lm", "-lc", "-lgcc_s"),
)
HERE = Path(__file__).parent
HEADERS = (HERE / "emulated.h", HERE / "races.h")
"""What every source is compiled with, and what that includes."""
_ALIGN = 64


class EmulatedArray(np.ndarray[Any, Any]):
    """A NumPy array that plays a device array."""

    @property
    def launcher(self) -> Launcher:
        """What starts kernels on it."""
        return emulated_launcher()

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **kwargs: Any
    ) -> Any:
        if method != "__call__":
            return (
                NotImplemented  # CuPy has no ufunc.reduce and the like; its functions (`np.sum`) do
            )
        _refuse_host_arrays(inputs, ufunc.__name__)
        if out:
            kwargs["out"] = tuple(asnumpy(o) if isinstance(o, EmulatedArray) else o for o in out)
        result = getattr(ufunc, method)(*map(_bare, inputs), **kwargs)
        if out:
            return out[0] if len(out) == 1 else out
        if isinstance(result, tuple):
            return tuple(asarray(r) for r in result)
        return result if result is None else asarray(result)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        _refuse_host_arrays([*args, *kwargs.values()], func.__name__)
        return _dressed(
            func(*_bare(args), **{name: _bare(value) for name, value in kwargs.items()})
        )


def _bare(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return (
            [_bare(item) for item in value]
            if isinstance(value, list)
            else tuple(_bare(item) for item in value)
        )
    return asnumpy(value) if isinstance(value, EmulatedArray) else value


def _dressed(result: Any) -> Any:
    """What NumPy returned, on the emulated device again: arrays and, as CuPy has it, scalars."""
    if isinstance(result, (list, tuple)):
        return type(result)(_dressed(item) for item in result)
    if isinstance(result, np.ndarray):
        return result.view(EmulatedArray)
    return asarray(result) if isinstance(result, np.generic) else result


def _refuse_host_arrays(values: Any, what: str) -> None:
    """Raise where an ordinary array meets a EmulatedArray, one without dimensions included; CuPy
    would."""
    for value in values:
        if isinstance(value, (list, tuple)):
            _refuse_host_arrays(value, what)
        elif isinstance(value, np.ndarray) and not isinstance(value, EmulatedArray):
            raise TypeError(
                f"{what}: a device array and a NumPy array of shape {value.shape}; move one of "
                "them first"
            )


def asarray(value: npt.ArrayLike) -> EmulatedArray:
    """Move an array to the emulated device: C-contiguous, aligned; a copy, except of a
    EmulatedArray."""
    if isinstance(value, EmulatedArray):
        return value
    host = np.asarray(value)
    out = _allocate(host.shape, host.dtype)
    out.view(np.ndarray)[...] = host
    return out


def asnumpy(array: EmulatedArray) -> npt.NDArray[Any]:
    """Move an array back to the host (a view)."""
    return array.view(np.ndarray)


def _allocate(shape: tuple[int, ...], dtype: npt.DTypeLike) -> EmulatedArray:
    """An uninitialised array at an address that is a multiple of 64 bytes."""
    kind = np.dtype(dtype)
    size = kind.itemsize
    for extent in shape:
        size *= extent
    raw = np.empty(size + _ALIGN, np.uint8)
    start = -raw.ctypes.data % _ALIGN
    return raw[start : start + size].view(kind).reshape(shape).view(EmulatedArray)


def cache_dir() -> Path:
    """Where compiled sources are kept: $XDG_CACHE_HOME/wwfl/emulated or ~/.cache/wwfl/emulated."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wwfl" / "emulated"


def build(source: str, flags: Sequence[str] = FLAGS) -> Path:
    """Compile a source (`source_text`) to a shared library (kept by the hash of text and flags) and
    return its path.

    Raises:
        ConfigError: without g++, or when it reports an error.
    """
    text = source_text(source)
    headers = [header.read_text() for header in HEADERS]
    key = hashlib.sha256("\0".join([text, *headers, *flags, platform.machine()]).encode())
    directory = cache_dir()
    library = directory / f"{Path(source).stem}-{key.hexdigest()[:24]}.so"
    if library.exists():
        return library
    compiler = shutil.which("g++")
    if compiler is None:
        raise ConfigError(
            "running CUDA kernels on a CPU needs g++; install it (Debian: apt install g++)"
        )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        unit, made = Path(scratch) / "unit.cpp", Path(scratch) / "unit.so"
        unit.write_text(text)
        command = [
            compiler,
            *flags,
            "-include",
            str(HEADERS[0]),
            str(unit),
            "-o",
            str(made),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ConfigError(f"g++ cannot compile {source} for a CPU:\n{result.stderr[:4000]}")
        made.replace(library)  # atomic: several processes may build at once
    return library


class EmulatedLauncher(Launcher):
    """Runs kernels block after block in the calling thread, on EmulatedArrays."""

    kind, called = EmulatedArray, "EmulatedArray"

    def __init__(self, flags: Sequence[str] = FLAGS) -> None:
        self._flags = tuple(flags)
        self._libraries: dict[str, ctypes.CDLL] = {}
        self._lock = threading.Lock()

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
        if shared_bytes or stream is not None:
            raise Misuse(f"{kernel}: the CPU launcher has no dynamic shared memory and no streams")
        library = self._libraries.get(source) or self._load(source)
        words = (ctypes.c_ulonglong * max(1, len(args)))(*self.words(args, kernel))
        function = ctypes.cast(getattr(library, kernel), ctypes.c_void_p)
        code = library.emulated_launch(
            function, (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), words, len(args)
        )
        if code:
            library.emulated_report.restype = ctypes.c_char_p
            reasons = {1: "not all threads of a block reached a barrier", 2: "too many arguments"}
            raise WwflError(
                f"{source}: {kernel}: {reasons.get(code) or library.emulated_report().decode()}"
            )

    def _load(self, source: str) -> ctypes.CDLL:
        with (
            self._lock
        ):  # parties in threads ask for the same file at the same time; one compiles it
            if source not in self._libraries:
                self._libraries[source] = ctypes.CDLL(str(build(source, self._flags)))
            return self._libraries[source]

    def int8_products(self, left: DeviceArray, right: DeviceArray, out: DeviceArray) -> None:
        a, b = (
            asnumpy(x).astype(np.float64) for x in (left, right)
        )  # exact: every sum is below 2^53
        asnumpy(out)[...] = (a @ b.transpose(0, 2, 1)).astype(
            np.int64
        )  # of which int32 keeps the low half

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> EmulatedArray:
        out = _allocate(shape, dtype)
        out.view(np.ndarray).reshape(-1).view(np.uint8)[...] = (
            0xA5  # a kernel that leaves something unwritten shows
        )
        return out

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> EmulatedArray:
        out = _allocate(shape, dtype)
        out.view(np.ndarray)[...] = 0
        return out

    def address(self, array: DeviceArray) -> int:
        return int(array.ctypes.data)


@cache
def emulated_launcher() -> EmulatedLauncher:
    """The launcher of EmulatedArrays."""
    return EmulatedLauncher()


class Emulated(Kernels):
    """A party's end of the emulated GPU."""

    name = "emulated_gpu:Emulated"

    def __init__(self) -> None:
        super().__init__(emulated_launcher())

    def put(self, array: Array) -> Array:
        return asarray(array) if on_host(array) else array
