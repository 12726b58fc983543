"""Aggregation rules: on shares of every protocol and on float64 they are what NumPy computes, and
obey their laws."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from helpers import EVERY, SECURE, rng
from wwfl.aggregation import (
    Aggregation,
    FedAvg,
    FedAvgM,
    FLTrust,
    Inputs,
    Krum,
    Median,
    MultiKrum,
    NormClipping,
    Screened,
    TrimmedMean,
    TrimmedMeanVariant,
    in_floats,
)
from wwfl.data.sampling import distinct
from wwfl_core import LocalCluster, NetworkModel, Phase, Session, SharedTensor
from wwfl_core.errors import ConfigError, Misuse
from wwfl_core.protocol.registry import get

ULP = 2.0**-20
COIN = bytes(range(32))
D = 24
Models = np.ndarray  # [n, d]


# --------------------------------------------------------------- oracles: the definitions, in NumPy


def mean(models: Models, weights: Any, current: Any, root: Any) -> np.ndarray:
    return np.average(models, axis=0, weights=weights)


def trimmed(trim: int) -> Callable[..., np.ndarray]:
    return lambda models, weights, current, root: np.sort(models, 0)[
        trim : len(models) - trim
    ].mean(0)


def middle(models: Models, weights: Any, current: Any, root: Any) -> np.ndarray:
    return np.median(models, 0)


def variant(trim: int, beta: int) -> Callable[..., np.ndarray]:
    def oracle(models: Models, weights: Any, current: Any, root: Any) -> np.ndarray:
        n, d = models.shape
        count = [0] * n
        for j in distinct(COIN, d, min(beta, d), "trimmed-mean variant"):
            order = sorted(range(n), key=lambda i: (models[i, j], i))
            for i in order[:trim] + order[n - trim :]:
                count[i] += 1
        removed = sorted(range(n), key=lambda i: (-count[i], i))[: 2 * trim]
        return models[[i for i in range(n) if i not in removed]].mean(0)

    return oracle


def krum(byzantine: int, selected: int | None) -> Callable[..., np.ndarray]:
    def oracle(models: Models, weights: Any, current: Any, root: Any) -> np.ndarray:
        n, scores = len(models), []
        for i in range(n):
            distances = sorted(
                float(((models[i] - models[j]) ** 2).sum()) for j in range(n) if j != i
            )
            scores.append(sum(distances[: n - byzantine - 2]))
        best = sorted(range(n), key=lambda i: (scores[i], i))
        return models[best[: n - byzantine if selected is None else selected]].mean(0)

    return oracle


def clipping(clip: float) -> Callable[..., np.ndarray]:
    def oracle(models: Models, weights: Any, current: Any, root: Any) -> np.ndarray:
        steps = [
            g * min(1.0, clip / max(float(np.linalg.norm(g)), 1e-300)) for g in models - current
        ]
        return current + np.mean(steps, 0)

    return oracle


def fltrust(models: Models, weights: Any, current: Any, root: Any) -> np.ndarray:
    own = root - current
    total, trust = np.zeros_like(current), 0.0
    for g in models - current:
        if np.any(g) and np.any(own):
            t = max(0.0, float(g @ own) / float(np.linalg.norm(g) * np.linalg.norm(own)))
            trust += t
            total = total + t * np.linalg.norm(own) / np.linalg.norm(g) * g
    return current if trust == 0 else current + total / trust


Case = tuple[Aggregation, Callable[..., np.ndarray]]
CASES: dict[str, Case] = {
    "fedavg": (FedAvg(), mean),
    "trimmed-mean": (TrimmedMean(2), trimmed(2)),
    "trimmed-mean by exchange": (TrimmedMean(1, by="exchange"), trimmed(1)),
    "median": (Median(), middle),
    "variant": (TrimmedMeanVariant(1, 9), variant(1, 9)),
    "variant, all coordinates": (TrimmedMeanVariant(2, 1000), variant(2, 1000)),
    "variant, revealed": (TrimmedMeanVariant(1, 9, reveal_outliers=True), variant(1, 9)),
    "krum": (Krum(1), krum(1, 1)),
    "multi-krum": (MultiKrum(1), krum(1, None)),
    "multi-krum of 2": (MultiKrum(0, selected=2), krum(0, 2)),
    "norm-clipping": (NormClipping(1.0), clipping(1.0)),
    "norm-clipping, tight": (NormClipping(0.01), clipping(0.01)),
    "fltrust": (FLTrust(), fltrust),
    "fedavgm, first round": (FedAvgM(), mean),
    "screened": (Screened(TrimmedMean(1), 2.0**14), trimmed(1)),
}


def grid(x: Any) -> np.ndarray:
    """x as shares at 20 fractional bits hold it."""
    return np.rint(np.asarray(x, np.float64) / ULP) * ULP


def scene(
    kind: str, g: np.random.Generator, n: int, d: int = D
) -> tuple[Models, np.ndarray, np.ndarray]:
    """(models, current, root)"""
    current, own = g.normal(size=d), g.normal(size=d) * 0.3
    updates = own + g.normal(size=(n, d)) * 0.3
    if kind == "ties":
        current, own, updates = (
            np.round(current),
            np.round(own * 4),
            g.integers(-1, 2, (n, d)) * 1.0,
        )
    elif kind == "equal":
        updates[:] = updates[0]
    elif kind == "still":  # nobody moved, but for the root
        updates[:] = 0
    elif kind == "outliers":
        updates[0], updates[n - 1] = 60.0, -own * 40
    elif kind == "tiny":
        own, updates = own * 1e-3, updates * 1e-3
    return grid(current + updates), grid(current), grid(current + own)


SCENES = ("random", "ties", "equal", "still", "outliers", "tiny")


# ---------------------------------------------------------------------- on shares


@pytest.fixture(scope="module", params=list(EVERY))
def cluster(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    with LocalCluster(EVERY[request.param](), deadline_s=60) as made:
        yield made


def program(
    mpc: Session,
    rule: Aggregation,
    models: list[SharedTensor],
    weights: list[float],
    current: SharedTensor,
    root: SharedTensor,
) -> SharedTensor:
    return rule.aggregate(Inputs(models, weights, current, root, COIN))


def on_shares(
    c: LocalCluster, rule: Aggregation, models: Models, weights: Any, current: Any, root: Any
) -> np.ndarray:
    shared = [c.share(m) for m in models]
    return c.reveal(c.run(program, rule, shared, list(weights), c.share(current), c.share(root)))


@pytest.mark.parametrize("name", list(CASES))
def test_a_rule_on_shares_is_its_definition(cluster: LocalCluster, name: str) -> None:
    rule, oracle = CASES[name]
    g = rng()
    for kind, n in zip(SCENES, (5, 6, 5, 5, 6, 7), strict=True):
        models, current, root = scene(kind, g, n)
        weights = g.integers(1, 50, n).astype(float)
        got, want = (
            on_shares(cluster, rule, models, weights, current, root),
            oracle(models, weights, current, root),
        )
        size = np.abs(models - current).max()
        assert np.abs(got - want).max() <= 2 * ULP + 1e-6 * size, kind
        floats = in_floats.aggregate(rule, list(models), weights, current, root, COIN)
        assert np.abs(floats - want).max() <= 1e-6 * size, kind
        assert np.abs(got - floats).max() <= 2 * ULP + 1e-6 * size, kind


@pytest.mark.parametrize(
    "rule", [TrimmedMean(1), TrimmedMean(2, by="exchange"), Median(), TrimmedMeanVariant(1, 9)]
)
def test_outliers_as_large_as_the_format_allows_are_dropped(
    cluster: LocalCluster, rule: Aggregation
) -> None:
    g = rng()
    models, current, root = scene("random", g, 6)
    trim = rule.trim if isinstance(rule, TrimmedMean) else 1
    models[:trim] = 2.0**41
    honest = models[trim:]
    got = on_shares(cluster, rule, models, np.ones(6), current, root)
    assert (honest.min(0) - ULP <= got).all() and (got <= honest.max(0) + ULP).all()


@pytest.mark.parametrize(
    "rule", [FLTrust(2.0**22), Krum(1, norm_bound=2.0**22), NormClipping(1.0, 2.0**22)]
)
def test_a_declared_bound_makes_room_for_huge_norms(
    cluster: LocalCluster, rule: Aggregation
) -> None:
    g = rng()
    models, current, root = scene("random", g, 6)
    models[0] = 5e5
    unit = (
        1.0 if isinstance(rule, Krum) else 2.0**-9
    )  # of the updates after the public power of two
    oracle = {FLTrust: fltrust, Krum: krum(1, 1), NormClipping: clipping(1.0)}[type(rule)]
    got = on_shares(cluster, rule, models, np.ones(6), current, root)
    want = oracle(models, np.ones(6), current, root)
    assert np.abs(got - want).max() <= 4 * unit


def test_fltrust_sees_directions_of_the_smallest_and_the_largest_updates(
    cluster: LocalCluster,
) -> None:
    """Updates of a few units of the format against a root update of 1, and of norm 2,000 against
    one of 1e-3."""
    g = rng()
    current = np.zeros(D)
    for size, own in ((8 * ULP, 1.0), (2000.0 / np.sqrt(D) / 2, 1e-3 / np.sqrt(D))):
        root = grid(g.choice([-own, own], D))
        models = grid(
            np.stack([np.sign(root) * size, -np.sign(root) * size, g.choice([-size, size], D)])
        )
        got = on_shares(cluster, FLTrust(), models, np.ones(3), current, root)
        want = fltrust(models, None, current, root)
        assert np.abs(got - want).max() <= 2 * ULP + 1e-6 * np.linalg.norm(root)
        assert np.abs(got - root).max() <= 0.9 * np.abs(root).max()  # it moved


@pytest.mark.parametrize(
    "rule", [FedAvgM(momentum=0.5, rate=0.25), FedAvgM(FLTrust(), 0.75), FedAvgM(FedAvgM())]
)
def test_momentum_is_carried_from_round_to_round(cluster: LocalCluster, rule: FedAvgM) -> None:
    g = rng()
    current = want = grid(g.normal(size=D))
    memory: dict[str, Any] = {}
    floats: dict[str, np.ndarray] = {}
    velocity, inner = np.zeros(D), np.zeros(D)
    for _ in range(3):
        models, root = (
            grid(current + g.normal(size=(4, D)) * 0.1),
            grid(current + g.normal(size=D) * 0.1),
        )
        if isinstance(rule.base, FLTrust):
            step = fltrust(models, None, current, root) - current
        elif isinstance(rule.base, FedAvgM):
            step = inner = rule.base.momentum * inner + models.mean(0) - current
        else:
            step = models.mean(0) - current
        velocity = rule.momentum * velocity + step
        want = current + rule.rate * velocity
        args = (
            [cluster.share(m) for m in models],
            cluster.share(current),
            cluster.share(root),
            memory,
        )
        handle, memory = cluster.run(remembering, rule, *args)
        got = cluster.reveal(handle)
        assert np.abs(got - want).max() < 8 * ULP
        again = in_floats.aggregate(rule, list(models), np.ones(4), current, root, memory=floats)
        assert np.abs(again - want).max() < 1e-6
        current = grid(want)


def remembering(
    mpc: Session,
    rule: Aggregation,
    models: Any,
    current: Any,
    root: Any,
    memory: dict[str, SharedTensor],
) -> Any:
    inputs = Inputs(models, [1.0] * len(models), current, root, COIN, dict(memory))
    return rule.aggregate(inputs), inputs.memory


@pytest.mark.parametrize(
    "rule",
    [
        TrimmedMean(0),
        TrimmedMeanVariant(0, 5),
        Median(),
        NormClipping(100.0),
        FLTrust(),
        TrimmedMean(0, by="exchange"),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_one_input_alone_is_the_result(cluster: LocalCluster, rule: Aggregation) -> None:
    models, current, root = scene("random", rng(), 1)
    root = grid(current + (models[0] - current) / 2)
    want = (
        root if isinstance(rule, FLTrust) else models[0]
    )  # the same direction, at the length of the root update
    assert np.abs(on_shares(cluster, rule, models, [1.0], current, root) - want).max() <= 2 * ULP


@pytest.mark.parametrize("protocol", list(SECURE))
def test_fedavg_sends_nothing_and_keeps_what_all_agree_on(protocol: str) -> None:
    g = rng()
    models = np.repeat(grid(g.normal(size=(1, D)) * 100), 7, axis=0)
    with LocalCluster(SECURE[protocol](), deadline_s=60) as c:
        shared = [c.share(m) for m in models]
        for n, weights in ((7, g.uniform(0.1, 99, 7)), (4, np.ones(4)), (1, [3.0])):
            handle = c.run(program, FedAvg(), shared[:n], list(weights), shared[0], shared[0])
            assert (c.last_cost.bytes_sent(), c.last_cost.rounds.get(Phase.ONLINE, 0)) == (0, 0)
            assert np.array_equal(c.reveal(handle), models[0])


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["2pc-ot", "shamir"])
def test_rules_run_on_prime_fields_and_without_a_helper(protocol: str) -> None:
    if protocol == "shamir":
        pytest.importorskip("mpyc")
    models, current, root = scene("random", rng(), 5, 3)
    with LocalCluster(get(protocol)(), deadline_s=240) as c:
        for name in (
            "fedavg",
            "krum",
            "variant",
            "trimmed-mean by exchange",
            "norm-clipping",
            "fltrust",
        ):
            rule, oracle = CASES[name]
            got, want = (
                on_shares(c, rule, models, np.ones(5), current, root),
                oracle(models, np.ones(5), current, root),
            )
            assert np.abs(got - want).max() <= 4 * ULP, name


# ---------------------------------------------------------------------- laws, on float64

ORDER_FREE = [
    FedAvg(),
    TrimmedMean(1),
    Median(),
    TrimmedMeanVariant(1, 50),
    Krum(1),
    MultiKrum(1),
    NormClipping(0.5),
]
laws = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 2**32 - 1)


def clear(rule: Aggregation, models: Models, current: np.ndarray, root: np.ndarray) -> np.ndarray:
    return in_floats.aggregate(rule, list(models), np.ones(len(models)), current, root, COIN)


@pytest.mark.parametrize("rule", [*ORDER_FREE, FLTrust()], ids=lambda r: type(r).__name__)
@laws
@given(seeds, st.integers(5, 9))
def test_the_order_of_inputs_and_a_common_shift_do_not_matter(
    rule: Aggregation, seed: int, n: int
) -> None:
    g = np.random.default_rng(seed)
    models, current, root = scene("random", g, n)
    result = clear(rule, models, current, root)
    if not isinstance(rule, TrimmedMeanVariant):  # its counts tie, and ties go to the smaller index
        assert np.allclose(clear(rule, models[g.permutation(n)], current, root), result, atol=2e-6)
    shift = g.integers(-8, 9, D) * 1.0
    assert np.allclose(
        clear(rule, models + shift, current + shift, root + shift), result + shift, atol=2e-6
    )


@pytest.mark.parametrize("rule", [TrimmedMean(2), TrimmedMean(2, by="exchange"), Median()])
@laws
@given(seeds, st.sampled_from([1e-3, 1.0, 1e6]))
def test_two_liars_of_seven_cannot_move_a_coordinate_out_of_the_honest_range(
    rule: Aggregation, seed: int, size: float
) -> None:
    g = np.random.default_rng(seed)
    models, current, root = scene("random", g, 7)
    liars = g.choice(7, 2, replace=False)
    models[liars] = g.normal(size=(2, D)) * size
    honest = np.delete(models, liars, 0)
    got = clear(rule, models, current, root)
    assert (honest.min(0) - 1e-9 <= got).all() and (got <= honest.max(0) + 1e-9).all()


@laws
@given(seeds, st.integers(3, 8))
def test_what_a_rule_bounds_is_bounded(seed: int, n: int) -> None:
    g = np.random.default_rng(seed)
    models, current, root = scene("random", g, n)
    models[0] = current + g.normal(size=D) * 50
    moved = np.linalg.norm(clear(NormClipping(0.25), models, current, root) - current)
    assert moved <= 0.25 * (1 + 1e-6)
    moved = np.linalg.norm(clear(FLTrust(), models, current, root) - current)
    assert moved <= np.linalg.norm(root - current) * (1 + 1e-5)
    assume(n >= 5)
    chosen = clear(Krum(1), models, current, root)
    assert np.abs(chosen - models[1:]).max(1).min() < 1e-9  # one of the inputs, and not the far one


@laws
@given(seeds, st.floats(0.01, 20))
def test_fltrust_does_not_see_how_long_an_update_is(seed: int, factor: float) -> None:
    g = np.random.default_rng(seed)
    models, current, root = scene("random", g, 5)
    longer = models.copy()
    longer[2] = current + factor * (models[2] - current)
    same = clear(FLTrust(), models, current, root)
    assert np.allclose(clear(FLTrust(), longer, current, root), same, atol=2e-6)


def test_coordinates_are_sampled_without_replacement_and_without_a_pattern() -> None:
    hits = np.zeros(20)
    for k in range(600):
        drawn = distinct(k.to_bytes(32, "little"), 20, 7)
        assert len(set(drawn)) == 7 and drawn == sorted(drawn) and 0 <= drawn[0] and drawn[-1] < 20
        hits[drawn] += 1
    expected = 600 * 7 / 20
    assert (
        (hits - expected) ** 2 / expected
    ).sum() < 55  # 19 degrees of freedom; the seeds are fixed
    assert distinct(COIN, 5, 5) == [0, 1, 2, 3, 4] and distinct(COIN, 5, 0) == []


# ---------------------------------------------------------------------- misuse


def test_the_variant_opens_only_what_it_was_asked_to() -> None:
    models, current, root = scene("random", rng(), 6)
    with LocalCluster(SECURE["2pc"](), deadline_s=60) as c:
        for reveal, reasons in (
            (False, set()),
            (True, {"inputs that the trimmed-mean variant removes"}),
        ):
            before = dict(c.ledger.summary())
            shared = [c.share(m) for m in models], [1.0] * 6, c.share(current), c.share(root)
            c.run(program, TrimmedMeanVariant(1, 5, reveal), *shared)
            assert set(c.ledger.summary()) - set(before) == reasons


@pytest.mark.parametrize(
    ("rule", "inputs", "says"),
    [
        (TrimmedMean(2), 4, "more than 4 models"),
        (TrimmedMean(-1), 4, "more than"),
        (TrimmedMeanVariant(2), 4, "more than 4 models"),
        (TrimmedMeanVariant(1, 0), 4, "beta >= 1"),
        (Krum(2), 6, "at least 7 models"),
        (MultiKrum(1, selected=6), 5, "cannot select 6 of 5"),
        (FedAvg(), 0, "at least one model"),
        (FedAvgM(Krum(2)), 6, "at least 7 models"),
        (TrimmedMean(1, bits=65), 4, "2 to 64"),
        (Median(bits=1), 4, "2 to 64"),
        (TrimmedMeanVariant(1, bits=0), 4, "2 to 64"),
        (Krum(1, norm_bound=-1), 5, "norm bound"),
        (NormClipping(norm_bound=0), 3, "norm bound"),
        (FLTrust(norm_bound=float("nan")), 3, "norm bound"),
    ],
)
def test_a_rule_that_does_not_fit_says_so(rule: Aggregation, inputs: int, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        rule.check(inputs)
    with pytest.raises(ConfigError, match=says):
        in_floats.aggregate(
            rule, [np.zeros(3)] * inputs, [1.0] * inputs, np.zeros(3), np.zeros(3), COIN
        )


@pytest.mark.parametrize("length", [10.0, 3000.0, 1e9, 1e60])
def test_in_the_clear_an_update_may_be_as_long_as_it_likes(length: float) -> None:
    far = np.array([0.6, 0.0, 0.8])
    models = [np.full(3, 0.3), np.full(3, 0.4), length * far]
    norm = math.sqrt(0.27)
    clipped = (models[0] * 0.5 / norm + models[1] * 0.5 / (norm * 4 / 3) + 0.5 * far) / 3
    assert np.allclose(
        in_floats.aggregate(NormClipping(0.5), models, [1.0] * 3, np.zeros(3)), clipped, rtol=1e-5
    )
    alike, cosine = np.full(3, 0.5 / math.sqrt(3)), 1.4 / math.sqrt(3)
    trusted = (2 * alike + cosine * 0.5 * far) / (2 + cosine)
    found = in_floats.aggregate(FedAvgM(FLTrust(), 0.0), models, [1.0] * 3, np.zeros(3), alike)
    assert np.allclose(found, trusted, rtol=1e-5)


def test_wrong_inputs_are_explained() -> None:
    zeros = np.zeros(3)
    for rule, error, says, inputs in (
        (FLTrust(), ConfigError, "root model", {}),
        (TrimmedMeanVariant(1), ConfigError, "needs a coin", {}),
        (FedAvg(), ConfigError, "as many weights", {"weights": [1.0]}),
        (FedAvg(), ConfigError, "one length", {"current": np.zeros(4)}),
        (FedAvg(), ConfigError, "not all zero", {"weights": [0.0] * 5}),
        (FedAvg(), ConfigError, "finite", {"weights": [float("nan")] * 5}),
        (Krum(1, norm_bound=-1), ConfigError, "norm bound", {}),
    ):
        given = {"models": [zeros] * 5, "weights": [1.0] * 5, "current": zeros} | inputs
        with pytest.raises(error, match=says):
            in_floats.aggregate(rule, **given)
    with pytest.raises(Misuse, match="coin"):
        TrimmedMeanVariant(1).outliers(None, None)  # pyright: ignore[reportArgumentType]
    for make in (lambda: NormClipping(0), lambda: FedAvgM(momentum=1), lambda: FedAvgM(rate=0)):
        with pytest.raises(ConfigError):
            make()


@pytest.mark.parametrize("rule", [case[0] for case in CASES.values()])
def test_a_rule_is_a_picklable_value_whose_repr_makes_it_again(rule: Aggregation) -> None:
    assert pickle.loads(pickle.dumps(rule)) == rule
    assert eval(repr(rule), globals() | {"NetworkModel": NetworkModel}) == rule
