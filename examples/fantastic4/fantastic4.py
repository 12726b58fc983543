"""Fantastic Four (Dalskov, Escudero, Keller, USENIX Security'21) for wwfl: four parties, one of
them actively corrupt.

    x = x0 + x1 + x2 + x3;  party i holds every component but x_i.

Security: malicious with abort, one corruption. Every value on a wire is known to two parties: one
sends it, the other vouches for it by a digest that is compared before anything is opened. (A
party's own input is known to it alone; its receivers compare what they got.)

A product needs no preprocessing and one round. The term x_i y_i is known to all who hold component
i and stays there; for each pair i < j the cross term x_i y_j + x_j y_i is known to the two other
parties, who deal it together: 6 elements on the wire for any bilinear map, whatever its inner
dimension. Truncation, comparison, bit conversion and injection are the generic ones of
wwfl_core.protocol.derived: a value is the sum of two words, x0 + x1 (known to parties 2 and 3) and
x2 + x3 (known to parties 0 and 1), and two parties vouch for each.

Costs: `declared_costs`, bits per 64-bit element over all links; `wwfl conformance
fantastic4:FantasticFour` compares them with what is sent. Nothing is sent offline."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar

from wwfl_core import Bilinear, MPCBackend, Security, SharingSemantics
from wwfl_core.numbers import Algebra, Array
from wwfl_core.sharing import Share
from wwfl_core.testing import DeclaredCost

PARTIES = frozenset(range(4))
PAIRS = tuple(combinations(range(4), 2))
Pair = tuple[Array, Array]


class FantasticFour(MPCBackend):
    """Four parties, each of which lacks one of four components."""

    name = "f4"
    sharing = SharingSemantics(
        "Fantastic Four 4PC",
        4,
        tuple(PARTIES - {i} for i in range(4)),
        (1, 1, 1, 1),
        Security(malicious=True),
    )
    declared_costs: ClassVar[Mapping[str, DeclaredCost]] = {
        "share": DeclaredCost(0, 128, rounds=1),
        "reveal": DeclaredCost(
            0, lambda s: 256 * s.n + 8 * 256, rounds=1
        ),  # and two digests per receiver
        "product": DeclaredCost(0, 6 * 64, rounds=1),
        "matmul": DeclaredCost(0, 6 * 64, rounds=1),
        "truncation": DeclaredCost(0, 10 * 64, rounds=2),
        "product+truncation": DeclaredCost(0, 16 * 64, rounds=3),
        "sign": DeclaredCost(0, 2 * 64 + 6 * (63 + 118), rounds=8),
        "sign32": DeclaredCost(0, 2 * 32 + 6 * (31 + 55), rounds=7),
        "bit_to_ring": DeclaredCost(0, 8 * 64, rounds=2),
        "inject": DeclaredCost(0, 14 * 64, rounds=3),
        "relu": DeclaredCost(0, 1214 + 14 * 64, rounds=11),
    }

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        """z = sum_i f(x_i, y_i) + sum_{i<j} (f(x_i, y_j) + f(x_j, y_i)), the second sum dealt in
        one round."""
        algebra, shape = x.algebra, f.shape(x.shape, y.shape)
        z = Share(
            algebra, shape, {i: f.apply(algebra, [(a, y.parts[i])]) for i, a in x.parts.items()}
        )
        terms = []
        for i, j in PAIRS:
            cross = None
            if self.me not in (i, j):
                cross = self._cross(f, algebra, *((s.parts[i], s.parts[j]) for s in (x, y)))
            terms.append((cross, sorted(PARTIES - {i, j})))
        for dealt in self.deal_many(terms, shape, algebra, name=f.name):
            z = z + dealt
        return self.truncate(z, truncate) if truncate else z

    def _cross(self, f: Bilinear, algebra: Algebra, x: Pair, y: Pair) -> Array:
        """f(x_i, y_j) + f(x_j, y_i), from components i and j."""
        return f.apply(algebra, [(x[0], y[1]), (x[1], y[0])])
