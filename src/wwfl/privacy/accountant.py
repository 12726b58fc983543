"""What noise buys: (epsilon, delta) after a number of releases, and how many releases a budget
allows.

One release of a vector of integers with L2 sensitivity D under discrete Gaussian noise of parameter
s^2 per coordinate has Renyi divergence at most alpha D^2 / (2 s^2) for every order alpha > 1, as
with continuous noise (Canonne, Kamath, Steinke, NeurIPS'20, Theorem 14): rho = 1 / (2 z^2) of
zero-concentrated privacy for the noise multiplier z = s / D. Releases add up: T of them have T rho.
The noise of several servers is a sum of discrete Gaussians, which is not quite one; `excess` bounds
the difference (Kairouz, Liu, Steinke, ICML'21, Proposition 14), and it is below 10^-300 at the
scales of fixed point. Conversion to (epsilon, delta): CKS'20, Corollary 13.

No amplification by sampling is counted: who is sampled is public.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from wwfl_core.errors import ConfigError

UNIT = "one cluster's whole contribution (all of its clients together), not that of one client"


@dataclass(frozen=True)
class Budget:
    """The most that may be spent: (epsilon, delta)-differential privacy over all releases.

    Raises:
        ConfigError: an epsilon or a delta that is no budget.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if not (0 < self.epsilon < math.inf and 0 < self.delta < 1):
            raise ConfigError(
                f"Budget({self.epsilon}, {self.delta}): 0 < epsilon < inf and 0 < delta < 1 are "
                "needed"
            )


@dataclass(frozen=True)
class Guarantee:
    """What has been promised after `releases` noisy sums."""

    epsilon: float
    delta: float
    releases: int
    noise_multiplier: float
    unit: str = UNIT

    def __str__(self) -> str:
        return (
            f"({_rounded_up(self.epsilon):.3g}, {self.delta:g})-differential privacy of "
            f"{self.unit}; {self.releases} releases with noise multiplier "
            f"{self.noise_multiplier:g}, neighbours: a contribution or none; no amplification by "
            "sampling is claimed"
        )


def _rounded_up(x: float) -> float:
    """x >= 0 with three digits, and never less than x: a promise must not be rounded down."""
    unit = 10.0 ** (math.floor(math.log10(x)) - 2) if x > 0 else 1.0
    return math.ceil(x / unit - 1e-9) * unit


def delta_of(rho: float, epsilon: float) -> float:
    """The least delta that CKS'20 (Corollary 13) gives for rho-concentrated privacy: min over alpha
    > 1 of exp((alpha - 1)(alpha rho - epsilon)) / (alpha - 1) * (1 - 1 / alpha)^alpha."""
    if rho <= 0:
        return 0.0

    def slope(alpha: float) -> float:
        return (2 * alpha - 1) * rho - epsilon + math.log1p(-1.0 / alpha)

    low, high = 1.0 + 1e-12, (epsilon + 1) / (2 * rho) + 2
    while slope(high) < 0:  # the exponent is convex in alpha
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    alpha = high
    exponent = (
        (alpha - 1) * (alpha * rho - epsilon) + alpha * math.log1p(-1 / alpha) - math.log(alpha - 1)
    )
    return min(1.0, math.exp(min(0.0, exponent)))


def epsilon_of(rho: float, delta: float) -> float:
    """The least epsilon with `delta_of(rho, epsilon) <= delta`, rounded up by at most 10^-9."""
    low, high = (
        0.0,
        rho + 2 * math.sqrt(rho * math.log(1 / delta)),
    )  # Bun and Steinke, TCC'16: this suffices
    while high - low > 1e-10 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (low, middle) if delta_of(rho, middle) <= delta else (middle, high)
    return high


def excess(servers: int, sigma_units: float) -> float:
    """tau of KLS'21: 10 sum_{k < n} exp(-2 pi^2 s^2 k / (k + 1)) for n servers whose noise has
    parameter s^2 >= 1/4 in units of the last place. Per coordinate, it bounds how far their sum is
    from one discrete Gaussian."""
    if sigma_units < 0.5:
        raise ConfigError(
            f"noise of {sigma_units} units per server is too little for the analysis (at least 0.5)"
        )
    return 10 * sum(
        math.exp(-2 * (math.pi * sigma_units) ** 2 * k / (k + 1)) for k in range(1, servers)
    )


def gaussian_epsilon(noise_multiplier: float, releases: int, delta: float) -> float:
    """epsilon at `delta` after so many releases of sensitivity 1 with noise of this standard
    deviation.

    Raises:
        ConfigError: a noise multiplier or a delta that promises nothing.

    >>> round(gaussian_epsilon(noise_multiplier=4.0, releases=10, delta=1e-5), 2)
    3.62
    """
    if noise_multiplier <= 0 or releases < 0 or not 0 < delta < 1:
        raise ConfigError("noise_multiplier > 0, releases >= 0 and 0 < delta < 1 are needed")
    return epsilon_of(releases / (2 * noise_multiplier**2), delta) if releases else 0.0


def releases_within(noise_multiplier: float, budget: Budget) -> int:
    """How many releases a budget allows.

    >>> releases_within(4.0, Budget(epsilon=3.65, delta=1e-5))
    10
    """
    low, high = 0, 1
    while gaussian_epsilon(noise_multiplier, high, budget.delta) <= budget.epsilon:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        fits = gaussian_epsilon(noise_multiplier, middle, budget.delta) <= budget.epsilon
        low, high = (middle, high) if fits else (low, middle)
    return low


__all__ = [
    "UNIT",
    "Budget",
    "Guarantee",
    "delta_of",
    "epsilon_of",
    "excess",
    "gaussian_epsilon",
    "releases_within",
]
