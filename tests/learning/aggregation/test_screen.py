"""Screening of inputs (`wwfl.aggregation.Screened`): which updates pass, whatever words they are
made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backends import Additive2PC, Plain, Replicated3PC
from backends.float_reference import Real
from helpers import rng, share_words
from wwfl.aggregation import (
    FedAvgM,
    FLTrust,
    Inputs,
    Krum,
    MultiKrum,
    NormClipping,
    Screened,
    TrimmedMean,
    in_floats,
)
from wwfl.aggregation.screen import FAR, NEAR, PIECE, coefficients, short
from wwfl_core import LocalCluster, MPCBackend, Session, SharedTensor
from wwfl_core.errors import ConfigError, Misuse

COIN = bytes(range(32))
F = 20
LIMIT = 2.0 ** (31 - F)
ONE = 1 << F
MARGIN = 16.4  # how much shorter than the limit an update must be to pass for sure


def verdicts(mpc: Session, words: np.ndarray, limit: float) -> Any:
    owner = mpc.sharing.evaluators[0]
    gaps = SharedTensor(mpc, share_words(mpc, words, owner), F)
    return mpc.reveal(short(gaps, COIN, limit), "verdicts")


def passed(
    words: np.ndarray, limit: float = LIMIT, protocol: MPCBackend | None = None
) -> np.ndarray:
    with LocalCluster(protocol or Plain()) as c:
        return c.run(verdicts, words, limit)


def length(words: np.ndarray) -> np.ndarray:
    return np.linalg.norm(words.view(np.int64) / ONE, axis=-1)


def short_updates(d: int) -> np.ndarray:
    """Updates just below limit / 16.4: one coordinate, equal ones, half and half, random, none."""
    rows = [
        np.eye(1, d)[0],
        np.ones(d),
        np.sign(np.arange(d) - d / 2 + 0.25),
        rng().normal(size=d),
        np.zeros(d),
    ]
    scaled = [r * (LIMIT / MARGIN * 0.999 / max(np.linalg.norm(r), 1)) for r in rows]
    return np.rint(np.stack(scaled) * ONE).astype(np.int64).view(np.uint64)


def long_updates(d: int) -> np.ndarray:
    """Updates just beyond the limit, and words chosen to hide in sums modulo 2^64."""
    g = rng()
    rows = [
        np.eye(1, d)[0],
        np.ones(d),
        np.r_[1, -1, np.zeros(d - 2)],
        np.r_[1, 1, np.zeros(d - 2)],
        g.normal(size=d),
    ]
    real = np.stack([r * (LIMIT * 1.001 / np.linalg.norm(r)) for r in rows])
    half = 1 << 63
    hidden = np.zeros((6, d), np.uint64)
    hidden[0, 0] = half  # a sum of two of them is zero
    hidden[1, :2] = half
    hidden[2, : d - d % 2] = half
    hidden[3, :2] = half - 1, half + 1  # opposite
    hidden[4, : d - d % 4] = 1 << 62  # four of them are zero
    hidden[5] = g.integers(0, 2**64, d, dtype=np.uint64)
    return np.concatenate([np.rint(real * ONE).astype(np.int64).view(np.uint64), hidden])


@pytest.mark.parametrize("d", [5, 63, PIECE + 5])
def test_short_updates_pass_and_long_ones_do_not_whatever_their_words(d: int) -> None:
    for words, wanted in ((short_updates(d), True), (long_updates(d), False)):
        found = passed(words)
        assert (found == wanted).all(), (found, length(words))


@pytest.mark.parametrize("protocol", [Replicated3PC, Additive2PC])
def test_the_verdict_on_shares_is_the_one_in_the_clear(protocol: type[MPCBackend]) -> None:
    words = np.concatenate([short_updates(30), long_updates(30)])
    between = (
        np.rint(rng().normal(size=(4, 30)) * 100 * ONE).astype(np.int64).view(np.uint64)
    )  # either verdict
    every = np.concatenate([words, between])
    assert np.array_equal(passed(every, protocol=protocol()), passed(every))


def test_a_limit_of_ones_own_is_kept() -> None:
    words = np.concatenate([short_updates(40), long_updates(40)[:5]])
    small = (words.view(np.int64) // 64).view(np.uint64)
    assert np.array_equal(passed(small, LIMIT / 64), [True] * 5 + [False] * 5)
    assert not passed(words[1:4], LIMIT / 64).any()


def test_rules_say_which_norms_they_bear() -> None:
    assert FLTrust().norm_limit(9, F) == NormClipping(1.0).norm_limit(9, F) == LIMIT
    assert (
        Krum(1).norm_limit(9, F) == FedAvgM(Krum(1)).norm_limit(9, F) == LIMIT / 6
    )  # 9 (2 LIMIT / 6)^2 = LIMIT^2
    assert (
        NormClipping(1.0, norm_bound=5.0).norm_limit(9, F)
        == MultiKrum(1, norm_bound=5.0).norm_limit(9, F)
        == 5.0
    )
    assert TrimmedMean(1).norm_limit(9, F) == Screened(Krum(1)).norm_limit(9, F) == np.inf


def test_one_sum_lets_a_large_word_pass_half_the_time_and_a_long_update_13_in_16() -> None:
    """The two probabilities that the numbers of sums follow from, for updates that are hard to
    catch."""
    d, coins = 16, [bytes([i]) * 32 for i in range(40)]
    chosen = np.concatenate([coefficients(coin, 0, d) for coin in coins], axis=1)  # [d, many]
    many = chosen.shape[1]
    slack = 4 * np.sqrt(0.25 / many)
    bound = np.uint64(round(np.sqrt(d) * 2.0**31))
    for row in long_updates(d)[5:]:
        sums = row @ chosen
        inside = (sums + bound) <= 2 * bound
        assert inside.mean() <= 0.5 + slack, row
    for row in (
        np.eye(1, d)[0],
        np.ones(d),
        np.r_[1, 1, np.zeros(d - 2)],
        np.r_[np.ones(9), np.zeros(d - 9)],
    ):
        signed = row @ (1 - 2 * chosen.astype(np.float64))
        assert (np.abs(signed) <= np.linalg.norm(row) / 2).mean() <= 13 / 16 + slack, row
    assert abs(chosen.mean() - 0.5) < 4 * np.sqrt(0.25 / chosen.size)


def test_other_coins_and_other_pieces_give_other_coefficients() -> None:
    first = coefficients(COIN, 0, 50)
    assert first.shape == (50, NEAR + FAR) and set(np.unique(first)) == {0, 1}
    for other in (coefficients(COIN, PIECE, 50), coefficients(COIN[::-1], 0, 50)):
        assert abs((first != other).mean() - 0.5) < 0.03


def aggregated(
    mpc: Session, rule: Any, models: list[SharedTensor], current: SharedTensor
) -> SharedTensor:
    return rule.aggregate(Inputs(models, [1.0] * len(models), current, coin=COIN))


@pytest.mark.parametrize("far", [3_000.0, 2.0**40])
def test_an_input_whose_distance_wraps_around_is_chosen_by_krum_but_not_after_screening(
    far: float,
) -> None:
    g = rng()
    models = g.normal(size=(7, 12)) * 0.1
    models[6] = far if far > 1e6 else np.r_[far, np.zeros(11)]
    with LocalCluster(Replicated3PC()) as c:
        shared, current = [c.share(m) for m in models], c.share(np.zeros(12))

        def result(rule: Any) -> np.ndarray:
            return c.reveal(c.run(aggregated, rule, shared, current))

        if far == 3_000.0:
            assert np.abs(result(Krum(1))).max() > 1_000
        assert np.abs(result(Screened(Krum(1)))).max() < 1
        assert np.linalg.norm(result(Screened(NormClipping(0.5)))) < 0.6
        assert np.abs(result(Screened(MultiKrum(1)))).max() < 1


def test_refused_inputs_count_as_the_current_model_and_nobody_learns_which() -> None:
    g = rng()
    current = g.normal(size=9)
    models = current + g.normal(size=(5, 9)) * 0.1
    models[2] = 5_000.0
    with LocalCluster(Replicated3PC()) as c:
        shared, start = [c.share(m) for m in models], c.share(current)
        handle = c.run(aggregated, Screened(TrimmedMean(1)), shared, start)
        assert len(c.ledger) == 0
        got = c.reveal(handle)
    models[2] = current
    want = np.sort(models, 0)[1:4].mean(0)
    assert np.abs(got - want).max() < 1e-5
    again = in_floats.aggregate(
        Screened(TrimmedMean(1)),
        [*models[:2], np.full(9, 5e3), *models[3:]],
        [1.0] * 5,
        current,
        coin=COIN,
    )
    assert np.abs(again - want).max() < 1e-5


def test_what_screening_cannot_do_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match="limit is a norm"):
        Screened(FLTrust(), limit=0.0)
    with pytest.raises(Misuse, match="coin"):
        tensor = Real.alone().public_tensor(np.zeros(3))
        Screened(Krum(1)).aggregate(Inputs([tensor] * 5, [1.0] * 5, tensor))
    with pytest.raises(ConfigError, match="give a lower limit"):
        passed(np.zeros((1, 4), np.uint64), 2.0**41)
    with pytest.raises(ConfigError, match="at least 7 models"):
        Screened(Krum(2)).check(6)
