"""A sharing whose value is a sum of more than two words gets every derived operation, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from broken_protocols.deals_for_one_corruption import Replicated5PC as Product5PC
from wwfl_core import LocalCluster, Session
from wwfl_core.numbers.bilinear import Bilinear
from wwfl_core.sharing.share import Share
from wwfl_core.tensors import SharedBits, SharedTensor
from wwfl_core.testing import conformance


class Replicated5PC(Product5PC):
    """Five parties, two corrupt: ten components, three words."""

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        z = super().bilinear(f, x, y)
        return self.truncate(z, truncate) if truncate else z


def test_five_parties_hold_three_words() -> None:
    assert len(Replicated5PC.sharing.groups(1)) == 3


@pytest.mark.parametrize(
    "checks",
    [
        "correctness/",
        "ledger",
        # (views/span and views/alike of a coalition: tests/core/testing/test_testing.py)
        pytest.param("views/uniform", marks=pytest.mark.slow),
        pytest.param("truncation/bias", marks=pytest.mark.slow),
    ],
)
def test_a_product_is_all_that_five_parties_need(checks: str) -> None:
    report = conformance(Replicated5PC, only=checks)
    assert report.verdicts and report.ok, str(report)


def _truncated(mpc: Session, x: SharedTensor, bits: int) -> Any:
    return mpc.protocol.open(mpc.protocol.truncate(x.data, bits), "test")


@pytest.mark.parametrize("bits", [1, 4, 12, 13, 20, 31, 40])
def test_truncation_rounds_to_a_neighbour_at_the_edges(bits: int) -> None:
    top, half = 2**62 - 2**bits, 1 << (bits - 1)
    edges = [
        0,
        1,
        -1,
        half,
        half - 1,
        -half,
        -half - 1,
        2 * half,
        2 * half - 1,
        -2 * half,
        top,
        -top,
    ]
    x = np.array(edges * 40, np.int64)
    with LocalCluster(Replicated5PC()) as c:
        got = c.run(_truncated, c.share_ring(x.view(np.uint64), 0), bits).view(np.int64)
    assert set((got - (x >> bits)).tolist()) <= {0, 1}


def _zeros(mpc: Session, x: SharedTensor, bits: int) -> Any:
    return mpc.reveal(SharedBits(mpc, mpc.protocol.is_zero(x.data, bits), x.shape))


def test_zero_is_found_in_every_window() -> None:
    x = np.array([0, 1, 2, 2**63, 2**64 - 1, 2**40, 2**17, 2**17 + 1], np.uint64)
    with LocalCluster(Replicated5PC()) as c:
        for bits in (1, 2, 17, 18, 64):
            want = (
                x % np.uint64(2**bits - 1 if bits == 64 else 2**bits) == 0 if bits < 64 else x == 0
            )
            assert np.array_equal(c.run(_zeros, c.share_ring(x, 0), bits), want)


def _widened(mpc: Session, x: SharedTensor) -> Any:
    return mpc.protocol.open(x.narrow().widen().data, "test")


def test_widening_counts_the_wraps_of_three_words() -> None:
    x = np.array([0, 1, -1, 2**30 - 1, 1 - 2**30] * 60, np.int64).view(np.uint64)
    with LocalCluster(Replicated5PC()) as c:
        assert np.array_equal(c.run(_widened, c.share_ring(x, 0)), x)
