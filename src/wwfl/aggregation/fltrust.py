"""FLTrust: inputs count as far as they point where the servers' own update points."""

from __future__ import annotations

from dataclasses import dataclass

from wwfl_core.errors import Misuse
from wwfl_core.tensors import (
    INNER,
    SharedTensor,
    concatenate,
    exact_product,
    product,
    relu,
    wide_inv_sqrt,
    wide_reciprocal,
)

from .rule_interface import Inputs
from .updates import NORM_BITS, NormBounded, at_scale, diagonal, gram, mixture, updates


@dataclass(frozen=True)
class FLTrust(NormBounded):
    """current + sum_i T_i (|g_0| / |g_i|) g_i / sum_i T_i with T_i = max(0, cos(g_i, g_0)) (Cao et
    al., NDSS'21).

    g_0 is the update of the model that was trained on the servers' root set (`Inputs.root`);
    without any trust the model stays. Weights are not used.

    All inner products come from one product of matrices, exact. Norms become a secret floating
    point (`ops.wide`), so updates may be as small as a unit of the format or as large as
    `norm_bound` (see `updates`; 2^(31 - f) by default) with the same relative error, 1e-6 of |g_0|.
    Rounds do not depend on the number of parameters, and per coordinate there are one inner product
    and one product with |g_0|.

    >>> from wwfl.aggregation import FLTrust, in_floats
    >>> models, root = [[2.0, 0.0], [-9.0, 0.0]], [1.0, 0.0]
    >>> in_floats.aggregate(FLTrust(), models, [1, 1], [0.0, 0.0], root).round(4).tolist()
    [1.0, 0.0]
    """

    norm_bound: float | None = None

    @property
    def needs_root(self) -> bool:
        return True

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        n = len(inputs.models)
        self.check(n)
        if inputs.root is None:
            raise Misuse(
                "FLTrust compares with a model that was trained on a root set: give Inputs.root"
            )
        gaps = updates([*inputs.models, inputs.root], inputs.current, self.norm_bound)
        f, products = gaps.frac_bits, gram(gaps)
        # |g|^2 = v 4^(31 - k) in units of 4^-f, r = 1 / sqrt(v): |g| = 2^(31 - f - k) / r
        norm = wide_inv_sqrt(diagonal(products))
        trust = relu(_cosines(products, norm.two, norm.result), INNER + 3)
        total = wide_reciprocal(trust.sum(0).reshape(1))  # S = v 4^(31 - m)
        weights = exact_product(trust, total.four, 2 * NORM_BITS).truncate(
            2 * NORM_BITS - INNER
        )  # T v / S
        units = exact_product(
            product(weights, norm.result[:n], INNER), norm.two[:n]
        )  # times 2^(31 - f) / |g_i|
        # The rest is sum_i units_i g_i 2^(f - 31), of norm at most v <= 1, times |g_0| / v.
        padded = concatenate([units, units[:1] * 0])
        direction = at_scale(mixture(padded, gaps, NORM_BITS), INNER)
        length = exact_product(
            product(norm.value[n:], norm.result[n:], INNER), norm.back[n:], INNER + f - 1
        )
        factor = product(length.truncate(INNER - 1), total.result, f + 2)
        return inputs.current + product(direction, factor, inputs.current.frac_bits)


def _cosines(products: SharedTensor, two: SharedTensor, inverse: SharedTensor) -> SharedTensor:
    """cos(g_i, g_0) at INNER bits, from the Gram matrix (its last row is that of g_0), 2^k and r of
    all norms."""
    n = products.shape[0] - 1
    dots = exact_product(exact_product(products[:n, n], two[:n]), two[n:], 2 * NORM_BITS)
    return product(
        product(dots.truncate(2 * NORM_BITS - INNER), inverse[:n], INNER), inverse[n:], INNER
    )
