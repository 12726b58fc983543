"""Norm clipping: no input moves the model further than a public bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wwfl_core.errors import ConfigError
from wwfl_core.tensors import INNER, SharedTensor, exact_product, wide_inv_sqrt

from .rule_interface import Inputs
from .updates import NORM_BITS, NormBounded, diagonal, gram, mixture, scaled, updates


@dataclass(frozen=True)
class NormClipping(NormBounded):
    """current + mean of g_i min(1, clip / |g_i|), |g_i| the Euclidean norm of an update (Sun et
    al., 2019).

    Norms are compared exactly; those above `clip` are divided out with a relative error of 1e-6.
    Weights are not used. Costs one product of matrices for the norms, one comparison depth and
    roots on n numbers, and one inner product per coordinate. `norm_bound` as in `updates`: norms
    must stay below it (2^(31 - f) by default).

    Raises:
        ConfigError: a clip outside [2^-16, 2^31).

    >>> from wwfl.aggregation import NormClipping, in_floats
    >>> rule = NormClipping(clip=1.0)
    >>> in_floats.aggregate(rule, [[3.0, 4.0], [0.0, 0.0]], [1, 1], [0.0, 0.0]).round(4).tolist()
    [0.3, 0.4]
    """

    clip: float = 1.0
    norm_bound: float | None = None

    def __post_init__(self) -> None:
        if not 2.0**-16 <= self.clip < 2.0**NORM_BITS:
            raise ConfigError(f"{self!r}: clip must be in [2^-16, 2^{NORM_BITS})")

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        self.check(len(inputs.models))
        gaps = updates(inputs.models, inputs.current, self.norm_bound)
        return inputs.current + mixture(self.factors(gaps), gaps)

    def factors(self, gaps: SharedTensor) -> SharedTensor:
        """min(1, clip / |g_i|) / n at INNER bits, for the rows g_i."""
        n, f = gaps.shape[0], gaps.frac_bits
        squares = diagonal(gram(gaps))
        limit = min(round(self.clip**2 * 4.0**f), 4**NORM_BITS)
        above = (-(SharedTensor(squares.mpc, squares.data, 0) - limit)).negative()
        root = wide_inv_sqrt(squares)
        inverse = exact_product(root.result, root.two)  # 2^(31 - f) / |g_i|
        shrink = self.clip * 2.0 ** (f - NORM_BITS)
        # Only norms above `clip` pass, so inverse * shrink < 1: keep as many bits as that leaves
        # room for.
        digits = min(INNER, max(0, 30 + math.floor(math.log2(shrink))))
        short = scaled(above.times(inverse).rescale(digits), shrink / n, 60).truncate(60 - INNER)
        return short + scaled((~above).to_integers(), 1.0 / n, INNER)
