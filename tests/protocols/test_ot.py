"""2PC without a helper: base OT, extension, correlated OT, products of any kind, costs, failures,
whole programs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import Additive2PC, Additive2PCOT, Replicated3PC, Tetrad4PC
from backends.correlated import base_ot, softspoken
from backends.correlated.ot import Take, _hash, _permutation, _permute
from helpers import EDGES, Wiretap, apply_open, opened, rng, words
from reshare import reshare
from server_programs import relu_of_product
from wwfl.nn import SGD, Network, mlp, trace, train
from wwfl_core import LocalCluster, MPCBackend, Phase, Session, SharedTensor
from wwfl_core.channel.frames import Frame
from wwfl_core.errors import Misuse, ProtocolError
from wwfl_core.kernels import pack
from wwfl_core.numbers.algebra import BITS, RING
from wwfl_core.numbers.arrays import Array, Shape
from wwfl_core.numbers.bilinear import Bilinear, Conv2d, DirectSum, MatMul, Mul
from wwfl_core.numbers.linear import SumPool2d
from wwfl_core.testing import conformance

P = 2**255 - 19
ORDER = (
    2**252 + 27742317777372353535851937790883648493
)  # of the subgroup that the base point generates


@pytest.fixture(scope="module")
def c() -> Iterator[LocalCluster]:
    with LocalCluster(Additive2PCOT(), deadline_s=60) as started:
        yield started


# ---------------------------------------------------------------------- base OT


def _ladder(k: int, u: int) -> tuple[int, int]:
    """k (u : 1) as projective (x, z): RFC 7748's ladder without clamping, so that any scalar can be
    used."""
    x2, z2, x3, z3 = 1, 0, u, 1
    for bit in map(int, bin(k)[2:]):
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, m, n = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, n * a % P, m * b % P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, u * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return x2, z2


def run_base_ot(mpc: Session) -> Any:
    """Party 0 receives, party 1 sends."""
    op = mpc.party.op("base")
    if mpc.me == 0:
        choices = np.unpackbits(op.random([0], "ch", BITS, (base_ot.COUNT // 8,)))
        chooser = base_ot.choose(op, choices)
        op.send(1, chooser.public, Phase.OFFLINE)
        keys = base_ot.finish(op, chooser, op.recv(1, np.uint8, (32,), Phase.OFFLINE))
        return choices, chooser.public, keys
    public = op.recv(0, np.uint8, base_ot.PUBLIC_SHAPE, Phase.OFFLINE)
    point, keys = base_ot.answer(op, public)
    op.send(0, point, Phase.OFFLINE)
    return keys


def values_of(c: LocalCluster, fn: Callable[..., Any], *args: Any) -> list[Any]:
    """What every party returned."""
    outcomes = c.submit(fn, *args).outcomes()
    assert all(o.error is None for o in outcomes), [o.error for o in outcomes]
    return [o.value for o in outcomes]


@pytest.fixture(scope="module")
def transfers(c: LocalCluster) -> tuple[Any, Any]:
    received, sent = values_of(c, run_base_ot)
    return received, sent


def test_the_receiver_learns_the_chosen_key_and_not_the_other(transfers: tuple[Any, Any]) -> None:
    (choices, _, keys), sent = transfers
    assert 0 < choices.sum() < base_ot.COUNT
    rows = np.arange(base_ot.COUNT)
    assert np.array_equal(keys, sent[rows, choices])
    assert not (keys == sent[rows, 1 - choices]).all(axis=1).any()
    assert len({k.tobytes() for k in sent.reshape(-1, 32)}) == 2 * base_ot.COUNT


def test_both_public_keys_lie_on_the_curve_and_in_its_prime_order_subgroup(
    transfers: tuple[Any, Any],
) -> None:
    (_, public, _), _ = transfers
    for pk in public[:16].reshape(-1, 32):
        assert base_ot.is_on_curve(pk.tobytes())
        assert _ladder(ORDER, int.from_bytes(pk.tobytes(), "little"))[1] == 0


def test_a_random_coordinate_is_on_the_curve_half_of_the_time_and_the_ladder_tells() -> None:
    g = rng()
    seen = [base_ot.is_on_curve(g.bytes(32)) for _ in range(400)]
    assert 140 < sum(seen) < 260
    twist = next(u for u in range(2, 99) if not base_ot.is_on_curve(u.to_bytes(32, "little")))
    assert _ladder(8 * ORDER, 9)[1] == 0 != _ladder(8 * ORDER, twist)[1]


def test_a_point_of_small_order_is_refused() -> None:
    with pytest.raises(ProtocolError, match="small order"):
        base_ot._times(base_ot._scalar(np.ones(32, np.uint8)), bytes(32))


# ---------------------------------------------------------------------- extension and hash


def session_of(mpc: Any) -> Any:
    return mpc.protocol.supply._ot


def rows_of(mpc: Session, choices: Array, n: int) -> Any:
    """Rows of the extension: party 0 has choice bits, party 1 delta."""
    session = session_of(mpc)._ready()
    op = mpc.party.op("rows")
    if mpc.me == 0:
        return session.receiver.extend(op, 1, choices, n)
    return session.sender.extend(op, 0, n), session.sender.delta


@settings(max_examples=15, deadline=None)
@given(
    n=st.one_of(st.integers(1, 400), st.sampled_from([8, 64, 127, 128, 129, 4096])),
    seed=st.integers(0, 2**32),
)
def test_rows_differ_by_delta_exactly_where_the_choice_bit_is_1(
    c: LocalCluster, n: int, seed: int
) -> None:
    r = np.random.default_rng(seed).integers(0, 2, n, np.uint64)
    t, (q, delta) = values_of(c, rows_of, pack(r), n)
    assert t.shape == q.shape == (n, 2) and delta.any()
    assert np.array_equal(q ^ t, r[:, None] * delta)


def test_the_rows_of_a_batch_are_distinct_and_no_batch_repeats_another(c: LocalCluster) -> None:
    none = np.zeros(128, np.uint8)
    first, second = (values_of(c, rows_of, none, 1024)[0] for _ in range(2))
    assert len({row.tobytes() for row in np.concatenate([first, second])}) == 2048


def test_the_missing_leaf_is_the_only_one_that_the_sender_lacks() -> None:
    g = rng()
    delta = g.integers(0, 2, 128, np.uint8)
    keys = g.integers(0, 256, softspoken.SUMS_SHAPE, np.uint8)
    receiver, sums = softspoken.Receiver.plant(
        g.integers(0, 256, (softspoken.BLOCKS, 32), np.uint8), keys
    )
    chosen = keys[np.arange(128), softspoken.base_choices(delta)]
    sender = softspoken.Sender.harvest(delta, chosen, sums)
    for b, (all_, some) in enumerate(zip(receiver._leaves, sender._leaves, strict=True)):
        missing = set(range(softspoken.LEAVES)) - set(some)
        assert missing == {
            int(delta[b * softspoken.K : (b + 1) * softspoken.K] @ (1 << np.arange(softspoken.K)))
        }
        assert all(all_[x]._keyed.key == prg._keyed.key for x, prg in some.items())


def test_the_hash_is_the_tmmo_construction_with_tweaks_that_differ() -> None:
    g = rng()
    pi = _permutation(g.integers(0, 256, 64, np.uint8), g.integers(0, 256, 32, np.uint8))
    rows = words(g, 5, 2)
    got = _hash(pi, 7, rows, 4)
    for j, row in enumerate(rows):
        inner = _permute(pi, row[None])[0]
        for block in range(2):
            tweak = np.array([7, (j << 32) | block], np.uint64)
            assert np.array_equal(
                got[j, 2 * block : 2 * block + 2], _permute(pi, (inner ^ tweak)[None])[0] ^ inner
            )
    same = np.zeros(
        (20_000, 2), np.uint64
    )  # many pieces, equal rows: only tweaks tell the pads apart
    assert len(np.unique(_hash(pi, 7, same, 2)[:, 0])) == 20_000
    assert not np.array_equal(_hash(pi, 7, rows, 1), _hash(pi, 8, rows, 1))
    assert np.array_equal(_hash(pi, 7, rows, 3), got[:, :3])


# ---------------------------------------------------------------------- correlated OT


def transfer(
    mpc: Session, rows: int, choices: Array, length: int, vectors: Array, widths: Any
) -> Any:
    """Party 0 takes, party 1 gives."""
    ot = session_of(mpc)
    if mpc.me == 0:
        return ot.multiply(rows, Take(choices, length), None, widths)[0]
    return ot.multiply(rows, None, vectors, widths)[1]


@pytest.mark.parametrize("width", [1, 7, 20, 63, 64])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_bit_times_a_vector_is_shared_modulo_the_payload_width(
    c: LocalCluster, width: int, length: int
) -> None:
    g = rng()
    r, v = g.integers(0, 2, 37, np.uint64), words(g, 37, length)
    v[: len(EDGES), 0] = EDGES
    a, b = values_of(c, transfer, 37, pack(r), length, v, (width,))
    low = np.uint64((1 << width) - 1)
    assert np.array_equal((a + b) & low, (r[:, None] * v) & low)


def test_a_word_times_a_vector_is_right_at_the_edges_of_the_ring(c: LocalCluster) -> None:
    u = np.repeat(EDGES, len(EDGES))
    v = np.tile(EDGES, len(EDGES))[:, None]
    a, b = values_of(c, transfer, len(u), u.view(np.uint8), 1, v, tuple(64 - i for i in range(64)))
    assert np.array_equal(a + b, u[:, None] * v)


# ---------------------------------------------------------------------- products


class Twisted(Bilinear):
    """A map that the protocol has never heard of: z_i = x_i y_{i+1} - 3 x_{i+1} y_i, cyclically."""

    name = "twisted"

    def shape(self, x: Shape, y: Shape) -> Shape:
        return x

    def apply(self, algebra: Any, pairs: Any) -> Array:
        return sum(
            (x * np.roll(y, -1) - np.uint64(3) * np.roll(x, -1) * y for x, y in pairs), np.uint64(0)
        )

    def grad_x(self, x: Shape, y: Shape) -> Bilinear:
        raise NotImplementedError

    grad_y = grad_x


CONV = Conv2d(stride=2, padding=1)
KINDS: dict[str, tuple[Bilinear, Shape, Shape]] = {
    "mul": (Mul(), (11,), (11,)),
    "broadcast": (Mul(), (3, 1, 4), (2, 1)),
    "scalar": (Mul(), (), (5,)),
    "matmul": (MatMul(), (3, 5), (5, 2)),
    "matmul, wide": (MatMul(), (2, 5), (5, 7)),
    "matmul, transposed": (MatMul(True, True), (5, 3), (2, 5)),
    "conv": (CONV, (2, 2, 5, 4), (3, 2, 3, 2)),
    "pooled conv": (Conv2d(padding=1).then(SumPool2d(2)), (1, 2, 4, 5), (2, 2, 3, 3)),
    "direct sum": (DirectSum((Mul(), MatMul()), ((3,), (2, 2)), ((3,), (2, 4))), (7,), (11,)),
}
CASES = {
    f"{name}{suffix}": case
    for name, (f, x, y) in KINDS.items()
    for suffix, case in {
        "": (f, x, y),
        ", dx": (f.grad_x(x, y), f.shape(x, y), y),
        ", dy": (f.grad_y(x, y), x, f.shape(x, y)),
    }.items()
} | {"of unknown structure": (Twisted(), (4,), (4,))}


@pytest.mark.parametrize("case", CASES)
def test_every_bilinear_map_equals_numpy_modulo_2_64(c: LocalCluster, case: str) -> None:
    f, sx, sy = CASES[case]
    g = rng()
    x, y = words(g, *sx), words(g, *sy)
    got = c.run(apply_open, f, c.share_ring(x, 0), c.share_ring(y, 0))
    assert got.shape == f.shape(sx, sy)
    assert np.array_equal(got, f.apply(RING, [(x, y)]))


@pytest.mark.parametrize(
    "shapes", [((70, 60), (60, 40)), ((3, 1), (1, 40_000)), ((9000,), (9000,))]
)
def test_products_of_many_batches_are_right(c: LocalCluster, shapes: tuple[Shape, Shape]) -> None:
    g = rng()
    f: Bilinear = MatMul() if len(shapes[0]) == 2 else Mul()
    x, y = words(g, *shapes[0]), words(g, *shapes[1])
    got = c.run(apply_open, f, c.share_ring(x, 0), c.share_ring(y, 0))
    assert np.array_equal(got, f.apply(RING, [(x, y)]))


# ---------------------------------------------------------------------- costs and conformance


BOUNDED = ("declared", "product", "sign", "inject")
"""A product, conjunctions and bits times words: the other operations are made of these. (The
recorded vectors hold the bytes and rounds of all.)"""


@pytest.mark.parametrize(
    "only",
    [
        *(f"cost/{name}" for name in BOUNDED),
        pytest.param("cost/", marks=pytest.mark.slow),
    ],
)
def test_operations_cost_what_is_documented(only: str) -> None:
    report = conformance(Additive2PCOT, only=only)
    assert report.ok, str(report)
    measured = {v.name for v in report.verdicts if v.passed}
    documented = {"cost/declared", *(f"cost/{name}" for name in Additive2PCOT.declared_costs)}
    assert measured >= {name for name in documented if name.startswith(only)}


SLOW = [pytest.param(only, marks=pytest.mark.slow) for only in ("views/", "streams")]


@pytest.mark.parametrize("only", ["table/", "correctness/", "ledger", "failure/", *SLOW])
def test_the_protocol_conforms(only: str) -> None:
    report = conformance(Additive2PCOT, only=only)
    assert report.ok, str(report)


# ---------------------------------------------------------------------- set-up and failures


class Stop(RuntimeError):
    """A party's death, on purpose."""


def ot_messages(tap: Wiretap) -> list[str]:
    return [frame.tag.name for _, _, _, frame in tap.frames if frame.tag.name.startswith("ot.base")]


def test_the_base_transfers_run_once_per_cluster(c: LocalCluster) -> None:
    with LocalCluster(Additive2PCOT(), deadline_s=30) as fresh:
        fresh.memory.tamper = tap = Wiretap()
        a = fresh.share(np.ones(3))
        for _ in range(3):
            fresh.run(apply_open, Mul(), a, a)
        assert len(ot_messages(tap)) == 4


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("at", [0, 1])
def test_a_party_that_dies_in_the_base_transfers_leaves_nothing_half_done(
    victim: int, at: int
) -> None:
    """After its death in either message, the next run starts over, at both parties, and is
    right."""
    x = np.arange(1, 5, dtype=np.uint64)
    with LocalCluster(Additive2PCOT(), deadline_s=5) as fresh:
        seen: list[int] = []

        def die(sender: int, i: int, frame: Frame) -> Frame | None:
            if frame.tag.name == "ot.base" and sender == victim:
                seen.append(i)
                if len(seen) == at + 1:
                    raise Stop("killed on purpose")
            return frame

        fresh.memory.tamper = Wiretap(die)
        a = fresh.share_ring(x, 0)
        outcomes = fresh.submit(apply_open, Mul(), a, a).outcomes()
        assert isinstance(outcomes[victim].error, Stop)
        assert (
            isinstance(outcomes[1 - victim].error, ProtocolError)
            or outcomes[1 - victim].error is None
        )
        fresh.memory.tamper = tap = Wiretap()
        a = fresh.share_ring(x, 0)
        assert np.array_equal(fresh.run(apply_open, Mul(), a, a), x * x)
        assert len(ot_messages(tap)) == 4


def forget_set_up(mpc: Session, who: int) -> None:
    if mpc.me == who:
        ot = session_of(mpc)
        ot._session, ot._serial = None, 0


@pytest.mark.parametrize("who", [0, 1])
def test_parties_that_disagree_about_the_set_up_start_over_together(who: int) -> None:
    x = np.arange(1, 5, dtype=np.uint64)
    with LocalCluster(Additive2PCOT(), deadline_s=30) as fresh:
        a = fresh.share_ring(x, 0)
        fresh.run(apply_open, Mul(), a, a)
        fresh.run(forget_set_up, who)
        b = fresh.share_ring(x, 0)
        fresh.memory.tamper = tap = Wiretap()
        assert np.array_equal(fresh.run(apply_open, Mul(), b, b), x * x)
        assert len(ot_messages(tap)) == 4


# ---------------------------------------------------------------------- the protocol as a whole


def test_without_a_helper_there_are_two_parties_under_another_name() -> None:
    made = Additive2PCOT(frac_bits=16)
    assert type(made) is Additive2PCOT and made.format.frac_bits == 16
    assert (made.name, made.sharing.parties, made.sharing.evaluators) == ("2pc-ot", 2, (0, 1))
    assert type(copy.copy(made)) is Additive2PCOT
    assert type(Additive2PC()) is Additive2PC and Additive2PC().sharing.parties == 3
    with pytest.raises(Misuse, match=r"two parties without one are Additive2PCOT\(\)"):
        Additive2PC(helper=False)
    with pytest.warns(DeprecationWarning, match=r"is Additive2PC\(\)"):
        assert type(Additive2PC(helper=True, frac_bits=16)) is Additive2PC


@pytest.mark.parametrize("other", [Replicated3PC, Tetrad4PC])
def test_values_travel_to_and_from_other_sharings_exactly(
    c: LocalCluster, other: type[MPCBackend]
) -> None:
    x = words(rng(), 6)
    with LocalCluster(other(), deadline_s=60) as there:
        away = reshare(c.share_ring(x, 0), there)
        assert np.array_equal(there.run(opened, away), x)
        assert np.array_equal(c.run(opened, reshare(away, c)), x)


def test_server_processes_compute_the_same() -> None:
    x, y = np.linspace(-3, 3, 12), np.linspace(2, -5, 12)
    with LocalCluster(Additive2PCOT(), processes=True, deadline_s=60) as remote:
        got = remote.run(relu_of_product, remote.share(x), remote.share(y))
    assert np.abs(got - np.maximum(x * y, 0)).max() < 2.0**-17


def sgd_steps(
    mpc: Session, layers: Any, params: Any, x: SharedTensor, y: SharedTensor, batches: Any
) -> Any:
    return train(mpc, Network(layers), params, x, y, batches, SGD(0.1))[0]


def test_two_training_steps_follow_pytorch() -> None:
    g = np.random.default_rng(3)
    x, y = g.normal(size=(8, 12)), g.integers(0, 3, 8)
    model = mlp(12, [6], 3, seed=4).double()
    layers, initial = trace(model)
    batches = [[0, 1, 2, 3], [4, 5, 6, 7]]
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for rows in batches:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(
            model(torch.tensor(x[rows])), torch.tensor(y[rows])
        ).backward()
        optimiser.step()
    with LocalCluster(Additive2PCOT(), name="train-ot", deadline_s=60, insecure_seed=1) as made:
        params = {k: made.share(v) for k, v in initial.items()}
        found = made.run(
            sgd_steps, layers, params, made.share(x), made.share(np.eye(3)[y]), batches
        )
        for key, p in model.named_parameters():
            assert np.abs(made.reveal(found[key]) - p.detach().numpy()).max() < 1e-4, key


def ands(mpc: Session, x: SharedTensor, y: SharedTensor) -> Any:
    return mpc.reveal(x.negative() & y.negative())


def test_bits_are_multiplied_over_gf2(c: LocalCluster) -> None:
    x = np.array([-1.0, -1.0, 1.0, 1.0, -2.0])
    y = np.array([-1.0, 1.0, -1.0, 1.0, -2.0])
    got = c.run(ands, c.share(x), c.share(y))
    assert np.array_equal(got, (x < 0) & (y < 0))
