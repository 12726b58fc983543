"""exp, reciprocal, roots, log, sigmoid and softmax from products and comparisons, for any protocol.

Two designs carry everything:

* `exp` is a polynomial of degree 4 in y = x / 2^k, raised to the power 2^k by k squarings. The
  polynomials are fitted to the result (not to e^y) and stay below 1 on all of [-128, 0], so nothing
  has to be clamped.
* The others cut their domain [low, high] into geometric segments of ratio at most 1.7. One batched
  comparison finds the segment of x; its centre x0 and f(x0) are public linear combinations of the
  comparison bits. With e = 1 - x / x0, |e| <= 0.26, f(x) is f(x0) phi(e) (or f(x0) + phi(e)) for a
  polynomial phi of degree 7: four dependent products.

Bounds hold for inputs inside the documented domain; outside of it results are meaningless, not
clamped. They are for frac_bits up to 20; above, the first term doubles. ulp is 2^-frac_bits, low at
least 64 ulp. S is one sign depth, I one conversion of bits (or injection), M one product with
truncation (3PC: 2 + ceil(log2(bits - 1)), 2 and 3 rounds)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import Misuse
from wwfl_core.numbers import Mul
from wwfl_core.sharing import stack
from wwfl_core.tensors.arithmetic import T, times_words

from . import select
from .joining import stack_tensors

F64 = npt.NDArray[np.float64]
Scalar = Callable[[F64], F64]
P = ParamSpec("P")

INNER = 28
"""Fractional bits of values around 1 between the products: squares stay below 2^57."""
ROOM = 61
"""A product before truncation stays below 2^ROOM, half of what exact truncation allows."""
RATIO = 1.7
DEGREE = 7
SUM_BITS = 26
"""Scale of the exponentials that softmax adds: with up to 15 classes comparisons take 32 bits, 5
AND levels."""
LOWEST = -128.0


def _empty(x: T) -> T:
    return x.like(x.data, x.mpc.format.frac_bits)


def _elementwise(
    op: Callable[Concatenate[T, P], T],
) -> Callable[Concatenate[T, P], T]:
    """An operation for tensors that have an axis and entries, as one for all tensors: kernels take
    no 0-d arrays."""

    @wraps(op)
    def total(x: T, *args: P.args, **options: P.kwargs) -> T:
        if not x.ndim:
            return total(x.reshape(1), *args, **options).reshape(())
        return op(x, *args, **options) if x.size else _empty(x)

    return total


def _product(a: T, b: T, to: int) -> T:
    """a * b, truncated to `to` fractional bits at once. Pass one object twice to square: 2PC then
    opens it once."""
    extra = a.frac_bits + b.frac_bits - to
    return a.like(a.mpc.protocol.bilinear(Mul(), a.data, b.data, extra), to)


def _scaled(x: T, factor: float, to: int) -> T:
    """x times a public factor that is rounded to `to` - x.frac_bits fractional bits; local, since
    the scale grows."""
    ring = np.asarray(np.uint64(round(factor * 2.0 ** (to - x.frac_bits)) % 2**64))
    return x.like(times_words(x.data, ring), to)


def _times_power_of_two(x: T, exponent: int) -> T:
    """x * 2^exponent: the same words under another scale."""
    return x.like(x.data, x.frac_bits - exponent)


# ---------------------------------------------------------------------- exp


@dataclass(frozen=True)
class _Power:
    """e^x ~ p(x / 2^k)^(2^k) with p(y) = (g y^2 + a y + b)^2 + d y + e, g = gain / 2^gain_bits.

    Fitted for the least error of the power (absolute for x <= 0, relative for x > 0) with |p| <
    0.74 wherever e^x is below 2^-28; y^2 times the gain stays below 2^61 with y at `arg_bits`."""

    k: int
    gain: int
    gain_bits: int
    a: float
    b: float
    d: float
    e: float

    @property
    def arg_bits(self) -> int:
        return (60 - self.gain_bits) // 2


NEGATIVE = _Power(
    5, 155, 10, 0.5374613948232849, 0.6966398671528007, 0.2511619691693193, 0.5146928862459168
)
"""On [-128, 0]: error of the fit 3.0e-7."""
GENERAL = _Power(
    6, 54, 8, 0.39436832188384435, 0.8165507084284508, 0.35595661007741586, 0.33324493831629587
)
"""On [-128, 8]: error of the fit 2.0e-7, relative to max(1, e^x)."""
HIGHEST = 8.0


@_elementwise
def exp(x: T, *, high: float = HIGHEST) -> T:
    """e^x for x in [-128, high], high at most 8. Error at most 1e-6 max(1, e^x) + 1.5 ulp.

    8 M for high > 0, 7 M for high <= 0.
    """
    return _exp(x, high, x.mpc.format.frac_bits)


def _exp(x: T, high: float, to: int) -> T:
    if not high <= HIGHEST:
        raise Misuse(
            f"exp: high={high} is above {HIGHEST:g}; scale the argument or take exp(x - c) * e^c"
        )
    form = NEGATIVE if high <= 0 else GENERAL
    y = _times_power_of_two(x, -form.k)
    y = y.rescale(form.arg_bits)
    wide = 2 * form.arg_bits + form.gain_bits
    square = y.like(y.mpc.protocol.bilinear(Mul(), y.data, y.data), 2 * form.arg_bits) * form.gain
    inner = (
        _times_power_of_two(square, -form.gain_bits) + _scaled(y, form.a, wide) + form.b
    ).truncate(wide - INNER)
    outer = y.like(y.mpc.protocol.bilinear(Mul(), inner.data, inner.data), 2 * INNER)
    power = (outer + _scaled(y, form.d, 2 * INNER) + form.e).truncate(INNER)
    for left in reversed(range(form.k)):
        # The square of this step is at most e^(high / 2^left); the next one must fit as well.
        result = math.log2(math.e) * max(high, 0.0) / 2**left
        scale = to if not left else int(min(INNER, (ROOM - 2 * result) // 2))
        power = _product(power, power, scale)
    return power


# ---------------------------------------------------------------------- functions by segments


@dataclass(frozen=True)
class _Factors:
    """phi(e) ~ (E + root) (E^2 + p1 E + q1) (E^2 + p2 E + q2) (E^2 + p3 E + q3) with E = stretch *
    e.

    Stretching e makes the leading coefficient 1 and all factors about as large as phi, so every
    public coefficient enters in front of a truncation and costs nothing."""

    stretch: float
    root: float
    quadratics: tuple[tuple[float, float], ...]


def _factors(phi: Scalar, radius: float) -> _Factors:
    """The interpolant of phi at 8 Chebyshev points of [-radius, radius], in real factors."""
    chebyshev = np.polynomial.Chebyshev.interpolate(phi, DEGREE, domain=[-radius, radius])
    coefficients = np.asarray(chebyshev.convert(kind=np.polynomial.Polynomial).coef, np.float64)
    leading = float(coefficients[-1])
    stretch = math.copysign(math.fabs(leading) ** (1 / DEGREE), leading)
    roots = np.polynomial.polynomial.polyroots(coefficients) * stretch
    # One real root is left alone: the smallest, as phi may vanish at 0. Conjugates (or real ones)
    # pair up.
    order = sorted(roots.tolist(), key=lambda r: (complex(r).imag != 0, math.fabs(complex(r).real)))
    single, rest = (
        complex(order[0]),
        sorted(order[1:], key=lambda r: (complex(r).real, math.fabs(complex(r).imag))),
    )
    twos = [(complex(rest[i]), complex(rest[i + 1])) for i in range(0, DEGREE - 1, 2)]
    return _Factors(stretch, -single.real, tuple((-(u + v).real, (u * v).real) for u, v in twos))


class _Segments(Generic[T]):
    """[low, high] in geometric segments, and the secret segment of every entry of x.

    The constructor checks the domain before anything is sent; `offset` compares, unless `steps` ([x
    < threshold] as integers, one row per threshold) are known already."""

    def __init__(self, x: T, low: float, high: float, what: str, ratio: float = RATIO) -> None:
        f = max(x.frac_bits, x.mpc.format.frac_bits)
        if not 0 < low < high < 2.0 ** (60 - f):
            raise Misuse(
                f"{what}: the domain [{low}, {high}] is not inside (0, 2^{60 - f}) with low < high"
            )
        if low < 2.0 ** (6 - f):
            raise Misuse(
                f"{what}: low={low} is less than 64 units of {f} fractional bits; scale x up"
            )
        self.x = x.rescale(f)
        self.width = min(64, f + math.ceil(math.log2(high)) + 2)
        count = math.ceil(math.log(high / low) / math.log(ratio))
        edges = low * (high / low) ** (np.arange(count + 1) / count)
        self.thresholds: F64 = edges[1:-1]
        self.centres: F64 = (edges[1:] + edges[:-1]) / 2
        # Thresholds are rounded to units of x, which matters where segments are a few units long.
        self.radius = float(np.max(edges[1:] / self.centres)) - 1 + 2.0**-12 + 2.0 ** (-f - 1) / low
        self.steps: T | None = None

    def _per_segment(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values along a new first axis, ahead of the axes of x."""
        return values.reshape(-1, *[1] * self.x.ndim)

    def offset(self, stretch: float) -> T:
        """stretch (1 - x / centre) at INNER bits: S + I + M, or one truncation if there is a single
        segment.

        Rounds the centres so that stretch / centre fits the scale, and finds the segments: call it
        before `lookup`."""
        bits = 60 - self.x.frac_bits
        inverse = np.rint(stretch / self.centres * 2.0**bits) * 2.0**-bits
        self.centres = stretch / inverse
        if not len(self.thresholds):
            return stretch - _scaled(self.x, float(inverse[0]), self.x.frac_bits + bits).truncate(
                60 - INNER
            )
        if self.steps is None:
            gaps = self.x.reshape(1, *self.x.shape) - self._per_segment(self.thresholds)
            self.steps = gaps.negative(self.width).to_integers()
        return stretch - _product(self.x, self.lookup(inverse, bits), INNER)

    def lookup(self, table: F64, frac_bits: int) -> T:
        """table[segment of x]; local: the last entry plus the steps back over all thresholds that x
        is below."""
        ring = np.rint(table * 2.0**frac_bits).astype(np.int64)
        if self.steps is None:
            total = self.x.like(self.x.data, 0) * 0
        else:
            total = (self.steps * self._per_segment(ring[:-1] - ring[1:])).sum(0)
        total = total + ring[-1]
        return total.like(total.data, frac_bits)


def _evaluate(e: T, front: T | None, form: _Factors, to: int) -> T:
    """front * phi from stretched offsets e: 3 M. front is at INNER bits."""
    raw = 2 * INNER
    operands = [e.data] if front is None else [e.data, front.data]
    jobs = stack(operands)
    squares = e.like(e.mpc.protocol.bilinear(Mul(), jobs, e.data), raw)
    parts = [squares[0] + _scaled(e, p, raw) + q for p, q in form.quadratics]
    if front is not None:
        parts.append(squares[1] + _scaled(front, form.root, raw))
    ready = stack_tensors(parts).truncate(INNER)
    left = ready[:2]
    right = ready[2:] if front is not None else stack_tensors([ready[2], e + form.root])
    both = _product(left, right, INNER)
    return _product(both[0], both[1], to)


def _power_function(
    x: T, f: Scalar, to: int, segments: _Segments[T], what: str, gain: float = 1.0
) -> T:
    """gain f(x) = gain f(x0) f(1 - e) for a power f: S + I + 4 M, 6 products of x's size."""
    form = _factors(lambda t: f(1 - t), segments.radius)
    top = math.ceil(math.log2(1.4 * gain * float(np.max(f(segments.centres)))))
    scale = min(INNER, ROOM - INNER - top)
    if scale < x.mpc.format.frac_bits:
        raise Misuse(
            f"{what}: results up to 2^{top} leave fewer than frac_bits of precision; narrow the "
            "domain"
        )
    e = segments.offset(form.stretch)
    table = gain * f(segments.centres)
    # front stands for gain f(x0) 2^(scale - INNER) at INNER bits, so that it stacks with e.
    front = _times_power_of_two(segments.lookup(table, scale), scale - INNER)
    return _times_power_of_two(_evaluate(e, front, form, to + INNER - scale), INNER - scale)


def power_from_steps(x: T, low: float, high: float, steps: T, f: Scalar, frac_bits: int) -> T:
    """A power f of x in [low, high] whose segment is known: `steps` are [x < threshold] as
    integers, one row each.

    4 M. The thresholds cut [low, high] into the fewest segments of equal ratio at most 1.7.
    """
    segments = _Segments(x, low, high, "power_from_steps")
    segments.steps = steps
    return _power_function(x, f, frac_bits, segments, "power_from_steps")


def reciprocal_of(v: F64) -> F64:
    return 1.0 / v


def inverse_root(v: F64) -> F64:
    return 1.0 / np.sqrt(v)


@_elementwise
def reciprocal(x: T, *, low: float = 2.0**-6, high: float = 2.0**6) -> T:
    """1 / x for x in [low, high]. Error at most 1e-6 / x + 2 ulp.

    S + I + 4 M with log(high / low) / log 1.7 comparisons; without S and I for high <= 1.7 low. low
    must be at least 2^(frac_bits - 32), or 2^-12 at 20 bits."""
    what = "reciprocal"
    return _power_function(
        x, reciprocal_of, x.mpc.format.frac_bits, _Segments(x, low, high, what), what
    )


def divide(a: T, b: T, *, low: float = 2.0**-6, high: float = 2.0**6) -> T:
    """a / b for b in [low, high] and |a / b| < 2^(58 - 2 frac_bits), with broadcasting.

    Error at most 1e-6 |a / b| + (|a| / 4 + 1) ulp. S + I + 5 M: what `reciprocal` costs and one
    product."""
    if not b.size:
        return a.rescale(a.mpc.format.frac_bits) * _empty(b)
    f = b.mpc.format.frac_bits
    inverse = _power_function(b, reciprocal_of, f + 4, _Segments(b, low, high, "divide"), "divide")
    return _product(a.rescale(f), inverse, f)


@_elementwise
def inv_sqrt(x: T, *, low: float = 2.0**-6, high: float = 2.0**6, gain: float = 1.0) -> T:
    """gain / sqrt(x) for x in [low, high] and a public gain > 0, in the cluster's format.

    Error at most 1e-6 gain / sqrt(x) + 2 ulp. S + I + 4 M, as `reciprocal`.
    """
    what = "inv_sqrt"
    return _power_function(
        x, inverse_root, x.mpc.format.frac_bits, _Segments(x, low, high, what), what, gain
    )


@_elementwise
def sqrt(x: T, *, low: float = 2.0**-6, high: float = 2.0**6) -> T:
    """sqrt(x) for x in [low, high] (not 0). Error at most 1e-6 sqrt(x) + 2 ulp. S + I + 4 M, as
    `reciprocal`."""
    return _power_function(
        x, np.sqrt, x.mpc.format.frac_bits, _Segments(x, low, high, "sqrt"), "sqrt"
    )


@_elementwise
def log(x: T, *, low: float = 2.0**-6, high: float = 2.0**6) -> T:
    """The natural logarithm of x in [low, high]. Error at most 1e-6 + 2 ulp. S + I + 4 M, 5
    products."""
    segments = _Segments(x, low, high, "log")
    form = _factors(lambda t: np.log1p(-t), segments.radius)
    f = x.mpc.format.frac_bits
    rest = _evaluate(segments.offset(form.stretch), None, form, f)
    return rest + segments.lookup(np.log(segments.centres), f)


@_elementwise
def sigmoid(x: T, *, bits: int = 64) -> T:
    """1 / (1 + e^-x) for |x| <= 128. Error at most 2e-6 + 2 ulp.

    S + 2 I + 11 M. With t = e^-|x| in [0, 1], 1 / (1 + t) needs no comparison of its own (one
    segment of ratio 2)."""
    negative = x.negative(bits)
    t = _exp(negative.times(x) * 2 - x, 0.0, INNER)
    segments = _Segments(t + 1.0, 1.0, 2.0, "sigmoid", ratio=2.0)
    large = _power_function(segments.x, reciprocal_of, x.mpc.format.frac_bits, segments, "sigmoid")
    return large + negative.times(1.0 - large * 2)


def softmax(x: T, axis: int = -1, *, fanin: int = 16) -> T:
    """softmax along an axis of n entries that differ by at most 128. Error at most 5e-7 (n + 1) +
    1.5 ulp.

    The error of n exponentials adds up in the sum where many entries lie at one distance below the
    maximum.

    The maximum (up to 16 classes all pairs compete at once: S + ceil(log2(n - 1)) A + I), exp (7
    M), the reciprocal of the sum, which lies in [1, n] (S + I + 4 M on one entry per row), one
    product."""
    axis = select.normal_axis(x, axis)
    if not x.size:
        return _empty(x)
    mpc, n = x.mpc, x.shape[axis]
    f = mpc.format.frac_bits
    if n == 1:
        return x.like(mpc.protocol.public(mpc.constant(np.ones(x.shape), f)), f)
    ahead = select.axis_first(x, axis)
    spread = min(64, x.frac_bits + int(math.log2(-LOWEST)) + 2)
    parts = _exp(ahead - select.max(ahead, 0, bits=spread, fanin=fanin), 0.0, SUM_BITS)
    total = parts.sum(0)
    # The sum may miss [1, n] by the error of n exponentials.
    segments = _Segments(total, 1.0 - 1e-4, n * (1.0 + 1e-4), "softmax")
    inverse = _power_function(total, reciprocal_of, INNER, segments, "softmax")
    return select.axis_back(_product(parts, inverse, f), axis)


__all__ = ["divide", "exp", "inv_sqrt", "log", "reciprocal", "sigmoid", "softmax", "sqrt"]
