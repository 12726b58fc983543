"""Sorting networks and the choice between them and all pairs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends import Additive2PC, Plain, Replicated3PC
from helpers import EVERY, SECURE
from wwfl_core import LocalCluster, NetworkModel, Phase, Session
from wwfl_core.errors import Misuse
from wwfl_core.party.verification import CHECK_LABELS
from wwfl_core.tensors import ops
from wwfl_core.tensors.ops.sorting_network import By, choose, estimates, merge_exchange, pruned

FAR = NetworkModel(latency_s=0.1, bandwidth_bps=100e6)
few = settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))


def through(layers: Any, columns: np.ndarray) -> np.ndarray:
    """Columns [n, m] after the comparators."""
    x = columns.copy()
    for layer in layers:
        for i, j in layer:
            x[i], x[j] = np.minimum(x[i], x[j]), np.maximum(x[i], x[j])
    return x


@pytest.mark.parametrize(
    "n, comparators, depth", [(10, 31, 10), (100, 1077, 28), (1, 0, 0), (2, 1, 1), (16, 63, 10)]
)
def test_the_network_has_the_papers_comparators_and_layers(
    n: int, comparators: int, depth: int
) -> None:
    layers = merge_exchange(n)
    assert (sum(map(len, layers)), len(layers)) == (comparators, depth)


@pytest.mark.parametrize("n", range(1, 14))
def test_the_network_sorts_all_zero_one_inputs_and_so_everything(n: int) -> None:
    """Knuth's 0-1 principle; and in no layer does a wire meet two comparators."""
    layers = merge_exchange(n)
    inputs = np.array(list(itertools.product([0, 1], repeat=n)), np.int8).T
    assert np.array_equal(through(layers, inputs), np.sort(inputs, 0))
    for layer in layers:
        wires = [w for pair in layer for w in pair]
        assert len(wires) == len(set(wires)) and all(i < j for i, j in layer)


@pytest.mark.parametrize("n", [2, 5, 9, 10])
def test_what_is_pruned_does_not_change_the_sum(n: int) -> None:
    inputs = np.array(list(itertools.product([0, 1], repeat=n)), np.int8).T
    for low, high in itertools.combinations(range(n + 1), 2):
        layers = pruned(merge_exchange(n), n, low, high)
        assert np.array_equal(
            through(layers, inputs)[low:high].sum(0), np.sort(inputs, 0)[low:high].sum(0)
        )
    assert not pruned(merge_exchange(n), n, 0, n)
    assert sum(map(len, pruned(merge_exchange(10), 10, 2, 8))) == 28


# ---------------------------------------------------------------------- on shares


@pytest.fixture(scope="module", params=list(EVERY))
def cluster(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    with LocalCluster(EVERY[request.param](), deadline_s=60) as made:
        yield made


def ordered(mpc: Session, x: Any, low: int, high: int, bits: int, by: By) -> Any:
    total = ops.sum_of_ranks_between(x, low, high, bits=bits, by=by)
    method = by if isinstance(by, str) else "pairs"
    middle = ops.median(x, 0, bits=bits, by=by)
    up, down = (ops.sort(x, 0, descending=d, bits=bits, by=method) for d in (False, True))
    return [mpc.reveal(t) for t in (total, middle, up, down)]


@few
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(2, 9), (5, 8), (7, 3), (10, 4)]),
    st.sampled_from([64, 30]),
)
def test_networks_and_pairs_order_as_numpy_does(
    cluster: LocalCluster, seed: int, shape: tuple[int, int], bits: int
) -> None:
    g = np.random.default_rng(seed)
    x = g.integers(-3, 4, shape) * g.choice([2.0**-20, 0.5, 1.0, 60.0 if bits < 64 else 1e9], shape)
    n, want = shape[0], np.sort(x, 0)
    low, high = n // 4, n - n // 4
    for by in ("pairs", "exchange", FAR):
        total, middle, up, down = cluster.run(ordered, cluster.share(x), low, high, bits, by)
        assert np.array_equal(total, want[low:high].sum(0)), by
        assert np.abs(middle - np.median(x, 0)).max() <= 2.0**-20
        assert np.array_equal(up, want) and np.array_equal(down, want[::-1])


def test_an_unknown_method_is_misuse(cluster: LocalCluster) -> None:
    with pytest.raises(Misuse, match="NetworkModel"):
        cluster.run(
            lambda mpc: ops.sum_of_ranks_between(
                mpc.public_tensor(np.ones((4, 2))), 1, 3, by="quick"
            )
        )


# ---------------------------------------------------------------------- the choice


def total(mpc: Session, x: Any, bits: int, by: By) -> None:
    ops.sum_of_ranks_between(x, 2, 8, bits=bits, by=by)


@pytest.mark.parametrize("protocol", list(SECURE))
@pytest.mark.parametrize("bits", [64, 32])
def test_estimates_are_near_what_is_measured(protocol: str, bits: int) -> None:
    made, entries = SECURE[protocol](), 512
    guess = estimates(made.declared_costs, 10, entries, low=2, high=8, bits=bits)
    with LocalCluster(made, deadline_s=60) as c:
        for method, estimate in guess.items():
            c.run(total, c.share(np.zeros((10, entries))), bits, method)
            checks = sum(c.last_cost.bytes_sent(label=label) for label in CHECK_LABELS)
            sent = 8 * (c.last_cost.bytes_sent() - checks)
            assert 0.95 < (estimate.bits_offline + estimate.bits_online) / sent < 1.1, method
            rounds = c.last_cost.rounds[
                Phase.ONLINE
            ]  # operations overlap a little, estimates do not know
            assert rounds <= estimate.rounds <= 1.25 * rounds + 4, method


def test_latency_favours_pairs_and_bandwidth_favours_the_network() -> None:
    def chosen(network: NetworkModel, entries: int, n: int = 10, make: Any = Replicated3PC) -> str:
        protocol = make()
        parties = len(protocol.sharing.evaluators)
        limits = {"low": n // 5, "high": n - n // 5}
        return choose(protocol.declared_costs, parties, network, n, entries, bits=64, **limits)

    assert chosen(FAR, 100) == chosen(FAR, 61_706) == "pairs"
    assert chosen(NetworkModel(0.0001, 1e9), 61_706) == "exchange"
    assert chosen(FAR, 61_706, make=Additive2PC) == "exchange"
    assert chosen(FAR, 61_706, n=100) == "exchange"
    assert (
        chosen(NetworkModel(0.0), 61_706) == chosen(FAR, 5, make=Plain) == "exchange"
    )  # both take no time
    assert choose({}, 3, NetworkModel(0.0001, 1e9), 10, 61_706, low=2, high=8, bits=64) == "pairs"
