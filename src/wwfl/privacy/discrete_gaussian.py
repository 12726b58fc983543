"""Exact samples of the discrete Gaussian, from a cryptographic source (Canonne, Kamath, Steinke,
NeurIPS'20).

P(x) is proportional to exp(-x^2 / (2 sigma2)) on the integers. Algorithms 1 to 3 of the paper, on
arrays: every decision compares uniform integers with rational numbers, so there is no rounding
anywhere, and no floating point. Big rationals are compared 64 bits at a time; the next 64 bits are
looked at only where the first are equal.

Running time depends on the noise that is drawn; an adversary who times a server's sampling closely
is not considered."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import isqrt

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import ConfigError
from wwfl_core.randomness import UniformWords, accepted

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Objects = npt.NDArray[np.object_]
MAX_SIGMA_BITS = 44
"""Products of the standard deviation and small counters stay below 2^63."""


def bernoulli(source: UniformWords, numerators: Objects, denominator: int) -> Bools:
    """True with probability numerator / denominator each, for integers 0 <= numerator <=
    denominator of any size."""
    result = np.zeros(len(numerators), np.bool_)
    undecided = np.arange(len(numerators))
    left = numerators
    while len(undecided):
        drawn = source.words(len(undecided)).astype(object)
        scaled = left << 64
        digit = (
            scaled // denominator
        )  # of numerator / denominator in base 2^64; it is 2^64 for probability 1
        result[undecided] = drawn < digit
        equal = (drawn == digit).astype(np.bool_)
        undecided, left = undecided[equal], (scaled % denominator)[equal]
    return result


def _small_bernoulli(source: UniformWords, numerators: U64, denominator: int) -> Bools:
    """The same for a denominator below 2^63."""
    return source.below(denominator, len(numerators)) < numerators


def _decays(n: int, trial: Callable[[npt.NDArray[np.intp], int], Bools]) -> Bools:
    """Algorithm 1: true with probability exp(-g), where trial(indices, k) succeeds with probability
    g / k, g <= 1.

    Trials go on while they succeed; the first failure at an odd k means true.
    """
    result = np.zeros(n, np.bool_)
    active, k = np.arange(n), 1
    while len(active):
        success = trial(active, k)
        if k % 2:
            result[active[~success]] = True
        active = active[success]
        k += 1
    return result


def exp_bernoulli(source: UniformWords, numerators: Objects, denominator: int) -> Bools:
    """True with probability exp(-numerator / denominator) each."""
    whole = (numerators // denominator).astype(np.int64)
    result = np.ones(len(numerators), np.bool_)
    pending = np.flatnonzero(whole)
    while len(pending):  # exp(-1), as often as the whole part says, or until one fails
        ones = np.ones(len(pending), np.uint64)
        passed = _decays(
            len(pending), lambda at, k, ones=ones: _small_bernoulli(source, ones[at], k)
        )
        result[pending[~passed]] = False
        whole[pending] -= 1
        pending = pending[passed]
        pending = pending[whole[pending] > 0]
    rest = np.flatnonzero(result)
    fraction = (numerators % denominator)[rest]
    result[rest] = _decays(
        len(rest), lambda at, k: bernoulli(source, fraction[at], denominator * k)
    )
    return result


def _laplace_attempts(source: UniformWords, scale: int, n: int) -> I64:
    """Algorithm 2 with n attempts: those that succeeded are discrete Laplace, P(x) proportional to
    exp(-|x| / scale)."""
    low = source.below(scale, n)
    low = low[_decays(n, lambda at, k: _small_bernoulli(source, low[at], scale * k))]
    high = np.zeros(len(low), np.int64)
    growing = np.arange(len(low))
    while len(growing):
        ones = np.ones(len(growing), np.uint64)
        more = _decays(len(growing), lambda at, k, ones=ones: _small_bernoulli(source, ones[at], k))
        growing = growing[more]
        high[growing] += 1
    magnitude = low.astype(np.int64) + scale * high
    negative = (source.words(len(low)) & np.uint64(1)).astype(np.bool_)
    keep = ~(negative & (magnitude == 0))
    return np.where(negative, -magnitude, magnitude)[keep]


def _attempts(source: UniformWords, sigma2: Fraction, n: int) -> I64:
    """Algorithm 3 with n attempts."""
    a, b = sigma2.numerator, sigma2.denominator
    scale = isqrt(a // b) + 1
    found = _laplace_attempts(source, scale, n)
    # (|y| - sigma2 / t)^2 / (2 sigma2) = (|y| t b - a)^2 / (2 a b t^2)
    distance = np.abs(found).astype(object) * (scale * b) - a
    return found[exp_bernoulli(source, distance * distance, 2 * a * b * scale * scale)]


def sample(source: UniformWords, sigma2: Fraction, n: int) -> I64:
    """n independent samples, int64 [n], of the discrete Gaussian with parameter sigma2 > 0 (its
    variance is at most that).

    Raises:
        ConfigError: for sigma2 that is not positive, or a standard deviation of 2^44 or more.

    >>> drawn = sample(UniformWords(bytes(32)), Fraction(4), 1000)
    >>> bool(abs(drawn.mean()) < 0.3 and 3 < drawn.var() < 5)
    True
    """
    if not 0 < sigma2 < 1 << (2 * MAX_SIGMA_BITS):
        raise ConfigError(
            f"sigma2={sigma2}: the noise must have a variance in (0, 2^{2 * MAX_SIGMA_BITS})"
        )
    return np.asarray(accepted(lambda k: _attempts(source, sigma2, k), n), np.int64)
