"""Array types, where arrays live, and the dtype checks at the door.

Shares are NumPy arrays, or arrays of a device (CuPy's, `wwfl_core.accelerate.device`), and the
array decides where code runs: NumPy's functions dispatch to the array's own module, kernels to the
device's (`wwfl_core.kernels`). What follows here is for the few places where that is not enough:
NumPy's functions that make or convert arrays, and public values, which begin on the host and go
where the share is that they meet (`beside`).

NumPy promotes uint64 with int64 to float64, which silently destroys ring elements, so every array
that enters the library passes one of these checks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import Misuse

Array = npt.NDArray[Any]
U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]
Shape = tuple[int, ...]
WORD = (1 << 64) - 1
PINNED_FROM = 1 << 16
"""Bytes from which a copy off a GPU goes through page-locked memory."""


def array_of(result: Any) -> Array:
    """NumPy makes scalars of 0-d results, which cannot be sent: as arrays again. Arrays of any kind
    pass."""
    if type(result) is np.ndarray:
        return result
    scalar: Any = result
    return np.asarray(scalar) if isinstance(result, np.generic) else scalar


def contiguous(array: Array) -> Array:
    """The array in C order, copied only if it is not. Where the array is."""
    return array if array.flags.c_contiguous else array.copy()


def module_of(array: Array) -> Any:
    """The module that an array's type comes from: numpy, cupy, or another device's. It has
    `asarray`, which brings an array there, and if it is a device's, `asnumpy`, which brings it
    back."""
    return sys.modules[type(array).__module__]


def on_host(array: Array) -> bool:
    """Whether this is a NumPy array, not a device's."""
    return type(array) is np.ndarray or not hasattr(module_of(array), "asnumpy")


def to_host(array: Array) -> Array:
    """The same elements as a NumPy array; from a device, this waits for it and copies."""
    if on_host(array):
        return array
    module: Any = module_of(array)
    if module.__name__ != "cupy" or array.nbytes < PINNED_FROM:
        return module.asnumpy(array)
    pinned = import_module("cupyx").empty_pinned(
        array.shape, array.dtype
    )  # page-locked: at the speed of the bus
    return module.asnumpy(array, out=pinned)


def beside(value: Array, like: Array) -> Array:
    """A public array where `like` is. Nothing happens if it is there already."""
    if type(like) is np.ndarray or on_host(like) or not on_host(value):
        return value
    return module_of(like).asarray(value)


def freeze(array: Array) -> None:
    """Makes an array read-only where its kind allows that (CuPy's does not)."""
    if on_host(array):
        array.flags.writeable = False


def as_ring(value: npt.ArrayLike, what: str = "value") -> U64:
    """Integers (any integer dtype) as elements of Z_2^64, two's complement. Floats are refused.

    Raises:
        Misuse: for a dtype that is not an integer one.
    """
    array = np.asarray(value)
    if array.dtype == np.uint64:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint64)
    if not np.issubdtype(array.dtype, np.integer):
        raise Misuse(
            f"{what} has dtype {array.dtype}; ring elements need integers (encode floats first)"
        )
    return array.astype(np.int64).view(np.uint64)


def as_float(value: npt.ArrayLike, what: str = "value") -> F64:
    """Numbers as float64.

    Raises:
        Misuse: for strings, objects, complex numbers and ragged lists.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise Misuse(f"{what} is not a rectangular array of numbers: {error}") from error
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_) or np.iscomplexobj(
        array
    ):
        raise Misuse(f"{what} has dtype {array.dtype}; expected real numbers")
    return array.astype(np.float64)


def to_wire(array: Array) -> Array:
    """The array as it travels: integers below 2^128 (object arrays, prime fields) become two words
    each."""
    if not array.dtype.hasobject:
        return array
    words = np.empty((*array.shape, 2), np.uint64)
    words[..., 0] = array & WORD
    words[..., 1] = array >> 64
    return words


def from_wire(words: Array, dtype: npt.DTypeLike) -> Array:
    """The inverse of `to_wire` for an array of known dtype."""
    if not np.dtype(dtype).hasobject:
        return words
    low, high = words[..., 0].astype(object), words[..., 1].astype(object)
    return np.asarray(low + (high << 64), object)


def wire_form(dtype: npt.DTypeLike, shape: Shape) -> tuple[np.dtype[Any], Shape]:
    """dtype and shape of `to_wire` of such an array."""
    known = np.dtype(dtype)
    return (np.dtype(np.uint64), (*shape, 2)) if known.hasobject else (known, shape)


def joint_shape(a: Shape, b: Shape) -> Shape:
    """`np.broadcast_shapes` of two, which for equal ones takes longer than an addition."""
    return a if a == b else np.broadcast_shapes(a, b)


def broadcast_shape(a: Shape, b: Shape, what: str) -> Shape:
    """NumPy's broadcast shape.

    Raises:
        Misuse: when the shapes do not broadcast; the message names the operation and both shapes.
    """
    try:
        return joint_shape(a, b)
    except ValueError as error:
        raise Misuse(f"{what}: shapes {a} and {b} do not broadcast") from error


def numel(shape: Sequence[int]) -> int:
    """Number of elements of an array of this shape."""
    size = 1
    for extent in shape:
        size *= extent
    return size


def cut(flat: Array, shapes: Sequence[Shape]) -> list[Array]:
    """A flat array as consecutive pieces of the given shapes (views)."""
    pieces: list[Array] = []
    at = 0
    for shape in shapes:
        size = numel(shape)
        pieces.append(flat[at : at + size].reshape(shape))
        at += size
    return pieces
