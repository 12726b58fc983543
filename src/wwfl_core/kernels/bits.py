# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false,
# reportUnknownArgumentType=false pyright: reportUntypedFunctionDecorator=false,
# reportMissingTypeStubs=false, reportUnknownParameterType=false pyright:
# reportMissingParameterType=false, reportCallIssue=false
"""Boolean shares: packed bits, bit planes, and words packed to fewer bits for the wire.

Bit i of a packed array is bit i % 8 (little bit order) of byte i // 8. Planes are packed arrays
stacked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from wwfl_core.errors import Misuse

from . import _vector as v
from ._lazy import U8, U64, check_int, kernel, plain_u8, plain_u64
from .dispatch import by_array

# Elements are handled in blocks of 64 and groups of up to 8 blocks. Between the two phases of a
# conversion the group lies in a 4 KiB buffer as [byte of the word][block][element]: 64 bytes per
# (byte, block).
_BLOCK_BYTES = 64
_BUFFER_BYTES = 8 * 8 * _BLOCK_BYTES


@intrinsic
def _split(typing, x, x_at, buffer, buffer_at):
    """Write the 64 words at x[x_at:] to the buffer, as byte columns 512 bytes apart."""
    signature = types.void(x, types.int64, buffer, types.int64)

    def generate(context, builder, sig, args):
        x = v.at(builder, v.data(context, builder, sig.args[0], args[0]), args[1])
        buffer = v.at(builder, v.data(context, builder, sig.args[2], args[2]), args[3], v.I8)
        rows = [v.load(builder, v.at(builder, x, v.const(8 * i))) for i in range(8)]
        rows = [v.transpose_bytes(builder, row) for row in rows]
        for i, row in enumerate(v.transpose_words(builder, rows)):
            v.store(builder, row, v.at(builder, buffer, v.const(512 * i), v.I8), 1)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _join(typing, buffer, buffer_at, x, x_at):
    """Inverse of _split: read byte columns 512 bytes apart, write 64 words at x[x_at:]."""
    signature = types.void(buffer, types.int64, x, types.int64)

    def generate(context, builder, sig, args):
        buffer = v.at(builder, v.data(context, builder, sig.args[0], args[0]), args[1], v.I8)
        x = v.at(builder, v.data(context, builder, sig.args[2], args[2]), args[3])
        rows = [
            v.load(builder, v.at(builder, buffer, v.const(512 * i), v.I8), align=1)
            for i in range(8)
        ]
        for i, row in enumerate(v.transpose_words(builder, rows)):
            v.store(builder, v.transpose_bytes(builder, row), v.at(builder, x, v.const(8 * i)))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _gather_bits(typing, buffer, buffer_at, bit):
    """A word of one bit of each of the 64 bytes at buffer[buffer_at:]; bit is the selecting byte 1
    << j."""
    signature = types.uint64(buffer, types.int64, types.int64)

    def generate(context, builder, sig, args):
        buffer = v.at(builder, v.data(context, builder, sig.args[0], args[0]), args[1], v.I8)
        selector = v.splat(builder, builder.trunc(args[2], v.I8), v.BYTES)
        chosen = builder.and_(v.load(builder, buffer, v.BYTES, 1), selector)
        mask = builder.icmp_unsigned("!=", chosen, ir.Constant(v.BYTES, [0] * 64))
        return builder.bitcast(mask, v.I64)

    return signature, generate


@intrinsic
def _scatter_bits(typing, planes, at, stride, count, buffer, buffer_at):
    """Write 64 bytes: bit j of byte i is bit i of the word at planes[at + j * stride:], 0 for j >=
    count."""
    signature = types.void(planes, *[types.int64] * 3, buffer, types.int64)

    def generate(context, builder, sig, args):
        planes = v.at(builder, v.data(context, builder, sig.args[0], args[0]), args[1], v.I8)
        buffer = v.at(builder, v.data(context, builder, sig.args[4], args[4]), args[5], v.I8)
        total = ir.Constant(v.BYTES, [0] * 64)
        for j in range(8):
            exists = builder.icmp_signed("<", v.const(j), args[3])
            row = builder.select(exists, builder.mul(v.const(j), args[2]), v.const(0))
            value = builder.select(exists, ir.Constant(v.I8, 1 << j), ir.Constant(v.I8, 0))
            word = v.load(builder, v.at(builder, planes, row, v.I8), v.I64, 1)
            mask = builder.bitcast(word, v.BYTE_MASK)
            part = builder.select(
                mask, v.splat(builder, value, v.BYTES), ir.Constant(v.BYTES, [0] * 64)
            )
            total = builder.or_(total, part)
        v.store(builder, total, buffer, 1)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _load(typing, array, at):
    """The word at an address of a byte array (any alignment)."""
    signature = types.uint64(array, types.int64)

    def generate(context, builder, sig, args):
        pointer = v.at(builder, v.data(context, builder, sig.args[0], args[0]), args[1], v.I8)
        return v.load(builder, pointer, v.I64, 1)

    return signature, generate


@intrinsic
def _store(typing, array, at, word):
    """Store a word at an address of a byte array (any alignment)."""
    signature = types.void(array, types.int64, types.uint64)

    def generate(context, builder, sig, args):
        pointer = v.at(builder, v.data(context, builder, sig.args[0], args[0]), args[1], v.I8)
        v.store(builder, args[2], pointer, 1)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _pack_64(typing, x, x_at):
    """A word of the lowest bits of the 64 words at x[x_at:]."""
    signature = types.uint64(x, types.int64)

    def generate(context, builder, sig, args):
        x = v.at(builder, v.data(context, builder, sig.args[0], args[0]), args[1])
        total = v.const(0)
        for i in range(8):
            bits = builder.trunc(v.load(builder, v.at(builder, x, v.const(8 * i))), v.WORD_MASK)
            byte = builder.zext(builder.bitcast(bits, v.I8), v.I64)
            total = builder.or_(total, builder.shl(byte, v.const(8 * i)))
        return total

    return signature, generate


@intrinsic
def _expand_8(typing, packed, packed_at, x, x_at):
    """Write the bits of byte packed[packed_at] as 8 words 0 or 1."""
    signature = types.void(packed, types.int64, x, types.int64)

    def generate(context, builder, sig, args):
        packed = v.at(builder, v.data(context, builder, sig.args[0], args[0]), args[1], v.I8)
        x = v.at(builder, v.data(context, builder, sig.args[2], args[2]), args[3])
        bits = builder.bitcast(v.load(builder, packed, v.I8, 1), v.WORD_MASK)
        v.store(builder, builder.zext(bits, v.WORDS), x)
        return context.get_dummy_value()

    return signature, generate


@kernel("in1 int int bytes_out2 bytes_out1 out1")
def _to_planes(x, low, high, planes, buffer, last):
    """planes[j - low] = packed bit j of x. buffer: 4 KiB scratch; last: 64 zeroed words of
    scratch."""
    n = x.size
    full = n // 64
    rest = n % 64
    for first in range(0, full, 8):
        blocks = min(8, full - first)
        for i in range(blocks):
            _split(x, 64 * (first + i), buffer, 64 * i)
        for j in range(low, high):
            base = 512 * (j >> 3)
            for i in range(blocks):
                _store(
                    planes,
                    (j - low) * planes.shape[1] + 8 * (first + i),
                    _gather_bits(buffer, base + 64 * i, 1 << (j & 7)),
                )
    if rest > 0:
        for i in range(rest):
            last[i] = x[64 * full + i]
        _split(last, 0, buffer, 0)
        for j in range(low, high):
            word = _gather_bits(buffer, 512 * (j >> 3), 1 << (j & 7))
            for i in range((rest + 7) // 8):
                planes[j - low, 8 * full + i] = (word >> np.uint64(8 * i)) & np.uint64(255)


@kernel("bytes_in2 out1 bytes_out1 bytes_out1 out1")
def _from_planes(planes, x, buffer, last_planes, last):
    """Inverse of _to_planes (low 0). buffer: 4 KiB zeroed; last_planes: 512 zeroed bytes; last: 64
    words."""
    k, stride = planes.shape
    n = x.size
    full = n // 64
    rest = n % 64
    for first in range(0, full, 8):
        blocks = min(8, full - first)
        for byte in range(0, k, 8):
            for i in range(blocks):
                _scatter_bits(
                    planes,
                    byte * stride + 8 * (first + i),
                    stride,
                    k - byte,
                    buffer,
                    64 * byte + 64 * i,
                )
        for i in range(blocks):
            _join(buffer, 64 * i, x, 64 * (first + i))
    if rest > 0:
        for j in range(k):
            for i in range((rest + 7) // 8):
                last_planes[8 * j + i] = planes[j, 8 * full + i]
        for byte in range(0, k, 8):
            _scatter_bits(last_planes, 8 * byte, 8, k - byte, buffer, 64 * byte)
        _join(buffer, 0, last, 0)
        for i in range(rest):
            x[64 * full + i] = last[i]


@kernel("in1 bytes_out1")
def _pack(x, packed):
    """packed = low bits of x."""
    n = x.size
    full = n // 64
    for i in range(full):
        _store(packed, 8 * i, _pack_64(x, 64 * i))
    for byte in range(8 * full, packed.size):
        value = np.uint64(0)
        for i in range(8 * byte, min(n, 8 * byte + 8)):
            value |= (x[i] & np.uint64(1)) << np.uint64(i - 8 * byte)
        packed[byte] = value


@kernel("bytes_in1 out1")
def _expand(packed, x):
    """x = bits of packed."""
    n = x.size
    for byte in range(n // 8):
        _expand_8(packed, byte, x, 8 * byte)
    for i in range(n // 8 * 8, n):
        x[i] = (packed[i // 8] >> (i % 8)) & 1


@by_array
def to_planes(x: U64, low: int, high: int) -> U8:
    """Bit planes low..high-1 of x (uint64, any shape, flattened in C order).

    Returns uint8 (high - low, ceil(n / 8)); row j holds bit low + j of every element, padding bits
    zero."""
    flat = plain_u64(x, "x").reshape(-1)
    high = check_int(high, "high", 0, 64)
    low = check_int(low, "low", 0, high)
    planes = np.empty((high - low, -(-flat.size // 8)), dtype=np.uint8)
    if planes.size:
        buffer = np.empty(_BUFFER_BYTES, dtype=np.uint8)
        _to_planes(flat, low, high, planes, buffer, np.zeros(64, dtype=np.uint64))
    return planes


@by_array
def from_planes(planes: U8, n: int) -> U64:
    """Words whose bit j is row j of planes: uint8 (k, ceil(n / 8)), k <= 64, to uint64 (n,).

    Padding bits after bit n of a row are ignored.
    """
    source = plain_u8(planes, "planes", 2)
    n = check_int(n, "n", 0, 2**48)
    if source.shape[0] > 64 or source.shape[1] != -(-n // 8):
        raise Misuse(
            f"planes must have shape (at most 64, {-(-n // 8)}) for n = {n}, not {source.shape}"
        )
    if source.shape[0] == 0:
        return np.zeros(n, dtype=np.uint64)
    x = np.empty(n, dtype=np.uint64)
    buffer = np.zeros(_BUFFER_BYTES, dtype=np.uint8)
    last_planes = np.zeros(64 * 8, dtype=np.uint8)
    _from_planes(source, x, buffer, last_planes, np.empty(64, dtype=np.uint64))
    return x


@by_array
def pack(bits: U64) -> U8:
    """The lowest bit of each element of bits (uint64, any shape, C order): uint8 (ceil(n / 8),)."""
    flat = plain_u64(bits, "bits").reshape(-1)
    packed = np.empty(-(-flat.size // 8), dtype=np.uint8)
    _pack(flat, packed)
    return packed


@by_array
def expand(packed: U8, n: int) -> U64:
    """The first n bits of packed (uint8, (ceil(n / 8),)) as uint64 (n,) of 0 and 1."""
    source = plain_u8(packed, "packed", 1)
    n = check_int(n, "n", 0, 2**48)
    if source.size != -(-n // 8):
        raise Misuse(f"packed must have {-(-n // 8)} bytes for n = {n}, not {source.size}")
    x = np.empty(n, dtype=np.uint64)
    _expand(source, x)
    return x


@by_array
def pick(packed: U8, shape: tuple[int, ...], index: Any) -> U8:
    """Of packed bits of that shape, those of array[index], packed: uint8 (ceil(k / 8),)."""
    bits = expand(packed, math.prod(shape)).reshape(shape)
    return pack(bits[index].reshape(-1))


@by_array
def negate_where(value: U64, packed: U8) -> U64:
    """(1 - 2 b) value for the packed bits b (uint8, (ceil(n / 8),)); value: uint64, any shape."""
    b = expand(packed, value.size).reshape(value.shape)
    return value - ((b * value) << np.uint64(1))


@by_array
def xor_where(value: U64, packed: U8) -> U64:
    """value + b - 2 b value for the packed bits b: the XOR of b and a bit that `value` shares."""
    b = expand(packed, value.size).reshape(value.shape)
    return value - ((b * value) << np.uint64(1)) + b
