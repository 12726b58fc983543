"""Public linear maps with their adjoints, to be composed with bilinear ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from wwfl_core.errors import Misuse

from .algebra import Algebra
from .arrays import Array, Shape, contiguous


class Linear(ABC):
    """A public linear map y = L(x) that knows its adjoint."""

    @abstractmethod
    def shape(self, x: Shape) -> Shape: ...

    @abstractmethod
    def apply(self, algebra: Algebra, x: Array) -> Array: ...

    @abstractmethod
    def adjoint(self, x: Shape) -> Linear:
        """The map L^T for inputs of L with shape `x`: <dy, L(x)> = <L^T(dy), x>."""


@dataclass(frozen=True)
class SumTo(Linear):
    """Sum over the axes that broadcasting to the input's shape would add or stretch."""

    target: Shape

    def shape(self, x: Shape) -> Shape:
        if np.broadcast_shapes(x, self.target) != x:
            raise Misuse(f"sum: {self.target} does not broadcast to {x}")
        return self.target

    def apply(self, algebra: Algebra, x: Array) -> Array:
        extra = x.ndim - len(self.target)
        stretched = tuple(
            i for i, n in enumerate(self.target) if n == 1 and x.shape[extra + i] != 1
        )
        axes = tuple(range(extra)) + tuple(extra + i for i in stretched)
        return np.sum(x, axis=axes, dtype=x.dtype).reshape(self.target) if axes else x

    def adjoint(self, x: Shape) -> Linear:
        return BroadcastTo(x)


@dataclass(frozen=True)
class BroadcastTo(Linear):
    """NumPy broadcasting to a larger shape: the adjoint of `SumTo`."""

    target: Shape

    def shape(self, x: Shape) -> Shape:
        return np.broadcast_shapes(x, self.target)

    def apply(self, algebra: Algebra, x: Array) -> Array:
        return contiguous(np.broadcast_to(x, self.target))

    def adjoint(self, x: Shape) -> Linear:
        return SumTo(x)


@dataclass(frozen=True)
class SumPool2d(Linear):
    """Sums over the k x k windows of [b, c, h, w], `stride` apart (k if None); a rest at the far
    edges is dropped."""

    k: int
    stride: int | None = None

    @property
    def step(self) -> int:
        """The distance between windows."""
        return self.k if self.stride is None else self.stride

    def shape(self, x: Shape) -> Shape:
        if len(x) != 4 or x[2] < self.k or x[3] < self.k:
            raise Misuse(f"pooling: window {self.k} does not fit images of shape {x}")
        return x[0], x[1], (x[2] - self.k) // self.step + 1, (x[3] - self.k) // self.step + 1

    def places(self, x: Shape) -> list[tuple[slice, slice]]:
        """For each place in a window, in row order: the rows and columns of the image where all
        windows have it."""
        oh, ow = self.shape(x)[2:]
        span = [
            [slice(i, i + (n - 1) * self.step + 1, self.step) for i in range(self.k)]
            for n in (oh, ow)
        ]
        return [(rows, columns) for rows in span[0] for columns in span[1]]

    def apply(self, algebra: Algebra, x: Array) -> Array:
        places = self.places(x.shape)
        out = x[:, :, *places[0]].copy()
        for place in places[1:]:
            out += x[:, :, *place]
        return out

    def adjoint(self, x: Shape) -> Linear:
        return SpreadPool2d(self, x)


@dataclass(frozen=True)
class SpreadPool2d(Linear):
    """Adds every pooled value to all places of its window: the adjoint of `pool` on images of shape
    `image`."""

    pool: SumPool2d
    image: Shape

    def shape(self, x: Shape) -> Shape:
        return self.image

    def apply(self, algebra: Algebra, x: Array) -> Array:
        out = np.zeros_like(x, shape=self.image)
        for place in self.pool.places(self.image):
            out[:, :, *place] += x
        return out

    def adjoint(self, x: Shape) -> Linear:
        return self.pool
