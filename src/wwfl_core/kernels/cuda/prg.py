"""ChaCha20 streams drawn on a device: the same bytes as `wwfl_core.prg.chacha20`, also inside other kernels.

A stream is used once (`wwfl_core.prg.Prg` sees to that); nothing here remembers which ones were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wwfl_core.errors import Misuse

from .launch import DeviceArray, Launcher, launcher_for, over, plain

KEY_BYTES, NONCE_BYTES = 32, 12
MAX_STREAM_BYTES = 2**32 * 64  # the 32-bit block counter of RFC 8439
MAX_MASKS = 3


@dataclass(frozen=True)
class Stream:
    """A key (32 bytes) and a nonce (12 bytes): as much ChaCha20 key stream as wanted, block counter from 0."""

    key: bytes
    nonce: bytes

    def __post_init__(self) -> None:
        if len(self.key) != KEY_BYTES or len(self.nonce) != NONCE_BYTES:
            raise Misuse(
                f"a stream needs a key of {KEY_BYTES} and a nonce of {NONCE_BYTES} bytes, "
                f"not {len(self.key)} and {len(self.nonce)}"
            )

    def __repr__(self) -> str:
        return f"Stream(nonce={self.nonce.hex()})"  # never the key

    def args(self) -> list[int]:
        """The kernel parameters STREAM(..) of csrc/chacha.cuh."""
        words = [int.from_bytes(self.key[i : i + 8], "little") for i in range(0, KEY_BYTES, 8)]
        return [*words, int.from_bytes(self.nonce[:8], "little"), int.from_bytes(self.nonce[8:], "little")]


def streams_args(streams: Sequence[Stream]) -> list[int]:
    """The parameters of several streams in a row."""
    return [word for stream in streams for word in stream.args()]


def check_length(nbytes: int) -> None:
    """Refuses what the block counter cannot address."""
    if nbytes > MAX_STREAM_BYTES:
        raise Misuse(f"one PRG call of {nbytes} bytes exceeds the 256 GiB of a ChaCha20 nonce; split the tensor")


def random_words(key: bytes, nonce: bytes, shape: tuple[int, ...], *, launcher: Launcher) -> DeviceArray:
    """Uniform uint64 of that shape: the first 8 n bytes of the stream, little endian, where `launcher` allocates."""
    out = launcher.empty(shape, np.uint64)
    _draw(Stream(key, nonce), out)
    return out


def random_bytes(key: bytes, nonce: bytes, shape: tuple[int, ...], *, launcher: Launcher) -> DeviceArray:
    """Uniform uint8 of that shape: the first n bytes of the stream."""
    out = launcher.empty(shape, np.uint8)
    _draw(Stream(key, nonce), out)
    return out


def _draw(stream: Stream, out: DeviceArray) -> None:
    _run(0, out, [stream], [], "masked_ring")


def _run(
    value: DeviceArray | int, out: DeviceArray, plus: Sequence[Stream], minus: Sequence[Stream], kernel: str
) -> None:
    check_length(out.nbytes)
    used = [*plus, *minus]
    padded = streams_args([*used, *[used[0]] * (MAX_MASKS - len(used))])
    over("prg.cu", kernel, -(-out.nbytes // 64), [value, out, out.nbytes, len(plus), len(minus), *padded], out)


def masked(value: DeviceArray, plus: Sequence[Stream] = (), minus: Sequence[Stream] = ()) -> DeviceArray:
    """value + sum F(plus) - sum F(minus) in one pass, with one to three streams.

    value: uint64 (sums modulo 2^64) or uint8 (packed bits, XOR), any shape. Returns a new array like it. A zero share
    is `masked(z, [own], [following])`; what is left of a dealt value is `masked(value, minus=masks)`.
    """
    if not 1 <= len(plus) + len(minus) <= MAX_MASKS:
        raise Misuse(f"masked takes 1 to {MAX_MASKS} streams, not {len(plus) + len(minus)}")
    kernel = ring_or_bits(value, "masked")
    value = plain(value, "value", value.dtype.type)
    out = launcher_for(value).empty(value.shape, value.dtype)
    _run(value, out, plus, minus, kernel)
    return out


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
            raise Misuse(f"{what}[{i}] must have shape {first.shape} like the first operand, not {a.shape}")
    return ready
