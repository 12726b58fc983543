"""One party's part of a shared array: the components that it holds. Linear operations are local."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wwfl_core.numbers import Algebra, Array, Shape, array_of, beside, computed, cut, joint_shape


class Share:
    """The components of a shared array that one party holds.

    `shape` is the shape of every component array (for `BITS`, of the packed bytes); a helper, who
    holds none, knows only the shape. `cache` is scratch space of the protocol, tied to this value
    (for example an opened mask). Component arrays are never modified once they are in a Share,
    since messages pass them by reference."""

    __slots__ = ("algebra", "cache", "parts", "shape")

    def __init__(self, algebra: Algebra, shape: Shape, parts: dict[int, Array]) -> None:
        self.algebra = algebra
        self.shape = shape
        # NumPy makes scalars of 0-d results; only arrays can be sent
        self.parts = {c: computed(a) if shape else array_of(computed(a)) for c, a in parts.items()}
        self.cache: dict[str, Any] = {}

    def map(self, fn: Callable[[Array], Array]) -> Share:
        """Applies a linear function to every component."""
        parts = {c: self.algebra.normal(beside(array_of(fn(a)), a)) for c, a in self.parts.items()}
        for array in parts.values():
            return Share(self.algebra, array.shape, parts)
        shadow = np.broadcast_to(np.zeros((), self.algebra.dtype), self.shape)
        return Share(self.algebra, fn(shadow).shape, {})

    def zip(self, other: Share, fn: Callable[[Array, Array], Array]) -> Share:
        """Combines two shares component by component with a function linear in both together."""
        shape = joint_shape(self.shape, other.shape)
        return Share(self.algebra, shape, {c: fn(a, other.parts[c]) for c, a in self.parts.items()})

    def __add__(self, other: Share) -> Share:
        return self.zip(other, self.algebra.add)

    def __sub__(self, other: Share) -> Share:
        return self.zip(other, self.algebra.sub)

    def __neg__(self) -> Share:
        return self.map(self.algebra.neg)

    def __getitem__(self, index: Any) -> Share:
        return self.map(lambda a: a[index])

    def reshape(self, *shape: int) -> Share:
        return self.map(lambda a: a.reshape(shape))

    def add_public(self, value: Array, unit: Sequence[int]) -> Share:
        """x + value for a public array of elements; `unit` is a sharing of the constant 1
        (`SharingSemantics.unit`)."""
        shape, algebra = joint_shape(self.shape, value.shape), self.algebra
        parts = {
            c: algebra.add(a, algebra.scale(unit[c], beside(value, a)))
            if unit[c]
            else np.broadcast_to(a, shape)
            for c, a in self.parts.items()
        }
        return Share(algebra, shape, parts)


def concat(shares: Sequence[Share], axis: int = 0) -> Share:
    """Concatenates shares of one algebra along an axis."""
    first = shares[0]
    rank = len(first.shape)
    axis %= rank
    total = sum(s.shape[axis] for s in shares)
    shape = (*first.shape[:axis], total, *first.shape[axis + 1 :])
    return Share(
        first.algebra,
        shape,
        {c: np.concatenate([s.parts[c] for s in shares], axis) for c in first.parts},
    )


def stack(shares: Sequence[Share], axis: int = 0) -> Share:
    """Stacks shares of one shape along a new axis."""
    return concat([s.map(lambda a: np.expand_dims(a, axis)) for s in shares], axis)


def together(shape: Shape, fn: Callable[..., Array], *shares: Share) -> Share:
    """A share of this shape, component by component a function of those of `shares`, linear in all
    of them together."""
    first = shares[0]
    return Share(first.algebra, shape, {c: fn(*(s.parts[c] for s in shares)) for c in first.parts})


def split(flat: Share, shapes: Sequence[Shape]) -> list[Share]:
    """A flat share as consecutive pieces of the given shapes: the inverse of concatenating ravelled
    shares."""
    pieces = {c: cut(a, shapes) for c, a in flat.parts.items()}
    return [
        Share(flat.algebra, shape, {c: p[i] for c, p in pieces.items()})
        for i, shape in enumerate(shapes)
    ]
