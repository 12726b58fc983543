"""2PC additive without a helper, semi-honest: the correlated randomness of `AdditivePair` comes
from OT extension.

    x = x1 + x2;  P1 holds x1, P2 holds x2.  There is nobody else.

Security: P1 or P2 passively corrupt, under the assumptions of correlated/base_ot.py and
correlated/ot.py (CDH on Curve25519, random oracle, ChaCha20, AES). Products, truncation and bits to
numbers are as with a helper. A comparison is not: products of many masks are dear by OT, so its
carries are formed in a radix-2 tree of ANDs, in which a propagate bit is opened once for both of
its products and one transfer serves both.

Bits per 64-bit element, offline / online / rounds (tests/protocols/test_ot.py asserts them). A
transfer costs 32 bits (SoftSpoken, K = 4) and its payload: product 8256 / 256 / 1, two cross terms
of 64 (32) + 2080 bits; any bilinear map: 4096 per element of the smaller operand and 4160 per
scalar product,
truncation 32 + f / 2 / 1, sign 6283 / 486 / 7, bit to ring 96 / 2 / 1, injection 256 / 130 / 1,
share 0, reveal 128 / 1 round. Besides, offline: 128 bits in every run that uses transfers, 32832
bytes once for the base OTs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from wwfl_core.numbers import BITS, Mul
from wwfl_core.party import Party
from wwfl_core.protocol import DeclaredCost, Sizes, planes
from wwfl_core.sharing import Share, SharingSemantics, concat, stack

from .additive2pc import P1, P2, PAIR, AdditivePair
from .correlated import pair
from .correlated.supply import Transferred

AND = Mul()
ADDITIVE_2PC_NO_HELPER = SharingSemantics(
    "additive 2PC without helper", 2, (frozenset({P1}), frozenset({P2})), (1, 1)
)
# Bits: base OTs and trees, both directions, in the first run that needs them.
SETUP = 8 * 2 * (8192 + 8224)
TELL = 2 * 64  # who completed which set-up, in every run
FIRST = SETUP + TELL


def _matmul_bits(s: Sizes) -> float:
    """[n/16, 7] @ [7, 16]: bits of the smaller factor, vectors of the other."""
    return 2 * (64 * 32 * 7 * min(s.n // 16, 16) + 2080 * 7 * s.n) + FIRST


class Additive2PCOT(AdditivePair):
    """Two computing parties and nobody else."""

    name = "2pc-ot"
    numpy_only = True
    sharing = ADDITIVE_2PC_NO_HELPER
    # In a cluster's first run, set-up included.
    declared_costs: ClassVar[Mapping[str, DeclaredCost]] = {
        "share": DeclaredCost(0, 0, 0),
        "reveal": DeclaredCost(0, 128, 1),
        "product": DeclaredCost(lambda s: 8256 * s.n + FIRST, lambda s: 128 * s.operands, 1),
        "product+truncation": DeclaredCost(lambda s: s.n * (8256 + 32 + s.f) + FIRST, 258, 2),
        "matmul": DeclaredCost(_matmul_bits, lambda s: 128 * s.operands, 1),
        "truncation": DeclaredCost(lambda s: s.n * (32 + s.f) + FIRST, 2, 1),
        "sign": DeclaredCost(lambda s: 6283 * s.n + FIRST, 486, 7),
        "sign32": DeclaredCost(lambda s: 3053 * s.n + FIRST, 232, 6),
        "relu": DeclaredCost(lambda s: (6283 + 256) * s.n + FIRST, 486 + 130, 8),
        "bit_to_ring": DeclaredCost(
            lambda s: 96 * s.n + TELL, 2, 1
        ),  # (the bit is made in a run before)
        "inject": DeclaredCost(lambda s: 256 * s.n + TELL, 130, 1),
    }

    def at(self, party: Party) -> Self:
        bound = super().at(party)
        bound.supply = Transferred(party, PAIR)
        return bound

    @property
    def transfers(self) -> Transferred:
        """The supply, which is of this kind here."""
        assert isinstance(self.supply, Transferred)
        return self.supply

    # ------------------------------------------------------------------ comparison

    def carry_inputs(self, x: Share, bits: int) -> tuple[Share, Share]:
        """p = a ^ b is local for a = bits of x1, b = bits of x2; g = a AND b, private inputs: 33 /
        2 bits, 1 round."""
        word = planes(x.parts[self.me], bits)
        assert word is not None
        p = Share(BITS, word.shape, {self.me: word})
        low = word[: bits - 1].reshape(-1)
        op = self.party.op("and")
        mask, c = self.transfers.private_conjunction(op, low.size)
        g = pair.conjoin(op, PAIR, low, mask, c).reshape(bits - 1, -1)
        return Share(BITS, g.shape, {self.me: g}), p

    def carry_out(self, g: Share, p: Share) -> Share:
        """The carry tree with p_hi opened once for p_hi g_lo and p_hi p_lo.

        g has k planes, p k - 1: the lowest group, whose P nobody needs, is a product of its own.
        """
        while (k := g.shape[0]) > 1:
            even = k - k % 2
            p_high, p_low = p[0 : even - 1 : 2], p[1 : even - 2 : 2]
            g_low, g_high = g[0:even:2], g[1:even:2]
            jobs = [(AND, p_high[:1], g_low[:1])]
            if even > 2:
                jobs.append((AND, p_high[1:], stack([g_low[1:], p_low])))
            lowest, *others = self.bilinear_many(jobs)
            carries = concat([lowest, *(z[0] for z in others)])
            g = concat([g_high + carries, g[even:]])
            p = concat([*(z[1] for z in others), p[even - 1 :]])
        return g[0]
