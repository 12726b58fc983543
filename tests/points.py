"""A protocol that shares and opens over a prime field, and nothing more."""

from __future__ import annotations

from wwfl_core import MPCBackend
from wwfl_core.numbers.bilinear import Bilinear
from wwfl_core.numbers.field import PrimeField
from wwfl_core.protocol.bit_format import FieldBits
from wwfl_core.protocol.dealing import PointDealing
from wwfl_core.sharing.points import shamir
from wwfl_core.sharing.share import Share

F = PrimeField()


class Points(MPCBackend):
    """Shamir's sharing without a product: sharing, linear operations and opening are the
    framework's."""

    name = "points"
    dealing = PointDealing
    numbers = F
    bits = FieldBits(F)

    def __init__(self, parties: int = 3) -> None:
        super().__init__()
        self.sharing = shamir(parties)

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        raise NotImplementedError
