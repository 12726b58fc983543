"""The paper's Section 3.6.2 has the sign of Tetrad's lambda wrong; who follows it opens m + l1 + l2
+ l3."""

from __future__ import annotations

from backends import Tetrad4PC


class ForgetsTheSigns(Tetrad4PC):
    """All coefficients are taken for +1."""

    def coefficient(self, component: int) -> int:
        return 1
