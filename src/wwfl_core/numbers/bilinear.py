"""Bilinear maps as objects: what a protocol's product multiplies.

A map f(x, y) knows its output shape, how to compute a sum of products sum_k f(x_k, y_k) in one pass
over the data (the replicated local product needs two terms), and its two adjoints. With <., .> the
sum of elementwise products,

    <dz, f(x, y)> = <f.grad_x(...)(dz, y), x> = <f.grad_y(...)(x, dz), y>,

so the backward pass of every linear layer is itself a bilinear product and needs no code of its
own. `f.then(linear)` composes a map with a linear one before the product is re-shared, so that only
the smaller output crosses the wire."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wwfl_core.errors import Misuse

from .algebra import Algebra
from .arrays import Array, Shape, broadcast_shape, contiguous, cut, numel
from .linear import Linear, SumTo

Pairs = Sequence[tuple[Array, Array]]


class Bilinear(ABC):
    """A map z = f(x, y), linear in x and in y. Instances are immutable and hold only public
    data."""

    name: str = "bilinear"

    @abstractmethod
    def shape(self, x: Shape, y: Shape) -> Shape:
        """Output shape; raises Misuse for operands that do not fit."""

    @abstractmethod
    def apply(self, algebra: Algebra, pairs: Pairs) -> Array:
        """sum_k f(x_k, y_k); all x_k have one shape, all y_k have one shape."""

    @abstractmethod
    def grad_x(self, x: Shape, y: Shape) -> Bilinear:
        """The map g(dz, y) with <dz, f(x, y)> = <g(dz, y), x>."""

    @abstractmethod
    def grad_y(self, x: Shape, y: Shape) -> Bilinear:
        """The map h(x, dz) with <dz, f(x, y)> = <h(x, dz), y>."""

    def then(self, linear: Linear) -> Bilinear:
        """The bilinear map (x, y) -> linear(f(x, y))."""
        return Composed(self, after=linear)


@dataclass(frozen=True)
class Mul(Bilinear):
    """Elementwise product with NumPy broadcasting (AND over `BITS`)."""

    name = "mul"

    def shape(self, x: Shape, y: Shape) -> Shape:
        return broadcast_shape(x, y, "elementwise product")

    def apply(self, algebra: Algebra, pairs: Pairs) -> Array:
        return algebra.mul_sum(pairs)

    def grad_x(self, x: Shape, y: Shape) -> Bilinear:
        return self if self.shape(x, y) == x else self.then(SumTo(x))

    def grad_y(self, x: Shape, y: Shape) -> Bilinear:
        return self if self.shape(x, y) == y else self.then(SumTo(y))


@dataclass(frozen=True)
class MatMul(Bilinear):
    """op(x) @ op(y) for matrices; op transposes where `tx` / `ty` says so. x: [m, k], y: [k, n] ->
    [m, n]."""

    tx: bool = False
    ty: bool = False
    name = "matmul"

    def shape(self, x: Shape, y: Shape) -> Shape:
        if len(x) != 2 or len(y) != 2:
            raise Misuse(f"matmul: needs two matrices, got shapes {x} and {y}; reshape them first")
        (m, k), (k2, n) = (x[::-1] if self.tx else x), (y[::-1] if self.ty else y)
        if k != k2:
            raise Misuse(
                f"matmul: inner dimensions differ in {x}{'^T' * self.tx} @ {y}{'^T' * self.ty}"
            )
        return m, n

    def apply(self, algebra: Algebra, pairs: Pairs) -> Array:
        return algebra.matmul([(x.T if self.tx else x, y.T if self.ty else y) for x, y in pairs])

    def grad_x(self, x: Shape, y: Shape) -> Bilinear:
        return Flip(MatMul(self.ty, True)) if self.tx else MatMul(False, not self.ty)

    def grad_y(self, x: Shape, y: Shape) -> Bilinear:
        return Flip(MatMul(True, self.tx)) if self.ty else MatMul(not self.tx, False)


@dataclass(frozen=True)
class Conv2d(Bilinear):
    """Cross-correlation as in torch. x: [b, c, h, w], y: kernel [o, c, kh, kw] -> [b, o, oh,
    ow]."""

    stride: int = 1
    padding: int = 0
    name = "conv2d"

    def shape(self, x: Shape, y: Shape) -> Shape:
        if len(x) != 4 or len(y) != 4 or x[1] != y[1]:
            raise Misuse(
                f"conv2d: needs images [b, c, h, w] and kernels [o, c, kh, kw], got {x} and {y}"
            )
        oh, ow = ((x[i] + 2 * self.padding - y[i]) // self.stride + 1 for i in (2, 3))
        if oh < 1 or ow < 1:
            raise Misuse(
                f"conv2d: kernel {y[2:]} is larger than the padded image {x[2:]} + 2*{self.padding}"
            )
        return x[0], y[0], oh, ow

    def apply(self, algebra: Algebra, pairs: Pairs) -> Array:
        b, o, oh, ow = self.shape(pairs[0][0].shape, pairs[0][1].shape)
        z = algebra.matmul(
            [(y.reshape(o, -1), self.columns(algebra, x, y.shape)) for x, y in pairs]
        )
        return contiguous(z.reshape(o, b, oh, ow).transpose(1, 0, 2, 3))

    def columns(self, algebra: Algebra, x: Array, kernel: Shape) -> Array:
        """The patches of x as columns: [c*kh*kw, b*oh*ow]."""
        return algebra.im2col(x, (kernel[2], kernel[3]), self.stride, self.padding)

    def grad_x(self, x: Shape, y: Shape) -> Bilinear:
        return Conv2dGradImage(self, x)

    def grad_y(self, x: Shape, y: Shape) -> Bilinear:
        return Conv2dGradKernel(self, y)


def _rows(dz: Array) -> Array:
    """[b, o, oh, ow] as the matrix [o, b*oh*ow] that faces the patch columns."""
    return contiguous(dz.transpose(1, 0, 2, 3)).reshape(dz.shape[1], -1)


@dataclass(frozen=True)
class Conv2dGradImage(Bilinear):
    """(dz, kernel) -> d(image): the adjoint of `conv` in its image of shape `image`."""

    conv: Conv2d
    image: Shape
    name = "conv2d.dx"

    def shape(self, x: Shape, y: Shape) -> Shape:
        if self.conv.shape(self.image, y) != x:
            raise Misuse(
                f"conv2d.dx: gradient {x} does not belong to image {self.image} and kernel {y}"
            )
        return self.image

    def apply(self, algebra: Algebra, pairs: Pairs) -> Array:
        kernel = pairs[0][1].shape
        columns = algebra.matmul([(y.reshape(kernel[0], -1).T, _rows(dz)) for dz, y in pairs])
        return algebra.col2im(
            columns, self.image, (kernel[2], kernel[3]), self.conv.stride, self.conv.padding
        )

    def grad_x(self, x: Shape, y: Shape) -> Bilinear:
        return self.conv

    def grad_y(self, x: Shape, y: Shape) -> Bilinear:
        return Flip(Conv2dGradKernel(self.conv, y))


@dataclass(frozen=True)
class Conv2dGradKernel(Bilinear):
    """(image, dz) -> d(kernel): the adjoint of `conv` in its kernel of shape `kernel`."""

    conv: Conv2d
    kernel: Shape
    name = "conv2d.dw"

    def shape(self, x: Shape, y: Shape) -> Shape:
        if self.conv.shape(x, self.kernel) != y:
            raise Misuse(
                f"conv2d.dw: gradient {y} does not belong to image {x} and kernel {self.kernel}"
            )
        return self.kernel

    def apply(self, algebra: Algebra, pairs: Pairs) -> Array:
        z = algebra.matmul(
            [(_rows(dz), self.conv.columns(algebra, x, self.kernel).T) for x, dz in pairs]
        )
        return z.reshape(self.kernel)

    def grad_x(self, x: Shape, y: Shape) -> Bilinear:
        return Flip(Conv2dGradImage(self.conv, x))

    def grad_y(self, x: Shape, y: Shape) -> Bilinear:
        return self.conv


@dataclass(frozen=True)
class Flip(Bilinear):
    """(x, y) -> f(y, x)."""

    f: Bilinear

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.f.name

    def shape(self, x: Shape, y: Shape) -> Shape:
        return self.f.shape(y, x)

    def apply(self, algebra: Algebra, pairs: Pairs) -> Array:
        return self.f.apply(algebra, [(y, x) for x, y in pairs])

    def grad_x(self, x: Shape, y: Shape) -> Bilinear:
        return Flip(self.f.grad_y(y, x))

    def grad_y(self, x: Shape, y: Shape) -> Bilinear:
        return Flip(self.f.grad_x(y, x))


@dataclass(frozen=True)
class Composed(Bilinear):
    """(x, y) -> after(f(before_x(x), before_y(y))); absent maps are the identity."""

    f: Bilinear
    before_x: Linear | None = None
    before_y: Linear | None = None
    after: Linear | None = None

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.f.name

    def _inner(self, x: Shape, y: Shape) -> tuple[Shape, Shape, Shape]:
        x = self.before_x.shape(x) if self.before_x else x
        y = self.before_y.shape(y) if self.before_y else y
        return x, y, self.f.shape(x, y)

    def shape(self, x: Shape, y: Shape) -> Shape:
        z = self._inner(x, y)[2]
        return self.after.shape(z) if self.after else z

    def apply(self, algebra: Algebra, pairs: Pairs) -> Array:
        if self.before_x or self.before_y:
            bx, by = self.before_x, self.before_y
            pairs = [
                (bx.apply(algebra, x) if bx else x, by.apply(algebra, y) if by else y)
                for x, y in pairs
            ]
        z = self.f.apply(algebra, pairs)
        return algebra.normal(self.after.apply(algebra, z)) if self.after else z

    def grad_x(self, x: Shape, y: Shape) -> Bilinear:
        inner_x, inner_y, z = self._inner(x, y)
        return Composed(
            self.f.grad_x(inner_x, inner_y),
            before_x=self.after.adjoint(z) if self.after else None,
            before_y=self.before_y,
            after=self.before_x.adjoint(x) if self.before_x else None,
        )

    def grad_y(self, x: Shape, y: Shape) -> Bilinear:
        inner_x, inner_y, z = self._inner(x, y)
        return Composed(
            self.f.grad_y(inner_x, inner_y),
            before_x=self.before_x,
            before_y=self.after.adjoint(z) if self.after else None,
            after=self.before_y.adjoint(y) if self.before_y else None,
        )


@dataclass(frozen=True)
class DirectSum(Bilinear):
    """Independent products as one: flat operands (x_1 | x_2 | ...) and (y_1 | y_2 | ...) -> (f_1 |
    f_2 | ...).

    The direct sum of bilinear maps is bilinear, so any protocol batches unlike products into one
    round for free."""

    maps: tuple[Bilinear, ...]
    xs: tuple[Shape, ...]
    ys: tuple[Shape, ...]

    @property
    def name(self) -> str:  # type: ignore[override]
        return "+".join(f.name for f in self.maps)

    def outputs(self) -> list[Shape]:
        """Output shape of every summand."""
        return [f.shape(x, y) for f, x, y in zip(self.maps, self.xs, self.ys, strict=True)]

    def shape(self, x: Shape, y: Shape) -> Shape:
        return (sum(numel(s) for s in self.outputs()),)

    def apply(self, algebra: Algebra, pairs: Pairs) -> Array:
        split = [(cut(x, self.xs), cut(y, self.ys)) for x, y in pairs]
        parts = [
            f.apply(algebra, [(x[i], y[i]) for x, y in split]) for i, f in enumerate(self.maps)
        ]
        return np.concatenate([p.reshape(-1) for p in parts])

    def grad_x(self, x: Shape, y: Shape) -> Bilinear:
        maps = tuple(f.grad_x(a, b) for f, a, b in zip(self.maps, self.xs, self.ys, strict=True))
        return DirectSum(maps, tuple(self.outputs()), self.ys)

    def grad_y(self, x: Shape, y: Shape) -> Bilinear:
        maps = tuple(f.grad_y(a, b) for f, a, b in zip(self.maps, self.xs, self.ys, strict=True))
        return DirectSum(maps, self.xs, tuple(self.outputs()))
