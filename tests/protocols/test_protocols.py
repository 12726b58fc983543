"""Every protocol computes what NumPy computes, modulo 2^64, and all holders of a component hold the
same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import (
    EDGES,
    EVERY,
    SECURE,
    bits_of,
    cluster,
    local_parts,
    opened,
    rng,
    share_bits,
    share_words,
    signed,
    words,
)
from wwfl_core import (
    Bilinear,
    Conv2d,
    LocalCluster,
    MatMul,
    MPCBackend,
    Mul,
    Session,
    SharedTensor,
    kernels,
)
from wwfl_core.numbers.algebra import RING
from wwfl_core.sharing.share import Share

FEW = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module", params=EVERY)
def c(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    with cluster(request.param) as started:
        yield started


def on_ring(c: LocalCluster, fn: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """fn(mpc, *tensors) on ring elements that a client shared."""
    return c.run(fn, *[c.share_ring(a, 0) for a in arrays])


def unpack(packed: np.ndarray, n: int) -> np.ndarray:
    return kernels.expand(packed, n).astype(bool)


# ---------------------------------------------------------------------- sharing


def test_share_then_reveal_is_the_identity_at_the_edges_of_the_ring(c: LocalCluster) -> None:
    g = rng()
    for ring in (EDGES, words(g, 5, 3), words(g, 0), words(g), words(g, 2, 0, 3)):
        got = on_ring(c, opened, ring)
        assert got.dtype == np.uint64 and got.shape == ring.shape and (got == ring).all()


def deal_and_open(
    mpc: Session, ring: np.ndarray, packed: np.ndarray, owner: int
) -> tuple[Any, Any]:
    return mpc.protocol.open(share_words(mpc, ring, owner), "test"), mpc.protocol.open(
        share_bits(mpc, packed, owner), "test"
    )


def test_every_party_can_share(c: LocalCluster) -> None:
    g = rng()
    ring, packed = words(g, 17), g.integers(0, 256, 9, np.uint8)
    for owner in c.sharing.evaluators:
        got, bits = c.run(deal_and_open, ring, packed, owner)
        assert (got == ring).all() and (bits == packed).all()


def linear(mpc: Session, x: SharedTensor, y: SharedTensor, k: np.ndarray) -> Any:
    tensors = (
        x + y,
        x - y,
        -x,
        x + k,
        k - x,
        x * k,
        x[1:],
        x.T,
        x.sum(axis=0),
        x.reshape(-1),
        (x + y)[::2, ::-1],
    )
    return [mpc.protocol.open(t.data, "test") for t in tensors]


def test_linear_operations_are_exact(c: LocalCluster) -> None:
    g = rng()
    x, y, k = words(g, 4, 6), words(g, 4, 6), words(g, 4, 6)
    want = [
        x + y,
        x - y,
        0 - x,
        x + k,
        k - x,
        x * k,
        x[1:],
        x.T,
        x.sum(0),
        x.reshape(-1),
        (x + y)[::2, ::-1],
    ]
    got = c.run(linear, c.share_ring(x, 0), c.share_ring(y, 0), k)
    assert all((a == b).all() and a.shape == b.shape for a, b in zip(got, want, strict=True))


# ---------------------------------------------------------------------- products


def apply_strided(mpc: Session, x: SharedTensor, y: SharedTensor, f: Bilinear, cut: Any) -> Any:
    if cut is not None:
        x = x[cut]
    return mpc.protocol.open(mpc.protocol.bilinear(f, x.data, y.data), "test")


def check_map(c: LocalCluster, f: Bilinear, x: np.ndarray, y: np.ndarray, cut: Any = None) -> None:
    """f over shares equals f in the clear; so do both of its adjoints (f in the clear is judged by
    test_kernels)."""
    got = c.run(apply_strided, c.share_ring(x, 0), c.share_ring(y, 0), f, cut)
    whole = x if cut is None else x[cut]
    want = f.apply(RING, [(whole.copy(), y)])
    assert got.shape == want.shape == f.shape(whole.shape, y.shape) and (got == want).all()


def shapes() -> st.SearchStrategy[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Shapes that broadcast, of at least one dimension (see
    test_tensors_without_dimensions_work)."""
    side = st.sampled_from([0, 1, 2, 5])

    def build(
        full: list[int], drop: int, ones: list[bool]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        other = [1 if one else n for n, one in zip(full, ones, strict=False)][
            min(drop, len(full) - 1) :
        ]
        return tuple(full), tuple(other)

    return st.builds(
        build,
        st.lists(side, min_size=1, max_size=3),
        st.integers(0, 3),
        st.lists(st.booleans(), min_size=3, max_size=3),
    )


@FEW
@given(shapes(), st.booleans(), st.integers(0, 2**32 - 1))
def test_elementwise_products_equal_numpy_with_any_broadcasting(
    c: LocalCluster, two: tuple[tuple[int, ...], tuple[int, ...]], swap: bool, seed: int
) -> None:
    g = np.random.default_rng(seed)
    x, y = (words(g, *s) for s in (two[::-1] if swap else two))
    got = c.run(apply_strided, c.share_ring(x, 0), c.share_ring(y, 0), Mul(), None)
    assert got.shape == (x * y).shape and (got == x * y).all()
    dz = words(g, *got.shape)
    check_map(c, Mul().grad_x(x.shape, y.shape), dz, y)
    check_map(c, Mul().grad_y(x.shape, y.shape), x, dz)


@FEW
@given(
    st.tuples(*[st.sampled_from([0, 1, 3, 8])] * 3),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_matrix_products_and_their_adjoints_equal_numpy(
    c: LocalCluster, dims: tuple[int, int, int], tx: bool, ty: bool, seed: int
) -> None:
    g = np.random.default_rng(seed)
    m, k, n = dims
    x, y = words(g, *((k, m) if tx else (m, k))), words(g, *((n, k) if ty else (k, n)))
    f = MatMul(tx, ty)
    got = c.run(apply_strided, c.share_ring(x, 0), c.share_ring(y, 0), f, None)
    assert (got == (x.T if tx else x) @ (y.T if ty else y)).all() and got.shape == (m, n)
    dz = words(g, m, n)
    check_map(c, f.grad_x(x.shape, y.shape), dz, y)
    check_map(c, f.grad_y(x.shape, y.shape), x, dz)


@FEW
@given(st.integers(0, 2), st.integers(1, 2), st.integers(0, 1), st.integers(0, 2**32 - 1))
def test_convolutions_and_their_adjoints_equal_a_direct_sum(
    c: LocalCluster, batch: int, stride: int, padding: int, seed: int
) -> None:
    g = np.random.default_rng(seed)
    f, x, y = Conv2d(stride, padding), words(g, batch, 2, 6, 5), words(g, 3, 2, 3, 2)
    got = c.run(apply_strided, c.share_ring(x, 0), c.share_ring(y, 0), f, None)
    wide = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    want = np.zeros(f.shape(x.shape, y.shape), np.uint64)
    for i in range(3):
        for j in range(2):
            patch = wide[
                :,
                :,
                i : i + stride * want.shape[2] : stride,
                j : j + stride * want.shape[3] : stride,
            ]
            patch = patch[:, :, : want.shape[2], : want.shape[3]]
            want += (patch[:, None] * y[None, :, :, i : i + 1, j : j + 1]).sum(2, dtype=np.uint64)
    assert (got == want).all() and got.shape == want.shape
    dz = words(g, *want.shape)
    check_map(c, f.grad_x(x.shape, y.shape), dz, y)
    check_map(c, f.grad_y(x.shape, y.shape), x, dz)


def test_products_of_strided_operands_equal_numpy(c: LocalCluster) -> None:
    g = rng()
    check_map(c, Mul(), words(g, 8, 9), words(g, 4, 3), np.s_[::2, ::-3])
    check_map(c, MatMul(), words(g, 8, 9), words(g, 3, 2), np.s_[::2, ::-3])


def zero_dimensional(mpc: Session, x: SharedTensor, y: SharedTensor, row: SharedTensor) -> Any:
    s = x.negative()
    results = [
        x * y,
        s.times(y),
        s.to_integers(),
        x * row,
        row * x,
        x.truncate(5),
        row.sum() * 0.5,
        x.reshape(1) * y,
    ]
    return [mpc.protocol.open(r.data, "test") for r in results]


@pytest.mark.parametrize("name", EVERY)
def test_tensors_without_dimensions_work(name: str) -> None:
    """NumPy's ufuncs return scalars, not arrays, for 0-d operands."""
    x, y, row = np.array(-(3 << 20)), np.array(5 << 20), np.array([1 << 20, 2 << 20])
    with cluster(name, deadline_s=5.0) as c:
        got = c.run(zero_dimensional, *[c.share_ring(v.view(np.uint64), 20) for v in (x, y, row)])
    want = [
        x * y >> 20,
        y,
        np.array(1),
        x * row >> 20,
        x * row >> 20,
        x >> 5,
        np.array(3 << 19),
        (x * y >> 20).reshape(1),
    ]
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape and np.isin(signed(a) - b, (0, 1)).all()


def many(mpc: Session, tensors: list[SharedTensor], jobs: list[tuple[Bilinear, int, int]]) -> Any:
    picked = [(f, tensors[i].data, tensors[j].data) for f, i, j in jobs]
    together = mpc.protocol.bilinear_many(picked)
    return [
        (mpc.protocol.open(a, "t"), mpc.protocol.open(mpc.protocol.bilinear(*job), "t"))
        for a, job in zip(together, picked, strict=True)
    ]


def test_products_together_equal_products_apart(c: LocalCluster) -> None:
    g = rng()
    arrays = [
        words(g, 3, 4),
        words(g, 4, 2),
        words(g, 4),
        words(g, 1),
        words(g, 1, 1, 5, 5),
        words(g, 2, 1, 2, 2),
    ]
    jobs = [(MatMul(), 0, 1), (Mul(), 0, 2), (Mul(), 2, 2), (Conv2d(), 4, 5), (Mul(), 3, 0)]
    results = c.run(many, [c.share_ring(a, 0) for a in arrays], jobs)
    for (f, i, j), (together, apart) in zip(jobs, results, strict=True):
        want = f.apply(RING, [(arrays[i], arrays[j])])
        assert (together == want).all() and (apart == want).all() and together.shape == want.shape


def truncated_many(mpc: Session, x: SharedTensor, y: SharedTensor) -> Any:
    return [
        mpc.protocol.open(z, "t")
        for z in mpc.protocol.bilinear_many(
            [(Mul(), x.data, y.data), (MatMul(), x.data, y.data)], 20
        )
    ]


def test_products_together_are_truncated_each(c: LocalCluster) -> None:
    g = rng()
    x, y = (g.integers(-(2**26), 2**26, (6, 6)).astype(np.int64) for _ in range(2))
    got = on_ring(c, truncated_many, x.view(np.uint64), y.view(np.uint64))
    for z, want in zip(got, (x * y, x @ y), strict=True):
        assert np.isin(signed(z) - (want >> 20), (0, 1)).all()


# ---------------------------------------------------------------------- bits


def boolean(mpc: Session, x: np.ndarray, y: np.ndarray, owners: tuple[int, int]) -> Any:
    a, b = share_bits(mpc, x, owners[0]), share_bits(mpc, y, owners[1])
    both = mpc.protocol.bilinear(Mul(), a, b)
    ones = np.full(x.shape, 255, np.uint8)
    return [
        mpc.protocol.open(s, "test")
        for s in (
            both,
            a + b,
            mpc.protocol.add_public(a, ones),
            mpc.protocol.bilinear(Mul(), both, a + b),
        )
    ]


def test_and_xor_not_on_bits(c: LocalCluster) -> None:
    g = rng()
    x, y = (g.integers(0, 256, 33, np.uint8) for _ in range(2))
    for owners in (
        (c.sharing.evaluators[0], c.sharing.evaluators[-1]),
        (c.sharing.evaluators[-1],) * 2,
    ):
        got = c.run(boolean, x, y, owners)
        for a, b in zip(got, (x & y, x ^ y, ~x, (x & y) & (x ^ y)), strict=True):
            assert (a == b).all()


def signs(mpc: Session, x: SharedTensor, bits: int, generic: bool) -> Any:
    protocol = mpc.protocol
    sign = MPCBackend.sign if generic else type(protocol).sign
    return bits_of(mpc, sign(protocol, x.data, bits))


@pytest.mark.parametrize("bits", [2, 3, 6, 17, 32, 63, 64])
def test_sign_is_right_on_edges_and_on_random_words_of_every_window(
    c: LocalCluster, bits: int
) -> None:
    g = rng()
    half = 1 << (bits - 1)
    edges = np.array([0, 1, -1, half // 2, -(half // 2), half - 1, -half], object)
    some = g.integers(-half, half, 130, np.int64)
    x = np.concatenate([np.array([int(e) for e in edges], np.int64), some])
    for generic in (False, True) if c.protocol.name in SECURE else (False,):
        got = c.run(signs, c.share_ring(x.view(np.uint64), 0), bits, generic)
        assert (unpack(got, x.size) == (x < 0)).all(), f"generic={generic}"


def zeros(mpc: Session, x: SharedTensor, bits: int) -> Any:
    return bits_of(mpc, mpc.protocol.is_zero(x.data, bits))


@pytest.mark.parametrize("bits", [1, 7, 64])
def test_is_zero_is_exact_in_every_window(c: LocalCluster, bits: int) -> None:
    g = rng()
    x = np.concatenate(
        [np.zeros(5, np.uint64), EDGES, words(g, 9), np.uint64(1) << np.arange(64, dtype=np.uint64)]
    )
    got = c.run(zeros, c.share_ring(x, 0), bits)
    assert (unpack(got, x.size) == (x << np.uint64(64 - bits) == 0)).all()


def converted(mpc: Session, packed: np.ndarray, x: SharedTensor, generic: bool) -> Any:
    b = share_bits(mpc, packed, mpc.sharing.evaluators[-1])
    protocol = mpc.protocol
    as_ring, times = (
        (MPCBackend.bit_to_ring, MPCBackend.inject)
        if generic
        else (type(protocol).bit_to_ring, type(protocol).inject)
    )
    opened = [as_ring(protocol, b, x.shape), times(protocol, b, x.data)]
    return tuple(protocol.open(share, "test") for share in opened)


@pytest.mark.parametrize("shape", [(40,), (3, 7), (0,), (1,)])
def test_bits_become_ring_elements_and_gate_words(c: LocalCluster, shape: tuple[int, ...]) -> None:
    g = rng()
    x = words(g, *shape)
    packed = g.integers(
        0, 256, (x.size + 7) // 8, np.uint8
    )  # with garbage in the padding, on purpose
    b = unpack(packed, x.size).reshape(shape).astype(np.uint64)
    for generic in (False, True) if c.protocol.name in SECURE else (False,):
        ring, gated = c.run(converted, packed, c.share_ring(x, 0), generic)
        assert ring.shape == gated.shape == shape
        assert (ring == b).all() and (gated == b * x).all(), f"generic={generic}"


def truncations(mpc: Session, x: SharedTensor, bits: int) -> Any:
    return mpc.protocol.open(mpc.protocol.truncate(x.data, bits), "t"), mpc.protocol.open(
        MPCBackend.truncate(mpc.protocol, x.data, bits), "t"
    )


@pytest.mark.parametrize("name", SECURE)
def test_the_generic_truncation_agrees_with_the_protocols_own(name: str) -> None:
    g = rng()
    x = np.concatenate([g.integers(-(2**62) + 1, 2**62, 500), [0, 1, -1, 2**62 - 1, -(2**62) + 1]])
    with cluster(name) as c:
        for bits in (1, 20, 40):
            for got in c.run(truncations, c.share_ring(x.view(np.uint64), 0), bits):
                assert np.isin(signed(got) - (x >> bits), (0, 1)).all()


def zero_by_generic(mpc: Session, x: SharedTensor) -> Any:
    return bits_of(mpc, MPCBackend.is_zero(mpc.protocol, x.data, 64)), mpc.protocol.open(
        MPCBackend.carry_inputs(mpc.protocol, x.data, 5)[0], "test"
    )


@pytest.mark.parametrize("name", SECURE)
def test_the_generic_comparisons_run_in_every_protocol(name: str) -> None:
    with cluster(name) as c:
        got, _ = c.run(zero_by_generic, c.share_ring(EDGES, 0))
        assert (unpack(got, EDGES.size) == (EDGES == 0)).all()


# ---------------------------------------------------------------------- consistency of copies


def all_operations(mpc: Session, x: SharedTensor, y: SharedTensor, ring: np.ndarray) -> Any:
    """Every operation once; returns this party's components of all results."""
    s = mpc.protocol.sign(x.data)
    shares: list[Share] = [
        x.data,
        share_words(mpc, ring, 0),
        share_words(mpc, ring, mpc.sharing.evaluators[-1]),
        s,
    ]
    shares += [
        mpc.protocol.bilinear(Mul(), x.data, y.data),
        mpc.protocol.bilinear(Mul(), x.data, y.data, 20),
        mpc.protocol.truncate(x.data, 7),
    ]
    shares += [
        mpc.protocol.bilinear(Mul(), s, s),
        mpc.protocol.is_zero(x.data),
        mpc.protocol.sign(y.data, 33),
        *mpc.protocol.carry_inputs(x.data, 64),
    ]
    shares += [
        mpc.protocol.bit_to_ring(s, x.shape),
        mpc.protocol.inject(s, y.data),
        mpc.protocol.add_public(x.data, ring),
        mpc.protocol.public(ring),
    ]
    shares += [
        MPCBackend.truncate(mpc.protocol, x.data, 9),
        MPCBackend.sign(mpc.protocol, x.data, 64),
        MPCBackend.inject(mpc.protocol, s, x.data),
    ]
    return local_parts(mpc, *shares)


@pytest.mark.parametrize("name", SECURE)
def test_all_holders_of_a_component_hold_the_same_after_every_operation(name: str) -> None:
    g = rng()
    x, y, ring = (g.integers(-(2**40), 2**40, 19).view(np.uint64) for _ in range(3))
    with cluster(name) as c:
        outcomes = c.submit(all_operations, c.share_ring(x, 0), c.share_ring(y, 0), ring).outcomes()
        assert [o.error for o in outcomes] == [None] * len(outcomes)
        compared = 0
        for shares in zip(*[o.value for o in outcomes], strict=True):
            for component, holders in enumerate(c.sharing.holders):
                first, *others = [shares[p][component] for p in sorted(holders)]
                assert all(
                    first.dtype == o.dtype and first.shape == o.shape and (first == o).all()
                    for o in others
                )
                compared += len(others)
            for party, parts in enumerate(shares):
                assert set(parts) == set(c.sharing.held_by(party))
        assert compared == {"2pc": 0, "3pc": 3, "4pc": 8}[name] * len(outcomes[0].value)
