"""Exact truncation: Lemma W itself, and its use in every protocol."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import pytest

from helpers import EVERY, SECURE, cluster, rng, signed, words
from wwfl_core import LocalCluster, MPCBackend, Mul, Session, SharedTensor
from wwfl_core.protocol import truncation

F = 20
CHUNK = 1 << 22
LIMIT = (1 << 62) - 1


# ---------------------------------------------------------------------- Lemma W


@pytest.mark.parametrize("modulus", [1 << 10, 1 << 6, 1021])
def test_lemma_w_holds_for_every_word_and_every_value(modulus: int) -> None:
    """A + B = x + L (a b + base) over the integers, for all A and all |x| < L/4; no modulus is
    special."""
    quarter = modulus // 4
    left = np.arange(modulus)[:, None]
    x = np.arange(-quarter + 1, quarter)[None, :]
    right = (x - left) % modulus
    a, base = (left < quarter) | (left >= modulus - quarter), left >= quarter
    b = 2 * right >= modulus
    assert (left + right == x + modulus * ((a & b) + base.astype(int))).all()


@pytest.mark.parametrize("bits", [1, 3, 7])
def test_truncation_by_lemma_w_is_off_by_at_most_one_for_every_word_and_every_value(
    bits: int,
) -> None:
    """The formula of wwfl_core.protocol.truncation, scaled down to L = 2^10, exhaustively; its
    error is stochastic rounding."""
    size = 10
    modulus, quarter = 1 << size, 1 << (size - 2)
    left = np.arange(modulus)[:, None]
    x = np.arange(-quarter + 1, quarter)[None, :]
    right = (x - left) % modulus
    a, base = (left < quarter) | (left >= modulus - quarter), left >= quarter
    wrap = (a & (2 * right >= modulus)) + base.astype(int)
    result = ((left >> bits) + (right >> bits) - (wrap << (size - bits)) + 1) % modulus
    error = (result - (x >> bits)) % modulus
    assert np.isin(error, (0, 1)).all()
    # Over a uniform A the chance to round up is that of a uniform r in [0, 2^bits): (x + r + 1) >>
    # bits.
    ups = error.sum(0) * (1 << bits)
    assert (ups == modulus * ((x[0] % (1 << bits)) + 1)).all()


def test_the_lemma_does_not_reach_beyond_a_quarter_of_the_ring() -> None:
    """The bound is sharp: at x = L/4 some word breaks it (so the range checks are needed)."""
    modulus = 1 << 10
    quarter = modulus // 4
    left = np.arange(modulus)
    right = (quarter - left) % modulus
    a, base = (left < quarter) | (left >= modulus - quarter), left >= quarter
    assert (
        left + right != quarter + modulus * ((a & (2 * right >= modulus)) + base.astype(int))
    ).any()


def test_the_64_bit_halves_satisfy_lemma_w_at_all_edges() -> None:
    g = rng()
    near = np.array([0, 1, 2, (1 << 20) - 1, 1 << 20], object)
    corners = [
        int(c + s * d) % (1 << 64)
        for c in (0, 1 << 62, 1 << 63, 3 << 62)
        for d in near
        for s in (1, -1)
    ]
    left = np.concatenate([np.array(corners, np.uint64), words(g, 2000)])
    for x in (
        0,
        1,
        -1,
        LIMIT,
        -LIMIT,
        1 << 61,
        -(1 << 61),
        (1 << 20) - 1,
        12345,
        *g.integers(-LIMIT, LIMIT, 5),
    ):
        right = np.uint64(int(x) % (1 << 64)) - left
        star, base = truncation.left_bits(left)
        high = truncation.right_bits(right)
        exact = left.astype(object) + right.astype(object)
        assert (exact == int(x) + ((star * high + base).astype(object) << 64)).all()
        for bits in (1, 20, 40, 61, 62):
            got = truncation.shifted(left, bits, star * high + base)
            got = got + truncation.shifted_plus_one(right, bits, np.zeros_like(right))
            assert np.isin(signed(got) - (int(x) >> bits), (0, 1)).all()


# ---------------------------------------------------------------------- in the protocols


def truncated(mpc: Session, x: SharedTensor, bits: int, generic: bool) -> Any:
    return mpc.protocol.open(
        MPCBackend.truncate(mpc.protocol, x.data, bits)
        if generic
        else mpc.protocol.truncate(x.data, bits),
        "test",
    )


def product_truncated(mpc: Session, x: SharedTensor, y: SharedTensor, bits: int) -> Any:
    return mpc.protocol.open(mpc.protocol.bilinear(Mul(), x.data, y.data, bits), "test")


def check(result: np.ndarray, exact: np.ndarray, bits: int) -> None:
    """result - floor(x / 2^bits) in {0, 1}, and rounding up happens with probability frac(x /
    2^bits)."""
    up = signed(result) - (exact >> bits)
    assert np.isin(up, (0, 1)).all(), f"worst error {np.abs(up).max()} units"
    fraction = (exact & ((1 << bits) - 1)).astype(np.float64) / 2.0**bits
    spread = math.sqrt(float((fraction * (1 - fraction)).sum())) or 1.0
    drift = float(up.sum()) - float(fraction.sum())
    assert abs(drift) < 6 * spread + up.size * 2.0**-bits, f"mean error {drift / up.size} units"


@pytest.mark.parametrize("name", EVERY)
def test_a_million_truncations_are_exact_and_unbiased(name: str) -> None:
    g = rng()
    n = 1 << 20
    x = (words(g, n).view(np.int64) >> g.integers(2, 60, n)).clip(
        -LIMIT, LIMIT
    )  # all magnitudes below 2^62
    x[:6] = (LIMIT, -LIMIT, 0, 1, -1, LIMIT - 1)
    with cluster(name) as c:
        handle = c.share_ring(x.view(np.uint64), 2 * F)
        check(c.run(truncated, handle, F, False), x, F)


@pytest.mark.parametrize("name", SECURE)
@pytest.mark.parametrize("bits", [1, 13, 40, 62])
def test_any_number_of_bits_can_be_dropped(name: str, bits: int) -> None:
    g = rng()
    x = g.integers(-LIMIT, LIMIT, 3000, np.int64)
    x[:2] = LIMIT, -LIMIT
    with cluster(name) as c:
        for generic in (False, True):
            check(c.run(truncated, c.share_ring(x.view(np.uint64), 0), bits, generic), x, bits)


@pytest.mark.parametrize("name", EVERY)
def test_the_same_value_rounds_up_as_often_as_its_fraction_says(name: str) -> None:
    """A fixed value many times: the error of its mean is that of a biased coin, not of a fixed
    direction."""
    rng()
    n, bits = 1 << 16, 4
    x = np.full(n, -(1 << 40) + 5, np.int64)
    with cluster(name) as c:
        up = signed(c.run(truncated, c.share_ring(x.view(np.uint64), 0), bits, False)) - (x >> bits)
    low, high = (
        5 / 16,
        6 / 16,
    )  # Lemma W's law is (fraction + 2^-bits) at 2PC, 3PC, 4PC; plain's is the fraction
    slack = 6 * math.sqrt(0.25 / n)
    assert low - slack < up.mean() < high + slack


def run_many(c: LocalCluster, total: int, g: np.random.Generator) -> None:
    """Products of magnitude up to 2^10 at 20 fractional bits each, so up to 2^50 before the
    truncation."""
    while total > 0:
        n = min(CHUNK, total)
        x = g.integers(-(1 << (F + 5)), 1 << (F + 5), n, np.int64, endpoint=True)
        y = g.integers(-(1 << (F + 5)), 1 << (F + 5), n, np.int64, endpoint=True)
        result = c.run(
            product_truncated,
            c.share_ring(x.view(np.uint64), F),
            c.share_ring(y.view(np.uint64), F),
            F,
        )
        check(result, x * y, F)
        total -= n


@pytest.mark.parametrize("name", SECURE)
def test_truncated_products_never_err_by_more_than_one_unit(name: str) -> None:
    g = rng()
    with cluster(name) as c:
        run_many(c, 1 << 18, g)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", EVERY)
def test_no_truncated_product_of_many_errs_by_more_than_one_unit(name: str) -> None:
    """WWFL_TRUNCATIONS sets how many per protocol (10^8 for the full run)."""
    g = rng()
    with cluster(name, deadline_s=300.0) as c:
        run_many(c, int(float(os.environ.get("WWFL_TRUNCATIONS", "1e7"))), g)
