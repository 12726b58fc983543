"""HPMPC seeds its generators with `srand(link_seed)`, and the seed defaults to 0: everybody knows
every mask."""

from __future__ import annotations

from typing import Any

from backends import Replicated3PC
from wwfl_core.randomness.prg import Prg
from wwfl_core.sharing.share import Share


class ConstantKeys(Replicated3PC):
    """Shares of zero from keys that are constants."""

    def _zero_share(self, op: Any, x: Share, shape: Any) -> Any:
        own, following = (
            Prg(bytes([c]) * 32).draw(op.number, "zero", x.algebra, shape)
            for c in (self.me, (self.me + 1) % 3)
        )
        return x.algebra.sub(own, following)
