"""The ChaCha20 key stream on the host (RFC 8439); `wwfl_core.kernels.cuda` has the same stream on a device."""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from .arrays import U8
from .errors import Misuse

MAX_STREAM_BYTES = 2**32 * 64  # the 32-bit block counter of RFC 8439


def check_size(size: int) -> None:
    """Refuses more bytes than one nonce has."""
    if size > MAX_STREAM_BYTES:
        raise Misuse(f"one PRG call of {size} bytes exceeds the 256 GiB of a ChaCha20 nonce; split the tensor")


def chacha20(key: bytes, nonce: bytes, size: int) -> U8:
    """The first `size` bytes of the ChaCha20 key stream for a 12-byte nonce, block counter from 0."""
    check_size(size)
    out = np.empty(size, np.uint8)
    if size:
        encryptor = Cipher(algorithms.ChaCha20(key, b"\0\0\0\0" + nonce), mode=None).encryptor()
        encryptor.update_into(np.zeros(size, np.uint8).data, out.data)
    return out
