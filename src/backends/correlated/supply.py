"""Correlated randomness for two additive parties: what it is, and its two sources (a helper,
oblivious transfer).

All of it is independent of inputs and comes before they are needed. A method that returns None does
so at the helper."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from wwfl_core import kernels
from wwfl_core.numbers import BITS, RING, U8, U64, Algebra, Array, Bilinear, Shape
from wwfl_core.party import OFFLINE, Op, Party
from wwfl_core.protocol import packed

from . import gilboa
from .dealer import Roles
from .ot import Take, Transfers, batches
from .truncation import PairTruncation


class Supply(ABC):
    """Correlated randomness as one party gets it."""

    @abstractmethod
    def mask(self, op: Op, algebra: Algebra, shape: Shape) -> Array:
        """This party's share a_i of a uniform a (at a helper: a itself)."""

    @abstractmethod
    def product(self, op: Op, f: Bilinear, algebra: Algebra, a: Array, b: Array) -> Array | None:
        """A share of f(a, b) for masks a and b."""

    @abstractmethod
    def private_product(self, op: Op, bits: int, n: int) -> tuple[Array, Array] | None:
        """n uniform bits of one's own (packed), and shares mod 2^bits of their products with the
        other's bits: words at X, packed to `bits` bits each at Y."""

    @abstractmethod
    def bit(self, op: Op, n: int) -> U64 | None:
        """Additive shares [n] of uniform bits r (daBits). r is 0 or 1, so the shares' low bits are
        XOR shares of it."""

    @abstractmethod
    def gate(self, op: Op, n: int) -> tuple[U64, U64, U64] | None:
        """Additive shares [n] of a uniform bit r, a uniform word m, and r m."""


class Dealt(Supply):
    """From a helper: independent values from PRG keys, one correction to Y per dependent
    element."""

    def __init__(self, party: Party, roles: Roles, truncation: PairTruncation) -> None:
        self._me, self._roles, self._truncation = party.index, roles, truncation
        self._keys = {roles.x: (roles.x, roles.h), roles.y: (roles.y, roles.h)}

    def mask(self, op: Op, algebra: Algebra, shape: Shape, label: str = "a") -> Array:
        known = self._keys.values() if self._me == self._roles.h else [self._keys[self._me]]
        return algebra.sum([op.random(key, label, algebra, shape) for key in known])

    def product(self, op: Op, f: Bilinear, algebra: Algebra, a: Array, b: Array) -> Array | None:
        helps = self._me == self._roles.h
        return self._dealt(
            op,
            f.apply(algebra, [(a, b)]) if helps else None,
            "c",
            algebra,
            f.shape(a.shape, b.shape),
        )

    def private_product(self, op: Op, bits: int, n: int) -> tuple[Array, Array] | None:
        return self._truncation.private_product(op, self._roles, bits, n)

    def bit(self, op: Op, n: int) -> U64 | None:
        return self._dealt(op, self._random_bit(op, n), "a", RING, (n,))

    def gate(self, op: Op, n: int) -> tuple[U64, U64, U64] | None:
        m, r = self.mask(op, RING, (n,), "m"), self._random_bit(op, n)
        dealt = self._dealt(op, None if r is None else np.stack([r, r * m]), "rq", RING, (2, n))
        return None if dealt is None else (dealt[0], m, dealt[1])

    def _random_bit(self, op: Op, n: int) -> U64 | None:
        """The helper's choice."""
        h = self._roles.h
        return kernels.expand(op.random([h], "r", BITS, (packed(n),)), n) if self._me == h else None

    def _dealt(
        self, op: Op, value: Array | None, label: str, algebra: Algebra, shape: Shape
    ) -> Array | None:
        """H splits a value: X draws its share from the key that it has in common with H, Y is sent
        the rest."""
        x, y, h = self._roles
        if self._me == y:
            return op.recv(h, algebra.dtype, shape, OFFLINE)
        share = op.random(self._keys[x], label, algebra, shape)
        if self._me == x:
            return share
        assert value is not None
        op.send(y, algebra.sub(value, share), OFFLINE)
        return None


class Transferred(Supply):
    """From oblivious transfer between the two parties alone; masks come from each party's own PRG
    key."""

    def __init__(self, party: Party, pair: tuple[int, int]) -> None:
        self._me, (self._x, self._y) = party.index, pair
        self._ot = Transfers(party, self._y if self._me == self._x else self._x)

    def mask(self, op: Op, algebra: Algebra, shape: Shape, label: str = "a") -> Array:
        return op.random([self._me], label, algebra, shape)

    def product(self, op: Op, f: Bilinear, algebra: Algebra, a: Array, b: Array) -> Array | None:
        """f(a, b) = f(a1, b1) + f(a2, b2), which are local, + the two cross terms."""
        return algebra.add(f.apply(algebra, [(a, b)]), gilboa.cross(self._ot, f, algebra, a, b))

    def private_product(self, op: Op, bits: int, n: int) -> tuple[U8, Array]:
        """One transfer with a payload of `bits` bits: Y chooses by beta, X offers alpha."""
        mask = self.mask(op, BITS, (packed(n),))
        share = self._gated(mask, kernels.expand(mask, n)[:, None], self._x, bits)[:, 0]
        return mask, share if self._me == self._x else kernels.pack_words(share, bits)

    def private_conjunction(self, op: Op, size: int) -> tuple[U8, U8]:
        """As `private_product` mod 2, for 8 * size bits: (mask, XOR share of alpha AND beta), both
        packed."""
        mask = self.mask(op, BITS, (size,))
        share = np.empty(size, np.uint8)
        for rows in batches(8 * size):
            part = slice(rows.start // 8, rows.stop // 8)
            own, count = np.ascontiguousarray(mask[part]), part.stop - part.start
            if self._me == self._x:
                done = self._ot.conjoin(None, own[None], count)
            else:
                done = self._ot.conjoin(Take(own, 1), None, count)
            share[part] = self._one(done)[0]
        return mask, share

    def bit(self, op: Op, n: int) -> U64:
        """r = r1 ^ r2 = r1 + (1 - 2 r1) r2: Y chooses by r2, X offers 1 - 2 r1."""
        own = self.mask(op, BITS, (packed(n),))
        r = kernels.expand(own, n)
        share = self._gated(own, _sign(r)[:, None], self._x, 64)[:, 0]
        return share + r if self._me == self._x else share

    def gate(self, op: Op, n: int) -> tuple[U64, U64, U64]:
        """r m = (r1 ^ r2) (m1 + m2) with (r1 ^ r2) m1 = r1 m1 + (1 - 2 r1) m1 r2, and the same for
        m2."""
        own, m = self.mask(op, BITS, (packed(n),), "r"), self.mask(op, RING, (n,), "m")
        r = kernels.expand(own, n)
        first = np.stack([_sign(r), _sign(r) * m], axis=1)
        shared = self._gated(own, first, self._x, 64)  # of r2 (1 - 2 r1) and r2 (1 - 2 r1) m1
        other = self._gated(own, first[:, 1:], self._y, 64)[:, 0]  # of r1 (1 - 2 r2) m2
        q = r * m + shared[:, 1] + other
        return (shared[:, 0] + r if self._me == self._x else shared[:, 0]), m, q

    def _gated(self, bits: U8, vectors: U64, giver: int, width: int) -> U64:
        """Shares [n, l] of the product of the other party's bits with the giver's vectors [n, l],
        mod 2^width."""
        share = np.empty(vectors.shape, np.uint64)
        for rows in batches(len(vectors)):
            mine = np.ascontiguousarray(vectors[rows])
            if self._me == giver:
                done = self._ot.multiply(len(mine), None, mine, (width,))
            else:
                choices = bits[rows.start // 8 : packed(rows.stop)]
                done = self._ot.multiply(len(mine), Take(choices, mine.shape[1]), None, (width,))
            share[rows] = self._one(done)
        return share

    @staticmethod
    def _one(shares: tuple[Array | None, Array | None]) -> Array:
        """Of what was taken and what was given, the one that there is."""
        found = shares[0] if shares[0] is not None else shares[1]
        assert found is not None
        return found


def _sign(r: U64) -> U64:
    """1 - 2 r for bits r."""
    return np.uint64(1) - (r << np.uint64(1))
