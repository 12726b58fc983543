"""Base oblivious transfer between two parties on Curve25519: the public-key step from which OT
extension starts.

One transfer i of COUNT: the receiver has a bit c and learns the key k_c, the sender learns k_0 and
k_1.

    receiver   r a fresh scalar, pk_c = r (k G) for a fresh scalar k,  pk_{1-c} = r' U for a
               fresh scalar r' and a random point U of unknown discrete logarithm;
               sends (pk_0, pk_1)
    sender     one fresh scalar s for all transfers; sends S = s G;
               k_j = SHA-256(context | i | S | pk_j | s pk_j)
    receiver   s pk_c = k (r S), hashed in the same way

(Bellare and Micali, CRYPTO'89, with an obliviously sampled second key as in Naor and Pinkas,
SODA'01.)

Why each step. U: the receiver could compute both keys if it knew both logarithms. `is_on_curve`: a
random u-coordinate lies on the twist half of the time; an honest pk_c never does, so such a
pk_{1-c} would tell the choice. r': X25519 scalars are multiples of 8, which takes U, a point of the
whole curve, into the subgroup of prime order, where k G lies. r: a clamped scalar k takes only half
of the values modulo the group order; a product of two comes within 2^-100 of uniform (by the
Polya-Vinogradov bound on character sums over intervals), as r' U is. So (pk_0, pk_1) say nothing
about c, whatever the sender computes.

Assumptions: computational Diffie-Hellman on Curve25519, SHA-256 as a random oracle; both parties
follow the protocol (semi-honest). A receiver that chooses U itself learns both keys; nothing here
prevents that. Cost: 64 bytes per transfer to the sender, 32 bytes back; 2 messages."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from wwfl_core.errors import ProtocolError
from wwfl_core.numbers import BITS, U8
from wwfl_core.party import Op

COUNT = 128  # transfers, the security parameter of OT extension
POINT_BYTES = 32
KEY_BYTES = 32
PUBLIC_SHAPE = (COUNT, 2, POINT_BYTES)
_P = 2**255 - 19
_A = 486662
_CANDIDATES = 128  # per transfer; each is on the curve with probability 1/2


class Chooser(NamedTuple):
    """The receiver between its two steps: the scalars of the key that it chose, per transfer, and
    what it sent."""

    choices: U8
    scalars: list[tuple[X25519PrivateKey, X25519PrivateKey]]
    public: U8

    def __repr__(self) -> str:
        return f"Chooser({len(self.scalars)} transfers)"


def is_on_curve(u: bytes) -> bool:
    """Whether u is the coordinate of a point of Curve25519 (of its twist otherwise): u^3 + A u^2 +
    u is a square."""
    x = int.from_bytes(u, "little") % 2**255 % _P
    return pow(x * (x * x + _A * x + 1), (_P - 1) // 2, _P) in (0, 1)


def choose(op: Op, choices: U8) -> Chooser:
    """The receiver's first step: two public keys per transfer, distributed alike, of which it can
    use one.

    `choices` are COUNT bits as 0/1 bytes. All randomness comes from the party's own PRG key.
    """
    me = [op.party.index]
    scalars = op.random(me, "bot", BITS, (COUNT, 3, KEY_BYTES))
    candidates = op.random(me, "pts", BITS, (COUNT, _CANDIDATES, POINT_BYTES))
    public = np.empty(PUBLIC_SHAPE, np.uint8)
    kept: list[tuple[X25519PrivateKey, X25519PrivateKey]] = []
    for i, choice in enumerate(choices):
        k, r, blind = (_scalar(s) for s in scalars[i])
        public[i, choice] = _array(_times(r, k.public_key().public_bytes_raw()))
        public[i, 1 - choice] = _array(_times(blind, _random_point(candidates[i])))
        kept.append((k, r))
    return Chooser(choices, kept, public)


def answer(op: Op, public: U8) -> tuple[U8, U8]:
    """The sender's step: (S [32], both keys of every transfer [COUNT, 2, 32])."""
    secret = _scalar(op.random([op.party.index], "s", BITS, (KEY_BYTES,)))
    own = secret.public_key().public_bytes_raw()
    keys = [
        [_key(op, i, own, pk, _times(secret, pk.tobytes())) for pk in public[i]]
        for i in range(COUNT)
    ]
    return _array(own), np.array(keys, np.uint8)


def finish(op: Op, chooser: Chooser, answered: U8) -> U8:
    """The receiver's last step: the chosen key of every transfer [COUNT, 32], from the sender's
    S."""
    theirs = answered.tobytes()
    keys = [
        _key(op, i, theirs, chooser.public[i, choice], _times(k, _times(r, theirs)))
        for i, (choice, (k, r)) in enumerate(zip(chooser.choices, chooser.scalars, strict=True))
    ]
    return np.array(keys, np.uint8)


def _array(data: bytes) -> U8:
    return np.frombuffer(data, np.uint8)


def _scalar(seed: U8) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(seed.tobytes())


def _times(scalar: X25519PrivateKey, point: bytes) -> bytes:
    """scalar * point.

    Raises:
        ProtocolError: for a point of small order, which nobody who follows the protocol sends.
    """
    try:
        return scalar.exchange(X25519PublicKey.from_public_bytes(point))
    except ValueError as error:
        raise ProtocolError(
            "base OT: a point of small order; the peer does not follow the protocol"
        ) from error


def _random_point(candidates: U8) -> bytes:
    """The first candidate on the curve; that none of them is has probability 2^-128."""
    return next(c.tobytes() for c in candidates if is_on_curve(c.tobytes()))


def _key(op: Op, i: int, answered: bytes, public: U8, product: bytes) -> list[int]:
    context = b"wwfl base OT|%d|%d|" % (op.number, i)
    return list(hashlib.sha256(context + answered + public.tobytes() + product).digest())
