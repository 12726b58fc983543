"""3PC replicated, semi-honest, honest majority (Araki et al., CCS'16; ABY3, CCS'18).

    x = x1 + x2 + x3;  P_i holds (x_i, x_{i+1});  PRG key k_i is held by the holders of component i.

Security: one of three parties passively corrupt. No preprocessing except f bits per exact
truncation, dealt by P3.

Costs: `Replicated3PC.declared_costs`. A bilinear map costs per OUTPUT element.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from wwfl_core import kernels
from wwfl_core.numbers import BITS, RING, Algebra, Array, Bilinear, Shape, numel
from wwfl_core.party import ONLINE, Op
from wwfl_core.protocol import DeclaredCost, MPCBackend, plane_shape
from wwfl_core.sharing import Share, SharingSemantics

from .correlated.dealer import Roles
from .correlated.truncation import PairTruncation

P1, P2, P3 = 0, 1, 2
X1, X2, X3 = 0, 1, 2  # components
REPLICATED_3PC = SharingSemantics(
    "replicated 3PC", 3, (frozenset({P1, P3}), frozenset({P1, P2}), frozenset({P2, P3})), (1, 1, 1)
)
ROLES = Roles(P1, P2, P3)  # for exact truncation P3 deals to P1 and P2
Held = tuple[Array, Array]
"""The components i and i + 1 that P_i holds."""


class Replicated3PC(MPCBackend):
    """Three computing parties, each holding two of three components."""

    name = "3pc"
    sharing = REPLICATED_3PC
    # Bits per element, all links: offline, online; rounds.
    declared_costs: ClassVar[Mapping[str, DeclaredCost]] = {
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
    truncation: ClassVar[PairTruncation] = PairTruncation()

    # ------------------------------------------------------------------ the product

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        """z_i = f(x_i, y_i + y_{i+1}) + f(x_{i+1}, y_i) + alpha_i at P_i, sent to P_{i-1}."""
        op, A = self.party.op(f.name), x.algebra
        alpha = self._zero_share(op, x, f.shape(x.shape, y.shape))
        z = self._summand(f, A, self._held(x), self._held(y), alpha)
        if truncate:
            return self._truncate_product(op, z, truncate)
        return self._replicated(op, A, z)

    def _summand(self, f: Bilinear, A: Algebra, x: Held, y: Held, alpha: Array) -> Array:
        """z_i."""
        (x_i, x_next), (y_i, y_next) = x, y
        return A.add(f.apply(A, [(x_i, A.add(y_i, y_next)), (x_next, y_i)]), alpha)

    def _zero_share(self, op: Op, x: Share, shape: Shape) -> Array:
        """alpha_i = F(k_i) - F(k_{i+1}), like x; the three alphas sum to zero (Araki et al.,
        Section 2.2)."""
        own, following = (
            op.mask(self.sharing.holders[c], "zero", x.algebra, shape)
            for c in (self.me, (self.me + 1) % 3)
        )
        return x.algebra.sub(own, following)

    def _held(self, x: Share) -> Held:
        return x.parts[self.me], x.parts[(self.me + 1) % 3]

    def _replicated(self, op: Op, algebra: Algebra, z: Array) -> Share:
        """z_i at P_i goes to P_{i-1}."""
        i, j = self.me, (self.me + 1) % 3
        op.send((i + 2) % 3, z)
        return Share(algebra, z.shape, {i: z, j: op.recv(j, algebra.dtype, z.shape)})

    # ------------------------------------------------------------------ truncation

    def truncate(self, x: Share, bits: int) -> Share:
        """Exact truncation with A = x1 + x2 at P1 and B = x3 at P2."""
        held = {P1: (X1, X2), P2: (X3,)}
        word = self.partial(x, held[self.me]) if self.me in held else None
        return self._truncate_words(word, bits, x.shape)

    def _truncate_product(self, op: Op, z: Array, bits: int) -> Share:
        """P3 sends z3 to P2, who then holds B = z2 + z3 against A = z1 at P1: 64 bits, 1 round."""
        word = z if self.me == P1 else None
        if self.me == P3:
            op.send(P2, z)
        elif self.me == P2:
            word = RING.add(z, op.recv(P3, np.uint64, z.shape))
        return self._truncate_words(word, bits, z.shape)

    def _truncate_words(self, word: Array | None, bits: int, shape: Shape) -> Share:
        """Lemma W between P1 and P2, then both deal their half: offline f, online 130 bits, 2
        rounds."""
        op = self.party.op("truncate")
        half = self.truncation.with_helper(op, ROLES, word, bits, shape)
        return self._reclose((P1, P2), half, shape)

    def _reclose(self, pair: tuple[int, int], word: Array | None, shape: Shape) -> Share:
        """A value that is additively shared by two parties becomes replicated: 128 bits, 1
        round."""
        words = [(word if self.me == party else None, [party], ONLINE) for party in pair]
        return self.deal_sum(words, shape, name="reclose")

    # ------------------------------------------------------------------ bits

    def carry_inputs(self, x: Share, bits: int) -> tuple[Share, Share]:
        """The bits of A = x1 + x2 are dealt by P1, those of B = x3 enter as a component.

        a has components 1 (P3, P1) and 2 (P1, P2), b only component 3 (P2, P3), so a AND b falls to
        P3 (a1 & b) and P2 (a2 & b), who deal their parts: 2 bits per AND instead of 3."""
        shape, low = plane_shape(x.shape, bits), bits - 1
        a = self.planes(x, (X1, X2), bits) if self.me == P1 else None
        b = self.planes(x, (X3,), bits) if self.me in (P2, P3) else None
        p = self.deal_sum([(a, [P1], ONLINE), (b, [P2, P3], ONLINE)], shape, BITS, name="bits")

        mine = None
        if b is not None:
            own = X1 if self.me == P3 else X2
            mine = self._and(p.parts[own][:low], b[:low])
        words = [(mine if self.me == party else None, [party], ONLINE) for party in (P2, P3)]
        return self.deal_sum(words, (low, shape[1]), BITS, name="and"), p

    def _and(self, x: Array, y: Array) -> Array:
        """x AND y."""
        return BITS.mul_sum([(x, y)])

    def bit_to_ring(self, b: Share, shape: Shape) -> Share:
        """b = u + v - 2uv with u = b1 ^ b2 at P1 and v = b3 at P2, P3.

        P1 shares u as u3 at P3 (PRG) and u2 at P2; then P3 holds u3 (1 - 2v) and P2 holds u2 (1 -
        2v) + v."""
        op, n = self.party.op("bit_to_ring"), numel(shape)
        mine = None
        if self.me == P1:
            mask = op.mask((P1, P3), "u", RING, (n,))
            op.send(P2, self._lifted(b.parts[X1], b.parts[X2], n, mask))
        elif self.me == P2:
            mine = kernels.xor_where(op.recv(P1, np.uint64, (n,)), b.parts[X3])
        else:
            mine = kernels.negate_where(op.random((P1, P3), "u", RING, (n,)), b.parts[X3])
        return self._reclose((P2, P3), None if mine is None else mine.reshape(shape), shape)

    def _lifted(self, b1: Array, b2: Array, n: int, mask: Array) -> Array:
        """u2 = u - u3."""
        return RING.sub(kernels.expand(BITS.add(b1, b2), n), mask)

    def inject(self, b: Share, x: Share) -> Share:
        """b x = (1 - 2v) (u (x1 + x2) + u x3) + v x with u = b1 ^ b2 at P1, v = b3 at P2 and P3.

        P1 shares u and d = u (x1 + x2) to P3 (PRG) and P2 (sent); P3 holds (1 - 2v)(d3 + u3 x3) + v
        x1, P2 holds (1 - 2v)(d2 + u2 x3) + v (x2 + x3). Online 256 bits, 2 rounds."""
        op, n, shape = self.party.op("inject"), numel(x.shape), x.shape
        mine = None
        if self.me == P1:
            mask = op.mask((P1, P3), "u", RING, (2, n))
            op.send(P2, self._lifted_with_product(b, x, mask))
        elif self.me == P2:
            u_and_d = op.recv(P1, np.uint64, (2, n))
            mine = self._injected(u_and_d, x.parts[X3], b.parts[X3], [x.parts[X2], x.parts[X3]])
        else:
            u_and_d = op.random((P1, P3), "u", RING, (2, n))
            mine = self._injected(u_and_d, x.parts[X3], b.parts[X3], [x.parts[X1]])
        return self._reclose((P2, P3), mine, shape)

    def _lifted_with_product(self, b: Share, x: Share, mask: Array) -> Array:
        """(u2, d2) = (u, d) - (u3, d3)."""
        u = kernels.expand(BITS.add(b.parts[X1], b.parts[X2]), numel(x.shape))
        d = u * RING.add(x.parts[X1], x.parts[X2]).reshape(-1)
        return RING.sub(np.stack([u, d]), mask)

    def _injected(self, u_and_d: Array, x3: Array, v: Array, rest: list[Array]) -> Array:
        """(1 - 2v)(d + u x3) + v (the sum of `rest`)."""
        u, d = u_and_d
        inner, others = d + u * x3.reshape(-1), RING.sum(rest).reshape(-1)
        made = inner + kernels.expand(v, x3.size) * (others - (inner << np.uint64(1)))
        return made.reshape(x3.shape)


__all__ = ["REPLICATED_3PC", "Replicated3PC"]
