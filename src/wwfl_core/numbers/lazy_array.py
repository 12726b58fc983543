"""Arrays that are not computed yet.

Some places can add a random mask in the same pass that makes what the mask hides. They hand out a
`LazyArray`: an array to whoever adds, subtracts or reshapes it. Any other use computes it first.
What it is made of, and how, is the business of its subclasses; nothing here knows where arrays
live. On the host no array is lazy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .arrays import Array, Shape, numel

SUMS = {np.dtype(np.uint64): "+-", np.dtype(np.uint8): "^"}
"""The operators that add elements: those of words, and of packed bits."""


class LazyArray:
    """An array of words (uint64) or packed bits (uint8) that is computed when it is needed.

    A sum or a difference with arrays of the same shape is computed in one pass with this array;
    `Algebra.sum` and `Algebra.difference` join any number of terms. (No ABC: its `isinstance` is
    slow.)"""

    __array_ufunc__ = None  # NumPy's and CuPy's arrays leave their operators to this class

    def __init__(self, dtype: Any, shape: Shape) -> None:
        self.dtype, self.shape = np.dtype(dtype), shape
        self._array: Array | None = None

    def _compute(self) -> Array:
        """The elements."""
        raise NotImplementedError

    def combined(self, plus: Sequence[Array], minus: Sequence[Array]) -> Array:
        """sum(plus) - sum(minus), where this array is among the terms. All have its shape."""
        raise NotImplementedError

    def array(self) -> Array:
        """The elements, computed once."""
        if self._array is None:
            self._array = self._compute()
        return self._array

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return numel(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def reshape(self, *shape: Any) -> Any:
        return self.array().reshape(*shape)

    def __getitem__(self, index: Any) -> Any:
        return self.array()[index]

    # ------------------------------------------------------------------ sums, in the same pass

    def __add__(self, other: Any) -> Any:
        return self._sum("+", [self, other], []) if self._meets(other) else self.array() + other

    def __radd__(self, other: Any) -> Any:
        return self._sum("+", [other, self], []) if self._meets(other) else other + self.array()

    def __sub__(self, other: Any) -> Any:
        return self._sum("-", [self], [other]) if self._meets(other) else self.array() - other

    def __rsub__(self, other: Any) -> Any:
        return self._sum("-", [other], [self]) if self._meets(other) else other - self.array()

    def __xor__(self, other: Any) -> Any:
        return self._sum("^", [self, other], []) if self._meets(other) else self.array() ^ other

    def __rxor__(self, other: Any) -> Any:
        return self._sum("^", [other, self], []) if self._meets(other) else other ^ self.array()

    def _meets(self, other: Any) -> bool:
        return getattr(other, "shape", None) == self.shape and other.dtype == self.dtype

    def _sum(self, operator: str, plus: Sequence[Any], minus: Sequence[Any]) -> Any:
        if operator in SUMS.get(self.dtype, ""):
            return self.combined(plus, minus)
        apply = {"+": np.add, "-": np.subtract, "^": np.bitwise_xor}[operator]
        return apply(*(computed(term) for term in (*plus, *minus)))

    # ------------------------------------------------------------------ anything else, computed

    def __neg__(self) -> Any:
        return -self.array()

    def __invert__(self) -> Any:
        return ~self.array()

    def __mul__(self, other: Any) -> Any:
        return self.array() * other

    def __rmul__(self, other: Any) -> Any:
        return other * self.array()

    def __and__(self, other: Any) -> Any:
        return self.array() & other

    def __rand__(self, other: Any) -> Any:
        return other & self.array()

    def __lshift__(self, bits: Any) -> Any:
        return self.array() << bits

    def __rshift__(self, bits: Any) -> Any:
        return self.array() >> bits


def computed(array: Any) -> Any:
    """The array itself, or the elements of one that is not computed yet."""
    return array.array() if isinstance(array, LazyArray) else array


__all__ = ["LazyArray", "computed"]
