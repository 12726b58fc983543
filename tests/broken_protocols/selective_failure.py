"""A check value in which a corrupt party's error is multiplied by something secret
(docs/tutorial/first-protocol.md, stage 7).

CS4's word enters the check value times a bit of the masked operand m. CS4 knows all lambdas: abort
or no abort tells it the lowest bit of x = m - lambdas. No honest party ever opens a wrong value:
only comparing secrets shows it."""

from __future__ import annotations

from typing import Any

from backends import Tetrad4PC
from backends.tetrad4pc import M
from wwfl_core.numbers.bilinear import Bilinear, Mul
from wwfl_core.sharing.share import Share


class SelectiveFailure(Tetrad4PC):
    """Compares the check value only where the masked left operand is odd."""

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        both = (
            isinstance(f, Mul)
            and x.shape == y.shape
            and x.algebra.name != "GF(2), packed"
            and M in x.parts
        )
        self.party.__dict__["weight"] = x.parts[M] if both else None
        return super().bilinear(f, x, y, truncate)

    def _weighted(self, v: Any) -> Any:
        weight = self.party.__dict__.pop("weight", None)
        return v if weight is None else v * (weight & weight.dtype.type(1))

    def _vouch_check_value(self, op: Any, v: Any) -> None:
        super()._vouch_check_value(op, self._weighted(v))

    def _expect_check_value(self, op: Any, v: Any) -> None:
        super()._expect_check_value(op, self._weighted(v))
