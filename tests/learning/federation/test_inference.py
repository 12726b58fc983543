"""Private inference as a service: the client alone learns the answer; limits and the query
ledger."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from helpers import Wiretap, rng
from wwfl.federation import InferenceService, RateLimit, SharedModel
from wwfl.nn import Model, mlp, trace
from wwfl_core import LocalCluster
from wwfl_core.errors import ConfigError, InsecureNotAllowed, Misuse, RangeError, Refused

INPUTS, CLASSES = 12, 4


def network() -> torch.nn.Module:
    return mlp(INPUTS, [8], CLASSES, seed=1)


def served(cluster: LocalCluster) -> SharedModel:
    layers, params = trace(network())
    flat = np.concatenate([p.reshape(-1) for p in params.values()])
    return SharedModel(cluster.share(flat), Model.of(layers))


def queries(n: int) -> np.ndarray:
    return rng().normal(size=(n, 1, 3, 4))


@pytest.mark.parametrize("protocol", [Plain, Additive2PC, Replicated3PC, Tetrad4PC])
def test_the_client_gets_the_models_answer_and_nothing_is_opened_to_the_servers(
    protocol: Any,
) -> None:
    images = queries(30)
    with torch.no_grad():
        expected = network().double()(torch.tensor(images)).numpy()
    with LocalCluster(protocol()) as c:
        service = InferenceService(served(c))
        c.memory.tamper = tap = Wiretap()
        logits = service.ask("alice", images, "logits")
        labels = service.ask("alice", images)
        assert np.abs(logits.values - expected).max() < 1e-3
        top = np.sort(expected, axis=1)
        clear = top[:, -1] - top[:, -2] > 1e-2
        assert clear.sum() > 15 and np.array_equal(labels.values[clear], expected.argmax(1)[clear])
        assert not [f for *_, f in tap.frames if f.tag.name == "open"], (
            "an opening among the servers"
        )
        assert {o.to for o in c.ledger} == {"client alice"}
        assert min(labels.cost.bytes_sent(), logits.cost.bytes_sent()) > images.size * 8


def test_the_model_is_reshared_once_per_version_to_where_it_is_served() -> None:
    images = queries(3)
    with LocalCluster(Additive2PC()) as home, LocalCluster(Replicated3PC()) as away:
        model = served(home)
        service = InferenceService(model, at=away)
        here = InferenceService(model).ask("bob", images, "logits").values
        moved = home.cost.bytes_sent()
        first = service.ask("bob", images, "logits").values
        assert home.cost.bytes_sent() > moved
        moved = home.cost.bytes_sent()
        service.ask("bob", images, "logits")
        assert home.cost.bytes_sent() == moved, "the second query moved the model again"
        assert np.abs(first - here).max() < 1e-4
        assert {q.cluster for q in service.queries} == {away.name}


def test_a_model_is_not_served_where_it_is_protected_less() -> None:
    with LocalCluster(Replicated3PC()) as home, LocalCluster(Plain()) as away:
        service = InferenceService(served(home), at=away)
        with pytest.raises(InsecureNotAllowed):
            service.ask("bob", queries(1))
        assert [q.refused_by for q in service.queries] == ["InsecureNotAllowed"]


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_client_over_its_limit_is_refused_before_anything_is_sent_and_others_are_not() -> None:
    clock = Clock()
    with LocalCluster(Plain()) as c:
        service = InferenceService(served(c), limits=RateLimit(burst=5, per_s=0.5), clock=clock)
        service.ask("alice", queries(4))
        sent, opened = c.cost, len(c.ledger)
        with pytest.raises(
            Refused, match=r"alice may ask about 1 images now, not 2.* in 2\.0 s"
        ) as refusal:
            service.ask("alice", queries(2))
        assert refusal.value.rule == "rate limit"
        assert c.cost == sent and len(c.ledger) == opened
        service.ask("bob", queries(5))
        clock.now_s += 2.0
        service.ask("alice", queries(2))
        with pytest.raises(Refused, match="fewer at a time"):
            service.ask("carol", queries(6))
        assert service.totals() == {
            "alice": {"queries": 2, "images": 6, "values": 6, "refused": 1},
            "bob": {"queries": 1, "images": 5, "values": 5, "refused": 0},
            "carol": {"queries": 0, "images": 0, "values": 0, "refused": 1},
        }
        entry = json.loads(json.dumps(service.to_json()))[0]
        assert entry == {
            **{"client": "alice", "at_s": 100.0, "images": 4, "returned": "labels", "values": 4},
            **{"cluster": c.name, "refused_by": ""},
        }


@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(1, 8)), max_size=30),
    st.integers(1, 8),
    st.floats(0, 3),
)
def test_no_window_of_time_holds_more_than_the_burst_and_the_refill(
    asked: list[tuple[float, int]], burst: int, per_s: float
) -> None:
    clock = Clock()
    service = InferenceService(None, limits=RateLimit(burst, per_s), clock=clock)  # type: ignore[arg-type]
    granted: list[tuple[float, int]] = []
    for pause_s, images in asked:
        clock.now_s += pause_s
        try:
            service._charge("alice", images, "labels", "c")
        except Refused:
            continue
        granted.append((clock.now_s, images))
    for i, (begin_s, _) in enumerate(granted):
        for j in range(i, len(granted)):
            total = sum(n for _, n in granted[i : j + 1])
            assert total <= burst + per_s * (granted[j][0] - begin_s) + 1e-6


def test_bad_queries_are_refused_before_anything_is_sent_and_cost_no_tokens() -> None:
    with LocalCluster(Plain()) as c:
        service = InferenceService(served(c), limits=RateLimit(burst=1, per_s=0))
        sent = c.cost
        with pytest.raises(ConfigError):
            service.ask("alice", np.zeros((1, 5)))
        with pytest.raises(Misuse, match="at least one"):
            service.ask("alice", np.zeros((0, 1, 3, 4)))
        with pytest.raises(Misuse, match="labels or logits"):
            service.ask("alice", queries(1), "gradients")  # type: ignore[arg-type]
        assert c.cost == sent
        service.ask("alice", queries(1))
        with pytest.raises(ConfigError, match="burst"):
            RateLimit(burst=0)
        with pytest.raises(ConfigError, match="burst"):
            RateLimit(burst=float("nan"))  # type: ignore[arg-type]


def test_an_answer_that_cannot_be_encoded_is_noted_as_refused() -> None:
    with LocalCluster(Plain()) as c:
        service = InferenceService(served(c))
        with pytest.raises(RangeError):
            service.ask("alice", np.full((1, 1, 3, 4), np.nan))
        assert service.totals()["alice"] == {"queries": 0, "images": 0, "values": 0, "refused": 1}


def test_queries_of_several_threads_get_their_own_answers_and_costs() -> None:
    with LocalCluster(Replicated3PC()) as c:
        service = InferenceService(served(c))
        batches = [queries(n) for n in (1, 2, 3, 4)]
        alone = [service.ask("alice", batch, "logits") for batch in batches]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda batch: service.ask("bob", batch, "logits"), batches))
        for one, other in zip(alone, together, strict=True):
            assert np.abs(one.values - other.values).max() < 1e-4
            assert one.cost.bytes_sent() == other.cost.bytes_sent()
