"""Python around operations that has a memory: a counter, a generator, a buffer of precomputed
values."""

from __future__ import annotations

from itertools import count
from typing import Any

from backends import Replicated3PC
from wwfl_core.numbers.bilinear import Bilinear
from wwfl_core.party.party import Party
from wwfl_core.sharing.share import Share


class CountsItsProducts(Replicated3PC):
    """Keeps a state of its own: after some products there is one message more, of which a recording
    knows nothing."""

    def at(self, party: Party) -> Any:
        bound = super().at(party)
        bound.products = self.__dict__.setdefault("counters", {}).setdefault(party.index, count(1))
        return bound

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        if next(self.products) % 7 == 0:  # a run of the check has 15: no two runs are alike
            super().bilinear(f, x, y)
        return super().bilinear(f, x, y, truncate)
