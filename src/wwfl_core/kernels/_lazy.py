# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
"""Lazily compiled numba kernels, each with exactly one signature, and argument checks of their
wrappers.

A kernel is compiled (or loaded from numba's on-disk cache) at its first call and never at import.
Its signature is fixed, so that a read-only or otherwise unusual view cannot trigger another
compilation.

Numba's cache notices changes of the file that defines a kernel, but not of `_vector.py`: after
editing that one, delete the `*.nbi` and `*.nbc` files in `__pycache__`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from wwfl_core.errors import Misuse

U64 = NDArray[np.uint64]
U8 = NDArray[np.uint8]

# Argument types. Inputs are declared read-only: numba then accepts writable and read-only arrays
# alike.
_OUT = {n: types.Array(types.uint64, n, "C") for n in (1, 2, 4)}
_IN = {n: types.Array(types.uint64, n, "C", readonly=True) for n in (1, 2, 4)}
_STRIDED = types.Array(types.uint64, 2, "A", readonly=True)
TYPES: dict[str, Any] = {
    "out1": _OUT[1],
    "out2": _OUT[2],
    "out4": _OUT[4],
    "in1": _IN[1],
    "in2": _IN[2],
    "in4": _IN[4],
    "strided2": _STRIDED,
    "bytes_out1": types.Array(types.uint8, 1, "C"),
    "bytes_out2": types.Array(types.uint8, 2, "C"),
    "bytes_in1": types.Array(types.uint8, 1, "C", readonly=True),
    "bytes_in2": types.Array(types.uint8, 2, "C", readonly=True),
    "int": types.int64,
    "word": types.uint64,
}


class Kernel:
    """A nogil, disk-cached numba function that is compiled for its one signature when first
    called."""

    def __init__(self, function: Callable[..., None], arguments: str) -> None:
        self._function = function
        self._arguments = arguments
        self._callable: Callable[..., None] | None = None

    def _compile(self) -> Callable[..., None]:
        signature = types.void(*(TYPES[name] for name in self._arguments.split()))
        try:
            return numba.njit(signature, nogil=True, cache=True, error_model="numpy")(
                self._function
            )
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            # No directory for the cache can be written: compile for this process only.
            return numba.njit(signature, nogil=True, error_model="numpy")(self._function)

    @property
    def compiled(self) -> bool:
        """Whether this process has the compiled code."""
        return self._callable is not None

    def prepare(self) -> Callable[..., None]:
        """Compile now, or load the compiled code from the disk cache. Threads may race here
        harmlessly."""
        if self._callable is None:
            self._callable = self._compile()
        return self._callable

    def __call__(self, *arguments: object) -> None:
        (self._callable or self.prepare())(*arguments)


def kernel(arguments: str) -> Callable[[Callable[..., None]], Kernel]:
    """Decorator: `@kernel("in1 int out1")` makes a `Kernel` of the function; names are keys of
    `TYPES`."""
    return lambda function: Kernel(function, arguments)


def check_array(value: object, name: str, dtype: type[np.generic], ndim: int | None = None) -> None:
    """Raise `Misuse` naming the argument unless value is an array of that dtype (and dimension)."""
    if not isinstance(value, np.ndarray):
        raise Misuse(
            f"{name} must be a numpy array of {dtype.__name__}, not {type(value).__name__}"
        )
    if value.dtype != dtype:
        raise Misuse(
            f"{name} must have dtype {dtype.__name__}, not {value.dtype}; convert it explicitly"
        )
    if ndim is not None and value.ndim != ndim:
        raise Misuse(f"{name} must have {ndim} dimensions, not shape {value.shape}")


def check_int(value: object, name: str, low: int, high: int) -> int:
    """Return value as int; raise `Misuse` naming the argument unless it is an integer in [low,
    high]."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, np.integer))
        or not low <= value <= high
    ):
        raise Misuse(f"{name} must be an integer from {low} to {high}, not {value!r}")
    return int(value)


def plain_u64(value: U64, name: str, ndim: int | None = None) -> U64:
    """Check value (uint64, dimension) and return it as an aligned C-contiguous array, copied if
    needed."""
    check_array(value, name, np.uint64, ndim)
    if value.flags.c_contiguous and value.flags.aligned:
        return value
    return np.array(value, dtype=np.uint64, order="C")


def plain_u8(value: U8, name: str, ndim: int) -> U8:
    """Check value (uint8, dimension) and return it as a C-contiguous array, copied if needed."""
    check_array(value, name, np.uint8, ndim)
    return np.ascontiguousarray(value)
