"""Plain: one party, one component, no secrecy. The simulation mode: everything above runs on it
unchanged.

x = x_1. The truncation has the same error model as the secure protocols: stochastic rounding to one
of the two neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from wwfl_core import kernels
from wwfl_core.numbers import BITS, RING, Bilinear, Shape, numel
from wwfl_core.protocol import DeclaredCost, MPCBackend, check_window, low_mask
from wwfl_core.sharing import Security, Share, SharingSemantics

PLAIN = SharingSemantics("plain", 1, (frozenset({0}),), (1,), Security(corruptions=0))
OPERATIONS = (
    *("share", "reveal", "product", "product+truncation", "matmul", "truncation"),
    *("sign", "sign32", "bit_to_ring", "inject", "relu"),
)


class OneParty(MPCBackend):
    """A single party computes in the clear, perhaps to simulate the servers of another sharing.
    Offers no security; sends nothing."""

    sharing = PLAIN
    declared_costs: ClassVar[Mapping[str, DeclaredCost]] = dict.fromkeys(
        OPERATIONS, DeclaredCost(0, 0, 0)
    )

    def __init__(self, *, frac_bits: int = 20, stands_for: SharingSemantics = PLAIN) -> None:
        super().__init__(frac_bits=frac_bits)
        self._stands_for = stands_for

    @property
    def stands_for(self) -> SharingSemantics:
        """The sharing that is simulated."""
        return self._stands_for

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        """f(x, y): 0 bytes, 0 rounds."""
        z = f.apply(x.algebra, [(x.parts[0], y.parts[0])])
        share = Share(x.algebra, z.shape, {0: z})
        return self.truncate(share, truncate) if truncate else share


class Plain(OneParty):
    """Fixed-point computation in the clear."""

    name = "plain"

    def truncate(self, x: Share, bits: int) -> Share:
        """floor((x + r) / 2^bits) for uniform r in [0, 2^bits)."""
        noise = self.party.op("truncate").random([0], "r", RING, x.shape) & low_mask(bits)
        z = (x.parts[0] + noise).view(np.int64) >> np.int64(bits)
        return Share(x.algebra, x.shape, {0: z.view(np.uint64)})

    def sign(self, x: Share, bits: int = 64) -> Share:
        """The bit `bits - 1` of x."""
        check_window(bits)
        packed = kernels.to_planes(x.parts[0], bits - 1, bits)[0]
        return Share(BITS, packed.shape, {0: packed})

    def is_zero(self, x: Share, bits: int = 64) -> Share:
        """[x == 0 mod 2^bits]."""
        packed = kernels.pack(
            (x.parts[0] << np.uint64(64 - bits) == 0).astype(np.uint64).reshape(-1)
        )
        return Share(BITS, packed.shape, {0: packed})

    def bit_to_ring(self, b: Share, shape: Shape) -> Share:
        """Packed bits as 0/1 words."""
        ring = kernels.expand(b.parts[0], numel(shape)).reshape(shape)
        return Share(RING, shape, {0: ring})
