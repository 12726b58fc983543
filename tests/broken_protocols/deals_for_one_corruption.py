"""A protocol for two corrupt parties that hides what it deals from one only: a single mask, which
two receivers share.

Only a look at the views of two parties together finds it (tests/core/testing/test_testing.py uses
`Replicated5PC`, which is right, and the broken `DealsForOneCorruption`). Comparison is derived from
three words, hence slow; the test leaves it out."""

from __future__ import annotations

import copy
import operator
from functools import reduce
from itertools import combinations, product
from typing import Any

from wwfl_core import Bilinear, MPCBackend, Security, SharingSemantics
from wwfl_core.sharing.share import Share

THREE_OF_FIVE = tuple(frozenset(range(5)) - set(q) for q in combinations(range(5), 2))


class Replicated5PC(MPCBackend):
    """Five parties, two of them corrupt: every pair of components is multiplied by somebody who
    holds both."""

    name = "5pc"
    sharing = SharingSemantics(
        "replicated 5PC", 5, THREE_OF_FIVE, (1,) * 10, Security(corruptions=2)
    )

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        mine = x.algebra.zeros(f.shape(x.shape, y.shape))
        for i, j in product(self.sharing.components, repeat=2):
            if min(self.sharing.holders[i] & self.sharing.holders[j]) == self.me:
                mine = x.algebra.add(mine, f.apply(x.algebra, [(x.parts[i], y.parts[j])]))
        dealt = [
            self.deal(mine if self.me == p else None, [p], mine.shape, x.algebra) for p in range(5)
        ]
        return reduce(operator.add, dealt)


class DealsForOneCorruption(Replicated5PC):
    """Hides what it deals from one party only: a mask that two of the receivers know together."""

    weak = SharingSemantics("replicated 5PC", 5, THREE_OF_FIVE, (1,) * 10, Security(corruptions=1))

    def deal(self, *args: Any, **options: Any) -> Share:
        weaker = copy.copy(self)
        weaker.sharing = self.weak  # type: ignore[misc]
        return MPCBackend.deal(weaker, *args, **options)
