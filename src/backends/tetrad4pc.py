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
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from wwfl_core import kernels
from wwfl_core.numbers import BITS, RING, Algebra, Array, Bilinear, Shape, numel
from wwfl_core.party import OFFLINE, ONLINE, Op
from wwfl_core.protocol import (
    DeclaredCost,
    Known,
    MPCBackend,
    packed,
    plane_shape,
    right_bits,
    shifted_plus_one,
    star_bits,
)
from wwfl_core.sharing import Security, Share, SharingSemantics

CS1, CS2, CS3, CS4 = 0, 1, 2, 3
M, L1, L2, L3 = 0, 1, 2, 3  # components
K1, K2, K3 = frozenset({CS1, CS3, CS4}), frozenset({CS1, CS2, CS4}), frozenset({CS2, CS3, CS4})
EVALUATORS, OFFLINE_PAIR = (CS2, CS3), (CS1, CS4)
TETRAD_4PC = SharingSemantics(
    "Tetrad 4PC",
    4,
    (frozenset({CS1, CS2, CS3}), K1, K2, K3),
    (1, -1, -1, -1),
    Security(malicious=True),
    offline=frozenset({L1, L2, L3}),
)  # arXiv 2302.09904, Table 6; its Section 3.6.2 has the sign of lambda wrong


class Held(SimpleNamespace):
    """The components of a share that this party holds, by the names of the paper."""

    m: Array
    l1: Array
    l2: Array
    l3: Array

    @classmethod
    def of(cls, x: Share) -> Held:
        return cls(**{("m", "l1", "l2", "l3")[c]: part for c, part in x.parts.items()})


class Tetrad4PC(MPCBackend):
    """Four parties, of whom one may deviate arbitrarily: everybody learns the right result or
    aborts."""

    name = "4pc"
    sharing = TETRAD_4PC
    # Bits per element, all links: offline, online; rounds.
    declared_costs: ClassVar[Mapping[str, DeclaredCost]] = {
        "share": DeclaredCost(0, 128, 1),
        # two more holders show a digest
        "reveal": DeclaredCost(0, lambda s: 256 * s.n + 8 * 256, 1),
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
        op, A, shape = self.party.op(f.name), x.algebra, f.shape(x.shape, y.shape)
        r = self._offline(op, f, x, y, shape) if self.me in OFFLINE_PAIR else None
        c = self._online(op, f, x, y, shape) if self.me in EVALUATORS else None
        if truncate:
            return self._truncate_words(c, r, truncate, shape)
        return self.deal_sum([(c, EVALUATORS, ONLINE), (r, OFFLINE_PAIR, OFFLINE)], shape, A)

    def _offline(self, op: Op, f: Bilinear, x: Share, y: Share, shape: Shape) -> Array:
        """CS1 and CS4 get r; CS4 sends CS1 w, the seed of the check value."""
        A, a, b, u = x.algebra, Held.of(x), Held.of(y), self._u(op, x.algebra, shape)
        if self.me == CS4:
            s = op.mask(K3, "s", A, shape)
            r, w = self._correction_and_seed(f, A, a, b, u, s)
            op.send(CS1, w, OFFLINE)
            return r
        w = op.recv(CS4, A.dtype, shape, OFFLINE)
        self._vouch_check_value(op, self._check_value(f, A, a, b, w, u))
        return self._correction(f, A, a, b, u)

    def _online(self, op: Op, f: Bilinear, x: Share, y: Share, shape: Shape) -> Array:
        """CS2 and CS3 swap y1 and y2 and conclude."""
        A, a, b, u = x.algebra, Held.of(x), Held.of(y), self._u(op, x.algebra, shape)
        mine = self._masked_terms(f, A, a, b, u)
        theirs = self._swap(op, mine)
        c, v = self._concluded(f, A, a, b, mine, theirs, op.mask(K3, "s", A, shape))
        self._expect_check_value(op, v)
        return c

    def _correction(self, f: Bilinear, A: Algebra, x: Held, y: Held, u: Array) -> Array:
        """CS1: r = gamma3 - u with gamma3 = l1 (l1 + l2) + l2 l1."""
        return A.sub(self._gamma3(f, A, x, y), u)

    def _correction_and_seed(
        self, f: Bilinear, A: Algebra, x: Held, y: Held, u: Array, s: Array
    ) -> tuple[Array, Array]:
        """CS4: r = gamma3 - u, and w = gamma1 + gamma2 + s = gamma - gamma3 + s."""
        gamma3 = self._gamma3(f, A, x, y)
        gamma = f.apply(A, [(A.sum([x.l1, x.l2, x.l3]), A.sum([y.l1, y.l2, y.l3]))])
        return A.sub(gamma3, u), A.add(A.sub(gamma, gamma3), s)

    def _gamma3(self, f: Bilinear, A: Algebra, x: Held, y: Held) -> Array:
        return f.apply(A, [(x.l1, A.add(y.l1, y.l2)), (x.l2, y.l1)])

    def _check_value(self, f: Bilinear, A: Algebra, x: Held, y: Held, w: Array, u: Array) -> Array:
        """CS1: v = w + u - (l1 + l2) m_y - m_x (l1 + l2), which the evaluators know as
        y1 + y2 + s."""
        lost = f.apply(A, [(A.add(x.l1, x.l2), y.m), (x.m, A.add(y.l1, y.l2))])
        return A.sub(A.add(w, u), lost)

    def _masked_terms(self, f: Bilinear, A: Algebra, x: Held, y: Held, u: Array) -> Array:
        """CS3: y1 = gamma1 + u1 - l1 m_y - m_x l1 with gamma1 = l1 l3 + l3 l1 + l3 l3;
        CS2: y2 = gamma2 + u2 - l2 m_y - m_x l2 with gamma2 = l2 l3 + l3 l2 + l2 l2."""
        inner = A.sub(x.l3, x.m)
        if self.me == CS3:
            pairs = [(x.l1, A.sub(y.l3, y.m)), (inner, y.l1), (x.l3, y.l3)]
        else:
            pairs = [(x.l2, A.sub(A.add(y.l3, y.l2), y.m)), (inner, y.l2)]
        return A.add(f.apply(A, pairs), u)

    def _concluded(
        self, f: Bilinear, A: Algebra, x: Held, y: Held, mine: Array, theirs: Array, s: Array
    ) -> tuple[Array, Array]:
        """CS2, CS3: c = y1 + y2 - l3 m_y - m_x l3 + m_x m_y, and the check value y1 + y2 + s."""
        both = A.add(mine, theirs)
        rest = f.apply(A, [(A.sub(x.m, x.l3), y.m), (A.neg(x.m), y.l3)])
        return A.add(both, rest), A.add(both, s)

    # ------------------------------------------------------------------ masks and messages

    def _masks(self, op: Op, algebra: Algebra, shape: Shape) -> dict[int, Array]:
        """u1 (K1) and u2 (K2), as far as this party knows them."""
        return {
            k: op.mask(key, f"u{k}", algebra, shape)
            for k, key in ((L1, K1), (L2, K2))
            if self.me in key
        }

    def _u(self, op: Op, algebra: Algebra, shape: Shape) -> Array:
        """u = u1 + u2, as far as this party knows them: CS1 and CS4 both, CS3 u1, CS2 u2."""
        return algebra.sum(list(self._masks(op, algebra, shape).values()))

    def _less(self, x: Share, u: Mapping[int, Array]) -> Share:
        """x - u1 - u2 for an x that the evaluators dealt: its l1 and l2 are zero, and become u1 and
        u2, which their holders know."""
        return Share(x.algebra, x.shape, {**x.parts, **u})

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
        value: Known,
        like: tuple[Algebra, Shape],
        offline: bool,
    ) -> Known:
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

    def _truncate_words(self, c: Known, r: Known, bits: int, shape: Shape) -> Share:
        """Exact truncation of x = c + r (Lemma W): (c >> f) + (r >> f) + 1 - 2^(64-f) (c* r* +
        base).

        The wrap bit r* is known offline and shared mod 2^f as e1 (K1) + e2; evaluators swap c* e1 +
        u1 and c* e2 + u2, so they learn W = c* r* + u1 + u2. CS1 checks with d = c* ^ sigma and w =
        sigma r* + s: v = d r* + (1 - 2d) w + u1 + u2 = W + (1 - 2d) s."""
        op, n = self.party.op("truncate"), numel(shape)
        words, flags = (packed(n * bits),), (packed(n),)
        u = self._u(op, RING, shape)
        e1: Known = op.mask(K1, "e1", RING, shape) if self.me in K1 else None
        sigma: Known = op.mask(K3, "sg", BITS, flags) if self.me in K3 else None
        s: Known = op.mask(K3, "s", RING, shape) if self.me in K3 else None

        e2: Known = None
        if self.me == CS1:
            e2 = self._wrap_rest(r, e1, bits)
        elif self.me == CS4:
            e2, seed = self._wrap_rest_and_seed(r, e1, sigma, s, bits)
            op.send(CS1, seed, OFFLINE)
        e2 = self._joint(op, (CS4, CS1), CS2, e2, (BITS, words), offline=True)
        w: Known = op.recv(CS4, np.uint8, words, OFFLINE) if self.me == CS1 else None

        d: Known = self._wrap_flag(c, sigma) if self.me in EVALUATORS else None
        d = self._joint(op, EVALUATORS[::-1], CS1, d, (BITS, flags), offline=False)

        left = right = None
        if self.me in EVALUATORS:
            mine = self._wrap_share(c, e2 if self.me == CS2 else e1, u, bits)
            theirs = self._swap(op, mine)
            left, v = self._wrap_concluded(c, mine, theirs, d, s, bits)
            self._expect_check_value(op, v)
        else:
            right = self._right_half(r, u, bits)
        if self.me == CS1:
            self._vouch_check_value(op, self._wrap_check(r, d, w, u, bits))
        halves = [(left, EVALUATORS, ONLINE), (right, OFFLINE_PAIR, OFFLINE)]
        return self.deal_sum(halves, shape, name="truncate")

    def _wrap_rest(self, r: Array, e1: Array, bits: int) -> Array:
        """CS1: e2 = r* - e1 mod 2^f, packed."""
        return kernels.pack_words(RING.sub(right_bits(r), e1), bits)

    def _wrap_rest_and_seed(
        self, r: Array, e1: Array, sigma: Array, s: Array, bits: int
    ) -> tuple[Array, Array]:
        """CS4: e2, and w = sigma r* + s mod 2^f, packed."""
        star = right_bits(r)
        w = RING.add(kernels.expand(sigma, r.size).reshape(r.shape) * star, s)
        return kernels.pack_words(RING.sub(star, e1), bits), kernels.pack_words(w, bits)

    def _wrap_flag(self, c: Array, sigma: Array) -> Array:
        """CS2, CS3: d = c* ^ sigma, packed."""
        return BITS.add(kernels.pack(star_bits(c)), sigma)

    def _wrap_share(self, c: Array, e: Array, u: Array, bits: int) -> Array:
        """CS3: c* e1 + u1 mod 2^f, packed; CS2: c* e2 + u2 with the e2 that it was sent."""
        if self.me == CS2:
            e = kernels.unpack_words(e, c.size, bits).reshape(c.shape)
        return kernels.pack_words(RING.add(star_bits(c) * e, u), bits)

    def _wrap_concluded(
        self, c: Array, mine: Array, theirs: Array, d: Array, s: Array, bits: int
    ) -> tuple[Array, Array]:
        """CS2, CS3: their half (c >> f) - 2^(64-f) (W + base), and the check value W + (1 - 2d) s,
        packed; W = mine + theirs."""
        n = c.size
        wrap = kernels.unpack_words(mine, n, bits) + kernels.unpack_words(theirs, n, bits)
        v = kernels.pack_words(wrap + kernels.negate_where(s.reshape(n), d), bits)
        return kernels.shift_left_half(c, bits, wrap.reshape(c.shape)), v

    def _right_half(self, r: Array, u: Array, bits: int) -> Array:
        """CS1, CS4: (r >> f) + 1 + 2^(64-f) u."""
        return shifted_plus_one(r, bits, RING.neg(u))

    def _wrap_check(self, r: Array, d: Array, w: Array, u: Array, bits: int) -> Array:
        """CS1: v = d r* + (1 - 2d) w + u mod 2^f, packed."""
        n, star = r.size, right_bits(r)
        seed = kernels.negate_where(kernels.unpack_words(w, n, bits), d).reshape(r.shape)
        v = RING.add(kernels.expand(d, n).reshape(r.shape) * star + seed, u)
        return kernels.pack_words(v, bits)

    # ------------------------------------------------------------------ comparison

    def carry_inputs(self, x: Share, bits: int) -> tuple[Share, Share]:
        """v1 = m - l3 is dealt by CS2, CS3 (its l1 = l2 = 0), v2 = -(l1 + l2) by CS1, CS4 (its m =
        l3 = 0).

        For such operands gamma3 = 0 and v1 is known to both evaluators: y1 = v1 l1 + u1, y2 = v1 l2
        + u2 with the lambdas of v2, check value v = m1 (l1 + l2) + w + u1 + u2 with w = l3 (l1 +
        l2) + s. Offline 1, online 3 bits."""
        shape, low = plane_shape(x.shape, bits), bits - 1
        v1: Known = self.planes(x, (M, L3), bits) if self.me in EVALUATORS else None
        v2: Known = self.planes(x, (L1, L2), bits) if self.me in OFFLINE_PAIR else None
        words = [(v1, EVALUATORS, ONLINE), (v2, OFFLINE_PAIR, OFFLINE)]
        p = self.deal_sum(words, shape, BITS, name="bits")

        op, size, part = self.party.op("and"), (low, shape[1]), Held.of(p[:low])
        u = self._masks(op, BITS, size)
        s: Known = op.mask(K3, "s", BITS, size) if self.me in K3 else None
        both = None
        if self.me == CS4:
            op.send(CS1, self._and(part.l3, v2[:low], s), OFFLINE)
        elif self.me == CS1:
            w = op.recv(CS4, np.uint8, size, OFFLINE)
            self._vouch_check_value(op, self._and(part.m, v2[:low], w, u[L1], u[L2]))
        else:
            own = part.l1 if self.me == CS3 else part.l2
            mine = self._and(v1[:low], own, *u.values())
            both = BITS.add(mine, self._swap(op, mine))
            self._expect_check_value(op, BITS.add(both, s))
        g = self.deal_sum([(both, EVALUATORS, ONLINE)], size, BITS, name="and")
        return self._less(g, u), p

    def _and(self, x: Array, y: Array, *terms: Array) -> Array:
        """x AND y, plus the terms."""
        return BITS.sum([BITS.mul_sum([(x, y)]), *terms])

    # ------------------------------------------------------------------ bits as numbers

    def bit_to_ring(self, b: Share, shape: Shape) -> Share:
        """b = m ^ lambda: with t1 = x1 + l3 - 2 x1 l3 (CS3, CS4) and t2 = x2 - 2 x2 l3 (CS2, CS4),
        lambda = t1 + t2.

        Evaluators swap y_i = (1 - 2m) t_i + u_i; b = m + (1 - 2m) lambda. CS1 checks with w = t1 +
        t2 + s."""
        op, n, bit = self.party.op("bit_to_ring"), numel(shape), Held.of(b)
        x = self._lift_lambda(op, b, n)
        u = self._masks(op, RING, (n,))
        t1: Known = kernels.xor_where(x[L1], bit.l3) if self.me in (CS3, CS4) else None
        t2: Known = kernels.negate_where(x[L2], bit.l3) if self.me in (CS2, CS4) else None
        s: Known = op.random(K3, "s", RING, (n,)) if self.me in K3 else None
        lifted = None
        if self.me == CS4:
            op.send(CS1, t1 + t2 + s, OFFLINE)
        elif self.me == CS1:
            w = op.recv(CS4, np.uint64, (n,), OFFLINE)
            self._vouch_check_value(op, RING.sum([kernels.negate_where(w, bit.m), u[L1], u[L2]]))
        else:
            t, u_i = (t1, u[L1]) if self.me == CS3 else (t2, u[L2])
            mine = RING.add(kernels.negate_where(t, bit.m), u_i)
            both = mine + self._swap(op, mine)
            self._expect_check_value(op, both + kernels.negate_where(s, bit.m))
            lifted = both + kernels.expand(bit.m, n)
        z = self.deal_sum([(lifted, EVALUATORS, ONLINE)], (n,), name="bit_to_ring")
        return self._less(z, u).reshape(*shape)

    def _lift_lambda(self, op: Op, b: Share, n: int) -> dict[int, Array]:
        """l1 ^ l2 of a bit as ring shares x1 (K1) + x2 (K2): 64 bits offline."""
        x: dict[int, Array] = {}
        if self.me in K1:
            x[L1] = op.mask(K1, "x1", RING, (n,))
        x2: Known = None
        if self.me in OFFLINE_PAIR:
            x2 = self._lifted(b.parts[L1], b.parts[L2], n, x[L1])
        x2 = self._joint(op, (CS4, CS1), CS2, x2, (RING, (n,)), offline=True)
        if x2 is not None:
            x[L2] = x2
        return x

    def _lifted(self, b1: Array, b2: Array, n: int, mask: Array) -> Array:
        """x2 = (l1 ^ l2) - x1."""
        return RING.sub(kernels.expand(BITS.add(b1, b2), n), mask)

    # ------------------------------------------------------------------ a bit times a number

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

        y: dict[int, Array] = {}
        mb: Known = None
        mx: Known = None
        if self.me != CS4:
            mb, mx = b.parts[M], x.parts[M].reshape(-1)
            y = {k: self._injected(mb, mx, lb[k], RING.sum(gamma[k]), lx[k], u.get(k)) for k in lb}
        y1 = self._joint(op, (CS3, CS1), CS2, y.get(L1), (RING, (n,)), offline=False)
        y2 = self._joint(op, (CS2, CS1), CS3, y.get(L2), (RING, (n,)), offline=False)
        product = None
        if self.me in EVALUATORS:
            product = self._gated(mb, mx, [y1, y2, y[L3]])
        z = self.deal_sum([(product, EVALUATORS, ONLINE)], (n,), name="inject")
        return self._less(z, u).reshape(*shape)

    def _injected(
        self, mb: Array, mx: Array, lb: Array, gamma: Array, lx: Array, u: Array | None
    ) -> Array:
        """(1 - 2 m_b)(m_x l_b - gamma) - m_b l_x, and u (if there is one), of one piece."""
        value = kernels.negate_where(mx * lb - gamma, mb) - kernels.expand(mb, mx.size) * lx
        return value if u is None else RING.add(value, u)

    def _gated(self, v: Array, x: Array, terms: Sequence[Array]) -> Array:
        """v x plus the terms, for packed bits v."""
        return RING.sum([kernels.expand(v, x.size) * x, *terms])

    def _full_lambda(self, op: Op, b: Share, n: int) -> dict[int, Array]:
        """The bit l1 ^ l2 ^ l3 = x + l3 - 2 x l3 as ring pieces, each held like a lambda, where x =
        x1 + x2 lifts l1 ^ l2: 3 elements offline."""
        x = self._lift_lambda(op, b, n)
        l3: Known = b.parts.get(L3)
        terms = {k: self._doubled(l3, part) for k, part in x.items()} if self.me in K3 else {}
        pieces = self._spread(op, "b", terms, n)
        found = {k: RING.sum([*pieces[k], part]) for k, part in x.items()}
        if self.me in K3:
            found[L3] = self._bit_plus(l3, n, pieces[L3])
        return found

    def _doubled(self, l3: Array, x: Array) -> Array:
        """-2 x l3 for packed bits l3."""
        return RING.scale(-2, kernels.expand(l3, x.size) * x)

    def _bit_plus(self, l3: Array, n: int, terms: Sequence[Array]) -> Array:
        """The n packed bits l3 as numbers, plus the terms."""
        return RING.sum([kernels.expand(l3, n), *terms])

    def _full_gamma(
        self, op: Op, a: dict[int, Array], b: dict[int, Array], n: int
    ) -> dict[int, list[Array]]:
        """Pieces of (sum of a)(sum of b), each held like a lambda and given as a sum: 3 elements
        offline.

        gamma1 at CS3, CS4 and gamma2 at CS2, CS4 are spread; gamma3 = d1 (K1) + d2, which CS1 and
        CS4 send to CS2."""
        terms: dict[int, Array] = {}
        if self.me in (CS3, CS4):
            terms[L1] = self._products((a[L1], b[L3]), (a[L3], b[L1]), (a[L3], b[L3]))
        if self.me in (CS2, CS4):
            terms[L2] = self._products((a[L2], b[L3]), (a[L2], b[L2]), (a[L3], b[L2]))
        pieces = self._spread(op, "g", terms, n)
        d2: Known = None
        if self.me in K1:
            d1 = op.mask(K1, "d1", RING, (n,))
            pieces[L1].append(d1)
            if self.me in OFFLINE_PAIR:
                gamma3 = self._products((a[L1], b[L1]), (a[L1], b[L2]), (a[L2], b[L1]))
                d2 = RING.sub(gamma3, d1)
        d2 = self._joint(op, (CS4, CS1), CS2, d2, (RING, (n,)), offline=True)
        if d2 is not None:
            pieces[L2].append(d2)
        return pieces

    def _products(self, *pairs: tuple[Array, Array]) -> Array:
        """The sum of three products."""
        return kernels.mul_sum(pairs)

    def _spread(
        self, op: Op, label: str, terms: Mapping[int, Array], n: int
    ) -> dict[int, list[Array]]:
        """terms[L1], known to CS3 and CS4, and terms[L2], known to CS2 and CS4, split over the
        lambda pieces, which are given as sums: term_i = e_i (K_i) + k_i, where k_i goes to the
        third holder of l3. Two elements offline."""
        pieces, k = dict[int, list[Array]](), dict[int, Array]()
        for i, key in ((L1, K1), (L2, K2)):
            if self.me in key:
                e = op.mask(key, f"{label}{i}", RING, (n,))
                pieces[i] = [e]
                if i in terms:
                    k[i] = RING.sub(terms[i], e)
        third = [
            self._joint(op, (CS4, CS3), CS2, k.get(L1), (RING, (n,)), offline=True),
            self._joint(op, (CS4, CS2), CS3, k.get(L2), (RING, (n,)), offline=True),
        ]
        if self.me in K3:
            pieces[L3] = [found for found in third if found is not None]
        return pieces


__all__ = ["TETRAD_4PC", "Tetrad4PC"]
