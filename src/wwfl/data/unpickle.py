"""Read a pickle that holds data only: arrays of bytes, numbers, text, lists, dictionaries. Nothing
in it can run.

An ordinary unpickler calls whatever the file names. This one knows four names, and all of them lead
to functions of this file; numpy itself never sees what the file says, except as checked arguments.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wwfl_core.errors import DataError

MAX_BYTES = 64 << 20
"""Largest file that is read: twice a CIFAR-10 batch."""


def load(path: Path) -> Any:
    """The content of the pickle at `path`; text of Python 2 comes as bytes, arrays as uint8
    `numpy.ndarray`.

    Raises:
        DataError: the file is missing, too large, no pickle, or asks for anything but data.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(
                f"{path}: {path.stat().st_size} bytes; a batch of CIFAR-10 has at most {MAX_BYTES}"
            )
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); check the file"
        ) from error
    try:
        _check_memo(data)
        return _finished(_Reader(io.BytesIO(data), encoding="bytes").load())
    except _Refused as error:
        raise DataError(
            f"{path}: {error}; a data file needs nothing of the kind, do not open it otherwise"
        ) from None
    except Exception as error:  # a damaged pickle can fail in every way there is
        raise DataError(
            f"{path}: not a pickle of plain data ({type(error).__name__}: {error}); fetch it again"
        ) from error


def _check_memo(data: bytes) -> None:
    """Python's unpickler makes room for as many remembered objects as the largest number that the
    file gives one."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= len(
            data
        ):
            raise _Refused(f"it numbers an object {argument} in {len(data)} bytes")


class _Refused(pickle.UnpicklingError):
    """The file asks for something that is not data."""


class _Call:
    """What a name in the file stands for. The file can call it, and can change nothing about it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        object.__setattr__(self, "_make", make)

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise _Refused(f"it sets {name!r} of a function")

    def __setstate__(self, state: Any) -> None:
        raise _Refused("it changes a function")


class _Dtype:
    """The element type of an array: only uint8 is admitted."""

    __slots__ = ()

    def __init__(self, *arguments: Any) -> None:
        if not arguments or arguments[0] not in (b"u1", "u1"):
            raise _Refused(f"it holds an array of {arguments[:1]}, not of uint8")

    def __setstate__(self, state: Any) -> None:
        return  # byte order and fields, which one byte does not have

    def __setattr__(self, name: str, value: Any) -> None:
        raise _Refused(f"it sets {name!r} of an element type")


class _Array:
    """An array that is still being read: numpy's own pickles make it empty, then set its state."""

    __slots__ = ("array",)
    array: np.ndarray | None

    def __init__(self, *_: Any) -> None:
        object.__setattr__(self, "array", None)

    def __setattr__(self, name: str, value: Any) -> None:
        raise _Refused(f"it sets {name!r} of an array")

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes):
            raise _Refused("it holds an array that is not of bytes")
        if not all(type(size) is int and size >= 0 for size in shape) or math.prod(shape) != len(
            content
        ):
            raise _Refused(f"it holds an array of shape {shape} in {len(content)} bytes")
        array = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")
        object.__setattr__(self, "array", array)


def _encode(text: str, encoding: Any) -> bytes:
    """How Python 3 writes bytes for Python 2."""
    if encoding not in ("latin1", b"latin1"):
        raise _Refused(f"it encodes text as {encoding!r}")
    return text.encode("latin1")


_NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): tuple,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _NAMES.get((module, name))
        if found is None:
            raise _Refused(f"it asks for {module}.{name}")
        return _Call(found)

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("it refers to an object outside itself")


def _finished(value: Any) -> Any:
    """`value` with every array in it as numpy's."""
    if isinstance(value, _Array):
        if value.array is None:
            raise _Refused("it holds an array without content")
        return value.array
    if isinstance(value, dict):
        return {key: _finished(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_finished(item) for item in value)
    return value
