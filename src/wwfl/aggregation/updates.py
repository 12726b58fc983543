"""What rules are made of: updates as a matrix, their inner products, and sums with secret weights.

Every step here is local or one bilinear map, so that its rounds do not depend on the number of
parameters. The same matrix should go to `gram` and `mixture`: a protocol that masks operands opens
it once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wwfl_core.errors import ConfigError
from wwfl_core.numbers import F64, MatMul, contiguous
from wwfl_core.tensors import SharedTensor, stack_tensors

from .rule_interface import Aggregation

SHARE_BITS = 24
"""Fractional bits of public weights: with models at 20 fractional bits, values below 2^18 have
room."""
NORM_BITS = 31
"""Norms in units of the last fractional bit stay below 2^31, so that their squares stay below
2^62."""


def updates(
    models: Sequence[SharedTensor], current: SharedTensor, norm_bound: float | None = None
) -> SharedTensor:
    """[models, parameters]: what each model adds to the current one. Local.

    For rules that take inner products, `norm_bound` is the declared bound of all norms that matter.
    Without one the scale stays that of the models, f bits, and the bound is 2^(31 - f) (2,048 at 20
    bits). A larger one is paid for with a truncation of all updates by a public power of two.

    Raises:
        ConfigError: a bound that is not positive, or so large that no fractional bit would be left.
    """
    gaps = stack_tensors([model - current for model in models])
    check_norm_bound(norm_bound)
    if norm_bound is None:
        return gaps
    return gaps.rescale(min(gaps.frac_bits, NORM_BITS - max(0, math.ceil(math.log2(norm_bound)))))


def norm_limit(norm_bound: float | None, frac_bits: int) -> float:
    """The bound that `updates` keeps."""
    return 2.0 ** (NORM_BITS - frac_bits) if norm_bound is None else norm_bound


def shortened(update: F64, norm_bound: float | None, frac_bits: int) -> F64:
    """An update in the clear, shortened to 99 % of the bound of norms where it is longer."""
    limit = 0.99 * norm_limit(norm_bound, frac_bits)
    norm = float(np.linalg.norm(update))
    return update if norm <= limit else update * (limit / norm)


def check_norm_bound(bound: float | None) -> None:
    """Raises ConfigError for a bound that `updates` cannot keep."""
    if bound is not None and not 0 < bound < 2.0 ** (NORM_BITS - 1):
        raise ConfigError(
            f"a norm bound of {bound} is not in (0, 2^{NORM_BITS - 1}); scale the models down"
        )


def check_width(rule: object, bits: int) -> None:
    """Raises ConfigError for a comparison width that words do not have."""
    if not 2 <= bits <= 64:
        raise ConfigError(f"{rule!r}: bits is the width of comparisons, 2 to 64")


class NormBounded(Aggregation):
    """A rule whose arithmetic needs norms below a bound: `norm_bound`, a field of the rule (see
    `updates`)."""

    norm_bound: float | None

    def check(self, inputs: int) -> None:
        super().check(inputs)
        check_norm_bound(self.norm_bound)

    def in_range(self, update: F64, frac_bits: int) -> F64:
        return shortened(update, self.norm_bound, frac_bits)

    def norm_limit(self, inputs: int, frac_bits: int) -> float:
        return norm_limit(self.norm_bound, frac_bits)


def gram(matrix: SharedTensor) -> SharedTensor:
    """[n, n] inner products of the rows, exact: not truncated, twice the scale. One round."""
    products = matrix.mpc.protocol.bilinear(MatMul(ty=True), matrix.data, matrix.data)
    return SharedTensor(matrix.mpc, products, 2 * matrix.frac_bits)


def mixture(
    weights: SharedTensor, matrix: SharedTensor, drop_bits: int | None = None
) -> SharedTensor:
    """sum_i weights_i matrix_i: one product of matrices, truncated by `drop_bits` (default: to the
    format)."""
    mpc, row = matrix.mpc, weights.reshape(1, weights.size)
    scale = row.frac_bits + matrix.frac_bits
    drop = max(0, scale - mpc.format.frac_bits) if drop_bits is None else drop_bits
    total = SharedTensor(
        mpc, mpc.protocol.bilinear(MatMul(), row.data, matrix.data, drop), scale - drop
    )
    return total.reshape(matrix.shape[1])


def divided(total: SharedTensor, count: int) -> SharedTensor:
    """A sum of `count` models as their mean: one truncation, none for one model."""
    if count == 1:
        return total
    return scaled(total, 1.0 / count, total.frac_bits + SHARE_BITS).truncate(SHARE_BITS)


def scaled(x: SharedTensor, factor: float, frac_bits: int) -> SharedTensor:
    """x times a public factor, as a number of `frac_bits`: the factor is rounded to the bits that
    this adds. Local."""
    words = x * round(factor * 2.0 ** (frac_bits - x.frac_bits))
    return SharedTensor(x.mpc, words.data, frac_bits)


def at_scale(x: SharedTensor, frac_bits: int) -> SharedTensor:
    """The same words as a number of other fractional bits: x 2^(x.frac_bits - frac_bits). Local."""
    return SharedTensor(x.mpc, x.data, frac_bits)


def diagonal(matrix: SharedTensor) -> SharedTensor:
    """The entries [i, i]. Local."""
    return matrix.linear(lambda a: contiguous(np.diagonal(a)))
