"""Every compiled kernel against straightforward numpy, over odd shapes, strides and extreme
values."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernel_inputs import LAYOUTS, lay, words
from wwfl_core import kernels as K
from wwfl_core.errors import Misuse
from wwfl_core.kernels._lazy import kernel
from wwfl_core.kernels.prepare import all_kernels

U64 = NDArray[np.uint64]
U8 = NDArray[np.uint8]
relaxed = settings(deadline=None)


def same(actual: NDArray[Any], expected: NDArray[Any]) -> None:
    """Equal in dtype, shape and every value, and C-contiguous."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert actual.flags.c_contiguous
    np.testing.assert_array_equal(actual, expected)


seeds = st.integers(0, 2**32)
layouts = st.sampled_from(LAYOUTS)
sizes = st.one_of(
    st.integers(0, 70), st.sampled_from([127, 128, 129, 511, 512, 513, 575, 576, 577, 1100])
)
dims = st.one_of(st.integers(0, 28), st.sampled_from([47, 48, 49, 63, 64, 65, 80]))


# ---- matrix products


@relaxed
@given(
    seeds,
    dims,
    dims,
    st.lists(st.one_of(dims, st.integers(128, 350)), min_size=1, max_size=3),
    layouts,
    layouts,
)
def test_matmul(seed: int, m: int, n: int, inner: list[int], left: str, right: str) -> None:
    pairs = [(words(seed + k, m, k), words(seed + 2 * k, k, n)) for k in inner]
    expected = np.zeros((m, n), dtype=np.uint64)
    for a, b in pairs:
        expected += a @ b
    arranged = [(lay(a, left), lay(b, right)) for a, b in pairs]
    same(K.matmul(arranged), expected)
    for (a, b), (c, d) in zip(pairs, arranged, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)


@pytest.mark.parametrize("m", [*range(1, 18), 319, 320, 321, 329])
@pytest.mark.parametrize("n", [1, 7, 8, 9, 16, 17, 23, 24, 25, 40])
def test_matmul_remainders(m: int, n: int) -> None:
    for inner in (1, 9, 160, 161):
        a, b = words(m, m, inner), words(n, inner, n)
        same(K.matmul([(a, b)]), a @ b)
        same(K.matmul([(a, lay(b, "transposed"))]), a @ b)


@pytest.mark.parametrize("shape", [(700, 30, 5), (5, 30, 700), (1, 2000, 1), (700, 1, 700)])
def test_matmul_long(shape: tuple[int, int, int]) -> None:
    m, inner, n = shape
    a, b = words(1, m, inner), words(2, inner, n)
    same(K.matmul([(a, b), (a, b)]), (a @ b) * np.uint64(2))


def test_matmul_misuse() -> None:
    a = words(0, 3, 4)
    with pytest.raises(Misuse, match="pairs"):
        K.matmul([])
    with pytest.raises(Misuse, match=r"pairs\[0\]\[1\].*int64"):
        K.matmul([(a, a.T.astype(np.int64))])  # type: ignore[list-item]
    with pytest.raises(Misuse, match=r"pairs\[0\] cannot"):
        K.matmul([(a, a)])
    with pytest.raises(Misuse, match=r"pairs\[1\] gives shape \(4, 4\)"):
        K.matmul([(a, a.T), (a.T, a)])
    with pytest.raises(Misuse, match=r"pairs\[0\]\[0\].*dimensions"):
        K.matmul([(a[0], a)])


# ---- convolutions


def slow_im2col(x: U64, kernel: tuple[int, int], stride: int, padding: int) -> U64:
    (kh, kw), (b, c, h, w) = kernel, x.shape
    oh, ow = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    cols = np.zeros((c, kh, kw, b, oh, ow), dtype=np.uint64)
    for i in range(kh):
        for j in range(kw):
            patch = padded[:, :, i : i + stride * oh : stride, j : j + stride * ow : stride]
            cols[:, i, j] = patch.transpose(1, 0, 2, 3)
    return cols.reshape(c * kh * kw, b * oh * ow)


def slow_col2im(
    cols: U64, shape: tuple[int, int, int, int], kernel: tuple[int, int], stride: int, padding: int
) -> U64:
    (kh, kw), (b, c, h, w) = kernel, shape
    oh, ow = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    padded = np.zeros((b, c, h + 2 * padding, w + 2 * padding), dtype=np.uint64)
    parts = cols.reshape(c, kh, kw, b, oh, ow)
    for i in range(kh):
        for j in range(kw):
            patch = padded[:, :, i : i + stride * oh : stride, j : j + stride * ow : stride]
            patch += parts[:, i, j].transpose(1, 0, 2, 3)
    return np.ascontiguousarray(padded[:, :, padding : padding + h, padding : padding + w])


@relaxed
@given(
    seeds,
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.integers(1, 4),
    st.integers(0, 4),
    layouts,
)
def test_im2col_and_col2im(
    seed: int,
    shape: tuple[int, int, int, int],
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    layout: str,
) -> None:
    x = words(seed, *shape)
    if shape[2] + 2 * padding < kernel[0] or shape[3] + 2 * padding < kernel[1]:
        with pytest.raises(Misuse, match="kernel"):
            K.im2col(x, kernel, stride, padding)
        return
    expected = slow_im2col(x, kernel, stride, padding)
    same(K.im2col(lay(x, layout), kernel, stride, padding), expected)
    cols = words(seed + 1, *expected.shape)
    folded = slow_col2im(cols, shape, kernel, stride, padding)
    same(K.col2im(lay(cols, layout), shape, kernel, stride, padding), folded)
    # <im2col(x), cols> = <x, col2im(cols)>
    assert (expected * cols).sum(dtype=np.uint64) == (x * folded).sum(dtype=np.uint64)


def test_conv_misuse() -> None:
    x = words(0, 2, 3, 8, 8)
    for call, name in (
        (lambda: K.im2col(x[0], (3, 3), 1, 0), "x "),
        (lambda: K.im2col(x, (3, 3), 0, 0), "stride"),
        (lambda: K.im2col(x, (3, 3), 1, -1), "padding"),
        (lambda: K.im2col(x, (0, 3), 1, 0), "kernel"),
        (lambda: K.im2col(x, (3,), 1, 0), "kernel"),  # type: ignore[arg-type]
        (lambda: K.col2im(words(0, 27, 71), (2, 3, 8, 8), (3, 3), 1, 0), "cols"),
        (lambda: K.col2im(words(0, 27, 72), (3, 8, 8), (3, 3), 1, 0), "x_shape"),  # type: ignore[arg-type]
    ):
        with pytest.raises(Misuse, match=name):
            call()


# ---- elementwise


@relaxed
@given(seeds, st.lists(st.integers(0, 9), max_size=4), st.integers(1, 6), layouts)
def test_mul_sum(seed: int, shape: list[int], count: int, layout: str) -> None:
    layout = "readonly" if not shape else layout
    pairs = [(words(seed + 2 * k, *shape), words(seed + 2 * k + 1, *shape)) for k in range(count)]
    expected = np.zeros(shape, dtype=np.uint64)
    for x, y in pairs:
        expected += x * y
    same(K.mul_sum([(lay(x, layout), y) for x, y in pairs]), expected)


def test_mul_sum_misuse() -> None:
    x = words(0, 4)
    with pytest.raises(Misuse, match="pairs"):
        K.mul_sum([])
    with pytest.raises(Misuse, match=r"pairs\[1\] must have shape"):
        K.mul_sum([(x, x), (x, words(0, 1))])
    with pytest.raises(Misuse, match=r"pairs\[0\]\[1\].*float64"):
        K.mul_sum([(x, x.astype(float))])  # type: ignore[list-item]


# ---- bits


def slow_planes(x: U64, low: int, high: int) -> U8:
    flat = x.reshape(-1)
    planes = np.zeros((high - low, -(-flat.size // 8)), dtype=np.uint8)
    for j in range(low, high):
        planes[j - low] = np.packbits(
            (flat >> np.uint64(j)).astype(np.uint8) & 1, bitorder="little"
        )
    return planes


@relaxed
@given(seeds, sizes, st.integers(0, 64), st.integers(0, 64), layouts)
def test_planes(seed: int, n: int, one: int, other: int, layout: str) -> None:
    x, low, high = words(seed, n), min(one, other), max(one, other)
    planes = slow_planes(x, low, high)
    same(K.to_planes(lay(x, layout), low, high), planes)
    expected = np.zeros(n, dtype=np.uint64)
    for j in range(high - low):
        expected |= (x >> np.uint64(low + j) & np.uint64(1)) << np.uint64(j)
    dirty = planes.copy()
    if n % 8:
        dirty[:, -1] |= np.uint8(0xFF << n % 8 & 0xFF)
    same(K.from_planes(lay(dirty, layout), n), expected)


@relaxed
@given(seeds, sizes, layouts)
def test_pack_and_expand(seed: int, n: int, layout: str) -> None:
    x = words(seed, n)
    packed = slow_planes(x, 0, 1)[0]
    same(K.pack(lay(x, layout)), packed)
    same(K.expand(lay(packed, layout), n), x & np.uint64(1))


def test_planes_of_any_shape() -> None:
    x = words(3, 4, 5, 7)
    same(K.to_planes(x.T, 60, 64), slow_planes(np.ascontiguousarray(x.T), 60, 64))
    same(K.to_planes(words(0), 0, 64), slow_planes(words(0), 0, 64))
    same(K.pack(x[:, 1]), slow_planes(np.ascontiguousarray(x[:, 1]), 0, 1)[0])


@relaxed
@given(seeds, sizes, st.integers(1, 64), layouts)
def test_words(seed: int, n: int, width: int, layout: str) -> None:
    x = words(seed, n)
    planes = slow_planes(x, 0, width)
    bits = np.unpackbits(planes, axis=1, count=n, bitorder="little").T.reshape(-1)
    data = np.packbits(bits, bitorder="little")
    same(K.pack_words(lay(x, layout), width), data)
    mask = np.uint64(2**width - 1)
    same(K.unpack_words(lay(data, layout), n, width), x & mask)


@pytest.mark.parametrize("width", range(1, 65))
def test_words_every_width(width: int) -> None:
    for n in (0, 1, 7, 8, 9, 64, 65):
        x = words(width, n)
        mask = np.uint64(2**width - 1)
        data = K.pack_words(x, width)
        number = sum(int(value & mask) << (i * width) for i, value in enumerate(x))
        assert bytes(data) == number.to_bytes(-(-n * width // 8), "little")
        same(K.unpack_words(data, n, width), x & mask)


def test_bits_misuse() -> None:
    x, byte = words(0, 9), np.zeros(2, dtype=np.uint8)
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: K.to_planes(x, 3, 65), "high"),
        (lambda: K.to_planes(x, 4, 3), "low"),
        (lambda: K.to_planes(byte, 0, 1), "x "),  # type: ignore[arg-type]
        (lambda: K.from_planes(byte.reshape(1, 2), 7), "planes"),
        (lambda: K.from_planes(np.zeros((65, 2), dtype=np.uint8), 9), "planes"),
        (lambda: K.from_planes(byte, 9), "planes"),
        (lambda: K.expand(byte, 8), "packed"),
        (lambda: K.expand(x, 9), "packed"),  # type: ignore[arg-type]
        (lambda: K.pack(byte), "bits"),  # type: ignore[arg-type]
        (lambda: K.pack_words(x, 0), "width"),
        (lambda: K.pack_words(x, True), "width"),
        (lambda: K.unpack_words(byte, 3, 8), "data"),
        (lambda: K.unpack_words(byte, -1, 8), "n "),
    ]
    for call, name in calls:
        with pytest.raises(Misuse, match=name):
            call()


# ---- truncation


@relaxed
@given(seeds, st.lists(st.integers(0, 9), min_size=1, max_size=3), st.integers(1, 62), layouts)
def test_truncation(seed: int, shape: list[int], f: int, layout: str) -> None:
    a, wrap = words(seed, *shape), words(seed + 1, *shape)
    quarter = np.uint64(2**62)
    star, base = K.left_bits(lay(a, layout))
    same(star, ((a < quarter) | (a >= np.uint64(2**64 - 2**62))).astype(np.uint64))
    same(star, (a - quarter >= np.uint64(2**63)).astype(np.uint64))
    same(base, (a >= quarter).astype(np.uint64))
    same(K.right_bits(lay(a, layout)), (a >= np.uint64(2**63)).astype(np.uint64))
    expected = (a >> np.uint64(f)) - wrap * np.uint64(2 ** (64 - f))
    same(K.shift_correct(lay(a, layout), f, lay(wrap, layout)), expected)
    same(K.star_bits(lay(a, layout)), star)
    same(
        K.shift_left_half(lay(a, layout), f, lay(wrap, layout)),
        expected - base * np.uint64(2 ** (64 - f)),
    )


def test_truncation_misuse() -> None:
    x = words(0, 9)
    for call, name in (
        (lambda: K.shift_correct(x, 0, x), "f "),
        (lambda: K.shift_correct(x, 63, x), "f "),
        (lambda: K.shift_correct(x, 5, x[:1]), "wrap"),
        (lambda: K.left_bits(x.astype(np.int64)), "a "),  # type: ignore[arg-type]
        (lambda: K.right_bits([1]), "b "),  # type: ignore[arg-type]
    ):
        with pytest.raises(Misuse, match=name):
            call()


# ---- compilation and threads


def test_prepare_finds_every_kernel() -> None:
    K.prepare()
    names = list(all_kernels())
    assert "gemm._accumulate" in names and len(names) == 14


def test_kernel_without_a_cache_directory() -> None:
    scope: dict[str, Any] = {}
    exec(
        "def fill(out):\n    for i in range(out.size):\n        out[i] = 7", scope
    )  # has no source file
    out = np.zeros(3, dtype=np.uint64)
    kernel("out1")(scope["fill"])(out)
    assert out.tolist() == [7, 7, 7]


def test_import_compiles_nothing() -> None:
    code = (
        "import wwfl_core.kernels as K; from wwfl_core.kernels.prepare import all_kernels;assert "
        "not any(k.compiled for k in all_kernels().values())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_threads() -> None:
    a, b = words(1, 130, 170), words(2, 170, 50)
    expected = a @ b
    with ThreadPoolExecutor(4) as pool:
        for product in pool.map(lambda _: K.matmul([(a, b)]), range(40)):
            same(product, expected)
