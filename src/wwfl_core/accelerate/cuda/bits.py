"""Bit planes and packed bits on device arrays; see `wwfl_core.kernels.bits` for the layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from wwfl_core.errors import Misuse
from wwfl_core.kernels import check_int
from wwfl_core.numbers import numel

from .launch import DeviceArray, blocks, launcher_for, over, plain

MAX_AXES = 6  # of `pick`
TILE = 1024  # elements per block of to_planes and from_planes, as in csrc/bits.cu


def to_planes(x: DeviceArray, low: int, high: int) -> DeviceArray:
    """Bit planes low..high-1 of x (uint64, any shape, flattened in C order).

    Returns uint8 (high - low, ceil(n / 8)); row j holds bit low + j of every element, padding bits
    zero."""
    return _planes([x], [1], low, high)


def planes_of(parts: Sequence[DeviceArray], signs: Sequence[int], bits: int) -> DeviceArray:
    """`to_planes` of the low `bits` bits of the sum of one or two arrays of one shape, with
    signs."""
    return _planes(parts, signs, 0, bits)


def _planes(parts: Sequence[DeviceArray], signs: Sequence[int], low: int, high: int) -> DeviceArray:
    if not 1 <= len(parts) <= 2:
        raise Misuse(f"planes are made of one or two arrays, not {len(parts)}")
    words = [plain(part, "x", np.uint64) for part in parts]
    if words[0].shape != words[-1].shape:
        raise Misuse(f"both arrays must have shape {words[0].shape}, not {words[-1].shape}")
    high = check_int(high, "high", 0, 64)
    low = check_int(low, "low", 0, high)
    n, row_bytes = words[0].size, -(-words[0].size // 8)
    launcher = launcher_for(words[0])
    planes = launcher.empty((high - low, row_bytes), np.uint8)
    if planes.size:
        two = [*words, 0][:2]
        args = [*two, *[*signs, 0][:2], planes, n, low, high, row_bytes]
        launcher.launch("bits.cu", "to_planes", blocks(n, TILE), (256, 1, 1), args)
    return planes


def from_planes(planes: DeviceArray, n: int) -> DeviceArray:
    """Words whose bit j is row j of planes: uint8 (k, ceil(n / 8)), k <= 64, to uint64 (n,).

    Padding bits after bit n of a row are ignored.
    """
    source = plain(planes, "planes", np.uint8, 2)
    n = check_int(n, "n", 0, 2**48)
    if source.shape[0] > 64 or source.shape[1] != -(-n // 8):
        raise Misuse(
            f"planes must have shape (at most 64, {-(-n // 8)}) for n = {n}, not {source.shape}"
        )
    launcher = launcher_for(source)
    x = launcher.empty((n,), np.uint64)
    if n:
        args = [source, x, n, source.shape[0], source.shape[1]]
        launcher.launch("bits.cu", "from_planes", blocks(n, TILE), (256, 1, 1), args)
    return x


def pack(bits: DeviceArray) -> DeviceArray:
    """The lowest bit of each element of bits (uint64, any shape, C order): uint8 (ceil(n / 8),)."""
    flat = plain(bits, "bits", np.uint64)
    packed = launcher_for(flat).empty((-(-flat.size // 8),), np.uint8)
    over("bits.cu", "pack", flat.size, [flat, packed, flat.size], flat)
    return packed


def expand(packed: DeviceArray, n: int) -> DeviceArray:
    """The first n bits of packed (uint8, (ceil(n / 8),)) as uint64 (n,) of 0 and 1."""
    source = packed_bits(packed, n, "packed")
    x = launcher_for(source).empty((n,), np.uint64)
    over("bits.cu", "expand", n, [source, x, n], source)
    return x


def pick(packed: DeviceArray, shape: tuple[int, ...], index: Any) -> DeviceArray:
    """Of packed bits of that shape, those of array[index], packed: uint8 (ceil(k / 8),). One pass
    for slices and integers of up to 6 axes; through words otherwise."""
    source = packed_bits(packed, numel(shape), "packed")
    keys = cast(tuple[Any, ...], index if isinstance(index, tuple) else (index,))
    if len(shape) > MAX_AXES or not all(type(key) in (int, slice) for key in keys):
        return pack(expand(source, numel(shape)).reshape(shape)[index])
    origin = np.zeros(1, np.int8)
    steps = [numel(shape[axis + 1 :]) for axis in range(len(shape))]
    # It stands for places and is never read; with ... it is a view, also of a single place.
    view = np.lib.stride_tricks.as_strided(origin, shape, steps)[(*keys, ...)]
    n, offset = view.size, view.__array_interface__["data"][0] - origin.ctypes.data
    out = launcher_for(source).empty((-(-n // 8),), np.uint8)
    lead = MAX_AXES - view.ndim
    over(
        "bits.cu",
        "pick",
        n,
        [source, out, n, offset, *([1] * lead + [*view.shape])[1:], *[0] * lead, *view.strides],
        out,
    )
    return out


def negate_where(value: DeviceArray, packed: DeviceArray) -> DeviceArray:
    """(1 - 2 b) value for the packed bits b; value: uint64, any shape."""
    return _where("negate_where", value, packed)


def xor_where(value: DeviceArray, packed: DeviceArray) -> DeviceArray:
    """value + b - 2 b value for the packed bits b; value: uint64, any shape."""
    return _where("xor_where", value, packed)


def _where(kernel: str, value: DeviceArray, packed: DeviceArray) -> DeviceArray:
    source = plain(value, "value", np.uint64)
    out, n = launcher_for(source).empty(source.shape, np.uint64), source.size
    over("bits.cu", kernel, n, [source, packed_bits(packed, n, "packed"), out, n], source)
    return out


def packed_bits(packed: DeviceArray, n: int, name: str) -> DeviceArray:
    """Checked packed bits of n elements."""
    source = plain(packed, name, np.uint8, 1)
    n = check_int(n, "n", 0, 2**48)
    if source.size != -(-n // 8):
        raise Misuse(f"{name} must have {-(-n // 8)} bytes for n = {n}, not {source.size}")
    return source


def pack_words(x: DeviceArray, width: int) -> DeviceArray:
    """The low width bits (1..64) of every element of x (uint64, any shape, C order), tightly
    packed.

    Returns uint8 (ceil(n * width / 8),); little-endian, padding bits zero. The result may be a view
    of x when width is 64: do not write to it."""
    flat = plain(x, "x", np.uint64).reshape(-1)
    width = check_int(width, "width", 1, 64)
    if width == 64:
        return flat.view(np.uint8)
    words = -(-flat.size * width // 64)
    data = launcher_for(flat).empty((words,), np.uint64)
    over("bits.cu", "pack_words", words, [flat, data, flat.size, width, words], flat)
    return data.view(np.uint8)[: -(-flat.size * width // 8)]


def unpack_words(data: DeviceArray, n: int, width: int) -> DeviceArray:
    """Inverse of `pack_words`: uint8 (ceil(n * width / 8),) to uint64 (n,).

    The result may be a view of data when width is 64.
    """
    width = check_int(width, "width", 1, 64)
    n = check_int(n, "n", 0, 2**48)
    source = packed_words(data, n, width, "data")
    if width == 64:
        return source.view(np.uint64)
    x = launcher_for(source).empty((n,), np.uint64)
    over("bits.cu", "unpack_words", n, [source, x, n, width, source.size], source)
    return x


def packed_words(data: DeviceArray, n: int, width: int, name: str) -> DeviceArray:
    """Checked packed words of n elements."""
    source = plain(data, name, np.uint8, 1)
    if source.size != -(-n * width // 8):
        raise Misuse(
            f"{name} must have {-(-n * width // 8)} bytes for n = {n} and width = {width}, not "
            f"{source.size}"
        )
    return source
