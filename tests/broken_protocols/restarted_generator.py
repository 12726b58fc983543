"""A generator that starts over repeats its stream, as HPMPC's with its constant `SRNG_SEED` do in
every run."""

from __future__ import annotations

import copy
from typing import Any

from backends import Replicated3PC
from wwfl_core.sharing.share import Share


class RestartedGenerator(Replicated3PC):
    """Rewinds a copy of the PRG that refuses to be rewound."""

    def _zero_share(self, op: Any, x: Share, shape: Any) -> Any:
        streams = []
        for component in (self.me, (self.me + 1) % 3):
            prg = copy.copy(self.party.prg(self.sharing.holders[component]))
            prg._op = -1
            streams.append(prg.draw(1, "zero", x.algebra, shape))
        return x.algebra.sub(*streams)
