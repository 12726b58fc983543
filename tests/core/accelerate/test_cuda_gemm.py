"""Matrix products modulo 2^64 on device arrays: all methods, any strides, sums, batches, and the
choice by shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulated_gpu import asarray
from emulated_gpu.devices import device, everywhere, same
from kernel_inputs import words
from wwfl_core import kernels as cpu
from wwfl_core.accelerate.cuda import gemm
from wwfl_core.errors import Misuse

TILED: tuple[gemm.Tiled, ...] = ("simt", "tensor")
METHODS: tuple[gemm.Method, ...] = (*TILED, "residues")
relaxed = settings(deadline=None, max_examples=8)
sides = st.one_of(st.integers(0, 20), st.sampled_from([63, 64, 65, 70]))
seeds = st.integers(0, 2**32)


def laid(put: Any, x: np.ndarray, transposed: bool) -> Any:
    """A device matrix equal to x, stored by rows or by columns."""
    return put(np.ascontiguousarray(x.T)).T if transposed else put(x)


@everywhere
@pytest.mark.parametrize("method", METHODS)
@relaxed
@given(
    seed=seeds,
    m=sides,
    n=sides,
    inner=st.lists(sides, min_size=1, max_size=4),
    turn=st.integers(0, 3),
)
def test_sums_of_products(
    where: str, method: gemm.Method, seed: int, m: int, n: int, inner: list[int], turn: int
) -> None:
    put = device(where).put
    pairs = [(words(seed + i, m, k), words(seed + 9 + i, k, n)) for i, k in enumerate(inner)]
    there = [(laid(put, a, bool(turn & 1)), laid(put, b, bool(turn & 2))) for a, b in pairs]
    same(gemm.matmul(there, method), cpu.matmul(pairs), where)


@everywhere
@pytest.mark.parametrize("method", TILED)
def test_a_long_inner_dimension_is_divided_among_blocks(where: str, method: gemm.Tiled) -> None:
    put = device(where).put
    a, b = words(1, 3, 900), words(2, 900, 5)
    assert gemm.plan(3, 5, [900, 900], 1, method).splits > 1
    same(
        gemm.matmul([(put(a), put(b)), (put(a), put(b))], method),
        cpu.matmul([(a, b), (a, b)]),
        where,
    )


@everywhere
@pytest.mark.parametrize("method", METHODS)
def test_batches(where: str, method: gemm.Method) -> None:
    put = device(where).put
    a, b, c, d = words(1, 3, 17, 40), words(2, 3, 40, 9), words(3, 3, 17, 5), words(4, 3, 5, 9)
    expected = np.stack([cpu.matmul([(a[i], b[i]), (c[i], d[i])]) for i in range(3)])
    same(gemm.batched_matmul([(put(a), put(b)), (put(c), put(d))], method), expected, where)


@pytest.mark.slow
@everywhere
def test_the_largest_digits_do_not_overflow_the_longest_sum(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All digits -128: every term of every diagonal is 2^14, the largest there is, over as many as
    a block may add."""
    monkeypatch.setattr(gemm, "WANTED_BLOCKS", 1)
    put, k = device(where).put, gemm.MAX_STEPS * gemm.DEPTH["tensor"]
    assert gemm.plan(1, 1, [k], 1, "tensor").splits == 1
    lowest = 2**64 - sum(128 << 8 * i for i in range(8))
    a, b = np.full((1, k), lowest, np.uint64), np.full((k, 1), lowest, np.uint64)
    same(
        gemm.matmul([(put(a), put(b))], "tensor"),
        np.array([[lowest**2 * k % 2**64]], np.uint64),
        where,
    )


def digits(x: np.ndarray) -> np.ndarray:
    """Balanced base-256 digits, as csrc/digits.cu makes them: int8 [8, ...]."""
    balance = np.uint64(0x8080808080808080)
    return np.moveaxis(((x + balance) ^ balance)[..., None].view(np.int8), -1, 0)


@given(seed=seeds)
@settings(deadline=None, max_examples=25)
def test_balanced_digits_and_their_diagonals_recombine(seed: int) -> None:
    """The law behind the tensor kernel, in plain NumPy."""
    x, y = words(seed, 4, 6), words(seed + 1, 6, 3)
    a, b = digits(x).astype(np.int64), digits(y).astype(np.int64)
    powers = [np.uint64(1 << 8 * i) for i in range(8)]
    np.testing.assert_array_equal(sum(a[i].view(np.uint64) * powers[i] for i in range(8)), x)
    diagonals = [sum(a[i] @ b[d - i] for i in range(d + 1)) for d in range(8)]
    np.testing.assert_array_equal(
        sum(z.view(np.uint64) * p for z, p in zip(diagonals, powers, strict=True)), x @ y
    )


@given(
    m=st.integers(1, 10**5),
    n=st.integers(1, 10**5),
    inner=st.lists(st.integers(1, 10**6), min_size=1, max_size=2),
    batch=st.integers(1, 64),
    method=st.sampled_from([None, *TILED]),
)
def test_a_plan_keeps_every_block_exact_and_every_grid_legal(
    m: int, n: int, inner: list[int], batch: int, method: gemm.Tiled | None
) -> None:
    plan = gemm.plan(m, n, inner, batch, method)
    steps = sum(-(-k // gemm.DEPTH[plan.method]) for k in inner)
    assert 1 <= plan.splits <= max(steps, 1) and plan.splits < 65536
    if plan.method == "tensor":
        per_block = -(-steps // plan.splits)
        assert 4 * per_block * gemm.DEPTH["tensor"] * 2**14 < 2**31
    if method is None and min(m, n) < gemm.MIN_SIDE:
        assert plan.method == "simt"


def test_the_choice_by_shape() -> None:
    assert gemm.choose(4096, 4096, 4096) == "residues"
    assert gemm.choose(512, 2048, 4608) == "residues"  # a convolution of VGG16 (batch 128)
    assert (
        gemm.choose(64, 32768, 576) == "tensor"
    )  # its second: too few rows to pay for the residues of the columns
    assert gemm.choose(512, 512, 512) == "tensor"
    assert (
        gemm.choose(20, 73728, 25) == "simt"
    )  # the first convolution of LeNet: too few rows, a short inner dimension
    assert gemm.choose(128, 10, 500) == "simt"
    # Both terms of a replicated product, of a wide LeNet: its second convolution, the gradient of
    # its dense layer.
    assert gemm.choose(50, 8192, 2 * 500) != "residues" != gemm.choose(500, 800, 2 * 128)
    assert gemm.choose(64, 64, 512, batch=64) == "tensor"


@pytest.mark.parametrize("method", METHODS)
def test_wrong_shapes_are_named(method: gemm.Method) -> None:
    put = asarray
    a, b = put(words(1, 3, 4)), put(words(2, 4, 5))
    for pairs, message in (
        ([], "at least one pair"),
        ([(a, a)], r"pairs\[0\] cannot be multiplied"),
        ([(a, b), (b, b.T)], r"pairs\[1\] gives shape"),
    ):
        with pytest.raises(Misuse, match=message):
            gemm.matmul(pairs, method)
    with pytest.raises(Misuse, match="2 dimensions"):
        gemm.matmul([(a[None], b[None])], method)
