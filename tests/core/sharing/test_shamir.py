"""Shamir on MPyC: right results, exactly counted messages, uniform openings, and failures that all
parties learn of."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backends import Replicated3PC
from backends.foreign.engine import EngineFailed
from backends.foreign.mpyc_field import WireFormat, inverse_roots
from backends.shamir import Shamir
from helpers import TESTS
from reshare import reshare
from server_programs import square
from wwfl.nn import SGD, Network, mlp, trace, train
from wwfl_core import LocalCluster, Session
from wwfl_core.channel.cost import Phase
from wwfl_core.errors import ConfigError, Misuse, ProtocolError
from wwfl_core.numbers.algebra import RING
from wwfl_core.numbers.arrays import to_wire
from wwfl_core.numbers.bilinear import Conv2d, MatMul, Mul
from wwfl_core.numbers.field import MERSENNE_127 as P
from wwfl_core.sharing.points import lagrange
from wwfl_core.sharing.share import Share
from wwfl_core.tensors.tensor import SharedTensor

if find_spec("mpyc") is None:  # not importorskip: importing MPyC parses the arguments of pytest
    pytest.skip("MPyC is not installed (pip install mpyc==0.11)", allow_module_level=True)

EDGES = np.array(
    [0, 1, -1, 2**61, -(2**61), 2**62 - 1, -(2**62) + 1, 2**63 - 1, -(2**63) + 1, 12345678],
    np.int64,
)
FRAMES = {3: 6, 5: 20}  # directed links


@pytest.fixture(scope="module", params=[3, 5])
def c(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    with LocalCluster(
        Shamir(request.param), deadline_s=60, name=f"shamir{request.param}", insecure_seed=7
    ) as cluster:
        cluster.run(warm)
        yield cluster


def warm(mpc: Session) -> None:
    """Starts the engines."""
    one = mpc.protocol.public(np.ones(1, np.uint64))
    mpc.protocol.bilinear(Mul(), one, one)


def integers(mpc: Session, values: Any, owner: int = 0) -> Share:
    words = np.asarray(values, np.int64).view(np.uint64)
    return mpc.protocol.deal(
        mpc.protocol.numbers.from_words(words) if mpc.me == owner else None, [owner], words.shape
    )


def compute(mpc: Session, x: Share, what: str, *args: Any) -> Share:
    return getattr(mpc.protocol, what)(x, *args)


def stored(mpc: Session, values: Any) -> SharedTensor:
    return SharedTensor(mpc, integers(mpc, values), 0)


def operate(mpc: Session, x: SharedTensor, what: str, *args: Any) -> SharedTensor:
    return SharedTensor(mpc, compute(mpc, x.data, what, *args), 0)


def times(mpc: Session, f: Any, x: SharedTensor, y: SharedTensor, bits: int = 0) -> SharedTensor:
    return SharedTensor(mpc, mpc.protocol.bilinear(f, x.data, y.data, bits), 0)


def points(mpc: Session, x: SharedTensor) -> list[Any]:
    return [mpc.me, x.data.parts[mpc.me]]


def at_all(c: LocalCluster, fn: Any, *args: Any) -> list[Any]:
    outcomes = c.submit(fn, *args).outcomes()
    c.settle(outcomes)
    return [o.value for o in outcomes]


def framing(m: int, rounds: list[int]) -> int:
    """Bytes around the payload: 8 per link and round, 12 per MPyC message; `rounds` counts the
    messages of each."""
    return 8 * FRAMES[m] * len(rounds) + 12 * sum(rounds)


def spent(c: LocalCluster) -> tuple[int, int]:
    return c.last_cost.bytes_sent(), c.last_cost.rounds[Phase.ONLINE]


# ---------------------------------------------------------------------- results


def test_shares_of_a_product_are_a_fresh_polynomial_of_the_threshold(c: LocalCluster) -> None:
    x = c.run(stored, EDGES[:5])
    z = c.run(times, Mul(), x, x)
    values = [v[1] for v in at_all(c, points, z)]
    m, t = len(values), (len(values) - 1) // 2
    for chosen in (range(t + 1), range(m - t - 1, m)):
        weights = lagrange(tuple(i + 1 for i in chosen), 0, P)
        got = sum(w * values[i] for w, i in zip(weights, chosen, strict=True)) % P
        assert got.tolist() == [int(v) ** 2 % P for v in EDGES[:5]]
    again = [v[1] for v in at_all(c, points, c.run(times, Mul(), x, x))]
    assert not any(np.any(a == b) for a, b in zip(values, again, strict=True))


@pytest.mark.parametrize(
    ("f", "x", "y"),
    [
        (Mul(), (3, 1), (4,)),
        (MatMul(True), (5, 2), (5, 3)),
        (Conv2d(1, 1), (2, 2, 4, 4), (3, 2, 3, 3)),
        (Mul(), (), ()),
    ],
    ids=str,
)
def test_bilinear_maps(c: LocalCluster, f: Any, x: Any, y: Any) -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-(2**28), 2**28, s) for s in (x, y))
    want = f.apply(RING, [(a.view(np.uint64), b.view(np.uint64))]).view(np.int64)
    sa, sb = c.run(stored, a), c.run(stored, b)
    assert np.array_equal(c.reveal(c.run(times, f, sa, sb)), want)
    error = c.reveal(c.run(times, f, sa, sb, 20)) - (want >> 20)
    assert np.all((error == 0) | (error == 1))


@pytest.mark.parametrize("bits", [1, 20, 44])
def test_truncation_rounds_to_a_neighbour(c: LocalCluster, bits: int) -> None:
    got = c.reveal(c.run(operate, c.run(stored, EDGES), "truncate", bits))
    assert np.all((got - (EDGES >> bits) == 0) | (got - (EDGES >> bits) == 1))


def test_truncation_is_unbiased(c: LocalCluster) -> None:
    got = c.reveal(c.run(operate, c.run(stored, np.full(1000, -5)), "truncate", 3))
    assert set(got.tolist()) <= {-1, 0}
    assert abs(got.mean() + 5 / 8) < 0.07  # 4.5 standard deviations; seeded


@pytest.mark.parametrize("bits", [64, 20])
def test_comparisons_at_the_edges_of_the_window(c: LocalCluster, bits: int) -> None:
    top = 2 ** (bits - 1)
    x = np.array([0, 1, -1, top - 1, -top + 1, top // 2, -top // 2, 77, -77], np.int64)
    shared = c.run(stored, x)
    assert c.reveal(c.run(operate, shared, "sign", bits)).tolist() == (x < 0).astype(int).tolist()
    assert (
        c.reveal(c.run(operate, shared, "is_zero", bits)).tolist() == (x == 0).astype(int).tolist()
    )


def logic(mpc: Session, x: SharedTensor, y: SharedTensor) -> Any:
    low, high = x < y, x > 2
    return [mpc.reveal(b) for b in (low & high, low | high, low ^ high, ~low, low[1:])] + [
        mpc.reveal(low.times(y)),
        mpc.reveal(low.select(x, y)),
        mpc.reveal(x.relu()),
        mpc.reveal(x.equals(y)),
    ]


def test_bits_and_tensors_behave_as_in_every_other_protocol(c: LocalCluster) -> None:
    x, y = np.array([1.0, 3.5, -2.0, 7.0]), np.array([2.0, 9.0, -2.5, 7.0])
    low, high = x < y, x > 2
    both, any_, odd, no, rest, gated, chosen, relu, same = c.run(logic, c.share(x), c.share(y))
    for got, want in (
        (both, low & high),
        (any_, low | high),
        (odd, low ^ high),
        (no, ~low),
        (rest, low[1:]),
    ):
        assert np.array_equal(got, want)
    assert np.array_equal(gated, low * y) and np.array_equal(chosen, np.where(low, x, y))
    assert np.array_equal(relu, np.maximum(x, 0)) and np.array_equal(same, x == y)


def empty(mpc: Session) -> Any:
    none = mpc.protocol.public(np.zeros((0, 3), np.uint64))
    return [
        mpc.protocol.bilinear(Mul(), none, none, 20).shape,
        mpc.protocol.sign(none, 8).shape,
        mpc.protocol.truncate(none, 3).shape,
    ]


def test_empty_arrays_cost_nothing(c: LocalCluster) -> None:
    assert c.run(empty) == [(0, 3)] * 3
    assert spent(c) == (0, 0)


# ---------------------------------------------------------------------- costs


@pytest.mark.parametrize("n", [1, 7])
def test_costs_are_those_of_the_docstring(c: LocalCluster, n: int) -> None:
    x = c.run(stored, np.arange(n))
    m = len(c.addresses)
    links, some = (
        FRAMES[m],
        m * ((m - 1) // 2),
    )  # messages of a resharing (and of a degree 2t opening); of an opening
    c.run(times, Mul(), x, x)
    assert spent(c) == (16 * n * links + framing(m, [links]), 1)
    c.run(operate, x, "truncate", 20)
    truncation = 16 * n * (20 * links + some)
    assert spent(c) == (truncation + framing(m, [links, some]), 2)
    c.run(times, Mul(), x, x, 20)
    assert spent(c) == (truncation + 16 * n * links + framing(m, [2 * links, some]), 2)
    c.run(operate, x, "sign", 32)
    payload = 16 * n * (33 * links + some + 32 * links + links)
    assert payload == n * {3: 192 * 32 + 240, 5: 640 * 32 + 800}[m]
    assert spent(c) == (payload + framing(m, [links, some, *[links] * 6, links]), 9)
    c.run(operate, x, "is_zero", 32)
    assert spent(c) == (16 * n * (63 * links + some) + framing(m, [links, some, *[links] * 5]), 7)


# ---------------------------------------------------------------------- openings


def zero_test_points(mpc: Any) -> list[Any]:
    """MPyC's public zero test of a shared 5, many times: what every party sends in it."""
    warm(mpc)
    x = integers(mpc, np.full(40, 5))
    return [
        mpc.me,
        mpc.protocol._engine.call(
            mpc.party.op("zero"), "zero_test_points", to_wire(x.parts[mpc.me])
        ),
    ]


def test_what_a_zero_test_opens_is_not_a_product_of_polynomials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MPyC 0.11 opens a(X) r(X), whose roots with a party's own point of a(X) give it two
    candidates for a."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    for module, leaks in (("mpyc_spy", False), ("mpyc_spy_unchanged", True)):
        monkeypatch.setattr("backends.shamir.RUNTIME", module)
        with LocalCluster(Shamir(3), deadline_s=60) as c:
            values = [v[1] for v in at_all(c, zero_test_points)]
        opened = [v["opened"] for v in values]
        assert sum(_candidate(values[0]["own"][i], [o[i] for o in opened]) for i in range(40)) == (
            40 if leaks else 0
        )


def _candidate(own: int, opened: list[int]) -> bool:
    """Whether party 0's point a(1) and the opened polynomial b of degree 2 are consistent with a(0)
    = 5 and b = a r."""
    slope = (own - 5) % P
    root = -5 * pow(slope, -1, P) % P
    weights = lagrange((1, 2, 3), root, P)
    return sum(w * v for w, v in zip(weights, opened, strict=True)) % P == 0


# ---------------------------------------------------------------------- failures


def kill_engine(mpc: Any, x: SharedTensor, who: int) -> Any:
    if mpc.me == who:
        os.kill(mpc.protocol._engine._process.pid, signal.SIGKILL)
    return mpc.reveal(x * x)


def test_a_killed_engine_ends_the_run_everywhere_and_the_next_run_works() -> None:
    with LocalCluster(Shamir(3), deadline_s=30) as c:
        x = c.share(np.array([1.5, -2.0]))
        c.run(warm)
        outcomes = c.submit(kill_engine, x, 1).outcomes()
        assert isinstance(outcomes[1].error, EngineFailed)
        assert all(isinstance(o.error, ProtocolError) for o in outcomes)
        with pytest.raises(EngineFailed, match="died"):
            c.settle(outcomes)
        assert np.allclose(c.reveal(c.run(square, x)), [2.25, 4.0], atol=2**-18)


def diverge(mpc: Session) -> Any:
    x = mpc.protocol.public(np.ones(3 + (mpc.me == 2), np.uint64))
    return mpc.protocol.open(mpc.protocol.bilinear(Mul(), x, x), "test")


def test_parties_with_different_shapes_fail_together() -> None:
    with LocalCluster(Shamir(3), deadline_s=10) as c, pytest.raises(ProtocolError):
        c.run(diverge)


def test_configuration_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    for parties in (2, 16):
        with pytest.raises(Misuse, match="3 to 15 parties"):
            Shamir(parties)
    monkeypatch.setattr("backends.shamir.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install"):
        LocalCluster(Shamir(3))


def test_in_processes_over_tls() -> None:
    with LocalCluster(Shamir(3), processes=True, deadline_s=60) as c:
        x = c.share(np.array([[1.5, -2.0], [0.5, 3.0]]))
        assert np.allclose(c.reveal(c.run(square, x)), [[2.25, 4.0], [0.25, 9.0]], atol=2**-18)


def rounding(mpc: Session, x: SharedTensor) -> Any:
    return mpc.reveal(x * x)


def test_runs_under_an_insecure_seed_compute_the_same_values() -> None:
    found = []
    for seed in (1, 1):
        with LocalCluster(Shamir(3), name="same", deadline_s=60, insecure_seed=seed) as c:
            found.append(c.run(rounding, c.share(np.linspace(-3, 3, 400))).tolist())
    assert found[0] == found[1]


# ------------------------------------------------------------------- with the rest of the framework


def sgd_step(mpc: Session, layers: Any, params: Any, x: SharedTensor, one_hot: SharedTensor) -> Any:
    return train(mpc, Network(layers), params, x, one_hot, [list(range(len(x)))], SGD(0.1))[0]


def test_a_step_of_sgd_follows_pytorch_and_reshare_moves_the_model_both_ways() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(4, 6)), rng.integers(0, 3, 4)
    model = mlp(6, [5], 3, seed=2).double()
    layers, initial = trace(model)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(model(torch.tensor(x)), torch.tensor(y)).backward()
    optimiser.step()
    with (
        LocalCluster(Shamir(3), name="sgd", deadline_s=60, insecure_seed=3) as c,
        LocalCluster(Replicated3PC(), deadline_s=60) as other,
    ):
        params = {k: c.share(v) for k, v in initial.items()}
        found = c.run(sgd_step, layers, params, c.share(x), c.share(np.eye(3)[y]))
        for key, p in model.named_parameters():
            assert np.abs(c.reveal(found[key]) - p.detach().numpy()).max() < 1e-3, key
            moved = reshare(found[key], other, allow_weaker=True)
            back = reshare(moved, c, allow_weaker=True)
            assert np.array_equal(other.reveal(moved), c.reveal(found[key]))
            assert np.array_equal(c.reveal(back), c.reveal(found[key]))


PRSS = """
import sys, itertools
sys.argv = ["test", "-M5", "-I2", "--no-log"]
from mpyc import finfields, thresha
from backends.foreign import mpyc_runtime
theirs = thresha.np_pseudorandom_share, thresha.np_pseudorandom_share_0
mpyc_runtime._speed_up()
ours = thresha.np_pseudorandom_share, thresha.np_pseudorandom_share_0
for p, (m, t) in itertools.product((mpyc_runtime.P, 2**61 - 1), ((3, 1), (5, 2))):
    field = finfields.GF(p)
    for i in range(m):
        sets = [s for s in itertools.combinations(range(m), m - t) if i in s]
        prfs = {s: thresha.PRF(bytes([*s] * 6)[:16], p) for s in sets}
        for a, b in zip(theirs, ours):
            first, second = (f(field, m, i, prfs, b"x", 50).value.tolist() for f in (a, b))
            assert first == second
"""


def test_the_faster_pseudorandom_sharings_are_those_of_mpyc() -> None:
    subprocess.run([sys.executable, "-c", PRSS], check=True)


@given(
    st.lists(
        st.one_of(st.integers(1, P - 1), st.sampled_from([1, 2, P - 1, P - 2, 2**64, 2**63 - 1])),
        min_size=1,
    )
)
def test_inverse_roots(values: list[int]) -> None:
    squares = np.array([v * v % P for v in values], object)
    assert all(r * r * s % P == 1 for r, s in zip(inverse_roots(squares), squares, strict=True))


@given(st.lists(st.integers(0, P - 1)))
def test_elements_survive_the_wire_and_nothing_else_does(values: list[int]) -> None:
    assert WireFormat.loads(WireFormat.dumps(np.array(values, object))).tolist() == values
    with pytest.raises(ValueError, match="not an element"):
        WireFormat.loads((P + len(values)).to_bytes(16, "little"))
    with pytest.raises(ValueError):
        WireFormat.loads(WireFormat.dumps(np.array(values, object)) + pickle.dumps(values)[:3])
