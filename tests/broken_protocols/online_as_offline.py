"""Cost tables that look better than they are: a message that depends on the inputs is counted as
preprocessing.

SPU's counters see collectives only; what is sent another way is in no table at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backends import Replicated3PC
from wwfl_core.channel.cost import Phase
from wwfl_core.sharing.share import Share


class OnlineAsOffline(Replicated3PC):
    """Conversion of a bit sends P1's masked bits "offline"."""

    def bit_to_ring(self, b: Share, shape: Any) -> Share:
        hint = self.party.op("hint")
        if self.me == 0:
            mask = hint.random((0, 2), "u", b.algebra, b.shape)
            hint.send(1, self.partial(b, (0, 1)) ^ mask, Phase.OFFLINE)
        elif self.me == 1:
            hint.recv(0, np.uint8, b.shape, Phase.OFFLINE)
        return super().bit_to_ring(b, shape)
