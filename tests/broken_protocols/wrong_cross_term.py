"""HPMPC's Tetrad multiplies lambda_a with lambda_a where lambda_a lambda_b is needed.

All parties make the same mistake, so the comparison of views passes, and only squares come out
right."""

from __future__ import annotations

from typing import Any

from backends import Tetrad4PC
from backends.tetrad4pc import CS1, CS4, L1, OFFLINE_PAIR
from wwfl_core.numbers.bilinear import Bilinear, Mul
from wwfl_core.sharing.share import Share


class WrongCrossTerm(Tetrad4PC):
    """gamma3 contains lambda1_x lambda1_x, at CS1 and CS4 alike."""

    def _offline(self, op: Any, f: Bilinear, x: Share, y: Share, shape: Any) -> Any:
        r = super()._offline(op, f, x, y, shape)
        if self.me not in OFFLINE_PAIR or not isinstance(f, Mul) or x.shape != y.shape:
            return r
        assert self.me in (CS1, CS4)
        algebra, a, b = x.algebra, x.parts[L1], y.parts[L1]
        right, wrong = f.apply(algebra, [(a, b)]), f.apply(algebra, [(a, a)])
        return algebra.add(algebra.sub(r, right), wrong)
