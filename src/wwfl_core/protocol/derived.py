"""Operations that follow from any sharing and its product, written once.

All of them rest on one fact: a value shared by components is a sum of a few words, each known to
some parties (`words`), and `deal` turns a word known to some parties into a shared one. So a local
function of each word, dealt, and a few products give truncation, comparison, and the way between
the arithmetic and the Boolean world. A protocol overrides a method where it has something
cheaper."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Sequence
from functools import reduce

import numpy as np

from wwfl_core import kernels
from wwfl_core.errors import Misuse
from wwfl_core.numbers import (
    BITS,
    RING,
    RING32,
    Algebra,
    Array,
    Bilinear,
    DirectSum,
    Mul,
    Shape,
    array_of,
    numel,
)
from wwfl_core.sharing import Share, concat, split, stack

from . import modulus, truncation
from .bit_planes import (
    AND,
    carry_merged,
    carry_products,
    check_window,
    packed,
    plane_shape,
    planes,
)
from .opening import Opening

MUL = Mul()
ONES = np.asarray(255, np.uint8)  # eight packed bits, all set
CARRY_BITS = 12
"""Top bits of the low parts from which the generic truncation finds their carry."""


class DerivedOperations(Opening):
    """What a protocol can do because it can multiply."""

    @abstractmethod
    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        """f(x, y), divided by 2^truncate (rounded to one of the two neighbours) if truncate > 0."""

    def bilinear_many(
        self, jobs: Sequence[tuple[Bilinear, Share, Share]], truncate: int = 0
    ) -> list[Share]:
        """Independent products in the rounds of one: their direct sum is bilinear, too."""
        if len(jobs) == 1:
            return [self.bilinear(*jobs[0], truncate)]
        together = DirectSum(
            tuple(f for f, _, _ in jobs),
            tuple(x.shape for _, x, _ in jobs),
            tuple(y.shape for _, _, y in jobs),
        )
        flat = self.bilinear(
            together,
            concat([x.map(np.ravel) for _, x, _ in jobs]),
            concat([y.map(np.ravel) for _, _, y in jobs]),
            truncate,
        )
        return split(flat, together.outputs())

    # ------------------------------------------------------------------ truncation

    def truncate(self, x: Share, bits: int) -> Share:
        """x / 2^bits, rounded to one of the two neighbours, for |x| < 2^62.

        For two words A + B = x this is Lemma W (`truncation.py`), whose product of two privately
        known bits is a shared one."""
        found = self.words(x)
        if len(found) != 2:
            return self._truncate_many(x, bits)
        (g0, a), (g1, b) = found
        star = base = high = left = right = None
        if a is not None:
            star, base = truncation.left_bits(a)
            left = truncation.shifted(a, bits, base)
        if b is not None:
            high = truncation.right_bits(b)
            right = truncation.shifted_plus_one(b, bits, np.zeros_like(b))

        jobs = [(star, g0.dealers), (high, g1.dealers), (left, g0.dealers), (right, g1.dealers)]
        first, second, *halves = self.deal_many(jobs, x.shape, name="truncate")
        wrap, scale = self.bilinear(MUL, first, second), np.uint64(64 - bits)
        return halves[0] + halves[1] - wrap.map(lambda w: w << scale)

    def _truncate_many(self, x: Share, bits: int) -> Share:
        """sum_i (w_i >> f) - 2^(64-f) k + c, where k counts the wraps of the words' sum and c the
        carry out of their low parts.

        With x' = x + 2^(f-1) (added to the first word, so that results are rounded to nearest),
        both counts follow from the words' top bits: k as in `modulus.py`, and
        c = floor(sum_i v_i / 2^s + n / 2^s) from the top s bits v_i of the low parts, which is the
        carry or, within n / 2^s of the next one, one more."""
        found = self.words(x)
        n, s = len(found), min(bits, CARRY_BITS)
        half, low = np.uint64(1 << (bits - 1)), truncation.low_mask(bits)
        jobs: list[tuple[Array | None, Sequence[int]]] = []
        for i, (group, word) in enumerate(found):
            known = None
            if word is not None:
                w = word if i else word + half
                top = w >> np.uint64(64 - modulus.top_bits(n))
                known = np.stack([w >> np.uint64(bits), top, (w & low) >> np.uint64(bits - s)])
            jobs.append((known, group.dealers))

        dealt = self.deal_many(jobs, (3, *x.shape), name="truncate")
        shifted, tops, lows = (reduce(operator.add, [d[i] for d in dealt]) for i in range(3))
        exact = bits <= CARRY_BITS  # then v_i are the low parts themselves
        wraps, carries = self.count_above(
            [
                (tops, 1 << (modulus.top_bits(n) - 1), modulus.top_bits(n), n),
                (lows, 0 if exact else n, s, n),
            ],
        )
        return shifted + carries - wraps.map(lambda k: k << np.uint64(64 - bits))

    # ------------------------------------------------------------------ comparison

    def sign(self, x: Share, bits: int = 64) -> Share:
        """[x < 0] as shared bits, for |x| < 2^(bits - 1): bit `bits - 1` of the sum of the words,
        which is its propagate bit plus the carry into it.

        Raises:
            Misuse: unless 2 <= bits <= 64.
        """
        check_window(bits)
        with self.party.scope("sign"):
            g, p = self.carry_inputs(x, bits)
            return p[bits - 1] + self.carry_out(g, p[1 : bits - 1])

    def carry_inputs(self, x: Share, bits: int) -> tuple[Share, Share]:
        """Generate and propagate planes (g [bits-1, .], p [bits, .]) of the addition that
        reconstructs x mod 2^bits: the words' bits enter the Boolean sharing of the same parties,
        and of the last two, g = a AND b, p = a XOR b."""
        first, second = self._two_numbers(x, bits)
        generate = self.bilinear(AND, first[: bits - 1], second[: bits - 1])
        return generate, first + second

    def carry_out(self, g: Share, p: Share) -> Share:
        """The carry out of k positions, a plane: a tree of depth ceil(log2 k) (`bit_planes.py`). At
        63 positions: 118 ANDs in 6 levels."""
        while g.shape[0] > 1:
            product = self.bilinear(AND, *carry_products(g, p))
            g, p = carry_merged(g, p, product)
        return g[0]

    def _two_numbers(self, x: Share, bits: int) -> tuple[Share, Share]:
        """Bit planes of two shared numbers that add up to x modulo 2^bits: the words themselves, or
        what carry-save adders leave of more of them, one AND depth each.

        (a, b, c) -> (a ^ b ^ c, majority << 1) with majority = ((a ^ c) & (b ^ c)) ^ c."""
        size = plane_shape(x.shape, bits)
        rows = [
            self.deal(planes(word, bits), group.dealers, size, BITS, name="bits")
            for group, word in self.words(x)
        ]
        while len(rows) > 2:
            a, b, c = rows[:3]
            majority = self.bilinear(AND, (a + c)[: bits - 1], (b + c)[: bits - 1]) + c[: bits - 1]
            rows = [*rows[3:], a + b + c, concat([a[:1] - a[:1], majority])]
        return rows[0], rows[1]

    def is_zero(self, x: Share, bits: int = 64) -> Share:
        """[x == 0], for |x| < 2^bits (over Z_2^64: [x == 0 mod 2^bits]): A + B = 0 exactly when A
        and -B agree in every bit; more words are added to two numbers first."""
        with self.party.scope("is_zero"):
            found = self.words(x)
            if len(found) != 2:
                return self._sum_is_zero(*self._two_numbers(x, bits))
            (g0, a), (g1, b) = found
            shape = plane_shape(x.shape, bits)
            first = self.deal(planes(a, bits), g0.dealers, shape, BITS, name="bits")
            negated = None if b is None else RING.neg(b)
            second = self.deal(planes(negated, bits), g1.dealers, shape, BITS, name="bits")
            return self._all_set(self.add_public(first + second, ONES))

    def _sum_is_zero(self, a: Share, b: Share) -> Share:
        """A + B = 0 modulo 2^k exactly when A ^ B = (A | B) << 1, modulo 2^k, without carries."""
        bits = a.shape[0]
        either = (a + b)[: bits - 1] + self.bilinear(AND, a[: bits - 1], b[: bits - 1])
        differs = a + b + concat([a[:1] - a[:1], either])
        return self._all_set(self.add_public(differs, ONES))

    def _all_set(self, x: Share) -> Share:
        """AND of all planes, a tree of depth ceil(log2 k)."""
        while (k := x.shape[0]) > 1:
            half = k // 2
            product = self.bilinear(AND, x[:half], x[half : 2 * half])
            x = concat([product, x[2 * half :]]) if k % 2 else product
        return x[0]

    # ------------------------------------------------------------------ bits as numbers

    def bit_to_ring(self, b: Share, shape: Shape) -> Share:
        """Packed bits as 0/1 ring elements of the given shape: b = u ^ v ^ .. with each known to
        some parties; all are dealt as ring elements, where u ^ v = u + v - 2 u v."""
        n = numel(shape)
        jobs = [
            (None if w is None else kernels.expand(w, n).reshape(shape), group.dealers)
            for group, w in self.words(b)
        ]
        rest = self.deal_many(jobs, shape, name="bit_to_ring")
        while len(rest) > 1:
            both = self.bilinear(MUL, rest[0], rest[1])
            rest = [*rest[2:], rest[0] + rest[1] - both - both]
        return rest[0]

    def inject(self, b: Share, x: Share) -> Share:
        """b * x for packed bits b (one per element of x): the bit as a ring element, then one
        product."""
        return self.bilinear(MUL, self.bit_to_ring(b, x.shape), x)

    # ------------------------------------------------------------------ another modulus

    def combine(self, dealt: Sequence[Share], source: Algebra, target: Algebra) -> Share:
        """A number from its dealt `modulus.parts`, in the target's algebra: sums, one product (two
        words), or comparisons (more).

        Raises:
            Misuse: comparisons are needed, and the target algebra is not that of the protocol's
                numbers.
        """
        if modulus.divides(target, source):
            return _sum(dealt)
        total, marks = _sum([d[0] for d in dealt]), [d[1] for d in dealt]
        if len(marks) == 1:
            return total
        with self.party.scope("wraps"):
            wraps = (
                self.bilinear(MUL, marks[0], marks[1])
                if len(marks) == 2
                else self._wrap_count(marks, target)
            )
        return total - wraps.map(lambda a: target.scale(source.modulus % target.modulus, a))

    def _wrap_count(self, tops: Sequence[Share], target: Algebra) -> Share:
        """floor((sum of tops + 2^(s-1)) / 2^s) for n > 2 words' top bits: how often their sum
        wraps."""
        if target != self.numbers:
            raise Misuse(
                f"{self.name}: the wraps of {len(tops)} words are counted in {self.numbers}, not "
                f"in {target}"
            )
        s = modulus.top_bits(len(tops))
        return self.count_above([(_sum(tops), 1 << (s - 1), s, len(tops))])[0]

    def count_above(self, sums: Sequence[tuple[Share, int, int, int]]) -> list[Share]:
        """floor((x + offset) / 2^s) for shared integers 0 <= x <= n 2^s, per (x, offset, s, n): how
        many of 2^s, .., n 2^s are at most x + offset. n comparisons each, all in one sign depth of
        the widest."""
        levels: list[Share] = []
        width = max((n << s).bit_length() for _, _, s, n in sums) + 2
        for x, offset, s, n in sums:
            shifted = self.add_public(x, _word(offset))
            levels += [self.add_public(shifted, _word(-(j << s))) for j in range(1, n + 1)]
        candidates = stack(levels)
        below = self.bit_to_ring(self.sign(candidates, width), candidates.shape)

        found: list[Share] = []
        at = 0
        for _, _, _, n in sums:
            missed = below[at : at + n].map(lambda a: array_of(np.sum(a, axis=0, dtype=a.dtype)))
            found.append(self.add_public(-missed, _word(n)))
            at += n
        return found

    def widen(self, x: Share) -> Share:
        """A number |x| < 2^30 of Z_2^32 in Z_2^64 again, exact: one dealing and one product.

        Raises:
            Misuse: for a share of another algebra.
        """
        source = x.algebra
        if source != RING32:
            raise Misuse(f"widen: this tensor is shared in {source}, not in {RING32}")
        known = self.words(x)
        dealt = self.deal_many(
            [
                (None if w is None else modulus.parts(w, i, len(known), RING32, RING), g.dealers)
                for i, (g, w) in enumerate(known)
            ],
            (2, *x.shape),
            RING,
            name="widen",
        )
        return self.combine(dealt, RING32, RING)


def _sum(shares: Sequence[Share]) -> Share:
    return reduce(operator.add, shares)


def _word(value: int) -> Array:
    """A public integer as a word, in two's complement."""
    return np.asarray(value % 2**64, np.uint64)


__all__ = ["AND", "MUL", "DerivedOperations", "check_window", "packed", "plane_shape", "planes"]
