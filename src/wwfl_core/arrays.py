"""Array types and the dtype checks at the door.

NumPy promotes uint64 with int64 to float64, which silently destroys ring elements, so every array that enters the
library passes one of these checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import Misuse

Array = npt.NDArray[Any]
U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]
Shape = tuple[int, ...]


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
        raise Misuse(f"{what} has dtype {array.dtype}; ring elements need integers (encode floats first)")
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
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_) or np.iscomplexobj(array):
        raise Misuse(f"{what} has dtype {array.dtype}; expected real numbers")
    return array.astype(np.float64)


def broadcast_shape(a: Shape, b: Shape, what: str) -> Shape:
    """NumPy's broadcast shape.

    Raises:
        Misuse: when the shapes do not broadcast; the message names the operation and both shapes.
    """
    try:
        return np.broadcast_shapes(a, b)
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
