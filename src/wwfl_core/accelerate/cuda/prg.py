"""ChaCha20 streams drawn on a device: the same bytes as `wwfl_core.randomness.prg.chacha20`, also
inside other kernels.

A stream is used once (`wwfl_core.randomness.prg.Prg` sees to that); nothing here remembers which
ones were."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import Misuse

from .launch import DeviceArray, Launcher, launcher_for, over, plain

KEY_BYTES, NONCE_BYTES = 32, 12
MAX_STREAM_BYTES = 2**32 * 64  # the 32-bit block counter of RFC 8439
MAX_ARRAYS, MAX_MASKS = 4, 3  # of one pass of `combined`
STREAM_WORDS = 6
_WORDS = struct.Struct("<4QQI")


@dataclass(frozen=True)
class Stream:
    """A key (32 bytes) and a nonce (12 bytes): as much ChaCha20 key stream as wanted, block counter
    from 0."""

    key: bytes
    nonce: bytes

    def __post_init__(self) -> None:
        if len(self.key) != KEY_BYTES or len(self.nonce) != NONCE_BYTES:
            raise Misuse(
                f"a stream needs a key of {KEY_BYTES} and a nonce of {NONCE_BYTES} bytes, not "
                f"{len(self.key)} and {len(self.nonce)}"
            )

    def __repr__(self) -> str:
        return f"Stream(nonce={self.nonce.hex()})"  # never the key

    def args(self) -> tuple[int, ...]:
        """The kernel parameters STREAM(..) of csrc/chacha.cuh."""
        return _WORDS.unpack(self.key + self.nonce)


def streams_args(streams: Sequence[Stream]) -> list[int]:
    """The parameters of several streams in a row."""
    return [word for stream in streams for word in stream.args()]


def stream_args(stream: Stream | None) -> tuple[int, ...]:
    """The parameters of a stream that may be absent."""
    return _NOTHING if stream is None else stream.args()


def source_args(
    mask: DeviceArray | Stream, ready: Callable[[DeviceArray], DeviceArray]
) -> tuple[Any, tuple[int, ...]]:
    """The parameters of a mask that a kernel takes as an array (checked by `ready`) or as a stream:
    pointer, stream."""
    return (0, mask.args()) if isinstance(mask, Stream) else (ready(mask), _NOTHING)


_NOTHING = (0,) * STREAM_WORDS


def check_length(nbytes: int) -> None:
    """Refuses what the block counter cannot address."""
    if nbytes > MAX_STREAM_BYTES:
        raise Misuse(
            f"one PRG call of {nbytes} bytes exceeds the 256 GiB of a ChaCha20 nonce; split the "
            "tensor"
        )


def random_words(
    key: bytes, nonce: bytes, shape: tuple[int, ...], *, launcher: Launcher
) -> DeviceArray:
    """Uniform uint64 of that shape: the first 8 n bytes of the stream, little endian, where
    `launcher` allocates."""
    return combined(
        (), (), [Stream(key, nonce)], (), shape=shape, dtype=np.uint64, launcher=launcher
    )


def random_bytes(
    key: bytes, nonce: bytes, shape: tuple[int, ...], *, launcher: Launcher
) -> DeviceArray:
    """Uniform uint8 of that shape: the first n bytes of the stream."""
    return combined(
        (), (), [Stream(key, nonce)], (), shape=shape, dtype=np.uint8, launcher=launcher
    )


def combined(
    added: Sequence[DeviceArray],
    taken: Sequence[DeviceArray],
    plus: Sequence[Stream],
    minus: Sequence[Stream],
    *,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    launcher: Launcher,
    product: tuple[DeviceArray, DeviceArray] | None = None,
) -> DeviceArray:
    """sum(added) - sum(taken) + sum F(plus) - sum F(minus), and the product of two arrays if given;
    one pass for up to four arrays and three streams, more for more.

    Arrays have that shape and dtype: uint64 (sums modulo 2^64) or uint8 (packed bits: XOR and AND).
    The result is new."""
    kind = np.dtype(dtype).type
    kernel = "combine_bits" if kind is np.uint8 else "combine_ring"
    factors = [plain(a, "a factor", kind) for a in product or ()]
    arrays = [
        (plain(a, "an operand", kind), sign)
        for sign, group in ((0, added), (1, taken))
        for a in group
    ]
    streams = [(s, sign) for sign, group in ((0, plus), (1, minus)) for s in group]
    for a in (*factors, *(a for a, _ in arrays)):
        if a.shape != shape:
            raise Misuse(f"an operand must have shape {shape}, not {a.shape}")
    out = launcher.empty(shape, dtype)
    check_length(out.nbytes)
    before: list[tuple[DeviceArray, int]] = []  # what the pass before has made
    while True:
        room = MAX_ARRAYS - len(before)
        now, arrays = before + arrays[:room], arrays[room:]
        masks, streams = streams[:MAX_MASKS], streams[MAX_MASKS:]
        pointers = [*(factors or (0, 0)), *(a for a, _ in now), *[0] * (MAX_ARRAYS - len(now))]
        words = streams_args([s for s, _ in masks]) + [0] * (
            STREAM_WORDS * (MAX_MASKS - len(masks))
        )
        counts = [n for group in (now, masks) for n in (len(group) - _taken(group), _taken(group))]
        over(
            "prg.cu",
            kernel,
            -(-out.nbytes // 64),
            [*pointers, out, out.nbytes, *counts, *words],
            out,
        )
        if not arrays and not streams:
            return out
        before, factors = [(out, 0)], []


def _taken(group: Sequence[tuple[object, int]]) -> int:
    return sum(sign for _, sign in group)


def ring_or_bits(value: DeviceArray, kernel: str) -> str:
    """`kernel`_ring for uint64, `kernel`_bits for uint8 (packed bits)."""
    launcher_for(value)
    if value.dtype == np.uint64:
        return f"{kernel}_ring"
    if value.dtype == np.uint8:
        return f"{kernel}_bits"
    raise Misuse(f"{kernel} needs uint64 (ring elements) or uint8 (packed bits), not {value.dtype}")


def same_kind(arrays: Sequence[DeviceArray], what: str) -> list[DeviceArray]:
    """The arrays, plain; raises `Misuse` unless all have the dtype and shape of the first."""
    first = arrays[0]
    ready = [plain(a, f"{what}[{i}]", first.dtype.type) for i, a in enumerate(arrays)]
    for i, a in enumerate(ready):
        if a.shape != first.shape:
            raise Misuse(
                f"{what}[{i}] must have shape {first.shape} like the first operand, not {a.shape}"
            )
    return ready
