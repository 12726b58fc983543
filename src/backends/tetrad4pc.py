"""4PC Tetrad (Koti et al., NDSS'22), one actively corrupt party of four, security with abort.

    x = m - l1 - l2 - l3;  CS1: (m, l1, l2), CS2: (m, l2, l3), CS3: (m, l3, l1), CS4: (l1, l2, l3).

CS2 and CS3 evaluate online, CS1 verifies them, CS4 only takes part in the (input-independent)
offline phase. The holders of l1, l2, l3 share the PRG keys K1, K2, K3. Over GF(2) the same code
gives the Boolean world.

Security: every value on a wire is a joint send (a second party vouches for it), or enters CS1's
check value v with a unit coefficient; all that was vouched for is compared before anything is
opened (MPCBackend.verify). CS4's words w have no second owner: they are safe because an error
in w reaches v multiplied by +-1 only. Summing several w, or scaling one by a secret, would let CS4
learn a bit from abort or no abort; no gate here does that.

Costs: `Tetrad4PC.declared_costs`. A bilinear map costs per OUTPUT element; rounds are one more than
the literature's, which counts at the evaluators: CS1 lags one message behind them (once per
program, not once per operation)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from wwfl_core import kernels
from wwfl_core.accelerate.fused import Components, Mask
from wwfl_core.numbers.algebra import BITS, RING, Algebra
from wwfl_core.numbers.arrays import Array, Shape, numel
from wwfl_core.numbers.bilinear import Bilinear
from wwfl_core.party.party import OFFLINE, ONLINE, Op
from wwfl_core.protocol import truncation
from wwfl_core.protocol.backend import MPCBackend
from wwfl_core.protocol.dealing import Made, TableDealing
from wwfl_core.protocol.declared_cost import DeclaredCost
from wwfl_core.protocol.derived import (
    AND,
    carry_ands,
    conjunction,
    lifted,
    packed,
    plane_shape,
    planes_of,
    times_sign,
)
from wwfl_core.sharing.semantics import TETRAD_4PC
from wwfl_core.sharing.share import Share

from . import tetrad_steps as steps

CS1, CS2, CS3, CS4 = 0, 1, 2, 3
M, L1, L2, L3 = 0, 1, 2, 3  # components
NAMES = ("m", "l1", "l2", "l3")
K1, K2, K3 = (TETRAD_4PC.holders[c] for c in (L1, L2, L3))
EVALUATORS, OFFLINE_PAIR = (CS2, CS3), (CS1, CS4)


def _by_name(x: Share) -> dict[str, Array]:
    """The components that this party holds: m, l1, l2, l3."""
    return {NAMES[c]: part for c, part in x.parts.items()}


class Tetrad4PC(MPCBackend):
    """Four parties, of whom one may deviate arbitrarily: everybody learns the right result or
    aborts."""

    name = "4pc"
    sharing = TETRAD_4PC
    declared_costs: ClassVar[
        Mapping[str, DeclaredCost]
    ] = {  # bits per element, all links: offline, online; rounds
        "share": DeclaredCost(0, 128, 1),
        "reveal": DeclaredCost(
            0, lambda s: 256 * s.n + 8 * 256, 1
        ),  # two more holders show a digest
        "product": DeclaredCost(128, 192, 2),
        "product+truncation": DeclaredCost(
            lambda s: s.n * (128 + 2 * s.f), lambda s: s.n * (193 + 2 * s.f), 3
        ),
        "matmul": DeclaredCost(128, 192, 2),
        "truncation": DeclaredCost(
            lambda s: s.n * (64 + 2 * s.f), lambda s: s.n * (65 + 2 * s.f), 2
        ),
        "sign": DeclaredCost(363, 607, 8),
        "sign32": DeclaredCost(173, 290, 7),
        "bit_to_ring": DeclaredCost(128, 192, 2),
        "inject": DeclaredCost(384, 192, 2),
        "relu": DeclaredCost(747, 799, 9),
    }

    # ------------------------------------------------------------------ the product

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        """Tetrad's multiplication, Figure 4 (fair variant): z = c + r with c at CS2, CS3 and r at
        CS1, CS4.

        gamma = (sum of x's lambdas)(sum of y's lambdas) = gamma1 + gamma2 + gamma3, where gamma_i
        is known to CS4 and to CS3, CS2, CS1 in turn; r = gamma3 - u1 - u2. Evaluators swap y1 and
        y2 and get c = z - r."""
        op, algebra, shape = self.party.op(f.name), x.algebra, f.shape(x.shape, y.shape)
        r = self._offline(op, f, x, y, shape) if self.me in OFFLINE_PAIR else None
        c = self._online(op, f, x, y, shape) if self.me in EVALUATORS else None
        if truncate:
            return self._truncate_words(c, r, truncate, shape)
        return self.deal_sum([(c, EVALUATORS, ONLINE), (r, OFFLINE_PAIR, OFFLINE)], shape, algebra)

    def _offline(self, op: Op, f: Bilinear, x: Share, y: Share, shape: Shape) -> Array:
        """CS1 and CS4 get r = gamma3 - u1 - u2; CS4 sends CS1 w = gamma1 + gamma2 + s, the seed of
        the check value."""
        A, a, b = x.algebra, _by_name(x), _by_name(y)
        u = op.mask(A, shape, plus=[(K1, "u1"), (K2, "u2")])
        if self.me == CS4:
            r, w = steps.correction_and_seed(f, A, a, b, u, op.mask(A, shape, plus=[(K3, "s")]))
            op.send(CS1, w, OFFLINE)
            return r
        w = op.recv(CS4, A.dtype, shape, OFFLINE)
        self._vouch_check_value(op, steps.check_value(f, A, a, b, w, u))
        return steps.correction(f, A, a, b, u)

    def _online(self, op: Op, f: Bilinear, x: Share, y: Share, shape: Shape) -> Array:
        """CS2 and CS3 swap y1 and y2 and conclude."""
        A, a, b = x.algebra, _by_name(x), _by_name(y)
        own, key = ("l1", K1) if self.me == CS3 else ("l2", K2)
        mine = steps.masked_terms(f, A, a, b, own, op.mask(A, shape, plus=[(key, f"u{own[1]}")]))
        theirs = self._swap(op, mine)
        c, v = steps.concluded(f, A, a, b, mine, theirs, op.mask(A, shape, plus=[(K3, "s")]))
        self._expect_check_value(op, v)
        return c

    def _swap(self, op: Op, mine: Array) -> Array:
        """CS2 and CS3 exchange arrays of one shape: one round."""
        other = CS2 if self.me == CS3 else CS3
        op.send(other, mine)
        return op.recv(other, mine.dtype, mine.shape)

    def _vouch_check_value(self, op: Op, v: Array) -> None:
        """CS1 vouches for v to both evaluators."""
        for evaluator in EVALUATORS:
            self.party.transcript.vouch(evaluator, op.number, v)

    def _expect_check_value(self, op: Op, v: Array) -> None:
        self.party.transcript.expect(CS1, op.number, v)

    def _joint(
        self,
        op: Op,
        senders: Sequence[int],
        to: int,
        value: Array | None,
        like: tuple[Algebra, Shape],
        offline: bool,
    ) -> Array | None:
        """jsnd(i, j -> k): the first sender sends, the second vouches."""
        return op.joint_send(
            senders, to, value, like[0].dtype, like[1], OFFLINE if offline else ONLINE, vouched=True
        )

    # ------------------------------------------------------------------ truncation

    def truncate(self, x: Share, bits: int) -> Share:
        """x splits for free: c = m - l3 at CS2, CS3 and r = -(l1 + l2) at CS1, CS4."""
        c = self.partial(x, (M, L3)) if self.me in EVALUATORS else None
        r = self.partial(x, (L1, L2)) if self.me in OFFLINE_PAIR else None
        return self._truncate_words(c, r, bits, x.shape)

    def _truncate_words(self, c: Array | None, r: Array | None, bits: int, shape: Shape) -> Share:
        """Exact truncation of x = c + r (Lemma W): (c >> f) + (r >> f) + 1 - 2^(64-f) (c* r* +
        base).

        The wrap bit r* is known offline and shared mod 2^f as e1 (K1) + e2; evaluators swap c* e1 +
        u1 and c* e2 + u2, so they learn W = c* r* + u1 + u2. CS1 checks with d = c* ^ sigma and w =
        sigma r* + s: v = d r* + (1 - 2d) w + u1 + u2 = W + (1 - 2d) s."""
        op, n = self.party.op("truncate"), numel(shape)
        words, flags = (BITS, (packed(n * bits),)), (BITS, (packed(n),))
        u = self._mask_sum(op, RING, shape)
        e = op.mask(RING, shape, plus=[(K1, "e1")]) if self.me in K1 else None
        sigma = op.mask(*flags, plus=[(K3, "sg")]) if self.me in K3 else None
        s = op.mask(RING, shape, plus=[(K3, "s")]) if self.me in K3 else None
        rest = left = right = None
        if self.me == CS1:
            rest = steps.wrap_rest(r, e, bits)
        elif self.me == CS4:
            rest, seed = steps.wrap_rest_and_seed(r, e, sigma, s, bits)
            op.send(CS1, seed, OFFLINE)
        got = self._joint(op, (CS4, CS1), CS2, rest, words, offline=True)
        w = op.recv(CS4, np.uint8, words[1], OFFLINE) if self.me == CS1 else None
        flip = None if c is None else truncation.wrap_message((c,), sigma, left=True)
        d = self._joint(op, EVALUATORS[::-1], CS1, flip, flags, offline=False)
        if c is not None:
            mine = steps.wrap_share(c, got if self.me == CS2 else e, u, bits)
            theirs = self._swap(op, mine)
            left, check = steps.wrap_concluded(c, mine, theirs, flip, s, bits)
            self._expect_check_value(op, check)
        if r is not None:
            right = steps.right_half(r, u, bits)
        if self.me == CS1:
            self._vouch_check_value(op, steps.wrap_check(r, d, w, u, bits))
        halves = [
            (left if self.me in EVALUATORS else None, EVALUATORS, ONLINE),
            (right, OFFLINE_PAIR, OFFLINE),
        ]
        return self.deal_sum(halves, shape, name="truncate")

    # ------------------------------------------------------------------ bits

    def carry_inputs(self, x: Share, bits: int) -> tuple[Share, Share]:
        """v1 = m - l3 is dealt by CS2, CS3 (its l1 = l2 = 0), v2 = -(l1 + l2) by CS1, CS4 (its m =
        l3 = 0).

        For such operands gamma3 = 0 and v1 is known to both evaluators: y1 = v1 l1 + u1, y2 = v1 l2
        + u2 with the lambdas of v2, check value v = m1 (l1 + l2) + w + u1 + u2 with w = l3 (l1 +
        l2) + s. Offline 1, online 3 bits."""
        shape, low = plane_shape(x.shape, bits), bits - 1
        c = planes_of((x.parts[M], x.parts[L3]), (1, -1), bits) if self.me in EVALUATORS else None
        r = (
            planes_of((x.parts[L1], x.parts[L2]), (-1, -1), bits)
            if self.me in OFFLINE_PAIR
            else None
        )
        p = self.deal_sum(
            [(c, EVALUATORS, ONLINE), (r, OFFLINE_PAIR, OFFLINE)], shape, BITS, name="bits"
        )
        op, size = self.party.op("and"), (low, shape[1])
        u = self._masks(op, BITS, size)
        s = op.mask(BITS, size, plus=[(K3, "s")]) if self.me in K3 else None
        result = None
        if self.me == CS4:
            assert r is not None
            op.send(CS1, conjunction(p.parts[L3][:low], r[:low], s), OFFLINE)
        elif self.me == CS1:
            assert r is not None
            w = op.recv(CS4, np.uint8, size, OFFLINE)
            self._vouch_check_value(op, conjunction(p.parts[M][:low], r[:low], w, u[L1], u[L2]))
        else:
            assert c is not None and s is not None
            own = L1 if self.me == CS3 else L2
            mine = conjunction(c[:low], p.parts[own][:low], u[own])
            result = mine ^ self._swap(op, mine)
            self._expect_check_value(op, BITS.masked(result, s))
        return self.deal_sum([(result, EVALUATORS, ONLINE)], size, BITS, name="and", more=u), p

    def carry_level(
        self, g: Share, p: Share, product: Share | None
    ) -> tuple[Share, Share, Share | None]:
        """`derived.carry_level`, whose local parts (of the AND and of dealing c and r) are one step
        each."""
        held = self.sharing.held_by(self.me)
        g0, p0 = (tuple(s.parts[c] for c in held) for s in (g, p))
        z = None if product is None else tuple(product.parts[c] for c in held)
        rows, made = carry_ands(g.shape[0] if product is None else (g.shape[0] + 1) // 2), None
        if rows:
            *after, made = self._carry_product((g0, p0, z), (rows, g.shape[1]))
        else:
            after = steps.carry_merged(g0, p0, z)
        g, p = (Share(BITS, parts[0].shape, dict(zip(held, parts, strict=True))) for parts in after)
        return g, p, None if made is None else Share(BITS, (rows, g.shape[1]), made)

    def _carry_product(
        self, level: tuple[Components, Components, Components | None], size: Shape
    ) -> tuple[Components, Components, dict[int, Array]]:
        """g and p after the last product, and the next one: `bilinear` over the steps of a
        level."""
        op = self.party.op(AND.name)
        u = self._mask_sum(op, BITS, size)
        s = op.mask(BITS, size, plus=[(K3, "s")]) if self.me in K3 else None
        of_c = TableDealing(self, EVALUATORS, "deal", ONLINE, BITS, size)
        of_r = TableDealing(self, OFFLINE_PAIR, "deal", OFFLINE, BITS, size)
        f3, f2 = of_c.draw().get(L3), of_r.draw().get(L2)
        if self.me == CS4:
            g, p, l1, w, l2, l3 = steps.carry_offline(*level, u, f2, s, f3)
            op.send(CS1, w, OFFLINE)
            of_r.publish(l1)
            return g, p, {L1: l1, L2: l2, L3: l3}
        if self.me == CS1:
            w = op.recv(CS4, np.uint8, size, OFFLINE)
            g, p, l1, v, l2 = steps.carry_check(*level, w, u, f2)
            self._vouch_check_value(op, v)
            of_r.publish(l1)
            of_c.receive()
            return g, p, {M: of_c.known(), L1: l1, L2: l2}
        g, p, factors, mine = steps.carry_evaluate(*level, self.me == CS3, u)
        m, v, l3, l2 = steps.carry_concluded(factors, mine, self._swap(op, mine), f3, s, f2)
        self._expect_check_value(op, v)
        of_c.publish(m)
        of_r.receive()
        if l2 is None:  # CS3
            return g, p, {M: m, L1: of_r.known(), L3: l3}
        return g, p, {M: m, L2: l2, L3: l3}

    def _lift_lambda(self, op: Op, b: Share, n: int) -> dict[int, Mask]:
        """u = l1 ^ l2 of a bit as ring shares x1 (K1) + x2 (K2): 64 bits offline."""
        x: dict[int, Mask] = {L1: op.mask(RING, (n,), plus=[(K1, "x1")])} if self.me in K1 else {}
        rest = lifted((b.parts[L1], b.parts[L2]), n, x[L1]) if self.me in OFFLINE_PAIR else None
        got = self._joint(op, (CS4, CS1), CS2, rest, (RING, (n,)), offline=True)
        if self.me in K2:
            assert got is not None
            x[L2] = got
        return x

    def bit_to_ring(self, b: Share, shape: Shape) -> Share:
        """b = m ^ lambda: with t1 = x1 + l3 - 2 x1 l3 (CS3, CS4) and t2 = x2 - 2 x2 l3 (CS2, CS4),
        lambda = t1 + t2.

        Evaluators swap y_i = (1 - 2m) t_i + u_i; b = m + (1 - 2m) lambda. CS1 checks with w = t1 +
        t2 + s."""
        op, n = self.party.op("bit_to_ring"), numel(shape)
        x = self._lift_lambda(op, b, n)
        u = self._masks(op, RING, (n,))
        t: dict[int, Array] = {}
        s = result = None
        if self.me in K3:
            s = op.random(K3, "s", RING, (n,))
            t = {
                k: times_sign(RING.combined([part]), b.parts[L3], add_bit=k == L1)
                for k, part in x.items()
            }
        m = b.parts.get(M)
        if self.me == CS4:
            op.send(CS1, t[L1] + t[L2] + s, OFFLINE)
        elif self.me == CS1:
            w = op.recv(CS4, np.uint64, (n,), OFFLINE)
            self._vouch_check_value(op, RING.masked(RING.masked(times_sign(w, m), u[L1]), u[L2]))
        else:
            own = L1 if self.me == CS3 else L2
            assert m is not None
            mine = RING.masked(times_sign(t[own], m), u[own])
            both = mine + self._swap(op, mine)
            self._expect_check_value(op, both + times_sign(s, m))
            result = both + kernels.expand(m, n)
        return self.deal_sum(
            [(result, EVALUATORS, ONLINE)], (n,), name="bit_to_ring", more=u
        ).reshape(*shape)

    def _mask_sum(self, op: Op, algebra: Algebra, shape: Shape) -> Mask:
        """u1 (K1) + u2 (K2), as far as this party knows them."""
        return op.mask(
            algebra,
            shape,
            plus=[(key, name) for key, name in ((K1, "u1"), (K2, "u2")) if self.me in key],
        )

    def _masks(self, op: Op, algebra: Algebra, shape: Shape) -> dict[int, Mask]:
        """u1 (K1) and u2 (K2), as far as this party knows them."""
        return {
            k: op.mask(algebra, shape, plus=[(key, f"u{k}")])
            for k, key in ((L1, K1), (L2, K2))
            if self.me in key
        }

    def inject(self, b: Share, x: Share) -> Share:
        """b x = m_b m_x - m_b l_x + (1 - 2 m_b)(m_x l_b - gamma), gamma = l_b l_x, with l_b lifted
        to the ring.

        Every piece of l_b and gamma is known to three parties, so all messages are joint sends.
        Offline 6 elements."""
        op, n, shape = self.party.op("inject"), numel(x.shape), x.shape
        lx = {k: x.parts[k].reshape(-1) for k in (L1, L2, L3) if k in x.parts}
        lb = self._full_lambda(op, b, n)
        gamma = self._full_gamma(op, lb, lx, n)
        u = self._masks(op, RING, (n,))
        part: dict[int, Array] = {}
        mb = mx = None
        if self.me != CS4:
            mb, mx = b.parts[M], x.parts[M].reshape(-1)
            part = {
                k: steps.injected(mb, mx, lb[k], RING.combined(gamma[k]), lx[k], u.get(k))
                for k in lb
            }
        y1 = self._joint(op, (CS3, CS1), CS2, part.get(L1), (RING, (n,)), offline=False)
        y2 = self._joint(op, (CS2, CS1), CS3, part.get(L2), (RING, (n,)), offline=False)
        result = None
        if self.me in EVALUATORS:
            assert y1 is not None and y2 is not None
            result = steps.gated(mb, mx, 1, [y1, y2, part[L3]], n)
        return self.deal_sum([(result, EVALUATORS, ONLINE)], (n,), name="inject", more=u).reshape(
            *shape
        )

    def _full_lambda(self, op: Op, b: Share, n: int) -> dict[int, Array]:
        """The bit l1 ^ l2 ^ l3 = x + l3 - 2 x l3 as ring pieces, each held like a lambda: 3
        elements offline."""
        x = self._lift_lambda(op, b, n)
        l3 = b.parts.get(L3)
        doubled = (
            {k: partial(steps.gated, l3, part, -2, (), n) for k, part in x.items()}
            if self.me in K3
            else {}
        )
        pieces = self._spread(op, "b", doubled, n)
        found = {k: RING.combined([*pieces[k], part]) for k, part in x.items()}
        if self.me in K3:
            found[L3] = steps.gated(l3, None, 1, pieces[L3], n)
        return found

    def _full_gamma(
        self, op: Op, a: dict[int, Array], b: dict[int, Array], n: int
    ) -> dict[int, list[Mask]]:
        """Pieces of (sum of a)(sum of b), each held like a lambda and given as terms: 3 elements
        offline."""
        terms: dict[int, Made] = {}
        if self.me in (CS3, CS4):
            terms[L1] = partial(steps.products, (a[L1], a[L3], a[L3]), (b[L3], b[L1], b[L3]))
        if self.me in (CS2, CS4):
            terms[L2] = partial(steps.products, (a[L2], a[L2], a[L3]), (b[L3], b[L2], b[L2]))
        pieces = self._spread(op, "g", terms, n)
        rest = None
        if self.me in K1:
            d1 = op.mask(RING, (n,), plus=[(K1, "d1")])
            pieces[L1].append(d1)
            if self.me in OFFLINE_PAIR:
                rest = steps.products((a[L1], a[L1], a[L2]), (b[L1], b[L2], b[L1]), d1)
        d2 = self._joint(op, (CS4, CS1), CS2, rest, (RING, (n,)), offline=True)
        if d2 is not None:
            pieces[L2].append(d2)
        return pieces

    def _spread(
        self, op: Op, label: str, terms: Mapping[int, Made], n: int
    ) -> dict[int, list[Mask]]:
        """terms[L1], known to CS3 and CS4, and terms[L2], known to CS2 and CS4, split over the
        lambda pieces, which are given as sums: term_i = e_i (K_i) + k_i, where k_i goes to the
        third holder of l3. Two elements offline."""
        pieces, rest = dict[int, list[Mask]](), dict[int, Array]()
        for piece, key in ((L1, K1), (L2, K2)):
            if self.me in key:
                mask = op.mask(RING, (n,), plus=[(key, f"{label}{piece}")])
                pieces[piece] = [mask]
                if piece in terms:
                    rest[piece] = terms[piece](mask)
        third = [
            self._joint(op, (CS4, CS3), CS2, rest.get(L1), (RING, (n,)), offline=True),
            self._joint(op, (CS4, CS2), CS3, rest.get(L2), (RING, (n,)), offline=True),
        ]
        if self.me in K3:
            pieces[L3] = [k for k in third if k is not None]
        return pieces
