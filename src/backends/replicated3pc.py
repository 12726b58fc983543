"""3PC replicated, semi-honest, honest majority (Araki et al., CCS'16; ABY3, CCS'18).

    x = x1 + x2 + x3;  P_i holds (x_i, x_{i+1});  PRG key k_i is held by the holders of component i.

Security: one of three parties passively corrupt. No preprocessing except f bits per exact
truncation, dealt by P3.

Costs: `Replicated3PC.declared_costs`. A bilinear map costs per OUTPUT element.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from wwfl_core import kernels
from wwfl_core.accelerate.fused import Components, Mask, fused, one_pass
from wwfl_core.numbers.algebra import BITS, RING, Algebra
from wwfl_core.numbers.arrays import Array, Shape, numel
from wwfl_core.numbers.bilinear import Bilinear
from wwfl_core.party.party import ONLINE, Op
from wwfl_core.protocol.backend import MPCBackend
from wwfl_core.protocol.dealing import Made
from wwfl_core.protocol.declared_cost import DeclaredCost
from wwfl_core.protocol.derived import (
    AND,
    carry_ands,
    carry_merged,
    carry_products,
    conjunction,
    lifted,
    packed,
    plane_shape,
    planes_of,
    times_sign,
)
from wwfl_core.sharing.semantics import REPLICATED_3PC
from wwfl_core.sharing.share import Share

from .correlated import dealer
from .correlated.dealer import Roles

P1, P2, P3 = 0, 1, 2
ROLES = Roles(P1, P2, P3)  # for exact truncation P3 deals to P1 and P2
X1, X2, X3 = 0, 1, 2  # components


@fused("replicated.product")
def _product(f: Bilinear, A: Algebra, x: Components, y: Components, alpha: Mask) -> Array:
    """f(x_i, y_i + y_{i+1}) + f(x_{i+1}, y_i) + alpha_i, from a party's components i and i + 1."""
    return A.masked(f.apply(A, [(x[0], A.add(y[0], y[1])), (x[1], y[0])]), alpha)


@one_pass("carry.level")
def _level(
    g: Components, p: Components, product: Components | None, alpha: Mask | None
) -> tuple[Components, Components, Array | None]:
    """g and p after a product, and the next message (None at the root of the tree)."""
    a, b = _planes(g), _planes(p)
    if product is not None:
        a, b = carry_merged(a, b, _planes(product))
    if alpha is None:
        return _components(a), _components(b), None
    x, y = carry_products(a, b)
    return (
        _components(a),
        _components(b),
        _product(AND, BITS, _components(x), _components(y), alpha),
    )


@one_pass("replicated.inject")
def _injected(
    u_and_d: Array, x3: Array, v: Array, rest: Sequence[Array], hiding: Mask | None
) -> Array:
    """(1 - 2v)(d + u x3) + v sum(rest) at P2 and P3, less a mask."""
    u, d = u_and_d
    inner, others = d + u * x3.reshape(-1), RING.sum(rest).reshape(-1)
    made = inner + kernels.expand(v, x3.size) * (others - (inner << np.uint64(1)))
    return RING.unmasked(made.reshape(x3.shape), hiding)


def _planes(parts: Components) -> Share:
    """A party's components i and i + 1 as 0 and 1."""
    return Share(BITS, parts[0].shape, dict(enumerate(parts)))


def _components(x: Share) -> Components:
    return x.parts[0], x.parts[1]


class Replicated3PC(MPCBackend):
    """Three computing parties, each holding two of three components."""

    name = "3pc"
    sharing = REPLICATED_3PC
    declared_costs: ClassVar[
        Mapping[str, DeclaredCost]
    ] = {  # bits per element, all links: offline, online; rounds
        "share": DeclaredCost(0, 64, 1),
        "reveal": DeclaredCost(0, 192, 1),
        "product": DeclaredCost(0, 192, 1, links={(P1, P3): 64, (P2, P1): 64, (P3, P2): 64}),
        "product+truncation": DeclaredCost(lambda s: s.n * s.f, 194, 3),
        "matmul": DeclaredCost(0, 192, 1),
        "truncation": DeclaredCost(lambda s: s.n * s.f, 130, 2),
        "sign": DeclaredCost(0, 544, 8),
        "sign32": DeclaredCost(0, 259, 7),
        "bit_to_ring": DeclaredCost(0, 192, 2),
        "inject": DeclaredCost(0, 256, 2),
        "relu": DeclaredCost(0, 800, 10),
    }

    # ------------------------------------------------------------------ the product

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        """z_i = f(x_i, y_i + y_{i+1}) + f(x_{i+1}, y_i) + alpha_i at P_i, sent to P_{i-1}."""
        algebra = x.algebra
        op = self.party.op(f.name)
        alpha = self._zero_share(op, x, f.shape(x.shape, y.shape))
        z = _product(f, algebra, self._held(x), self._held(y), alpha)
        return (
            self._truncate_product(op, z, truncate)
            if truncate
            else self._replicated(op, algebra, z)
        )

    def _held(self, x: Share) -> Components:
        """Components i and i + 1."""
        return x.parts[self.me], x.parts[(self.me + 1) % 3]

    def _replicated(self, op: Op, algebra: Algebra, z: Array) -> Share:
        """z_i at P_i goes to P_{i-1}."""
        i, j = self.me, (self.me + 1) % 3
        op.send((i + 2) % 3, z)
        return Share(algebra, z.shape, {i: z, j: op.recv(j, algebra.dtype, z.shape)})

    def _zero_share(self, op: Op, x: Share, shape: Shape) -> Mask:
        """alpha_i = F(k_i) - F(k_{i+1}), like x; the three alphas sum to zero (Araki et al.,
        Section 2.2)."""
        own, following = (self.sharing.holders[c] for c in (self.me, (self.me + 1) % 3))
        return op.mask(x.algebra, shape, plus=[(own, "zero")], minus=[(following, "zero")])

    def _truncate_product(self, op: Op, z: Array, bits: int) -> Share:
        """Round 1: P3 sends z3 to P2, who then holds B = z2 + z3 against A = z1 at P1. Then
        `_truncate_words`."""
        word: Components | None = (z,)
        if self.me == P3:
            op.send(P2, z)
            word = None
        elif self.me == P2:
            word = z, op.recv(P3, np.uint64, z.shape)
        return self._truncate_words(word, bits, z.shape)

    # ------------------------------------------------------------------ truncation

    def truncate(self, x: Share, bits: int) -> Share:
        """Exact truncation with A = x1 + x2 at P1 and B = x3 at P2."""
        held = {P1: (X1, X2), P2: (X3,)}
        word = tuple(x.parts[c] for c in held[self.me]) if self.me in held else None
        return self._truncate_words(word, bits, x.shape)

    def _truncate_words(self, word: Components | None, bits: int, shape: Shape) -> Share:
        """Lemma W between P1 and P2, then both deal their half: offline f, online 130 bits, 2
        rounds. A and B are given as summands."""
        op = self.party.op("truncate")
        return self._reclose((P1, P2), dealer.truncate_pair(op, ROLES, word, bits, shape), shape)

    def _reclose(self, pair: tuple[int, int], word: Array | Made | None, shape: Shape) -> Share:
        """A value that is additively shared by two parties becomes replicated: 128 bits, 1
        round."""
        jobs = [(word if self.me == party else None, [party], ONLINE) for party in pair]
        return self.deal_sum(jobs, shape, name="reclose")

    # ------------------------------------------------------------------ bits

    def carry_inputs(self, x: Share, bits: int) -> tuple[Share, Share]:
        """The bits of A = x1 + x2 are dealt by P1, those of B = x3 enter as a component.

        a has components 1 (P3, P1) and 2 (P1, P2), b only component 3 (P2, P3), so a AND b falls to
        P3 (a1 & b) and P2 (a2 & b), who deal their parts: 2 bits per AND instead of 3."""
        shape, low = plane_shape(x.shape, bits), (bits - 1, packed(numel(x.shape)))
        a = planes_of((x.parts[X1], x.parts[X2]), (1, 1), bits) if self.me == P1 else None
        b = None if self.me == P1 else planes_of((x.parts[X3],), (1,), bits)
        p = self.deal_sum([(a, [P1], ONLINE), (b, [P2, P3], ONLINE)], shape, BITS, name="bits")
        both = None
        if b is not None:
            both = partial(
                conjunction, p.parts[X1 if self.me == P3 else X2][: bits - 1], b[: bits - 1]
            )
        jobs = [(both if self.me == party else None, [party], ONLINE) for party in (P2, P3)]
        return self.deal_sum(jobs, low, BITS, name="and"), p

    def carry_level(
        self, g: Share, p: Share, product: Share | None
    ) -> tuple[Share, Share, Share | None]:
        """`derived.carry_level` with its local part as one step."""
        op, alpha, rows = (
            None,
            None,
            carry_ands(g.shape[0] if product is None else (g.shape[0] + 1) // 2),
        )
        if rows:
            op = self.party.op(AND.name)
            alpha = self._zero_share(op, g, (rows, g.shape[1]))
        *after, z = _level(
            self._held(g), self._held(p), None if product is None else self._held(product), alpha
        )
        g, p = (
            Share(BITS, a[0].shape, dict(zip((self.me, (self.me + 1) % 3), a, strict=True)))
            for a in after
        )
        return g, p, None if op is None or z is None else self._replicated(op, BITS, z)

    def bit_to_ring(self, b: Share, shape: Shape) -> Share:
        """b = u + v - 2uv with u = b1 ^ b2 at P1 and v = b3 at P2, P3.

        P1 shares u as u3 at P3 (PRG) and u2 at P2; then P3 holds u3 (1 - 2v) and P2 holds u2 (1 -
        2v) + v."""
        op, n = self.party.op("bit_to_ring"), numel(shape)
        mine = None
        if self.me == P1:
            mask = op.mask(RING, (n,), plus=[((P1, P3), "u")])
            op.send(P2, lifted((b.parts[X1], b.parts[X2]), n, mask))
        else:
            part = (
                op.recv(P1, np.uint64, (n,))
                if self.me == P2
                else op.random((P1, P3), "u", RING, (n,))
            )
            mine = times_sign(part, b.parts[X3], add_bit=self.me == P2).reshape(shape)
        return self._reclose((P2, P3), mine, shape)

    def inject(self, b: Share, x: Share) -> Share:
        """b x = (1 - 2v) (u (x1 + x2) + u x3) + v x with u = b1 ^ b2 at P1, v = b3 at P2 and P3.

        P1 shares u and D = u (x1 + x2) to P3 (PRG) and P2 (sent); P3 holds (1 - 2v)(D3 + u3 x3) + v
        x1, P2 holds (1 - 2v)(D2 + u2 x3) + v (x2 + x3). Online 256 bits, 2 rounds."""
        op, n, shape = self.party.op("inject"), numel(x.shape), x.shape
        mine = None
        if self.me == P1:
            mask = op.mask(RING, (2, n), plus=[((P1, P3), "u")])
            op.send(P2, lifted((b.parts[X1], b.parts[X2]), n, mask, (x.parts[X1], x.parts[X2])))
        else:
            both = (
                op.recv(P1, np.uint64, (2, n))
                if self.me == P2
                else op.random((P1, P3), "u", RING, (2, n))
            )
            rest = [x.parts[c] for c in ((X2, X3) if self.me == P2 else (X1,))]
            mine = partial(_injected, both, x.parts[X3], b.parts[X3], rest)
        return self._reclose((P2, P3), mine, shape)
