"""The ChaCha20 key stream on the host (RFC 8439); `wwfl_core.accelerate.cuda` has the same stream
on a device."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms

from wwfl_core.errors import Misuse
from wwfl_core.numbers import U8

MAX_STREAM_BYTES = 2**32 * 64  # the 32-bit block counter of RFC 8439
_COUNTER = b"\0\0\0\0"
_ZEROS = memoryview(bytes(1 << 15))
"""What is encrypted; long streams take it several times, since it stays in the cache."""


def check_size(size: int) -> None:
    """Refuses more bytes than one nonce has."""
    if size > MAX_STREAM_BYTES:
        raise Misuse(
            f"one PRG call of {size} bytes exceeds the 256 GiB of a ChaCha20 nonce; split the "
            "tensor"
        )


class KeyStreams:
    """The ChaCha20 key streams of one key, for one thread: setting up a cipher takes longer than a
    short stream does, so it is done once per key and moved from nonce to nonce."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    @cached_property
    def _cipher(self) -> CipherContext:
        return Cipher(algorithms.ChaCha20(self.key, bytes(16)), mode=None).encryptor()

    def stream(self, nonce: bytes, size: int) -> U8:
        """The first `size` bytes of the stream of a 12-byte nonce, block counter from 0.

        Raises:
            Misuse: for more bytes than a nonce has.
        """
        check_size(size)
        out = np.empty(size, np.uint8)
        if size:
            cipher, target = self._cipher, out.data
            cipher.reset_nonce(_COUNTER + nonce)
            for at in range(0, size, len(_ZEROS)):
                piece = target[at : at + len(_ZEROS)]
                cipher.update_into(_ZEROS[: len(piece)], piece)
        return out


def chacha20(key: bytes, nonce: bytes, size: int) -> U8:
    """One stream of a key: `KeyStreams.stream`."""
    return KeyStreams(key).stream(nonce, size)
