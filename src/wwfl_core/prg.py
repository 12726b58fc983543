"""The one source of randomness: ChaCha20 (RFC 8439), keyed per subset of parties, a fresh nonce per operation.

Every call is F(key of the subset, operation number, label). All members of the subset run the same program, so they
derive the same values without a message, and never hold a stateful generator that could fall out of step.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from .algebra import Algebra
from .arrays import U8, Array, Shape
from .errors import Misuse

KEY_BYTES = 32
MAX_LABEL = 4
_MAX_STREAM_BYTES = 2**32 * 64  # the 32-bit block counter of RFC 8439


def chacha20(key: bytes, nonce: bytes, size: int) -> U8:
    """The first `size` bytes of the ChaCha20 key stream for a 12-byte nonce, block counter from 0."""
    if size > _MAX_STREAM_BYTES:
        raise Misuse(f"one PRG call of {size} bytes exceeds the 256 GiB of a ChaCha20 nonce; split the tensor")
    out = np.empty(size, np.uint8)
    if size:
        encryptor = Cipher(algorithms.ChaCha20(key, b"\0\0\0\0" + nonce), mode=None).encryptor()
        encryptor.update_into(np.zeros(size, np.uint8).data, out.data)
    return out


class Prg:
    """The streams of one key. A stream (operation, label) can be drawn once; a second draw is refused."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise Misuse(f"a PRG key has {KEY_BYTES} bytes, got {len(key)}")
        self._key = key
        self._op = -1
        self._labels: set[str] = set()

    def draw(self, op: int, label: str, algebra: Algebra, shape: Shape) -> Array:
        """Uniform elements of `algebra`. Nonce = op (8 bytes, little endian) | label (at most 4 ASCII bytes).

        Raises:
            Misuse: if (op, label) was drawn before, or lies before an operation that was.
        """
        code = label.encode("ascii")
        if len(code) > MAX_LABEL:
            raise Misuse(f"PRG label {label!r} is longer than {MAX_LABEL} characters")
        if op > self._op:
            self._op, self._labels = op, set()
        elif op < self._op or label in self._labels:
            raise Misuse(f"PRG stream (operation {op}, label {label!r}) was already used; masks are never reused")
        self._labels.add(label)
        nonce = op.to_bytes(8, "little") + code.ljust(MAX_LABEL, b"\0")
        return algebra.from_bytes(chacha20(self._key, nonce, algebra.random_bytes(shape)), shape)


def fresh_key() -> bytes:
    """A key from the operating system's entropy."""
    return os.urandom(KEY_BYTES)


def derive_key(secret: bytes, *context: str) -> bytes:
    """A key bound to a context, from a secret key (BLAKE2b in keyed mode)."""
    text = "\0".join(context).encode()
    return hashlib.blake2b(text, key=secret, digest_size=KEY_BYTES, person=b"wwfl-derive").digest()


def subset_name(subset: Iterable[int]) -> str:
    """Canonical name of a set of parties, used in key derivation."""
    return ",".join(str(p) for p in sorted(subset))
