"""exp, reciprocal, roots, log, sigmoid and softmax from products and comparisons, for any protocol.

Two designs carry everything:

* `exp` is a polynomial of degree 4 in y = x / 2^k, raised to the power 2^k by k squarings. The polynomials are fitted to
  the result (not to e^y) and stay below 1 on all of [-128, 0], so nothing has to be clamped.
* The others cut their domain [low, high] into geometric segments of ratio at most 1.7. One batched comparison finds
  the segment of x; its centre x0 and f(x0) are public linear combinations of the comparison bits. With e = 1 - x / x0,
  |e| <= 0.26, f(x) is f(x0) phi(e) (or f(x0) + phi(e)) for a polynomial phi of degree 7: four dependent products.

Bounds hold for inputs inside the documented domain; outside of it results are meaningless, not clamped. ulp is
2^-frac_bits. S is one sign depth, I one conversion of bits (or injection), M one product with truncation (3PC: 2 +
ceil(log2(bits - 1)), 2 and 3 rounds).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wwfl_core.bilinear import Mul
from wwfl_core.errors import Misuse
from wwfl_core.tensor import SharedTensor

F64 = npt.NDArray[np.float64]
Scalar = Callable[[F64], F64]

INNER = 28
"""Fractional bits of values around 1 between the products: squares stay below 2^57."""
ROOM = 61
"""A product before truncation stays below 2^ROOM, half of what exact truncation allows."""
RATIO = 1.7
DEGREE = 7
SUM_BITS = 26
"""Scale of the exponentials that softmax adds: with up to 15 classes comparisons take 32 bits, 5 AND levels."""
LOWEST = -128.0


def _product(a: SharedTensor, b: SharedTensor, to: int) -> SharedTensor:
    """a * b, truncated to `to` fractional bits at once. Pass one object twice to square: 2PC then opens it once."""
    extra = a.frac_bits + b.frac_bits - to
    return SharedTensor(a.mpc, a.mpc.bilinear(Mul(), a.data, b.data, extra), to)


def _scaled(x: SharedTensor, factor: float, to: int) -> SharedTensor:
    """x times a public factor that is rounded to `to` - x.frac_bits fractional bits; local, since the scale grows."""
    ring = np.uint64(round(factor * 2.0 ** (to - x.frac_bits)) % 2**64)
    return SharedTensor(x.mpc, x.data.map(lambda a: a * ring), to)


def _times_power_of_two(x: SharedTensor, exponent: int) -> SharedTensor:
    """x * 2^exponent: the same words under another scale."""
    return SharedTensor(x.mpc, x.data, x.frac_bits - exponent)


# ---------------------------------------------------------------------- exp


@dataclass(frozen=True)
class _Power:
    """e^x ~ p(x / 2^k)^(2^k) with p(y) = (g y^2 + a y + b)^2 + d y + e, g = gain / 2^gain_bits.

    Fitted for the least error of the power (absolute for x <= 0, relative for x > 0) with |p| < 0.74 wherever e^x is
    below 2^-28; y^2 times the gain stays below 2^61 with y at `arg_bits`.
    """

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


NEGATIVE = _Power(5, 155, 10, 0.5374613948232849, 0.6966398671528007, 0.2511619691693193, 0.5146928862459168)
"""On [-128, 0]: error of the fit 3.0e-7."""
GENERAL = _Power(6, 54, 8, 0.39436832188384435, 0.8165507084284508, 0.35595661007741586, 0.33324493831629587)
"""On [-128, 8]: error of the fit 2.0e-7, relative to max(1, e^x)."""
HIGHEST = 8.0


def exp(x: SharedTensor, *, high: float = HIGHEST) -> SharedTensor:
    """e^x for x in [-128, high], high at most 8. Error at most 1e-6 max(1, e^x) + 1.5 ulp.

    8 M for high > 0, 7 M for high <= 0.
    """
    return _exp(x, high, x.mpc.fixed.frac_bits)


def _exp(x: SharedTensor, high: float, to: int) -> SharedTensor:
    if not high <= HIGHEST:
        raise Misuse(f"exp: high={high} is above {HIGHEST:g}; scale the argument or take exp(x - c) * e^c")
    form = NEGATIVE if high <= 0 else GENERAL
    y = _times_power_of_two(x, -form.k)
    y = y.rescale(form.arg_bits)
    wide = 2 * form.arg_bits + form.gain_bits
    square = SharedTensor(y.mpc, y.mpc.bilinear(Mul(), y.data, y.data), 2 * form.arg_bits) * form.gain
    inner = (_times_power_of_two(square, -form.gain_bits) + _scaled(y, form.a, wide) + form.b).truncate(wide - INNER)
    outer = SharedTensor(y.mpc, y.mpc.bilinear(Mul(), inner.data, inner.data), 2 * INNER)
    power = (outer + _scaled(y, form.d, 2 * INNER) + form.e).truncate(INNER)
    for left in reversed(range(form.k)):
        # The square of this step is at most e^(high / 2^left); the next one must fit as well.
        result = math.log2(math.e) * (np.maximum(high, 0.0) / 2**left)
        scale = to if not left else int(min(INNER, (ROOM - 2 * result) // 2))
        power = _product(power, power, scale)
    return power


# ---------------------------------------------------------------------- functions by segments


class _Segments:
    """[low, high] in geometric segments, and the secret segment of every entry of x."""

    def __init__(self, x: SharedTensor, low: float, high: float, what: str) -> None:
        f = x.frac_bits
        if not 0 < low < high < 2.0 ** (60 - f):
            raise Misuse(f"{what}: the domain [{low}, {high}] is not inside (0, 2^{60 - f}) with low < high")
        if low < 2.0 ** (1 - f):
            raise Misuse(f"{what}: low={low} is less than two units of {f} fractional bits")
        self.x = x
        self.count = math.ceil(math.log(high / low) / math.log(RATIO))
        edges = low * (high / low) ** (np.arange(self.count + 1) / self.count)
        self.steps: SharedTensor | None = None
        if self.count > 1:
            thresholds = edges[1:-1].reshape(-1, *[1] * x.ndim)
            below = (x.reshape(1, *x.shape) - thresholds).negative(min(64, f + math.ceil(math.log2(high)) + 2))
            self.steps = below.to_integers()
        # 1 / centre, rounded: everything below uses the rounded value, so the rounding adds no error.
        self.inverse_bits = 60 - f
        exact = 2.0 / (edges[1:] + edges[:-1])
        self.inverse = np.rint(exact * 2.0**self.inverse_bits) * 2.0**-self.inverse_bits
        ends = np.concatenate([1 - edges[1:] * self.inverse, 1 - edges[:-1] * self.inverse])
        self.radius = float(np.max(np.abs(ends))) + 2.0**-12

    @property
    def centres(self) -> F64:
        return 1.0 / self.inverse

    def lookup(self, table: F64, frac_bits: int) -> SharedTensor:
        """table[segment of x]; local: the last entry plus the steps back over all thresholds that x is below."""
        ring = np.rint(table * 2.0**frac_bits).astype(np.int64)
        if self.steps is None:
            total = SharedTensor(self.x.mpc, self.x.data, 0) * 0
        else:
            total = (self.steps * (ring[:-1] - ring[1:]).reshape(-1, *[1] * self.x.ndim)).sum(0)
        total = total + ring[-1]
        return SharedTensor(total.mpc, total.data, frac_bits)

    def offset(self) -> SharedTensor:
        """e = 1 - x / centre, at INNER bits: one product."""
        if self.steps is None:
            ratio = _scaled(self.x, float(self.inverse[0]), self.x.frac_bits + self.inverse_bits)
            return 1.0 - ratio.rescale(INNER)
        return 1.0 - _product(self.x, self.lookup(self.inverse, self.inverse_bits), INNER)


def _polynomial(phi: Scalar, radius: float) -> F64:
    """Coefficients of the interpolant of phi at Chebyshev points of [-radius, radius]."""
    chebyshev = np.polynomial.Chebyshev.interpolate(phi, DEGREE, domain=[-radius, radius])
    return np.asarray(chebyshev.convert(kind=np.polynomial.Polynomial).coef, np.float64)


def _by_segments(x: SharedTensor, low: float, high: float, f: Scalar, to: int, what: str) -> SharedTensor:
    """f(x) = f(x0) f(1 - e) for a power f: S + I + 4 M, 7 products."""
    segments = _Segments(x, low, high, what)
    table = f(segments.centres)
    top = math.ceil(math.log2(float(np.max(table))))
    scale = int(min(INNER, ROOM - 1 - INNER - top))
    if scale < x.mpc.fixed.frac_bits:
        raise Misuse(f"{what}: results up to 2^{top} leave fewer than frac_bits of precision; raise low or scale x")
    e = segments.offset()
    # The front is kept as front * 2^(scale - INNER) at INNER bits, so that it stacks with the powers of e.
    front = _times_power_of_two(segments.lookup(table, scale), scale - INNER)
    return _times_power_of_two(_evaluate(e, front, _polynomial(lambda t: f(1 - t), segments.radius), to + scale - INNER), INNER - scale)
