"""Exact truncation of x = A + B with A at one party and B at another: Lemma W
(`wwfl_core.protocol.truncation`), whose product of two private bits comes from a gadget.

The correlated randomness that the gadget needs is dealt by a helper, as here, or made by oblivious
transfer (`supply.py`). The same truncation serves 2PC, and 3PC with the third party as helper."""

from __future__ import annotations

import numpy as np

from wwfl_core import kernels
from wwfl_core.numbers import BITS, RING, U8, U64, Array, Shape, numel
from wwfl_core.party import OFFLINE, Op
from wwfl_core.protocol import Known, packed, right_bits, shifted_plus_one, star_bits

from .dealer import Roles
from .pair import Pair, exchange


class PairTruncation:
    """Gadget PBP multiplies the private bits a at X and b at Y: with masks alpha at X and beta at Y
    and c0 + c1 = alpha beta,

        X opens da = a ^ alpha, Y opens db = b ^ beta;
        s_X = db a + (-1)^(da ^ db) c0,  s_Y = (1 - 2 db) da beta + (-1)^(da ^ db) c1,

    so that s_X + s_Y = a b mod 2^f. Each then has an additive share of x / 2^f (Lemma W)."""

    def with_helper(
        self, op: Op, roles: Roles, word: Array | None, bits: int, shape: Shape
    ) -> Array | None:
        """Additive shares at X and Y of x / 2^bits; None at the helper. `word` is A at X, B at Y.

        Per element: offline `bits` bits (H to Y), online 1 bit each way, 1 round."""
        dealt = self.private_product(op, roles, bits, numel(shape))
        if dealt is None:
            return None
        assert word is not None
        return self.truncate(op, (roles.x, roles.y), word, bits, *dealt)

    def private_product(
        self, op: Op, roles: Roles, bits: int, n: int
    ) -> tuple[Array, Array] | None:
        """n masks alpha at X and beta at Y, and additive shares c0, c1 of alpha beta mod 2^bits.

        Returns (packed mask, share) at X and Y, None at H; Y's share is packed to `bits` bits each.
        Per element: offline `bits` bits (H to Y)."""
        me, size = op.party.index, (packed(n),)
        alpha: Known = None
        beta: Known = None
        c0: Known = None
        if me != roles.y:
            alpha = op.mask((roles.x, roles.h), "al", BITS, size)
            c0 = op.mask((roles.x, roles.h), "c0", RING, (n,))
        if me != roles.x:
            beta = op.mask((roles.y, roles.h), "be", BITS, size)

        if me == roles.x:
            return alpha, c0
        if me == roles.y:
            return beta, op.recv(roles.h, np.uint8, (packed(n * bits),), OFFLINE)
        op.send(roles.y, self._correction(alpha, beta, c0, n, bits), OFFLINE)
        return None

    def truncate(self, op: Op, pair: Pair, word: Array, bits: int, mask: Array, c: Array) -> Array:
        """This party's additive share of x / 2^bits. `mask` is alpha or beta, packed; `c` is c0 at
        X, and c1 at Y, of which `bits` bits each are packed. Online 1 bit each way, 1 round."""
        if op.party.index == pair[0]:
            da = self._left_message(word, mask)
            db = exchange(op, pair, da)
            return self._left_share(word, bits, da, db, c)
        db = self._right_message(word, mask)
        da = exchange(op, pair, db)
        return self._right_share(word, bits, da, db, mask, c)

    # ------------------------------------------------------------------ the equations

    def _correction(self, alpha: U8, beta: U8, c0: U64, n: int, bits: int) -> U8:
        """H: c1 = alpha beta - c0, packed."""
        return kernels.pack_words(kernels.expand(alpha & beta, n) - c0, bits)

    def _left_message(self, a: Array, alpha: Array) -> Array:
        """X: da = a ^ alpha, packed."""
        return BITS.add(kernels.pack(star_bits(a)), alpha)

    def _right_message(self, b: Array, beta: Array) -> Array:
        """Y: db = b ^ beta, packed."""
        return BITS.add(kernels.pack(right_bits(b)), beta)

    def _left_share(self, a: U64, bits: int, da: U8, db: U8, c0: U64) -> Array:
        """X: (A >> f) - 2^(64-f) (s_X + base)."""
        n = a.size
        signed = kernels.negate_where(c0, da ^ db)
        s = kernels.expand(db, n) * star_bits(a).reshape(-1) + signed
        return kernels.shift_left_half(a, bits, s.reshape(a.shape))

    def _right_share(self, b: U64, bits: int, da: U8, db: U8, beta: U8, c1: U8) -> Array:
        """Y: (B >> f) + 1 - 2^(64-f) s_Y."""
        n = b.size
        both = kernels.negate_where(kernels.expand(da & beta, n), db)
        s = both + kernels.negate_where(kernels.unpack_words(c1, n, bits), da ^ db)
        return shifted_plus_one(b, bits, s.reshape(b.shape))


__all__ = ["PairTruncation"]
