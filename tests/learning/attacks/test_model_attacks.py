"""What malicious clients of plain federated learning submit instead of their models."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import rng
from wwfl.attacks import ModelAttack, model_attack, model_attacks
from wwfl.attacks.updates import (
    ALittleIsEnough,
    GaussianNoise,
    InnerProduct,
    MinMax,
    MinSum,
    Perturbation,
    Scaling,
    SignFlip,
)
from wwfl_core.errors import ConfigError, Misuse

seeds = st.integers(0, 2**32)


def models(seed: int, n: int, d: int) -> tuple[list[np.ndarray], np.ndarray]:
    g = np.random.default_rng(seed)
    current = g.standard_normal(d)
    return [current + 0.1 + g.standard_normal(d) for _ in range(n)], current


def update(what: ModelAttack, honest: list[np.ndarray], current: np.ndarray) -> np.ndarray:
    """The one update that all colluding clients submit."""
    crafted = what.craft(honest, current, np.random.default_rng(0))
    assert len(crafted) == len(honest) and all((model == crafted[0]).all() for model in crafted)
    assert len({id(model) for model in crafted}) == len(crafted)
    return crafted[0] - current


@pytest.mark.parametrize("name", sorted(model_attacks()))
def test_every_attack_gives_one_finite_model_per_client_and_changes_nothing_it_was_given(
    name: str,
) -> None:
    honest, current = models(0, 5, 30)
    before = [model.copy() for model in (*honest, current)]
    crafted = model_attack(name).craft(
        [model.astype(np.float32) for model in honest], current, rng()
    )
    assert len(crafted) == 5
    for model in crafted:
        assert model.dtype == np.float64 and model.shape == (30,) and np.isfinite(model).all()
    model_attack(name).craft(honest, current, rng())
    for old, new in zip(before, (*honest, current), strict=True):
        np.testing.assert_array_equal(old, new)


def test_sign_flip_and_scaling() -> None:
    honest, current = models(1, 3, 7)
    g = np.random.default_rng(0)
    for crafted, model in zip(SignFlip(2.0).craft(honest, current, g), honest, strict=True):
        np.testing.assert_allclose(crafted - current, -2 * (model - current))
    for crafted, model in zip(Scaling(10.0).craft(honest, current, g), honest, strict=True):
        np.testing.assert_allclose(crafted - current, 10 * (model - current))


def test_scaling_by_the_number_of_clients_replaces_the_mean() -> None:
    """Model replacement: if the others have converged, the mean becomes the attacker's model."""
    (wanted,), current = models(2, 1, 7)
    submitted = Scaling(20.0).craft([wanted], current, np.random.default_rng(0))
    np.testing.assert_allclose(np.mean([*submitted, *[current] * 19], axis=0), wanted)


def test_gaussian_noise_is_fresh_repeatable_and_of_the_said_size() -> None:
    honest, current = models(3, 2, 40_000)
    a, b = (
        model - current
        for model in GaussianNoise(0.5).craft(honest, current, np.random.default_rng(7))
    )
    again = GaussianNoise(0.5).craft(honest, current, np.random.default_rng(7))[0] - current
    np.testing.assert_array_equal(a, again)
    for noise in (a, b):
        assert abs(noise.mean()) < 6 * 0.5 / 200 and abs(noise.std() - 0.5) < 6 * 0.5 / np.sqrt(
            80_000
        )
    assert abs(np.corrcoef(a, b)[0, 1]) < 6 / 200


def test_lie_stays_z_deviations_from_the_mean() -> None:
    honest, current = models(4, 10, 50)
    g = np.array(honest) - current
    np.testing.assert_allclose(
        update(ALittleIsEnough(1.5), honest, current), g.mean(0) - 1.5 * g.std(0)
    )


def test_lie_finds_the_z_of_its_paper() -> None:
    # 50 clients, 24 malicious: 2 supporters of 26 honest ones are needed (Baruch et al., section
    # 3).
    assert ALittleIsEnough.among(50, 24).z == pytest.approx(NormalDist().inv_cdf(24 / 26))
    assert ALittleIsEnough.among(50, 24).z > ALittleIsEnough.among(50, 10).z
    for clients, malicious in ((10, 6), (10, 2), (10, 0), (1, 1)):
        with pytest.raises(ConfigError, match=r"lie: .* fewer than half"):
            ALittleIsEnough.among(clients, malicious)


def test_the_inner_product_with_the_true_mean_is_negative() -> None:
    honest, current = models(5, 6, 50)
    mean = np.mean(honest, axis=0) - current
    np.testing.assert_allclose(update(InnerProduct(0.3), honest, current), -0.3 * mean)
    assert update(InnerProduct(0.3), honest, current) @ mean < 0


def searched(bound: object, low: float, high: float) -> float:
    """The largest gamma within a bound, by bisection as in the attacks' paper."""
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if bound(middle) else (low, middle)  # type: ignore[operator]
    return low


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["std", "unit", "sign"]), st.integers(2, 8), st.integers(1, 20), seeds)
def test_min_max_and_min_sum_are_as_far_out_as_their_bounds_permit(
    perturbation: Perturbation, n: int, d: int, seed: int
) -> None:
    honest, current = models(seed, n, d)
    g = np.array(honest) - current
    mean = g.mean(0)
    p = {"std": -g.std(0), "unit": -mean / np.linalg.norm(mean), "sign": -np.sign(mean)}[
        perturbation
    ]
    distances = ((g[:, None] - g[None]) ** 2).sum(2)

    def within_max(gamma: float) -> bool:
        return ((mean + gamma * p - g) ** 2).sum(1).max() <= distances.max()

    def within_sum(gamma: float) -> bool:
        return ((mean + gamma * p - g) ** 2).sum() <= distances.sum(1).max()

    for what, bound in ((MinMax(perturbation), within_max), (MinSum(perturbation), within_sum)):
        found = update(what, honest, current)
        gamma = float((found - mean) @ p / (p @ p))
        np.testing.assert_allclose(found, mean + gamma * p, atol=1e-9)
        assert gamma == pytest.approx(searched(bound, 0.0, 1e6), rel=1e-5, abs=1e-6)


def test_attackers_who_agree_have_nothing_to_hide_behind() -> None:
    honest, current = [np.ones(4)] * 3, np.zeros(4)
    for what in (MinMax(), MinSum(), ALittleIsEnough()):
        np.testing.assert_array_equal(update(what, honest, current), np.ones(4))
    np.testing.assert_array_equal(
        update(MinMax("unit"), [np.zeros(4)] * 2, np.zeros(4)), np.zeros(4)
    )


def test_model_attack_errors() -> None:
    honest, current = models(0, 3, 5)
    g = np.random.default_rng(0)
    with pytest.raises(Misuse, match="no honest model"):
        SignFlip().craft([], current, g)
    with pytest.raises(Misuse, match="flat and of one length"):
        SignFlip().craft([honest[0][:4]], current, g)
    with pytest.raises(Misuse, match="flat and of one length"):
        SignFlip().craft([current[None]], current[None], g)
    for name in ("lie", "min-max", "min-sum"):
        with pytest.raises(
            ConfigError, match=f"{name} needs to know at least 2 honest models, got 1"
        ):
            model_attack(name).craft(honest[:1], current, g)
    with pytest.raises(ConfigError, match="perturbation must be std, unit or sign"):
        MinMax("sideways")  # type: ignore[arg-type]
