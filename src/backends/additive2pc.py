"""2PC additive, semi-honest: two computing parties with correlated randomness.

    x = x1 + x2;  P1 holds x1, P2 holds x2.

`Additive2PC` has a helper H, who deals the randomness (the setting of CrypTen's trusted third
party, with a cryptographic PRG): H holds nothing and never sees a message that depends on inputs.
Security: one of P1, P2, H passively corrupt. `Additive2PCOT` (additive2pc_ot.py) has nobody else:
OT extension replaces the helper. What both do online is `AdditivePair`; only their comparisons
differ.

Product: Beaver (CRYPTO'91) with the masked operand opened once and reused by every product that it
enters; truncation: exact, one bit each way (`correlated.truncation`, Lemma W); comparison with a
helper: masked once, radix-4 carry tree with dealt mask products. The correlated randomness that
they need is `correlated.supply.Supply`.

Costs: `declared_costs`; a bilinear map opens only operands that are not open yet."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Self

import numpy as np

from wwfl_core import kernels
from wwfl_core.errors import Misuse
from wwfl_core.numbers import BITS, RING, Array, Bilinear, Shape, numel
from wwfl_core.party import Party
from wwfl_core.protocol import DeclaredCost, MPCBackend, check_window, packed
from wwfl_core.sharing import Share, SharingSemantics, concat, split

from .correlated import dealer, pair
from .correlated.dealer import Roles
from .correlated.supply import Dealt, Supply
from .correlated.truncation import PairTruncation

P1, P2, H = 0, 1, 2
PAIR = (P1, P2)
ROLES = Roles(P1, P2, H)
ADDITIVE_2PC = SharingSemantics(
    "additive 2PC with helper", 3, (frozenset({P1}), frozenset({P2})), (1, 1)
)


class Mask(NamedTuple):
    """The mask a of a value x: `share` is this party's a_i (at H: a itself), `opened` is d = x - a
    (None at H)."""

    share: Array
    opened: Array | None

    def __repr__(self) -> str:
        return f"Mask(shape={self.share.shape}, opened={self.opened is not None})"


class AdditivePair(MPCBackend):
    """Two computing parties, whoever makes their correlated randomness."""

    supply: Supply
    truncation: ClassVar[PairTruncation] = PairTruncation()

    # ------------------------------------------------------------------ the product

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        """f(x, y) with d = x - a, e = y - b opened: f(x, y) = f(d, e) + f(d, b) + f(a, e) + c,
        where c = f(a, b)."""
        return self.bilinear_many([(f, x, y)], truncate)[0]

    def bilinear_many(
        self, jobs: Sequence[tuple[Bilinear, Share, Share]], truncate: int = 0
    ) -> list[Share]:
        """Several products; all masks are opened in one round."""
        self._open_masks([operand for _, x, y in jobs for operand in (x, y)])
        products = [self._product(f, x, y) for f, x, y in jobs]
        if not truncate:
            return products
        flat = self.truncate(concat([z.map(np.ravel) for z in products]), truncate)
        return split(flat, [z.shape for z in products])

    def _product(self, f: Bilinear, x: Share, y: Share) -> Share:
        algebra, shape = x.algebra, f.shape(x.shape, y.shape)
        op = self.party.op(f.name)
        (a, d), (b, e) = x.cache["mask"], y.cache["mask"]
        c = self.supply.product(op, f, algebra, a, b)
        if c is None:
            return Share(algebra, shape, {})
        if self.me == P1:  # P1 also adds the public f(d, e)
            b = algebra.add(b, e)
        z = algebra.add(f.apply(algebra, [(d, b), (a, e)]), c)
        return Share(algebra, shape, {self.me: z})

    def _open_masks(self, operands: Sequence[Share]) -> None:
        """Opens x - a for every operand that was not masked before: 128 bits per element, one round
        for all."""
        waiting: list[tuple[Share, Array, Array]] = []
        ops = []
        for x in operands:
            if "mask" in x.cache:
                continue
            op = self.party.op("mask")
            a = self.supply.mask(op, x.algebra, x.shape)
            x.cache["mask"] = Mask(a, None)
            if self.me not in PAIR:
                continue
            mine = x.algebra.sub(x.parts[self.me], a)
            op.send(P2 if self.me == P1 else P1, mine)
            waiting.append((x, a, mine))
            ops.append(op)
        for (x, a, mine), op in zip(waiting, ops, strict=True):
            theirs = op.recv(P2 if self.me == P1 else P1, x.algebra.dtype, x.shape)
            x.cache["mask"] = Mask(a, x.algebra.add(mine, theirs))

    # ------------------------------------------------------------------ truncation

    def truncate(self, x: Share, bits: int) -> Share:
        """Exact truncation with A = x1, B = x2: offline `bits` bits, online 2 bits, 1 round per
        element."""
        op = self.party.op("truncate")
        correlated = self.supply.private_product(op, bits, numel(x.shape))
        if correlated is None:
            return Share(RING, x.shape, {})
        half = self.truncation.truncate(op, PAIR, x.parts[self.me], bits, *correlated)
        return Share(RING, x.shape, {self.me: half})

    # ------------------------------------------------------------------ bits to numbers

    def bit_to_ring(self, b: Share, shape: Shape) -> Share:
        """daBit r: open c = b ^ r, then b = c + (1 - 2c) r. Offline 64, online 2 bits, 1 round."""
        op = self.party.op("bit_to_ring")
        n = numel(shape)
        a = self.supply.bit(op, n)
        if a is None:
            return Share(RING, shape, {})
        # a1 + a2 = r in {0, 1}, so the low bits of a1 and a2 are XOR shares of r.
        mine = b.parts[self.me] ^ kernels.pack(a)
        c = kernels.expand(mine ^ pair.exchange(op, PAIR, mine), n)
        z = a - ((c * a) << np.uint64(1))
        return Share(RING, shape, {self.me: (z + c if self.me == P1 else z).reshape(shape)})

    def inject(self, b: Share, x: Share) -> Share:
        """b x with a daBit r, a mask m of x and q = r m dealt: open d = b ^ r and e = x - m, then
        b x = d (e + m) + (1 - 2d) (r e + q). Offline 128, online 130 bits, 1 round."""
        op = self.party.op("inject")
        n, shape = numel(x.shape), x.shape
        correlated = self.supply.gate(op, n)
        if correlated is None:
            return Share(RING, shape, {})
        r, m, q = correlated
        bit, masked = b.parts[self.me] ^ kernels.pack(r), x.parts[self.me].reshape(-1) - m
        other = P2 if self.me == P1 else P1
        op.send(other, bit)
        op.send(other, masked)
        d = kernels.expand(bit ^ op.recv(other, np.uint8, bit.shape), n)
        e = masked + op.recv(other, np.uint64, (n,))
        return Share(
            RING, shape, {self.me: _gated(d, m + e if self.me == P1 else m, r, e, q).reshape(shape)}
        )


def _gated(d: Array, opened: Array, r: Array, e: Array, q: Array) -> Array:
    """d opened + (1 - 2d) (r e + q)."""
    inner = kernels.mul_sum([(r, e)]) + q
    return inner + d * (opened - (inner << np.uint64(1)))


class Additive2PC(AdditivePair):
    """Two computing parties and a helper who deals correlated randomness."""

    name = "2pc"
    sharing = ADDITIVE_2PC
    # Bits per element, all links: offline, online; rounds.
    declared_costs: ClassVar[Mapping[str, DeclaredCost]] = {
        "share": DeclaredCost(0, 0, 0),
        "reveal": DeclaredCost(0, 128, 1, links={(P1, P2): 64, (P2, P1): 64}),
        "product": DeclaredCost(
            64, lambda s: 128 * s.operands, 1, links={(P1, P2): 128, (P2, P1): 128, (H, P2): 64}
        ),
        "product+truncation": DeclaredCost(lambda s: s.n * (64 + s.f), 258, 2),
        "matmul": DeclaredCost(64, lambda s: 128 * s.operands, 1),
        "truncation": DeclaredCost(lambda s: s.n * s.f, 2, 1),
        "sign": DeclaredCost(871, 194, 3),
        "sign32": DeclaredCost(429, 94, 3),
        "bit_to_ring": DeclaredCost(64, 2, 1),
        "inject": DeclaredCost(128, 130, 1),
        "relu": DeclaredCost(999, 324, 4),
    }

    def __init__(self, *, helper: bool | None = None, frac_bits: int = 20) -> None:
        if helper is False:
            raise Misuse("Additive2PC has a helper; two parties without one are Additive2PCOT()")
        if helper:
            warnings.warn("Additive2PC(helper=True) is Additive2PC()", DeprecationWarning, 2)
        super().__init__(frac_bits=frac_bits)

    def at(self, party: Party) -> Self:
        bound = super().at(party)
        bound.supply = Dealt(party, ROLES, self.truncation)
        return bound

    # ------------------------------------------------------------------ comparison

    def sign(self, x: Share, bits: int = 64) -> Share:
        """Top bits plus the carry into them; at 64 bits offline 871, online 194, 3 rounds per
        element."""
        check_window(bits)
        op = self.party.op("sign")
        later = [self.party.op("sign") for _ in range(dealer.merge_levels(bits - 1))]
        word = x.parts.get(self.me)
        carry = dealer.carry_out(op, ROLES, word, bits - 1, x.shape, later)
        if word is None or carry is None:
            return Share(BITS, (packed(numel(x.shape)),), {})
        top = kernels.to_planes(word, bits - 1, bits)[0]
        return Share(BITS, top.shape, {self.me: top ^ carry})


__all__ = ["ADDITIVE_2PC", "Additive2PC", "AdditivePair"]
