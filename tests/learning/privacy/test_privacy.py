"""Differential privacy: the sampler is exact, the noise is as strong as stated, clipping bounds
every norm, and the accountant agrees with what is published and with numerical integration."""

from __future__ import annotations

import math
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import TETRAD_4PC, Additive2PC, Plain, Replicated3PC
from backends.float_reference import Real
from helpers import EVERY, rng
from wwfl import SGD, Cluster, FedAvg, Federation, Schedule, TrimmedMean
from wwfl.aggregation import Inputs
from wwfl.aggregation.in_floats import aggregate as aggregate_floats
from wwfl.data.datasets import mnist
from wwfl.experiments.run import spent
from wwfl.federation import server_programs as programs
from wwfl.nn import mlp
from wwfl.privacy import Budget, Guarantee, Private, gaussian_epsilon, releases_within
from wwfl.privacy import reveal_policy as policy
from wwfl.privacy.accountant import delta_of, epsilon_of, excess
from wwfl.privacy.discrete_gaussian import bernoulli, exp_bernoulli, sample
from wwfl.privacy.private_rule import (
    clip_rows,
    clip_target,
    coordinate_bound,
    joint_noise,
    server_sigma2,
)
from wwfl_core import LocalCluster, Session, SharedTensor
from wwfl_core.errors import ConfigError, Refused
from wwfl_core.randomness.uniform import UniformWords
from wwfl_core.sharing.semantics import SharingSemantics


def fresh() -> UniformWords:
    return UniformWords(rng().bytes(32))


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """The statistic minus its mean, in standard deviations."""
    expected = counts.sum() * probabilities
    kept = expected > 5
    statistic = ((counts - expected)[kept] ** 2 / expected[kept]).sum()
    return float((statistic - kept.sum()) / math.sqrt(2 * kept.sum()))


# ---------------------------------------------------------------------- the sampler


@pytest.mark.parametrize(
    "sigma2", [Fraction(1, 3), Fraction(1), Fraction(7, 2), Fraction(40), Fraction(1000)]
)
def test_samples_have_the_exact_probabilities(sigma2: Fraction) -> None:
    n = 40_000
    found = sample(fresh(), sigma2, n)
    edge = int(12 * math.sqrt(sigma2)) + 2
    support = np.arange(-edge, edge + 1)
    weights = np.exp(-(support**2) / (2 * float(sigma2)))
    assert len(found) == n and np.abs(found).max() <= edge
    assert (
        chi_square(np.bincount(found + edge, minlength=len(support)), weights / weights.sum()) < 6
    )


def test_wide_noise_is_gaussian_and_every_bit_of_it_is_random() -> None:
    sigma = 2**30 + 12345
    found = sample(fresh(), Fraction(sigma**2), 30_000)
    below = np.array([0.5 * math.erfc(-x / sigma / math.sqrt(2)) for x in found])
    assert chi_square(np.bincount((below * 64).astype(int), minlength=64), np.full(64, 1 / 64)) < 6
    for bit in range(12):
        ones = int(((found >> bit) & 1).sum())
        assert abs(ones - 15_000) < 6 * math.sqrt(7_500), bit


def test_a_sampler_is_reproducible_under_its_key_and_fresh_under_another() -> None:
    one, same, other = (
        sample(UniformWords(bytes([k]) * 32), Fraction(10**6), 100) for k in (1, 1, 2)
    )
    assert np.array_equal(one, same) and not np.array_equal(one, other)


@given(st.integers(0, 10**30), st.integers(1, 10**30), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_rational_probability_is_met(a: int, b: int, seed: int) -> None:
    numerator, denominator = min(a, b), max(a, b)
    n, p = 2000, numerator / denominator
    hits = int(
        bernoulli(
            UniformWords(seed.to_bytes(32, "little")), np.full(n, numerator, object), denominator
        ).sum()
    )
    assert abs(hits - n * p) <= 7 * math.sqrt(n * p * (1 - p)) + 1e-6


@pytest.mark.parametrize(
    ("numerator", "denominator"), [(0, 1), (1, 3), (1, 1), (5, 2), (7 * 10**30, 2 * 10**30)]
)
def test_exponentials_are_met(numerator: int, denominator: int) -> None:
    n, p = 20_000, math.exp(-numerator / denominator)
    hits = int(exp_bernoulli(fresh(), np.full(n, numerator, object), denominator).sum())
    assert abs(hits - n * p) <= 6 * math.sqrt(n * p * (1 - p))


class Scripted(UniformWords):
    """Words that a test wrote down."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)

    def words(self, n: int) -> Any:
        assert n == 1
        return np.array([self.answers.pop(0)], np.uint64)


def test_where_64_bits_are_equal_the_next_ones_decide() -> None:
    third = np.array([1], object)
    digit = (1 << 64) // 3  # 1/3 = 0.ddd... in base 2^64
    assert not bernoulli(Scripted(digit + 1), third, 3)[0]
    assert bernoulli(Scripted(digit - 1), third, 3)[0]
    assert bernoulli(Scripted(digit, digit, digit - 1), third, 3)[0]
    assert not bernoulli(Scripted(digit, digit, digit + 1), third, 3)[0]
    assert bernoulli(Scripted((1 << 64) - 1), np.array([3], object), 3)[0]
    assert not bernoulli(Scripted(1), np.array([0], object), 3)[0]


@pytest.mark.parametrize("sigma2", [Fraction(0), Fraction(-1), Fraction(1 << 88)])
def test_impossible_noise_is_refused(sigma2: Fraction) -> None:
    with pytest.raises(ConfigError, match="variance"):
        sample(fresh(), sigma2, 1)


# ---------------------------------------------------------------------- noise of several servers


@pytest.mark.parametrize("protocol", EVERY)
def test_the_servers_noise_adds_up_and_t_of_them_may_be_left_out(protocol: str) -> None:
    rng()
    n, sigma = 6_000, 2.0**22
    with LocalCluster(EVERY[protocol]()) as c:
        sharing = c.sharing
        honest = sharing.parties - sharing.security.corruptions if sharing.parties > 1 else 1
        sigma2 = server_sigma2(sharing, sigma, n)
        assert 0 <= sigma2 * honest - Fraction(sigma) ** 2 < honest, (
            "the noise of the honest ones is not sigma"
        )
        handle = c.run(joint_noise, sigma2, (n,))
        found = c.reveal(handle) * 2.0**20
        variance = sharing.parties / honest * sigma**2
        assert abs(found.var() / variance - 1) < 6 * math.sqrt(2 / n)
        assert abs(found.mean()) < 6 * math.sqrt(variance / n)
        again = c.reveal(c.run(joint_noise, sigma2, (n,))) * 2.0**20
        assert abs(np.corrcoef(found, again)[0, 1]) < 6 / math.sqrt(n)


def test_dealing_noise_is_offline_and_costs_what_dealing_costs() -> None:
    n = 1000
    with LocalCluster(Replicated3PC()) as c:
        c.run(joint_noise, Fraction(10**12), (n,))
        assert (
            c.last_cost.bytes_sent() == 3 * 8 * n
        )  # each server sends one component to one other server
        assert c.last_cost.to_json()["rounds"] == {"offline": 1, "online": 0}


# ---------------------------------------------------------------------- clipping


def clipped_rows(mpc: Session, x: SharedTensor, clip: float) -> SharedTensor:
    return clip_rows(x, clip)


def rows(g: np.random.Generator, size: int) -> np.ndarray:
    units = g.normal(size=(8, size))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    return units * np.array([[0.0], [1e-4], [0.5], [0.99], [1.01], [3.0], [40.0], [1.0]])


@pytest.mark.parametrize("protocol", EVERY)
@pytest.mark.parametrize("clip", [0.3, 1.0, 7.0])
def test_clipping_on_shares_is_clipping(protocol: str, clip: float) -> None:
    size = 300
    updates = rows(rng(), size)
    updates[7] = (
        coordinate_bound(size, 20) * np.where(updates[7] > 0, 1, -1) * 0.999
    )  # the longest row of all
    with LocalCluster(EVERY[protocol]()) as c:
        clipped = c.reveal(c.run(clipped_rows, c.share(updates), clip))
    norms = np.linalg.norm(updates, axis=1, keepdims=True)
    target = clip_target(clip, size, 20)
    expected = updates * np.minimum(1, target / np.maximum(norms, 1e-12))
    assert np.linalg.norm(clipped, axis=1).max() <= clip
    assert 0.97 * clip < target < clip
    # the inverse root is within 2 units: for the longest rows that is what shows
    assert np.all(
        np.linalg.norm(clipped - expected, axis=1, keepdims=True)
        < 2e-4 + 5e-6 * norms * max(1.0, clip)
    )


@pytest.mark.parametrize("protocol", EVERY)
def test_an_update_whose_squares_wrap_around_is_dropped_not_passed(protocol: str) -> None:
    size = 64
    updates = np.zeros((5, size))
    updates[0, 0] = 2.0**12  # its square is 2^64 in the ring: a norm of 0
    updates[1] = 2.0**9  # the sum of squares is 64 * 2^58
    updates[2, 5] = -(2.0**41)
    updates[3, 63] = coordinate_bound(size, 20) * 1.001
    updates[4] = 0.01
    with LocalCluster(EVERY[protocol]()) as c:
        clipped = c.reveal(c.run(clipped_rows, c.share(updates), 1.0))
    assert np.abs(clipped[:4]).max() == 0
    assert np.abs(clipped[4] - 0.01).max() < 1e-5


def test_coordinates_within_the_bound_never_leave_the_ring() -> None:
    for size in (1, 2, 1000, 61_706, 4_903_242):
        for frac_bits in (12, 20, 22):
            raw = size * int(coordinate_bound(size, frac_bits) * 2**frac_bits) ** 2
            assert raw < 2**62 <= 4 * raw


def test_a_clip_that_the_format_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="too small"):
        clip_target(0.003, 61_706, 20)
    for wrong in ({"clip": 0.0}, {"clip": math.inf}, {"noise_multiplier": -1.0}):
        with pytest.raises(ConfigError):
            Private(FedAvg(), **({"clip": 1.0, "noise_multiplier": 1.0} | wrong))
    with pytest.raises(ConfigError, match="too little"):
        server_sigma2(TETRAD_4PC, 3.0, 1000)


# ---------------------------------------------------------------------- the rule


def aggregate(
    c: LocalCluster, rule: Private, models: np.ndarray, current: np.ndarray
) -> np.ndarray:
    shared = [c.share(m) for m in models]
    handle, _ = c.run(programs.aggregate, rule, shared, [1.0, 5.0, 2.0], c.share(current), None, {})
    return c.reveal(handle)


def check_private(
    inner: Any,
    sharing: SharingSemantics,
    current: np.ndarray,
    updates: np.ndarray,
    quiet: np.ndarray,
    noisy: list[np.ndarray],
) -> None:
    """The next model of three updates clipped to 1, with hardly any noise (`quiet`) and with noise
    multiplier 3."""
    clipped = updates * np.minimum(1, 1 / np.linalg.norm(updates, axis=1, keepdims=True))
    expected = current + (
        clipped.mean(0) if isinstance(inner, FedAvg) else np.sort(clipped, axis=0)[1]
    )
    assert np.abs(quiet - expected).max() < 0.01
    honest = sharing.parties - sharing.security.corruptions if sharing.parties > 1 else 1
    each = 3.0 * math.sqrt(sharing.parties / honest)
    # The mean of three has one noise on the sum; a median of three independent ones has 0.670 of
    # their deviation.
    factor = 1 / 3 if isinstance(inner, FedAvg) else 0.6698
    for drawn in noisy:
        assert abs((drawn - quiet).std() / (each * factor) - 1) < 0.12


@pytest.mark.parametrize("protocol", EVERY)
@pytest.mark.parametrize("inner", [FedAvg(), TrimmedMean(trim=1)])
def test_the_wrapped_rule_sees_clipped_updates_and_the_stated_noise(
    protocol: str, inner: Any
) -> None:
    g, size = rng(), 1500
    current = g.normal(size=size)
    updates = rows(g, size)[[2, 4, 5]]
    with LocalCluster(EVERY[protocol]()) as c:
        quiet = aggregate(
            c, Private(inner, clip=1.0, noise_multiplier=1e-3), current + updates, current
        )
        loud = aggregate(
            c, Private(inner, clip=1.0, noise_multiplier=3.0), current + updates, current
        )
        sharing = c.sharing
    check_private(inner, sharing, current, updates, quiet, [loud])


def words_of_mean(
    mpc: Session, rule: Private, models: list[SharedTensor], current: SharedTensor
) -> np.ndarray:
    """What the rule gives before the mean is brought back to the format, minus the current
    model."""
    mean = rule.aggregate(Inputs(models, [1.0] * len(models), current))
    return (mean - current).data.parts[0].view(np.int64)


def test_the_mean_is_a_multiple_of_the_noisy_sum_and_tells_nothing_else() -> None:
    g, size = rng(), 50
    current = g.normal(size=size)
    with LocalCluster(Plain()) as c:
        models = [c.share(current + 0.01 * g.normal(size=size)) for _ in range(3)]
        words = c.run(words_of_mean, Private(FedAvg(), 1.0, 1.0), models, c.share(current))
    portion = -(-(2**24) // 3)  # weights are integers that add up to 2^24: they differ by one
    assert not (words % portion).any() and len(set(words // portion)) == size


# ---------------------------------------------------------------------- in simulations


@pytest.mark.parametrize("inner", [FedAvg(), TrimmedMean(trim=1)])
@pytest.mark.parametrize("protocol", EVERY)
def test_floats_get_the_clipping_and_the_noise_of_the_protocol_that_they_stand_for(
    protocol: str, inner: Any
) -> None:
    g, size, sharing = rng(), 1500, EVERY[protocol]().sharing
    current = g.normal(size=size)
    updates = rows(g, size)[[2, 4, 5]]
    at = Real.alone(20, sharing)

    def next_model(z: float) -> np.ndarray:
        return aggregate_floats(
            Private(inner, 1.0, z), list(current + updates), [1.0, 5.0, 2.0], current, at=at
        )

    quiet, loud, again = (next_model(z) for z in (1e-3, 3.0, 3.0))
    check_private(inner, sharing, current, updates, quiet, [loud, again])
    assert abs(np.corrcoef(loud - quiet, again - quiet)[0, 1]) < 6 / math.sqrt(size)
    assert at.party.notes[policy.RELEASES] == 3


@pytest.mark.parametrize("protocol", EVERY)
def test_a_simulation_in_fixed_point_has_the_noise_of_all_servers(protocol: str) -> None:
    n, sigma, sharing = 6_000, 2.0**22, EVERY[protocol]().sharing
    with LocalCluster(Plain(stands_for=sharing)) as c:
        found = c.reveal(c.run(joint_noise, server_sigma2(sharing, sigma, n), (n,))) * 2.0**20
    honest = sharing.parties - sharing.security.corruptions if sharing.parties > 1 else 1
    assert abs(found.var() / (sharing.parties / honest * sigma**2) - 1) < 6 * math.sqrt(2 / n)


@pytest.mark.parametrize("engine", ["float", "simulate", "mpc"])
def test_every_engine_promises_and_refuses_the_same(engine: Any, tmp_path: Path) -> None:
    train = mnist()[0][:20].pooled(4)
    rule = Private(FedAvg(), clip=1.0, noise_multiplier=2.0, budget=Budget(3.5, 1e-5))
    schedule = Schedule(samples_per_client=5, clients_per_round=1, epochs=1, batch=5, sgd=SGD(0.1))

    def made() -> Federation:
        members = [Cluster(Replicated3PC(), clients=1) for _ in range(2)]
        options: dict[str, Any] = {"schedule": schedule, "engine": engine, "insecure_seed": 3}
        return Federation(mlp(64, [], 10, seed=1), Additive2PC(), members, rule, **options)

    with made() as f:
        f.fit(train, rounds=1, checkpoint=str(tmp_path))
        f.fit(train, rounds=2)
        whole = f.global_servers.reveal(f.current_model)
        promised = rule.guarantee(2)
        assert spent(f, 1e-5) == asdict(promised) | {"words": str(promised)}
        with pytest.raises(Refused, match="release 3 would raise epsilon to"):
            f.fit(train, rounds=3)
    with made() as f:
        f.restore(str(tmp_path)).fit(train, rounds=2)
        assert np.array_equal(f.global_servers.reveal(f.current_model), whole)
        args = (rule, [f.current_model] * 2, [1.0] * 2, f.current_model, None, {}, None)
        with pytest.raises(
            Refused, match="release 3"
        ):  # by the servers, who counted the restored rounds, too
            f.global_servers.run(programs.aggregate, *args)


def test_servers_refuse_the_release_that_would_exceed_the_budget() -> None:
    budget = Budget(epsilon=8.0, delta=1e-5)
    rule = Private(FedAvg(), clip=1.0, noise_multiplier=1.0, budget=budget)
    assert releases_within(1.0, budget) == 2
    with LocalCluster(Additive2PC()) as c:
        models = [c.share(np.zeros(50)) for _ in range(3)]
        args = (rule, models, [1.0] * 3, models[0], None, {})
        for _ in range(2):
            c.run(programs.aggregate, *args)
        with pytest.raises(Refused, match="release 3 would raise epsilon") as refusal:
            c.run(programs.aggregate, *args)
        assert refusal.value.rule == "privacy budget"
    with LocalCluster(Additive2PC()) as c:
        c.run(policy.note_restored, 2)
        models = [c.share(np.zeros(50)) for _ in range(3)]
        with pytest.raises(Refused, match="release 3"):
            c.run(programs.aggregate, rule, models, [1.0] * 3, models[0], None, {})


def test_a_federation_trains_under_a_budget_and_says_what_it_spent() -> None:
    train, _ = mnist()
    rule = Private(FedAvg(), clip=1.0, noise_multiplier=2.0, budget=Budget(3.5, 1e-5))
    schedule = Schedule(samples_per_client=5, clients_per_round=1, epochs=1, batch=5, sgd=SGD(0.1))
    members = [Cluster(Replicated3PC(), clients=1) for _ in range(2)]
    with Federation(mlp(64, [], 10, seed=1), Additive2PC(), members, rule, schedule=schedule) as f:
        f.fit(train[:20].pooled(4), rounds=2)
        with pytest.raises(Refused, match="budget"):
            f.fit(train[:20].pooled(4), rounds=3)
    said = str(rule.guarantee(len(f.history)))
    assert said.startswith("(3.") and "1e-05" in said and "one cluster's whole contribution" in said
    assert "no amplification" in said and "2 releases" in said
    with pytest.raises(ConfigError, match="delta"):
        Private(FedAvg(), 1.0, 1.0).guarantee(1)


# ---------------------------------------------------------------------- the accountant


def exact_delta(epsilon: float, sigma: float) -> float:
    """The exact trade-off of one Gaussian release of sensitivity 1 (Balle and Wang, ICML'18,
    Theorem 8)."""

    def phi(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    return phi(0.5 / sigma - epsilon * sigma) - math.exp(epsilon) * phi(
        -0.5 / sigma - epsilon * sigma
    )


@given(st.floats(1, 30), st.integers(1, 100), st.floats(1e-12, 1e-2))
@settings(max_examples=40, deadline=None)
def test_epsilon_is_above_the_exact_one_and_below_bun_and_steinkes(
    z: float, releases: int, delta: float
) -> None:
    epsilon = gaussian_epsilon(z, releases, delta)
    rho = releases / (2 * z**2)
    assert epsilon <= rho + 2 * math.sqrt(rho * math.log(1 / delta)) + 1e-9
    # T releases are one with sqrt(T) times the sensitivity
    assert exact_delta(epsilon, z / math.sqrt(releases)) <= delta * (1 + 1e-9)
    assert (
        gaussian_epsilon(z, releases + 1, delta)
        > epsilon
        > gaussian_epsilon(z * 1.01, releases, delta)
    )


@pytest.mark.parametrize(("rho", "epsilon"), [("2.56", 17.14), ("0.07", 2.47)])
def test_the_conversion_gives_the_published_figures_of_the_2020_census(
    rho: str, epsilon: float
) -> None:
    """US Census Bureau, 2020 redistricting data: rho 2.56 (persons) and 0.07 (housing units), delta
    10^-10. Both rho are published to two decimals."""
    low, high = float(rho) - 0.005, float(rho) + 0.005
    assert epsilon_of(low, 1e-10) < epsilon < epsilon_of(high, 1e-10)


@given(st.floats(1e-3, 5), st.floats(0.01, 20))
@settings(deadline=None)
def test_the_best_order_is_found(rho: float, epsilon: float) -> None:
    orders = 1 + np.logspace(-4, 4, 4000)
    exponents = (
        (orders - 1) * (orders * rho - epsilon)
        + orders * np.log1p(-1 / orders)
        - np.log(orders - 1)
    )
    best = math.exp(min(0.0, float(exponents.min())))
    assert delta_of(rho, epsilon) <= best * (1 + 1e-6)
    assert delta_of(rho, epsilon) >= best * 0.99


def divergence(p: np.ndarray, shift: int, alpha: float) -> float:
    """Renyi divergence of a distribution on the integers from itself, moved."""
    a, b = np.log(p[shift:]), np.log(p[: len(p) - shift])
    return math.log(float(np.exp(alpha * a + (1 - alpha) * b).sum())) / (alpha - 1)


def gaussian(sigma2: float, edge: int = 400) -> np.ndarray:
    weights = np.exp(-(np.arange(-edge, edge + 1) ** 2) / (2 * sigma2))
    return weights / weights.sum()


@pytest.mark.parametrize("sigma2", [0.5, 2.0, 25.0])
@pytest.mark.parametrize("alpha", [1.5, 2.0, 8.0])
@pytest.mark.parametrize("shift", [1, 3])
def test_the_renyi_divergence_of_the_discrete_gaussian_is_at_most_the_gaussians(
    sigma2: float, alpha: float, shift: int
) -> None:
    edge = int(18 * math.sqrt(sigma2))
    found = divergence(gaussian(sigma2, edge), shift, alpha)
    assert found <= alpha * shift**2 / (2 * sigma2) * (1 + 1e-9)
    assert found > 0.5 * alpha * shift**2 / (2 * sigma2)


@pytest.mark.parametrize("sigma2", [0.25, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("servers", [2, 3])
def test_sums_of_discrete_gaussians_obey_the_bound_with_tau(sigma2: float, servers: int) -> None:
    one = gaussian(sigma2, int(14 * math.sqrt(sigma2)) + 2)
    total = one
    for _ in range(servers - 1):
        total = np.convolve(total, one)
    total = total[total > 1e-60]
    tau = excess(servers, math.sqrt(sigma2))
    epsilon2 = min(1 / (servers * sigma2) + tau / 2, (1 / math.sqrt(servers * sigma2) + tau) ** 2)
    for alpha in (2.0, 5.0):
        assert divergence(total, 1, alpha) <= alpha / 2 * epsilon2 * (1 + 1e-6)
    assert excess(servers, 8.0) < 1e-250
    with pytest.raises(ConfigError):
        excess(servers, 0.4)


def test_a_stated_epsilon_is_never_rounded_down() -> None:
    for epsilon, said in (
        (3.4601, "(3.47, "),
        (3.46, "(3.46, "),
        (0.012301, "(0.0124, "),
        (1234.0, "(1.24e+03, "),
        (0.0, "(0, "),
    ):
        assert str(Guarantee(epsilon, 1.5e-5, 1, 1.0)).startswith(said + "1.5e-05)")


def test_budgets_that_mean_nothing_are_refused() -> None:
    for epsilon, delta in ((0, 1e-5), (1, 0), (1, 1), (math.nan, 0.1), (math.inf, 0.1)):
        with pytest.raises(ConfigError):
            Budget(epsilon, delta)
    assert releases_within(0.1, Budget(1, 1e-5)) == 0
    assert gaussian_epsilon(1.0, 0, 1e-5) == 0
