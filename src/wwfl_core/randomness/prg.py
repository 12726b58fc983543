"""The one source of randomness: ChaCha20 (RFC 8439), keyed per subset of parties, a fresh nonce per
operation.

Every call is F(key of the subset, operation number, label). All members of the subset run the same
program, so they derive the same values without a message, and never hold a stateful generator that
could fall out of step."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

from wwfl_core.errors import Misuse
from wwfl_core.numbers import Algebra, Array, Shape

from .keystream import KeyStreams, chacha20

KEY_BYTES = 32
MAX_LABEL = 4


class Prg:
    """The streams of one key, for one thread. Each (operation, label) can be drawn once; a second
    draw is refused."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise Misuse(f"a PRG key has {KEY_BYTES} bytes, got {len(key)}")
        self._keyed = KeyStreams(key)
        self._op = -1
        self._labels: set[str] = set()

    def draw(self, op: int, label: str, algebra: Algebra, shape: Shape) -> Array:
        """Uniform elements of `algebra` from the stream of `reserve`, on the host.

        Raises:
            Misuse: if (op, label) was drawn before, or lies before an operation that was.
        """
        nonce = self._reserve(op, label)
        return algebra.from_bytes(self._keyed.stream(nonce, algebra.random_bytes(shape)), shape)

    def reserve(self, op: int, label: str) -> tuple[bytes, bytes]:
        """Key and nonce of a stream, for one use: nonce = op (8 bytes, little endian) | label (at
        most 4 ASCII bytes). Whoever takes them makes the elements elsewhere (on a device).

        Raises:
            Misuse: as `draw`.
        """
        return self._keyed.key, self._reserve(op, label)

    def _reserve(self, op: int, label: str) -> bytes:
        code = label.encode("ascii")
        if len(code) > MAX_LABEL:
            raise Misuse(f"PRG label {label!r} is longer than {MAX_LABEL} characters")
        if op > self._op:
            self._op, self._labels = op, set()
        elif op < self._op:
            raise Misuse(
                f"PRG stream (operation {op}, label {label!r}) comes too late: operation "
                f"{self._op}, which began after it, has drawn from the same key; masks are never "
                "reused, so their order is that of the operations. Draw all masks of an operation "
                "before you start another one (party.op, deal, truncate, a product)"
            )
        elif label in self._labels:
            raise Misuse(
                f"PRG stream (operation {op}, label {label!r}) was already used; masks are never "
                "reused"
            )
        self._labels.add(label)
        return op.to_bytes(8, "little") + code.ljust(MAX_LABEL, b"\0")


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


__all__ = [
    "KEY_BYTES",
    "MAX_LABEL",
    "Prg",
    "chacha20",
    "derive_key",
    "fresh_key",
    "subset_name",
]
