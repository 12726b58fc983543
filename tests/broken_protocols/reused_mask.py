"""One mask for two messages: preprocessed material used twice, as a cache or a restarted generator
does it.

CrypTen's `fill_cache` pickles tuples to be replayed; MP-SPDZ marks and rejects preprocessing files
for this reason."""

from __future__ import annotations

from typing import Any

from backends import Replicated3PC
from wwfl_core.sharing.share import Share


class ReusedMask(Replicated3PC):
    """The share of zero is drawn once per shape and kept."""

    def _zero_share(self, op: Any, x: Share, shape: Any) -> Any:
        kept: dict[Any, Any] = self.party.__dict__.setdefault("kept_masks", {})
        key = (x.algebra.name, tuple(shape))
        if key not in kept:
            kept[key] = super()._zero_share(op, x, shape)
        return kept[key]
