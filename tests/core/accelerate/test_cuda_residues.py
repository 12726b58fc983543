"""Matrix products modulo 2^64 from residues: the law, its bounds, the two kernels, slabs and
chunks, and cuBLAS."""

from __future__ import annotations

import ctypes
import re
import sys
from itertools import combinations
from math import gcd, prod
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulated_gpu.devices import device, everywhere, same
from kernel_inputs import words
from wwfl_core import kernels as cpu
from wwfl_core.accelerate.cuda import device as device_module
from wwfl_core.accelerate.cuda import gemm, residues
from wwfl_core.accelerate.cuda.device import CupyLauncher
from wwfl_core.accelerate.cuda.launcher import SOURCE_DIR
from wwfl_core.errors import ConfigError

LISTED = re.search(r"MODULI\[\] = \{([\d,\s]+)\}", (SOURCE_DIR / "residues.cu").read_text())
assert LISTED is not None
MODULI = [int(m) for m in LISTED[1].split(",")]
P = prod(MODULI)
LARGEST = 128 * ((2**64 - 1) // 255)  # |word| as digits say it: all of them -128
LOWEST, HIGHEST = 2**64 - LARGEST, 127 * ((2**64 - 1) // 255)


def test_moduli_are_coprime_and_their_product_exceeds_every_sum() -> None:
    assert len(MODULI) == residues.PLANES
    assert all(gcd(a, b) == 1 for a, b in combinations(MODULI, 2))
    assert residues.MAX_INNER * LARGEST**2 < 0.369 * P
    assert residues.MAX_INNER * LARGEST**2 * 2 > 0.5 * P  # twice as many are too many
    assert (
        residues.MAX_INNER * 128**2 <= 2**27
    )  # of int8 products, where the kernel reduces an int32


def balanced(x: int, m: int) -> int:
    return (x + m // 2) % m - m // 2


def signed(word: int) -> int:
    """The integer that stands for a word: the one its balanced digits say."""
    return sum(balanced_byte(word, i) << 8 * i for i in range(8))


def balanced_byte(word: int, i: int) -> int:
    return ((((word + 0x8080808080808080) % 2**64) >> 8 * i) & 255) - 128


EDGES = [
    0,
    1,
    2**64 - 1,
    2**63,
    2**63 - 1,
    2**63 + 1,
    2**32,
    255,
    256,
    2**64 - 256,
    LOWEST,
    HIGHEST,
    LOWEST - 1,
]


@everywhere
@pytest.mark.parametrize("by_columns", [False, True])
def test_residues_are_balanced_and_padded_with_zeros(where: str, by_columns: bool) -> None:
    put, get, launcher = device(where).put, device(where).get, device(where).launcher
    x = words(7, 2, 3, 133)
    x[0, 0, : len(EDGES)] = EDGES
    there = (
        put(np.ascontiguousarray(x.transpose(0, 2, 1))).transpose(0, 2, 1) if by_columns else put(x)
    )
    tail = words(8, 2, 3, 5)
    buffer = launcher.empty((residues.PLANES * 2 * 16 * 160 + 1,), np.int8)
    found = get(residues.residues([there, put(tail)], buffer)).reshape(residues.PLANES, 2, 16, 160)
    expected = np.zeros(found.shape, np.int64)
    for plane, m in enumerate(MODULI):
        expected[plane, :, :3, :133] = np.vectorize(lambda w, m=m: balanced(signed(int(w)), m))(x)
        expected[plane, :, :3, 144:149] = np.vectorize(lambda w, m=m: balanced(signed(int(w)), m))(
            tail
        )
    np.testing.assert_array_equal(found, expected)


def sums_of(values: list[int], stretch: int) -> np.ndarray:
    """int32 [PLANES, 1, len(values)]: what is congruent to the values, up to `stretch` in size."""
    return np.array(
        [
            [[balanced(v, m) + (stretch - m) // m * m * (-1) ** i for i, v in enumerate(values)]]
            for m in MODULI
        ]
    )


@everywhere
@pytest.mark.parametrize("stretch", [256, 2**27])
@given(
    values=st.lists(
        st.integers(-residues.MAX_INNER * LARGEST**2, residues.MAX_INNER * LARGEST**2), max_size=20
    )
)
@settings(deadline=None, max_examples=15)
def test_sums_are_combined_into_the_word_that_they_are_residues_of(
    where: str, stretch: int, values: list[int]
) -> None:
    put, launcher = device(where).put, device(where).launcher
    bound = residues.MAX_INNER * LARGEST**2
    values = [*values, bound, -bound, 0, 1, -1, 2**63, -(2**64)]
    sums = sums_of(values, stretch)
    assert abs(sums).max() <= 2**27
    out = launcher.zeros((1, 1, len(values)), np.uint64)
    expected = np.array([[[v % 2**64 for v in values]]], np.uint64)
    for turn in (1, 2):  # stored, then added
        residues.combine(put(sums.astype(np.int32)), out, adding=turn > 1)
        same(out, expected * np.uint64(turn), where)


@everywhere
@pytest.mark.parametrize("word", [LOWEST, HIGHEST, 2**63, 2**64 - 1, 1, 0])
def test_the_longest_sums_of_extreme_words_are_exact(where: str, word: int) -> None:
    put, k = device(where).put, residues.MAX_INNER
    a, b = np.full((1, k), word, np.uint64), np.full((k, 2), [[LOWEST, HIGHEST]], np.uint64)
    assert len(residues.chunks([k])) == 1
    expected = np.array([[word * LOWEST * k % 2**64, word * HIGHEST * k % 2**64]], np.uint64)
    same(gemm.matmul([(put(a), put(b))], "residues"), expected, where)


@everywhere
def test_one_inner_element_more_makes_two_chunks(where: str) -> None:
    put, k = device(where).put, residues.MAX_INNER + 1
    a, b = words(1, 2, k), words(2, k, 3)
    assert [[(p.start, p.stop) for p in chunk] for chunk in residues.chunks([k])] == [
        [(0, 4112)],
        [(4112, k)],
    ]
    same(gemm.matmul([(put(a), put(b))], "residues"), cpu.matmul([(a, b)]), where)


@everywhere
@pytest.mark.parametrize("kib", [16, 100, 200, 700])
def test_slabs_and_chunks_give_the_same(
    where: str, kib: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of batches, rows and columns; sums that are cut in the middle of a product."""
    monkeypatch.setattr(residues, "WORKSPACE_BYTES", kib << 10)
    monkeypatch.setattr(residues, "MAX_INNER", 48)
    put = device(where).put
    pairs = [(words(i, 3, 37, k), words(9 + i, 3, k, 50)) for i, k in enumerate((20, 40, 17))]
    expected = np.stack([cpu.matmul([(a[i], b[i]) for a, b in pairs]) for i in range(3)])
    same(gemm.batched_matmul([(put(a), put(b)) for a, b in pairs], "residues"), expected, where)


@given(
    batch=st.integers(1, 100),
    m=st.integers(1, 10**6),
    n=st.integers(1, 10**6),
    inner=st.lists(st.integers(1, 30000), min_size=1, max_size=4),
)
def test_chunks_cover_everything_once_and_slabs_stay_within_the_workspace(
    batch: int, m: int, n: int, inner: list[int]
) -> None:
    found = residues.chunks(inner)
    covered = [(p.pair, p.start, p.stop) for chunk in found for p in chunk]
    for pair, k in enumerate(inner):
        spans = [(start, stop) for which, start, stop in covered if which == pair]
        assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])] and spans[
            -1
        ][1] == k
    for chunk in found:
        depth = sum(residues.aligned(p.stop - p.start) for p in chunk)
        assert depth <= residues.MAX_INNER
        slab = residues.slab_of(batch, m, n, depth)
        assert residues.workspace(slab, depth) <= residues.WORKSPACE_BYTES
        assert (
            1 <= slab.batch <= batch
            and slab.rows % residues.ALIGN == slab.columns % residues.ALIGN == 0
        )
        assert slab.batch * slab.rows * slab.columns < 2**32  # the kernel's indices


# ---- cuBLAS, imitated: what it is given, and what its refusal becomes


class Refused(RuntimeError):
    """Stands for CuPy's CUBLASError."""


def at(
    address: int, shape: tuple[int, int, int], strides: tuple[int, int], dtype: type[np.generic]
) -> np.ndarray:
    """Matrices [count, lines, elements] in memory, with the distances of matrices and of lines in
    elements."""
    size = np.dtype(dtype).itemsize
    length = size * (sum((n - 1) * s for n, s in zip(shape, strides, strict=False)) + shape[2])
    flat = np.frombuffer((ctypes.c_byte * length).from_address(address), dtype)
    return np.lib.stride_tricks.as_strided(
        flat, shape, (size * strides[0], size * strides[1], size)
    )


def gemm_strided_batched_ex(*given: int) -> None:
    """cublasGemmStridedBatchedEx for int8 with a transposed left operand, by its documentation:
    column-major matrices c (m, n) = alpha a^T b + beta c, where the columns of a and b have k
    elements and leading dimensions lda and ldb. Arguments in the order of
    cupy_backends/cuda/libs/cublas.pyx; handles: 7 takes all, 9 no batches, others nothing."""
    (
        handle,
        trans_a,
        trans_b,
        m,
        n,
        k,
        alpha,
        a,
        a_type,
        lda,
        stride_a,
        b,
        b_type,
        ldb,
        stride_b,
        *rest,
    ) = given
    beta, c, c_type, ldc, stride_c, count, compute, algorithm = rest
    assert (trans_a, trans_b, a_type, b_type, c_type, compute, algorithm) == (
        1,
        0,
        3,
        3,
        10,
        72,
        -1,
    )
    assert (ctypes.c_int32.from_address(alpha).value, ctypes.c_int32.from_address(beta).value) == (
        1,
        0,
    )
    assert k <= lda and k <= ldb and m <= ldc
    if (
        handle not in (7, 9)
        or (handle == 9 and count > 1)
        or any(x % 4 for x in (a, b, c, lda, ldb, ldc, m, k))
    ):
        raise Refused("CUBLAS_STATUS_NOT_SUPPORTED")
    columns_a = at(a, (count, m, k), (stride_a, lda), np.int8).astype(np.int32)
    columns_b = at(b, (count, n, k), (stride_b, ldb), np.int8).astype(np.int32)
    at(c, (count, n, m), (stride_c, ldc), np.int32)[...] = columns_b @ columns_a.transpose(0, 2, 1)


def gemm_ex(*given: int) -> None:
    """cublasGemmEx, likewise: the same without distances of matrices and their count."""
    *start, b, b_type, ldb, beta, c, c_type, ldc, compute, algorithm = given
    gemm_strided_batched_ex(
        *start, 0, b, b_type, ldb, 0, beta, c, c_type, ldc, 0, 1, compute, algorithm
    )


class Held:
    """A host array that looks like CuPy's."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.strides = array, array.shape, array.strides
        self.data = SimpleNamespace(ptr=array.ctypes.data)

    def __getitem__(self, key: Any) -> Held:
        return Held(self.array[key])


@pytest.fixture
def imitated(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A CupyLauncher whose CuPy is `cuda.device.get_cublas_handle`, which gives `handle`, and a
    binding of cuBLAS."""
    state = SimpleNamespace(handle=7)
    libs: Any = ModuleType("cupy_backends.cuda.libs")
    libs.cublas = SimpleNamespace(
        CUBLASError=Refused, gemmStridedBatchedEx=gemm_strided_batched_ex, gemmEx=gemm_ex
    )
    for name in ("cupy_backends", "cupy_backends.cuda"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "cupy_backends.cuda.libs", libs)
    monkeypatch.delitem(sys.modules, "cupy_backends.cuda.libs.cublas", raising=False)
    handles = SimpleNamespace(get_cublas_handle=lambda: state.handle)
    cupy = SimpleNamespace(ndarray=Held, cuda=SimpleNamespace(device=handles))
    monkeypatch.setattr(device_module, "require_device", lambda: cupy)
    state.launcher, state.libs = CupyLauncher(), libs
    return state


@pytest.mark.parametrize(("handle", "count"), [(7, 5), (7, 1), (9, 5)])
def test_cublas_gets_rows_as_columns_and_gives_rows(
    imitated: SimpleNamespace, handle: int, count: int
) -> None:
    imitated.handle = handle
    g = np.random.default_rng(3)
    left, right = (
        g.integers(-128, 128, (count, rows, 48), dtype=np.int8)[:, :, :32] for rows in (6, 8)
    )
    out = np.full((count, 6, 12), -1, np.int32)
    imitated.launcher.int8_products(Held(left), Held(right), Held(out[:, :, :8]))
    np.testing.assert_array_equal(
        out[:, :, :8], left.astype(np.int32) @ right.astype(np.int32).transpose(0, 2, 1)
    )
    assert (out[:, :, 8:] == -1).all()


def test_what_cublas_refuses_or_lacks_is_an_error_that_says_so(imitated: SimpleNamespace) -> None:
    arrays = [
        Held(np.zeros((5, n, 16), t)) for n, t in ((8, np.int8), (16, np.int8), (8, np.int32))
    ]
    imitated.launcher.int8_products(*arrays)
    imitated.handle = 8
    with pytest.raises(
        ConfigError, match=r"cuBLAS cannot .* int8 product \(8, 16\) by \(16, 16\): .*NOT_SUPPORTED"
    ):
        imitated.launcher.int8_products(*arrays)
    del imitated.libs.cublas
    with pytest.raises(ConfigError, match=r"need cuBLAS: .*nvidia-cublas"):
        imitated.launcher.int8_products(*arrays)


@everywhere
def test_int8_products_keep_the_low_half_of_sums_that_exceed_32_bits(where: str) -> None:
    """Sums of residues are never that long; those of eight digits are, in
    benchmarks/gpu_gemm.py."""
    put, launcher, k = device(where).put, device(where).launcher, 3 << 16
    left, right = np.full((1, 4, k), -128, np.int8), np.full((1, 4, k), -128, np.int8)
    right[0, 1] = 127
    out = launcher.empty((1, 4, 4), np.int32)
    launcher.int8_products(put(left), put(right), out)
    row = [
        -(2**30),
        2**32 - 128 * 127 * k,
        -(2**30),
        -(2**30),
    ]  # 3 2^30 and -128 127 k, modulo 2^32
    same(out, np.array([[row] * 4], np.int32), where)
