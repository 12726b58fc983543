"""Every device kernel gives the bits of the CPU kernel, over odd sizes, layouts and extreme
values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulated_gpu import EmulatedArray, asarray, asnumpy
from emulated_gpu.devices import device, everywhere, same
from kernel_inputs import lay, words
from wwfl_core import kernels as cpu
from wwfl_core.accelerate import cuda
from wwfl_core.errors import Misuse, RangeError
from wwfl_core.numbers.algebra import BITS, RING
from wwfl_core.numbers.fixed_point import FixedPoint
from wwfl_core.randomness.prg import chacha20

relaxed = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32)
sizes = st.one_of(st.integers(0, 70), st.sampled_from([255, 256, 257, 1023, 1024, 1025, 2100]))


def stream(seed: int) -> cuda.Stream:
    """Some key and nonce."""
    raw = words(seed, 6).tobytes()
    return cuda.Stream(raw[:32], raw[32:44])


def key_stream(s: cuda.Stream, like: np.ndarray) -> np.ndarray:
    """The stream as OpenSSL computes it, in the form of an array."""
    return chacha20(s.key, s.nonce, like.nbytes).view(like.dtype).reshape(like.shape)


# ---- elementwise


@everywhere
@relaxed
@given(
    seed=seeds,
    n=sizes,
    pairs=st.integers(1, 5),
    layout=st.sampled_from(["plain", "reversed", "spread"]),
)
def test_mul_sum(where: str, seed: int, n: int, pairs: int, layout: str) -> None:
    put = device(where).put
    operands = [(words(seed + 2 * k, n), words(seed + 2 * k + 1, n)) for k in range(pairs)]
    strided = [(_strided(put, x, layout), put(y)) for x, y in operands]
    same(cuda.mul_sum(strided), cpu.mul_sum(operands), where)


def _strided(put: Any, x: np.ndarray, layout: str) -> Any:
    """A device array equal to x that is a strided view."""
    if layout == "reversed":
        return put(np.ascontiguousarray(x[::-1]))[::-1]
    if layout == "spread":
        return put(np.ascontiguousarray(np.stack([x, ~x], axis=-1)))[..., 0]
    return put(x)


@everywhere
@relaxed
@given(seed=seeds, n=sizes, a=st.integers(-(2**63), 2**64 - 1), b=st.integers(-(2**63), 2**64 - 1))
def test_linear_combinations(where: str, seed: int, n: int, a: int, b: int) -> None:
    put = device(where).put
    x, y = words(seed, n), words(seed + 1, n)
    a_word, b_word = np.uint64(a % 2**64), np.uint64(b % 2**64)
    same(cuda.linear(a, put(x), b, put(y)), a_word * x + b_word * y, where)
    same(cuda.add(put(x), put(y)), x + y, where)
    same(cuda.sub(put(x), put(y)), x - y, where)
    same(cuda.scale(a, put(x)), a_word * x, where)


# ---- bits


@everywhere
@relaxed
@given(seed=seeds, n=sizes, data=st.data())
def test_planes(where: str, seed: int, n: int, data: st.DataObject) -> None:
    put = device(where).put
    high = data.draw(st.integers(0, 64))
    low = data.draw(st.integers(0, high))
    x = words(seed, n)
    same(cuda.to_planes(put(x), low, high), cpu.to_planes(x, low, high), where)
    planes = cpu.to_planes(x, 0, high)
    same(cuda.from_planes(put(planes), n), cpu.from_planes(planes, n), where)


@everywhere
@relaxed
@given(seed=seeds, n=sizes)
def test_pack_and_expand(where: str, seed: int, n: int) -> None:
    put = device(where).put
    x = words(seed, n)
    packed = cpu.pack(x)
    same(cuda.pack(put(x)), packed, where)
    same(cuda.expand(put(packed), n), cpu.expand(packed, n), where)


@everywhere
@relaxed
@given(seed=seeds, n=sizes, width=st.integers(1, 64))
def test_words_of_fewer_bits(where: str, seed: int, n: int, width: int) -> None:
    put = device(where).put
    x = words(seed, n)
    packed = cpu.pack_words(x, width)
    same(cuda.pack_words(put(x), width), packed, where)
    same(cuda.unpack_words(put(packed), n, width), cpu.unpack_words(packed, n, width), where)


# ---- truncation, fixed point


@everywhere
@relaxed
@given(seed=seeds, n=sizes, f=st.integers(1, 62))
def test_truncation_steps(where: str, seed: int, n: int, f: int) -> None:
    put = device(where).put
    a, wrap = words(seed, n), words(seed + 1, n)
    for actual, expected in zip(cuda.left_bits(put(a)), cpu.left_bits(a), strict=True):
        same(actual, expected, where)
    same(cuda.right_bits(put(a)), cpu.right_bits(a), where)
    same(cuda.shift_correct(put(a), f, put(wrap)), cpu.shift_correct(a, f, wrap), where)


@everywhere
@relaxed
@given(
    real=st.lists(st.floats(-(2.0**35), 2.0**35, allow_subnormal=True), max_size=40),
    frac_bits=st.integers(8, 26),
)
def test_fixed_point(where: str, real: list[float], frac_bits: int) -> None:
    put, fixed = device(where).put, FixedPoint(frac_bits)
    values = np.array(real, np.float64)
    ring = fixed.encode(values)
    same(cuda.encode(put(values), frac_bits), ring, where)
    same(cuda.decode(put(ring), frac_bits), fixed.decode(ring), where)


@everywhere
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2.0**42, -(2.0**42)])
def test_encoding_says_where_a_value_does_not_fit(where: str, bad: float) -> None:
    values = np.ones((4, 5))
    values[2, 3] = values[3, 1] = bad
    with pytest.raises(RangeError, match=r"pixels\[2, 3\]"):
        cuda.encode(device(where).put(values), 20, "pixels")


# ---- convolution, matrix products


@everywhere
@relaxed
@given(data=st.data())
def test_patches_and_their_adjoint(where: str, data: st.DataObject) -> None:
    put = device(where).put
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    kernel, stride, padding = (draw(1, 4), draw(1, 4)), draw(1, 3), draw(0, 3)
    shape = (
        draw(0, 3),
        draw(0, 3),
        draw(max(1, kernel[0] - 2 * padding), 9),
        draw(max(1, kernel[1] - 2 * padding), 9),
    )
    x = words(draw(0, 2**32), *shape)
    cols = cpu.im2col(x, kernel, stride, padding)
    same(cuda.im2col(put(x), kernel, stride, padding), cols, where)
    same(
        cuda.col2im(put(cols), shape, kernel, stride, padding),
        cpu.col2im(cols, shape, kernel, stride, padding),
        where,
    )


# ---- random streams


@everywhere
@relaxed
@given(seed=seeds, n=sizes)
def test_streams_are_those_of_openssl(where: str, seed: int, n: int) -> None:
    launcher, s = device(where).launcher, stream(seed)
    drawn = cuda.random_words(s.key, s.nonce, (n,), launcher=launcher)
    same(drawn, chacha20(s.key, s.nonce, 8 * n).view(np.uint64), where)
    same(
        cuda.random_bytes(s.key, s.nonce, (n,), launcher=launcher),
        chacha20(s.key, s.nonce, n),
        where,
    )


@everywhere
@relaxed
@given(seed=seeds, n=sizes, terms=st.lists(st.booleans(), max_size=6), bits=st.integers(0, 64))
def test_a_product_of_bits_with_terms_and_the_planes_of_a_sum(
    where: str, seed: int, n: int, terms: list[bool], bits: int
) -> None:
    put, (x, y) = (
        device(where).put,
        (words(seed + i, n).view(np.uint8)[: 8 * n - n % 8] for i in range(2)),
    )
    drawn = [stream(seed + i) if term else None for i, term in enumerate(terms)]
    arrays = [words(seed + 2 + i, n).view(np.uint8)[: x.size] for i in range(len(terms))]
    here = [a if s is None else key_stream(s, a) for s, a in zip(drawn, arrays, strict=True)]
    there = [put(a) for s, a in zip(drawn, arrays, strict=True) if s is None]
    masks = [s for s in drawn if s is not None]
    form: Any = {"shape": x.shape, "dtype": np.uint8, "launcher": device(where).launcher}
    actual = cuda.combined(there, [], masks, [], product=(put(x), put(y)), **form)
    same(actual, BITS.sum([x & y, *here]), where)
    parts = words(seed, n), words(seed + 1, n)
    for signs in ((1,), (1, 1), (1, -1), (-1, -1)):
        used = parts[: len(signs)]
        actual = cuda.planes_of(tuple(map(put, used)), signs, bits)
        total = RING.sum([RING.scale(sign, part) for sign, part in zip(signs, used, strict=True)])
        same(actual, cpu.to_planes(total, 0, bits), where)


INDICES = [  # of an array of shape (4, 3, 5)
    *(
        (slice(None), slice(0, 2)),
        1,
        (2, slice(None, None, -2)),
        (slice(1, 1),),
        (0, 1, 2),
        slice(None),
    ),
    *(
        ([2, 0, 0],),
        (np.array([[0, 1], [1, 2]]), slice(1, None)),
        (..., 3),
        (None, 2),
        (slice(None), [1, 1]),
    ),
]


@everywhere
@pytest.mark.parametrize("index", INDICES, ids=map(str, range(len(INDICES))))
def test_bits_are_picked(where: str, index: Any) -> None:
    bits = np.packbits(words(3, 60).view(np.uint8)[:60] & 1, bitorder="little")
    picked = cpu.pick(bits, (4, 3, 5), index)
    same(cuda.bits.pick(device(where).put(bits), (4, 3, 5), index), picked, where)


@everywhere
@relaxed
@given(seed=seeds, n=sizes, counts=st.tuples(*[st.integers(0, 5)] * 4), bits=st.booleans())
def test_any_number_of_arrays_and_streams_are_added_up(
    where: str, seed: int, n: int, counts: tuple[int, int, int, int], bits: bool
) -> None:
    arrays = [
        words(seed + i, n).view(np.uint8)[: 8 * n - n % 8] if bits else words(seed + i, n)
        for i in range(10)
    ]
    added, taken = arrays[: counts[0]], arrays[5 : 5 + counts[1]]
    plus, minus = (
        [stream(seed + i) for i in range(counts[2])],
        [stream(seed + 9 + i) for i in range(counts[3])],
    )
    algebra, shape = (BITS, RING)[not bits], arrays[0].shape
    terms = [
        [*group, *(key_stream(s, arrays[0]) for s in s_)]
        for group, s_ in ((added, plus), (taken, minus))
    ]
    expected = algebra.difference(*terms) if sum(counts) else algebra.zeros(shape)
    put, launcher = device(where).put, device(where).launcher
    there = [[put(a) for a in group] for group in (added, taken)]
    actual = cuda.combined(
        *there, plus, minus, shape=shape, dtype=arrays[0].dtype, launcher=launcher
    )
    same(actual, expected, where)


def test_a_stream_does_not_show_its_key() -> None:
    s = stream(1)
    assert s.key.hex() not in repr(s) and str(list(s.key)) not in repr(s)


# ---- the door


def test_arrays_of_the_host_are_refused() -> None:
    x = words(1, 4)
    with pytest.raises(Misuse, match="ndarray"):
        cuda.mul_sum([(x, x)])
    with pytest.raises(TypeError, match="move one of them"):
        asarray(x) + x
    with pytest.raises(TypeError, match="move one of them"):
        np.concatenate([asarray(x), x])
    assert isinstance(asarray(x) + np.uint64(1), EmulatedArray)


def test_wrong_arguments_are_named() -> None:
    x, b = asarray(words(1, 4)), asarray(np.zeros(1, np.uint8))
    with pytest.raises(Misuse, match="bits must have dtype uint64"):
        cuda.pack(b)
    with pytest.raises(Misuse, match="packed must have 2 bytes"):
        cuda.expand(b, 9)
    with pytest.raises(Misuse, match=r"pairs\[1\]"):
        cuda.mul_sum([(x, x), (x, x[:2])])
    with pytest.raises(Misuse, match="f must be an integer from 1 to 62"):
        cuda.shift_correct(x, 63, x)
    with pytest.raises(Misuse, match="key of 32"):
        cuda.Stream(b"short", b"nonce")


@pytest.mark.parametrize("layout", ["plain", "transposed", "readonly", "unaligned"])
def test_moving_there_and_back_keeps_every_value(layout: str) -> None:
    x = lay(words(3, 6, 5), layout)
    moved = asarray(x)
    assert moved.flags.c_contiguous and moved.ctypes.data % 64 == 0
    np.testing.assert_array_equal(asnumpy(moved), x)
    assert asarray(moved) is moved
