# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportCallIssue=false
"""Words packed to fewer bits for the wire: element i occupies bits i * width .. (i + 1) * width -
1."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from wwfl_core.errors import Misuse

from . import _vector as v
from ._lazy import U8, U64, check_int, kernel, plain_u8, plain_u64
from .dispatch import by_array

_SLACK = 32  # bytes that the packing kernel may write after the last one


@intrinsic
def _address(typing, array):
    """Address of the first element."""
    signature = types.int64(array)

    def generate(context, builder, sig, args):
        return builder.ptrtoint(v.data(context, builder, sig.args[0], args[0]), v.I64)

    return signature, generate


@intrinsic
def _load(typing, address):
    """The word at an address (any alignment)."""

    def generate(context, builder, sig, args):
        return v.load(builder, builder.inttoptr(args[0], ir.PointerType()), v.I64, 1)

    return types.uint64(types.int64), generate


@intrinsic
def _store(typing, address, word):
    """Store a word at an address (any alignment)."""

    def generate(context, builder, sig, args):
        v.store(builder, args[1], builder.inttoptr(args[0], ir.PointerType()), 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.uint64), generate


@kernel("in1 int out1 bytes_out1")
def _pack_words(x, width, last, data):
    """data = low width bits of x; writes up to 32 bytes after the end. last: 8 zeroed words of
    scratch."""
    n = x.size
    bits = np.uint64(width)
    mask = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - width)
    out = _address(data)
    if width % 8 == 0:
        step = width // 8
        for i in range(n):
            _store(out + i * step, x[i] & mask)
    elif width <= 32:
        # Groups of 8 elements fill exactly `width` bytes: 8 -> 4 -> 2 pieces, then stores that
        # overlap.
        source = _address(x)
        groups = (n + 7) // 8
        two, four = np.uint64(2 * width), np.uint64(4 * width)
        for group in range(groups):
            if 8 * group + 8 > n:
                for i in range(n - 8 * group):
                    last[i] = x[8 * group + i]
                source = _address(last) - 64 * group
            at = source + 64 * group
            e0 = (_load(at) & mask) | (_load(at + 8) & mask) << bits
            e1 = (_load(at + 16) & mask) | (_load(at + 24) & mask) << bits
            e2 = (_load(at + 32) & mask) | (_load(at + 40) & mask) << bits
            e3 = (_load(at + 48) & mask) | (_load(at + 56) & mask) << bits
            to = out + group * width
            if width < 16:
                f0, f1 = e0 | e1 << two, e2 | e3 << two
                _store(to, f0 | f1 << four)
                _store(to + 8, f1 >> (np.uint64(64) - four))
            else:
                # Pairs of two words: (f0, f1) and (g0, g1) hold 4 * width bits each, 64 < 4 * width
                # < 128.
                beyond = np.uint64(64) - two
                shift, back = four - np.uint64(64), np.uint64(128) - four
                f0, f1 = e0 | e1 << two, e1 >> beyond
                g0, g1 = e2 | e3 << two, e3 >> beyond
                _store(to, f0)
                _store(to + 8, f1 | g0 << shift)
                _store(to + 16, g0 >> back | g1 << shift)
                _store(to + 24, g1 >> back)
    else:
        carry = np.uint64(0)  # the bits of the current byte that are already decided
        for i in range(n):
            position = i * width
            inside = np.uint64(position & 7)
            word = x[i] & mask
            first = carry | word << inside
            to = out + (position >> 3)
            _store(to, first)
            total = inside + bits  # may exceed 64: the excess goes to a ninth byte
            spill = (word >> np.uint64(1)) >> (np.uint64(63) - inside)
            _store(to + 8, spill)
            if total >= np.uint64(64):
                carry = spill
            else:
                carry = first >> (total & np.uint64(0x38))


@kernel("bytes_in1 int out1 bytes_out1")
def _unpack_words(data, width, x, last):
    """x = words of width bits. last: 96 zeroed bytes of scratch."""
    n = x.size
    mask = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - width)
    source = _address(data)
    # Elements whose 8 (or 9) bytes lie inside data; a ninth byte is needed only by widths above 57.
    span = 8 if width <= 57 else 16
    safe = 0
    if data.size >= span:
        safe = min(n, ((data.size - span) * 8 + 7) // width + 1)
    if width <= 57:
        for i in range(safe):
            position = i * width
            x[i] = _load(source + (position >> 3)) >> np.uint64(position & 7) & mask
    else:
        for i in range(safe):
            position = i * width
            at = source + (position >> 3)
            inside = np.uint64(position & 7)
            high = (_load(at + 8) << np.uint64(1)) << (np.uint64(63) - inside)
            x[i] = (_load(at) >> inside | high) & mask
    if safe < n:
        start = safe * width >> 3
        for i in range(start, data.size):
            last[i - start] = data[i]
        source = _address(last)
        for i in range(safe, n):
            position = i * width - 8 * start
            at = source + (position >> 3)
            inside = np.uint64(position & 7)
            high = (_load(at + 8) << np.uint64(1)) << (np.uint64(63) - inside)
            x[i] = (_load(at) >> inside | high) & mask


@by_array
def pack_words(x: U64, width: int) -> U8:
    """The low width bits (1..64) of every element of x (uint64, any shape, C order), tightly
    packed.

    Returns uint8 (ceil(n * width / 8),); little-endian, padding bits zero. The result may be a view
    of x when width is 64: do not write to it."""
    flat = plain_u64(x, "x").reshape(-1)
    width = check_int(width, "width", 1, 64)
    if width == 64:
        return flat.view(np.uint8)
    size = -(-flat.size * width // 8)
    data = np.empty(size + _SLACK, dtype=np.uint8)
    _pack_words(flat, width, np.zeros(8, dtype=np.uint64), data)
    return data[:size]


@by_array
def unpack_words(data: U8, n: int, width: int) -> U64:
    """Inverse of `pack_words`: uint8 (ceil(n * width / 8),) to uint64 (n,).

    The result may be a (possibly read-only) view of data when width is 64.
    """
    source = plain_u8(data, "data", 1)
    width = check_int(width, "width", 1, 64)
    n = check_int(n, "n", 0, 2**48)
    size = -(-n * width // 8)
    if source.size != size:
        raise Misuse(
            f"data must have {size} bytes for n = {n} and width = {width}, not {source.size}"
        )
    if width == 64:
        view = source.view(np.uint64)
        return view if view.flags.aligned else view.copy()
    x = np.empty(n, dtype=np.uint64)
    _unpack_words(source, width, x, np.zeros(96, dtype=np.uint8))
    return x
