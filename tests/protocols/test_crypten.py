"""CrypTen as a protocol: its code gives right results, at the cost that it counts itself, and its
failures are told."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from backends import Replicated3PC, Tetrad4PC
from backends.crypten import CrypTen, CrypTenLocal
from backends.foreign.engine import EngineFailed
from helpers import Wiretap, apply_open, opened, rng, share_bits, words
from reshare import reshare
from server_programs import squares
from wwfl_core import LocalCluster, Phase, Session, SharedTensor
from wwfl_core.channel.frames import Frame
from wwfl_core.errors import ConfigError, Misuse, PeerAborted, ProtocolError
from wwfl_core.kernels import expand
from wwfl_core.numbers.algebra import BITS, RING
from wwfl_core.numbers.bilinear import Bilinear, Conv2d, DirectSum, MatMul, Mul
from wwfl_core.numbers.linear import SumTo
from wwfl_core.testing.checks import NAMES

NEEDED = ("crypten", "omegaconf", "yaml")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
installed = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} not installed: make foreign"
)
WORD = 8


@pytest.fixture(scope="module")
def c() -> Iterator[LocalCluster]:
    with LocalCluster(CrypTen(), name="crypten", insecure_seed=1, deadline_s=60) as made:
        yield made


# ---------------------------------------------------------------------- products


def maps() -> Iterator[tuple[Bilinear, tuple[int, ...], tuple[int, ...]]]:
    """Maps with the shapes of their operands."""
    conv, x, y = Conv2d(2, 1), (2, 3, 7, 6), (4, 3, 3, 2)
    dz = conv.shape(x, y)
    yield from [
        (Mul(), (3, 4), (3, 4)),
        (Mul(), (3, 1), (4,)),
        (Mul(), (), (5,)),
        (Mul(), (0,), (1,)),
    ]
    yield from [(MatMul(tx, ty), (5, 5), (5, 5)) for tx in (False, True) for ty in (False, True)]
    yield from [(conv, x, y), (conv.grad_x(x, y), dz, y), (conv.grad_y(x, y), x, dz)]
    yield Mul().then(SumTo((4,))), (3, 4), (3, 4)
    yield DirectSum((Mul(), MatMul()), ((3,), (2, 4)), ((1,), (4, 5))), (11,), (21,)


@installed
@pytest.mark.parametrize(("f", "xs", "ys"), list(maps()), ids=lambda v: getattr(v, "name", str(v)))
def test_every_bilinear_map_goes_through_the_beaver_formula(
    c: LocalCluster, f: Any, xs: Any, ys: Any
) -> None:
    g = rng()
    x, y = words(g, *xs), words(g, *ys)
    got = c.run(apply_open, f, c.share_ring(x, 0), c.share_ring(y, 0))
    want = f.apply(RING, [(x, y)])
    assert got.shape == want.shape and np.array_equal(got, want)
    # Both operands are opened by both parties; the third party deals c to the first.
    reveal = 2 * want.size
    assert c.last_cost.bytes_sent(phase=Phase.ONLINE) == WORD * (2 * (x.size + y.size) + reveal)
    assert c.last_cost.bytes_sent(phase=Phase.OFFLINE) == WORD * want.size
    assert c.last_cost.rounds[Phase.ONLINE] == 2


def conjunctions(mpc: Session, x: np.ndarray, y: np.ndarray) -> list[Any]:
    a, b = share_bits(mpc, x, 0), share_bits(mpc, y, 1)
    both = mpc.protocol.bilinear_many([(Mul(), a, b), (Mul(), b, a[:1])])
    return [
        mpc.protocol.open(z, "test") for z in (*both, mpc.protocol.bilinear(Mul(), a, a), a + b)
    ]


@installed
def test_bits_are_multiplied_in_words_of_64(c: LocalCluster) -> None:
    g = rng()
    x, y = (g.integers(0, 256, (3, 21)).astype(np.uint8) for _ in range(2))
    for got, want in zip(c.run(conjunctions, x, y), (x & y, y & x[:1], x, x ^ y), strict=True):
        assert np.array_equal(got, want)
    with pytest.raises(Misuse, match="elementwise only"):
        c.run(bad_bits, x)


def bad_bits(mpc: Session, x: np.ndarray) -> None:
    a = share_bits(mpc, x, 0)
    mpc.protocol.bilinear(MatMul(False, True), a, a)


# ---------------------------------------------------------------------- truncation


def cut(mpc: Any, x: SharedTensor, bits: int, local: bool) -> Any:
    mpc.protocol.local_truncation = local
    try:
        return mpc.protocol.open(mpc.protocol.truncate(x.data, bits), "test")
    finally:
        del mpc.protocol.local_truncation


@installed
@pytest.mark.parametrize("bits", [1, 13, 20, 40])
def test_exact_truncation_gives_a_neighbour_for_every_value_below_2_to_the_62(
    c: LocalCluster, bits: int
) -> None:
    x = words(rng(), 20_000).view(np.int64) >> np.int64(2)
    up = c.run(cut, c.share_ring(x.view(np.uint64), 0), bits, False).view(np.int64) - (
        x >> np.int64(bits)
    )
    assert set(np.unique(up)) == {0, 1}


@installed
def test_local_truncation_sends_nothing_and_fails_as_often_and_as_far_as_its_caveat_says(
    c: LocalCluster,
) -> None:
    n, bits = 40_000, 20
    for x, rate in (
        (np.full(n, 1 << 60, np.int64), 1 / 16),
        (np.full(n, 12345 << 20, np.int64), 0.0),
    ):
        up = c.run(cut, c.share_ring(x.view(np.uint64), 0), bits, True).view(np.int64) - (
            x >> np.int64(bits)
        )
        assert c.last_cost.bytes_sent() == 2 * x.nbytes  # the opening
        wrong = ~np.isin(up, (-1, 0, 1))
        assert abs(wrong.mean() - rate) <= 5 * np.sqrt(rate / n)
        assert np.isin(up[wrong] + (1 << (64 - bits)), (-1, 0, 1)).all()


def test_defects_are_declared_by_the_names_of_the_kits_checks() -> None:
    assert CrypTenLocal.local_truncation and not CrypTen.local_truncation
    assert set(CrypTen.known_defects) < set(CrypTenLocal.known_defects) < set(NAMES)
    assert all("CrypTen" in reason for reason in CrypTenLocal.known_defects.values())


# ---------------------------------------------------------------------- comparison and conversion


def compared(mpc: Session, x: SharedTensor, bits: int) -> list[Any]:
    s = mpc.protocol.sign(x.data, bits)
    results = (
        s,
        mpc.protocol.is_zero(x.data, bits),
        mpc.protocol.bit_to_ring(s, x.shape),
        mpc.protocol.inject(s, x.data),
    )
    return [mpc.protocol.open(r, "test") for r in results]


@installed
@pytest.mark.parametrize("bits", [2, 17, 32, 64])
@pytest.mark.parametrize("shape", [(), (1,), (5, 13)])
def test_comparisons_and_conversions_are_exact_in_every_window(
    c: LocalCluster, bits: int, shape: Any
) -> None:
    half = 1 << (bits - 1)
    edges = np.array([0, 1, -1, half - 1, -half, 0], np.int64 if bits == 64 else object).astype(
        np.int64
    )
    x = np.resize(
        np.concatenate([edges, words(rng(), 59).view(np.int64) >> np.int64(64 - bits)]), shape
    )
    ring = np.ascontiguousarray(x).view(np.uint64).reshape(shape)
    s, z, b, product = c.run(compared, c.share_ring(ring, 0), bits)
    n = x.size
    assert np.array_equal(expand(s, n).reshape(shape), x < 0)
    assert np.array_equal(expand(z, n).reshape(shape), x == 0)
    assert np.array_equal(b, (x < 0).astype(np.uint64))
    assert np.array_equal(product, (x < 0) * ring)


def zeros_to_ring(mpc: Session, n: int) -> None:
    mpc.protocol.bit_to_ring(share_bits(mpc, np.zeros(n // 8, np.uint8), 0), (n,))


@installed
def test_opened_bits_are_words_of_one_uniform_bit(c: LocalCluster) -> None:
    """The declared defect of views/uniform: nothing but constant zeros beside a masked bit."""
    n = 8000
    c.memory.tamper = tap = Wiretap()
    try:
        c.run(zeros_to_ring, n)
    finally:
        c.memory.tamper = None
    bits = [
        f.payload
        for _, _, _, f in tap.frames
        if f.tag.phase is Phase.ONLINE and f.tag.name == "bit_to_ring"
    ]
    assert len(bits) == 2
    for payload in bits:
        assert set(np.unique(payload)) == {0, 1}
        assert abs(payload.mean() - 0.5) < 5 * 0.5 / np.sqrt(n)


def relu_and_product(mpc: Session, x: SharedTensor, y: SharedTensor) -> list[Any]:
    return [mpc.reveal(v) for v in (x.relu(), x * y, x @ y.T, x.softmax())]


@installed
def test_tensors_compute_what_numpy_does(c: LocalCluster) -> None:
    g = np.random.default_rng(2)
    x, y = g.normal(size=(6, 9)), g.normal(size=(6, 9))
    e = np.exp(x - x.max(1, keepdims=True))
    got = c.run(relu_and_product, c.share(x), c.share(y))
    for a, b in zip(
        got, (np.maximum(x, 0), x * y, x @ y.T, e / e.sum(1, keepdims=True)), strict=True
    ):
        assert np.abs(a - b).max() < 5e-5


# ---------------------------------------------------------------------- cost


def counting(mpc: Any, operation: str, x: SharedTensor) -> tuple[int, int]:
    """What CrypTen's counters say about an operation at this party: (rounds, bytes sent and
    received)."""
    counted = lambda: mpc.protocol.engine.call(mpc.party.op("counted"), "counted")  # noqa: E731
    before = counted()
    if operation == "sign":
        mpc.protocol.sign(x.data)
    elif operation == "product":
        mpc.protocol.bilinear(Mul(), x.data, x.data)
    else:
        mpc.protocol.bit_to_ring(
            mpc.protocol.public(np.zeros(x.size // 8, np.uint8), BITS), x.shape
        )
    after = counted()
    return after["rounds"] - before["rounds"], after["bytes"] - before["bytes"]


@installed
@pytest.mark.parametrize(
    ("operation", "offline", "online", "rounds"),
    [("product", 1, 4, 1), ("sign", 13, 52, 7), ("bit_to_ring", 1, 2, 1)],
)
def test_our_channels_carry_what_crypten_counts(
    c: LocalCluster, operation: str, offline: int, online: int, rounds: int
) -> None:
    """Words per element. CrypTen's counters have every message at both ends; the second party's
    collectives are its rounds (the first one's include what it gets from the third party)."""
    n = 1000
    outcomes = c.submit(counting, operation, c.share_ring(np.zeros(n, np.uint64), 0)).outcomes()
    c.settle(outcomes)
    seen = [outcome.value for outcome in outcomes]
    assert c.last_cost.bytes_sent(phase=Phase.OFFLINE) == WORD * offline * n
    assert c.last_cost.bytes_sent(phase=Phase.ONLINE) == WORD * online * n
    assert c.last_cost.rounds[Phase.ONLINE] == rounds == seen[1][0]
    assert sum(size for _, size in seen) == 2 * c.last_cost.bytes_sent()


# ---------------------------------------------------------------------- with others, and alone


@installed
def test_values_move_from_3pc_through_crypten_to_4pc(c: LocalCluster) -> None:
    x = words(rng(), 5, 3)
    with LocalCluster(Replicated3PC(), name="a") as a, LocalCluster(Tetrad4PC(), name="b") as b:
        there = reshare(a.share_ring(x, 20), c)
        assert np.array_equal(c.run(apply_open, Mul(), there, there), x * x)
        assert np.array_equal(b.run(opened, reshare(there, b)), x)


@installed
def test_processes_give_the_results_and_costs_of_threads(c: LocalCluster) -> None:
    x = np.linspace(-2, 2, 50)
    values = c.run(squares, c.share(x))
    links = {(k.sender, k.receiver, k.phase, k.label): v for k, v in c.last_cost.links.items()}
    with LocalCluster(
        CrypTen(), name="crypten", processes=True, insecure_seed=1, deadline_s=60
    ) as made:
        again = made.run(squares, made.share(x))
        assert {
            (k.sender, k.receiver, k.phase, k.label): v for k, v in made.last_cost.links.items()
        } == links
        assert made.last_cost.rounds == c.last_cost.rounds
    assert np.abs(values[0] - again[0]).max() <= 2**-20 and np.array_equal(values[1], again[1])


# ---------------------------------------------------------------------- failures


@installed
@pytest.mark.parametrize(
    "victim",
    [1, pytest.param(2, id="dealer", marks=pytest.mark.slow)],  # each time, three children start
)
def test_a_child_that_dies_in_a_comparison_ends_the_run_everywhere_and_the_next_one_works(
    c: LocalCluster, victim: int
) -> None:
    x = c.share(np.resize([-1.0, 2.0], 40_000))  # more than the pipes to the children hold
    engine: Any = c.workers[victim]._server.mpc.protocol.engine  # type: ignore[attr-defined]
    sent = itertools.count()

    def kill(sender: str, receiver: str, frame: Frame) -> Frame | None:
        if sender.endswith(f"/{victim}") and frame.tag.name == "sign" and next(sent) == 2:
            engine._process.kill()
        return frame

    c.memory.tamper = kill
    try:
        outcomes = c.submit(squares, x).outcomes()
        with pytest.raises(EngineFailed, match=rf"at party {victim} died in sign: exit code -9"):
            c.settle(outcomes)
    finally:
        c.memory.tamper = None
    for party, outcome in enumerate(outcomes):
        assert isinstance(
            outcome.error, EngineFailed if party == victim else PeerAborted | type(None)
        ), party
        assert (
            outcome.error is not None or party == 2
        )  # the third party deals ahead and may be through
    assert isinstance(next(o.error for o in outcomes if o.error), ProtocolError)
    assert np.allclose(c.run(squares, x)[0][:2], [1, 4], atol=1e-5)


def test_a_missing_installation_is_a_configuration_error_with_the_line_that_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "backends.crypten.find_spec", lambda name: None if name == "crypten" else object()
    )
    with pytest.raises(ConfigError, match=r"crypten not installed; .*--no-deps crypten==0\.4\.1"):
        CrypTen()
