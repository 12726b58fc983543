"""Public linear maps with their adjoints, to be composed with bilinear ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from .algebra import Algebra
from .arrays import Array, Shape, contiguous
from .errors import Misuse


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
        stretched = tuple(i for i, n in enumerate(self.target) if n == 1 and x.shape[extra + i] != 1)
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
    """Sums over disjoint k x k windows of [b, c, h, w]; a remainder at the lower right edge is dropped, as in torch."""

    k: int

    def shape(self, x: Shape) -> Shape:
        if len(x) != 4 or x[2] < self.k or x[3] < self.k:
            raise Misuse(f"pooling: window {self.k} does not fit images of shape {x}")
        return x[0], x[1], x[2] // self.k, x[3] // self.k

    def apply(self, algebra: Algebra, x: Array) -> Array:
        b, c, oh, ow = self.shape(x.shape)
        blocks = x[:, :, : oh * self.k, : ow * self.k].reshape(b, c, oh, self.k, ow, self.k)
        return blocks.sum(axis=(3, 5), dtype=x.dtype)

    def adjoint(self, x: Shape) -> Linear:
        return SpreadPool2d(self.k, x)


@dataclass(frozen=True)
class SpreadPool2d(Linear):
    """Copies every pooled value to its window: the adjoint of `SumPool2d` on images of shape `image`."""

    k: int
    image: Shape

    def shape(self, x: Shape) -> Shape:
        return self.image

    def apply(self, algebra: Algebra, x: Array) -> Array:
        out = np.zeros_like(x, shape=self.image)
        spread = np.repeat(np.repeat(x, self.k, axis=2), self.k, axis=3)
        out[:, :, : spread.shape[2], : spread.shape[3]] = spread
        return out

    def adjoint(self, x: Shape) -> Linear:
        return SumPool2d(self.k)
