"""ReLU and max-pooling that keep their selection bits, so that the backward pass costs one
injection per level."""

from __future__ import annotations

from typing import Any

import numpy as np

from wwfl_core.errors import Misuse
from wwfl_core.numbers import Array, SumPool2d, contiguous
from wwfl_core.tensors.arithmetic import Logic, T

from .joining import concatenate, stack_tensors


def relu(x: T, bits: int = 64) -> T:
    """max(x, 0), given |x| * 2^frac_bits < 2^(bits - 1). Exact."""
    return relu_with_bits(x, bits)[0]


def relu_with_bits(x: T, bits: int = 64) -> tuple[T, Any]:
    """max(x, 0) and the bits [x >= 0], which are its derivative."""
    positive = ~x.negative(bits)
    return positive.times(x), positive


class PoolTree:
    """A k x k max-pool as a tree of pairwise maxima; remembers the selections for the backward
    pass.

    Level by level, neighbours (a, b) become a + [a < b] (b - a), all pairs of a level in one
    comparison; ties choose a, the earlier element in row order. ceil(log2 k^2) comparisons and
    injections deep. Windows are `stride` apart (k if None) and may overlap."""

    def __init__(self, k: int, bits: int = 64, stride: int | None = None) -> None:
        if k < 1 or (stride is not None and stride < 1):
            raise Misuse(f"max-pool: kernel {k} and stride {stride} must be positive")
        self.k = k
        self.bits = bits
        self._pool = SumPool2d(k, stride)
        self._levels: list[tuple[Logic[Any], int]] = []
        self._image: tuple[int, ...] = ()

    def forward(self, x: T) -> T:
        """[b, c, h, w] -> [b, c, (h - k) // stride + 1, ...]; a remainder at the far edges is
        dropped, as in torch."""
        self._image = x.shape
        places = self._pool.places(x.shape)

        def windows(a: Array) -> Array:
            return np.stack([a[:, :, *place] for place in places])

        values = x.linear(windows)
        self._levels = []
        while (n := values.shape[0]) > 1:
            even = n - n % 2
            first, second = values[0:even:2], values[1:even:2]
            gap = second - first
            chosen = (-gap).negative(self.bits)
            best = first + chosen.times(gap)
            self._levels.append((chosen, n))
            values = _join(best, values[even:]) if n % 2 else best
        return values[0]

    def backward(self, gradient: T) -> T:
        """[b, c, oh, ow] -> [b, c, h, w]: every gradient goes to the selected element of its
        window."""
        values = stack_tensors([gradient])
        for chosen, n in reversed(self._levels):
            pairs = values[: n // 2]
            second = chosen.times(pairs)
            both = _interleave(pairs - second, second)
            values = _join(both, values[n // 2 :]) if n % 2 else both
        return values.linear(self._image_of)

    def _image_of(self, values: Array) -> Array:
        """The image whose windows have these values [k^2, b, c, oh, ow]; where they overlap, the
        sum."""
        k, (oh, ow) = self.k, values.shape[3:]
        if self._pool.step == k and self._image[2:] == (
            k * oh,
            k * ow,
        ):  # windows tile the image: one copy
            tiles = values.reshape(k, k, *values.shape[1:]).transpose(2, 3, 4, 0, 5, 1)
            return contiguous(tiles).reshape(self._image)
        out = np.zeros_like(values, shape=self._image)
        for at_place, place in zip(values, self._pool.places(self._image), strict=True):
            out[:, :, *place] += at_place
        return out


def _join(a: T, b: T) -> T:
    return concatenate([a, b])


def _interleave(a: T, b: T) -> T:
    """a0, b0, a1, b1, ... along the first axis."""
    paired = stack_tensors([a, b], axis=1)
    return paired.reshape(2 * a.shape[0], *a.shape[1:])
