"""Tetrad on a device: its local steps, one kernel each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from wwfl_core.accelerate import LazyMask, LazyStep, elementwise
from wwfl_core.accelerate.cuda import Stream, combined, launcher_for, mul_sum, planes_of
from wwfl_core.numbers import BITS, Algebra, Array, Bilinear, Shape
from wwfl_core.party import OFFLINE, ONLINE
from wwfl_core.protocol import AND, TableDealing, carry_ands
from wwfl_core.sharing import Share

from ..tetrad4pc import (
    CS1,
    CS3,
    CS4,
    EVALUATORS,
    K3,
    L1,
    L2,
    L3,
    OFFLINE_PAIR,
    Held,
    M,
    Tetrad4PC,
)
from . import pair, replicated, tetrad, tetrad_carry
from .pair import source

Planes = tuple[Array, ...]
"""The components of a share of bits that this party holds, in order."""


class FusedTetrad4PC(Tetrad4PC):
    """`Tetrad4PC`: the same messages and draws."""

    # ------------------------------------------------------------------ the product

    def _correction(self, f: Bilinear, A: Algebra, x: Held, y: Held, u: Any) -> Array:
        if not _fits(f, u, x, y):
            return super()._correction(f, A, x, y, u)
        return tetrad.offline(vars(x), vars(y), *u.streams)

    def _correction_and_seed(
        self, f: Bilinear, A: Algebra, x: Held, y: Held, u: Any, s: Any
    ) -> tuple[Array, Array]:
        if not _fits(f, u, x, y):
            return super()._correction_and_seed(f, A, x, y, u, s)
        r = tetrad.offline(vars(x), vars(y), *u.streams)
        return r, tetrad.seed(vars(x), vars(y), *s.streams)

    def _check_value(self, f: Bilinear, A: Algebra, x: Held, y: Held, w: Array, u: Any) -> Array:
        if not _fits(f, u, x, y):
            return super()._check_value(f, A, x, y, w, u)
        return tetrad.check(vars(x), vars(y), w, *u.streams)

    def _masked_terms(self, f: Bilinear, A: Algebra, x: Held, y: Held, u: Any) -> Array:
        if not _fits(f, u, x, y):
            return super()._masked_terms(f, A, x, y, u)
        own = "l1" if self.me == CS3 else "l2"
        return tetrad.evaluate(vars(x), vars(y), own, *u.streams)

    def _concluded(
        self, f: Bilinear, A: Algebra, x: Held, y: Held, mine: Array, theirs: Array, s: Any
    ) -> tuple[Array, Array]:
        if not _fits(f, s, x, y):
            return super()._concluded(f, A, x, y, mine, theirs, s)
        return tetrad.conclude(vars(x), vars(y), mine, theirs, *s.streams)

    # ------------------------------------------------------------------ truncation

    def _wrap_rest(self, r: Array, e1: Any, bits: int) -> Array:
        return tetrad.wrap_rest(r, *e1.streams, f=bits)

    def _wrap_rest_and_seed(
        self, r: Array, e1: Any, sigma: Any, s: Any, bits: int
    ) -> tuple[Array, Array]:
        streams = (*e1.streams, *sigma.streams, *s.streams)
        return tetrad.wrap_rest_and_seed(r, *streams, f=bits)

    def _wrap_flag(self, c: Array, sigma: Any) -> Array:
        return pair.wrap_message((c,), source(sigma), left=True)

    def _wrap_share(self, c: Array, e: Any, u: Any, bits: int) -> Array:
        return tetrad.wrap_share(c, source(e), *u.streams, f=bits)

    def _wrap_concluded(
        self, c: Array, mine: Array, theirs: Array, d: Array, s: Any, bits: int
    ) -> tuple[Array, Array]:
        return tetrad.wrap_conclude(c, mine, theirs, d, *s.streams, f=bits)

    def _right_half(self, r: Array, u: Any, bits: int) -> Array:
        return tetrad.shift_right_half(r, *u.streams, f=bits)

    def _wrap_check(self, r: Array, d: Array, w: Array, u: Any, bits: int) -> Array:
        return tetrad.wrap_check(r, d, w, *u.streams, f=bits)

    # ------------------------------------------------------------------ bits

    def planes(self, x: Share, components: Iterable[int], bits: int) -> Array:
        chosen = list(components)
        return planes_of([x.parts[c] for c in chosen], [self.coefficient(c) for c in chosen], bits)

    def _and(self, x: Array, y: Array, *terms: Any) -> Array:
        streams = [s for term in terms if isinstance(term, LazyMask) for s in term.streams]
        arrays = [term for term in terms if not isinstance(term, LazyMask)]
        form: Any = {"shape": x.shape, "dtype": np.uint8, "launcher": launcher_for(x)}
        return combined(arrays, [], streams, [], product=(x, y), **form)

    def _lifted(self, b1: Array, b2: Array, n: int, mask: Any) -> Array:
        return replicated.lift((b1, b2), n, *mask.streams)

    def _injected(self, mb: Array, mx: Array, lb: Array, gamma: Array, lx: Array, u: Any) -> Array:
        return tetrad.inject_piece(mb, mx, lb, gamma, lx, None if u is None else source(u))

    def _gated(self, v: Array, x: Array, terms: Sequence[Array]) -> Array:
        return tetrad.gated(v, x, 1, terms, x.size)

    def _bit_plus(self, l3: Array, n: int, terms: Sequence[Array]) -> Array:
        return tetrad.gated(l3, None, 1, terms, n)

    def _doubled(self, l3: Array, x: Any) -> Any:
        def make(hiding: Stream | None) -> Array:
            return tetrad.gated(l3, source(x), -2, (), x.size, hiding)

        return LazyStep(launcher_for(l3), x.dtype, x.shape, make)

    def _products(self, *pairs: tuple[Array, Array]) -> Any:
        def make(hiding: Stream | None) -> Array:
            if hiding is None:
                return mul_sum(pairs)
            xs, ys = zip(*pairs, strict=True)
            return tetrad.products(xs, ys, hiding)

        first = pairs[0][1]
        return LazyStep(launcher_for(first), first.dtype, first.shape, make)

    # ------------------------------------------------------------------ the carry tree

    def carry_out(self, g: Share, p: Share) -> Share:
        """The products of a level are `bilinear`'s, but what lies between two messages is one
        kernel, which also takes in the product of the last level."""
        positions, row = g.shape
        if positions == 1:
            return g[0]
        held = self.sharing.held_by(self.me)
        state = tuple(g.parts[c] for c in held), tuple(p.parts[c] for c in held)
        product = None
        while positions > 1:
            state, made = self._carry_product(state, product, (carry_ands(positions), row))
            product = tuple(made[c] for c in held)
            positions = (positions + 1) // 2
        root, _ = tetrad_carry.merged(*state, product)
        return Share(BITS, (row,), {c: a[0] for c, a in zip(held, root, strict=True)})

    def _carry_product(
        self, state: tuple[Planes, Planes], product: Planes | None, size: Shape
    ) -> tuple[tuple[Planes, Planes], dict[int, Array]]:
        """g and p after the last product, and the components of the next one."""
        op = self.party.op(AND.name)
        u: Any = self._u(op, BITS, size)
        s: Any = op.mask(K3, "s", BITS, size) if self.me in K3 else None
        of_c, of_r = (
            TableDealing(self.party, self.sharing, dealers, "deal", phase, BITS, size)
            for dealers, phase in ((EVALUATORS, ONLINE), (OFFLINE_PAIR, OFFLINE))
        )
        f3: Any = of_c.draw().get(L3)
        f2: Any = of_r.draw().get(L2)

        if self.me == CS4:
            streams = (*u.streams, *f2.streams, *s.streams, *f3.streams)
            g, p, l1, w, l2, l3 = tetrad_carry.offline(*state, product, *streams)
            op.send(CS1, w, OFFLINE)
            of_r.publish(l1)
            return (g, p), {L1: l1, L2: l2, L3: l3}

        if self.me == CS1:
            w = op.recv(CS4, np.uint8, size, OFFLINE)
            streams = (*u.streams, *f2.streams)
            g, p, l1, v, l2 = tetrad_carry.check(*state, product, w, *streams)
            self._vouch_check_value(op, v)
            of_r.publish(l1)
            of_c.receive()
            return (g, p), {M: of_c.known(), L1: l1, L2: l2}

        third = self.me == CS3
        g, p, factors, mine = tetrad_carry.evaluate(*state, product, third, *u.streams)
        theirs = self._swap(op, mine)
        drawn = None if f2 is None else source(f2)
        m, v, l3, l2 = tetrad_carry.conclude(
            factors, mine, theirs, *f3.streams, *s.streams, f2=drawn
        )
        self._expect_check_value(op, v)
        of_c.publish(m)
        of_r.receive()
        if third:
            return (g, p), {M: m, L1: of_r.known(), L3: l3}
        assert l2 is not None  # CS2 draws it
        return (g, p), {M: m, L2: l2, L3: l3}


def _fits(f: Bilinear, mask: Any, x: Held, y: Held) -> bool:
    return elementwise(f, mask, *vars(x).values(), *vars(y).values())


__all__ = ["FusedTetrad4PC"]
