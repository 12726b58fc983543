"""The cross terms of a product of two additively shared values, f(a1, b2) + f(a2, b1), for any
bilinear map.

Every map is brought to one form, out[r] = sum_k u[r, k] v[r, k] with numbers u and vectors v (rows
of a matrix, images of a kernel element). The bits of u are choice bits, the vectors are what they
are multiplied with, so of the two operands u is the one with fewer elements: per element of u and
direction 64 * 128 / K bits for the extension, and per scalar product of out 2080 bits. Both parties
are receiver for one cross term and sender for the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wwfl_core import kernels
from wwfl_core.errors import Misuse
from wwfl_core.numbers import (
    BITS,
    RING,
    RING32,
    Algebra,
    Array,
    Bilinear,
    Composed,
    Conv2d,
    Conv2dGradImage,
    Conv2dGradKernel,
    DirectSum,
    Flip,
    MatMul,
    Mul,
    Shape,
    cut,
    numel,
)

from .ot import ROWS, Take, Transfers

PRODUCTS = 1 << 15
"""Scalar products per batch: 64 pads each, so a batch has 16 MB of pads at either end."""


def cross(ot: Transfers, f: Bilinear, algebra: Algebra, a: Array, b: Array) -> Array:
    """This party's share of f(a1, b2) + f(a2, b1), where it holds a_i and b_i."""
    if algebra == RING32:  # a share modulo 2^64 is one modulo 2^32
        wide = cross(ot, f, RING, a.astype(np.uint64), b.astype(np.uint64))
        return RING32.from_integers(wide)
    match f:
        case Flip():
            return cross(ot, f.f, algebra, b, a)
        case Composed():
            a = f.before_x.apply(algebra, a) if f.before_x else a
            b = f.before_y.apply(algebra, b) if f.before_y else b
            z = cross(ot, f.f, algebra, a, b)
            return f.after.apply(algebra, z) if f.after else z
        case DirectSum():
            pieces = zip(f.maps, cut(a, f.xs), cut(b, f.ys), strict=True)
            return np.concatenate([cross(ot, g, algebra, x, y).reshape(-1) for g, x, y in pieces])
        case Mul():
            return _elementwise(ot, algebra, a, b)
        case _ if algebra is not RING:
            raise Misuse(
                f"{f.name}: packed bits have elementwise products only; over Z_2^64 every map works"
            )
        case MatMul():
            return _matmul(ot, a.T if f.tx else a, b.T if f.ty else b)
        case Conv2d():
            n, o, oh, ow = f.shape(a.shape, b.shape)
            z = _matmul(ot, b.reshape(o, -1), f.columns(RING, a, b.shape))
            return np.ascontiguousarray(z.reshape(o, n, oh, ow).transpose(1, 0, 2, 3))
        case Conv2dGradImage():
            return _image_gradient(ot, f, a, b)
        case Conv2dGradKernel():
            return _matmul(ot, _rows(b), f.conv.columns(RING, a, f.kernel).T).reshape(f.kernel)
        case _:
            return _any(ot, f, a, b)


def _rows(dz: Array) -> Array:
    """[b, o, oh, ow] as the matrix [o, b*oh*ow]."""
    return dz.transpose(1, 0, 2, 3).reshape(dz.shape[1], -1)


def _image_gradient(ot: Transfers, f: Conv2dGradImage, dz: Array, kernel: Array) -> Array:
    columns = _matmul(ot, kernel.reshape(len(kernel), -1).T, _rows(dz))
    b, c, h, w = f.image
    return kernels.col2im(
        columns, (b, c, h, w), (kernel.shape[2], kernel.shape[3]), f.conv.stride, f.conv.padding
    )


def _matmul(ot: Transfers, x: Array, y: Array) -> Array:
    """x @ y [m, n]: every element of the smaller factor times a row (column) of the other."""
    (m, k), n = x.shape, y.shape[1]
    if m <= n:
        return _sum_of_products(ot, x, y.reshape(1, k, n))
    return _sum_of_products(ot, y.T, x.T.reshape(1, k, m)).T.copy()


def _elementwise(ot: Transfers, algebra: Algebra, a: Array, b: Array) -> Array:
    """Broadcast product: every element of the smaller factor times all elements of the other that
    it meets."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    small, large = (a, b) if a.size <= b.size else (b, a)
    padded = small.reshape((1,) * (len(shape) - small.ndim) + small.shape)
    stretched = [i for i, n in enumerate(shape) if padded.shape[i] != n]
    order = [i for i in range(len(shape)) if i not in stretched] + stretched
    if not numel(shape):
        return algebra.zeros(shape)
    u = np.ascontiguousarray(small.reshape(-1))
    v = np.ascontiguousarray(np.broadcast_to(large, shape).transpose(order)).reshape(u.size, -1)
    z = (
        _sum_of_products(ot, u[:, None], v[:, None, :])
        if algebra is RING
        else _conjunctions(ot, u, v)
    )
    z = z.reshape([shape[i] for i in order]).transpose([order.index(i) for i in range(len(shape))])
    return np.ascontiguousarray(z).reshape(shape)


def _any(ot: Transfers, f: Bilinear, a: Array, b: Array) -> Array:
    """A map of unknown structure: every element of the smaller operand times the map's value at its
    unit vector.

    Correct for every bilinear map, and costs 2080 bits per element of the operand and of the
    output."""
    out = f.shape(a.shape, b.shape)
    small, fixed = (a, b) if a.size <= b.size else (b, a)

    def at(unit: Array) -> Array:
        return f.apply(RING, [(unit, fixed) if small is a else (fixed, unit)]).reshape(-1)

    v = (
        np.stack([at(unit) for unit in _units(small.shape)])
        if small.size
        else np.zeros((0, numel(out)), np.uint64)
    )
    return _sum_of_products(ot, small.reshape(1, -1), v[None]).reshape(out)


def _units(shape: Shape) -> Iterator[Array]:
    for i in range(numel(shape)):
        unit = np.zeros(numel(shape), np.uint64)
        unit[i] = 1
        yield unit.reshape(shape)


def _sum_of_products(ot: Transfers, u: Array, v: Array) -> Array:
    """out[r] = sum_k u[r, k] v[r, k] with the peer's v and the peer's u; u: [p, k], v: [p or 1, k,
    l] -> [p, l]."""
    (p, k), l = u.shape, v.shape[2]
    out = np.zeros((p, l), np.uint64)
    dl = min(l, PRODUCTS)
    dk = min(k, max(1, PRODUCTS // max(1, dl)), ROWS // 64)
    dp = max(1, min(PRODUCTS // max(1, dl), ROWS // 64) // max(1, dk))
    for r, s, c in _blocks((p, dp), (k, dk), (l, dl)):
        numbers = np.ascontiguousarray(u[r, s])
        vectors = np.broadcast_to(
            v[r if len(v) > 1 else slice(None), s, c], (*numbers.shape, c.stop - c.start)
        )
        vectors = np.ascontiguousarray(vectors).reshape(numbers.size, -1)
        choices = numbers.reshape(-1).view(np.uint8)
        taken, given = ot.multiply(numbers.size, Take(choices, vectors.shape[1]), vectors)
        assert taken is not None and given is not None
        out[r, c] += (taken + given).reshape(*numbers.shape, -1).sum(axis=1, dtype=np.uint64)
    return out


def _blocks(*axes: tuple[int, int]) -> Iterator[tuple[slice, ...]]:
    """All combinations of slices that cut each axis (size, step) in pieces."""
    if not axes:
        yield ()
        return
    (size, step), *rest = axes
    for start in range(0, size, max(1, step)):
        for tail in _blocks(*rest):
            yield slice(start, min(start + step, size)), *tail


def _conjunctions(ot: Transfers, u: Array, v: Array) -> Array:
    """The same over GF(2) without a sum: packed bits u [s] AND v [s, l] -> [s, l]."""
    s, l = v.shape
    out = np.zeros((l, s), BITS.dtype)
    vectors = np.ascontiguousarray(v.T)
    for c, r in _blocks((l, 128), (s, ROWS // 8)):
        mine = np.ascontiguousarray(vectors[c, r])
        taken, given = ot.conjoin(
            Take(np.ascontiguousarray(u[r]), len(mine)), mine, r.stop - r.start
        )
        assert taken is not None and given is not None
        out[c, r] = taken ^ given
    return out.T
