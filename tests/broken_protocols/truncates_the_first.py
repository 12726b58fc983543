"""A batch of products that is truncated as if it were one: Piranha and CrypTen truncate every
product by itself.

Who adds batching to such an engine has to truncate all results.
"""

from __future__ import annotations

from collections.abc import Sequence

from backends import Replicated3PC
from wwfl_core.numbers.bilinear import Bilinear
from wwfl_core.sharing.share import Share


class TruncatesTheFirst(Replicated3PC):
    """Only the first product of a batch is divided."""

    def bilinear_many(
        self, jobs: Sequence[tuple[Bilinear, Share, Share]], truncate: int = 0
    ) -> list[Share]:
        if len(jobs) == 1:
            return super().bilinear_many(jobs, truncate)
        first, *others = super().bilinear_many(jobs)
        return [self.truncate(first, truncate) if truncate else first, *others]
