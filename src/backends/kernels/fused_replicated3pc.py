"""The 3PC replicated protocol on a device: its local steps, one kernel each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from wwfl_core.accelerate import LazyStep, elementwise
from wwfl_core.accelerate.cuda import Stream, combined, launcher_for, planes_of
from wwfl_core.numbers import BITS, Algebra, Array, Bilinear, numel
from wwfl_core.protocol import AND, carry_ands
from wwfl_core.sharing import Share

from ..correlated.truncation import PairTruncation
from ..replicated3pc import X1, X2, Held, Replicated3PC
from . import replicated
from .pair import FusedPairTruncation


class FusedReplicated3PC(Replicated3PC):
    """`Replicated3PC`: the same messages and draws."""

    truncation: ClassVar[PairTruncation] = FusedPairTruncation()

    def _summand(self, f: Bilinear, A: Algebra, x: Held, y: Held, alpha: Any) -> Array:
        if not elementwise(f, alpha, *x, *y):
            return super()._summand(f, A, x, y, alpha)
        return replicated.product(x, y, *alpha.streams)

    def planes(self, x: Share, components: Iterable[int], bits: int) -> Array:
        chosen = list(components)
        return planes_of([x.parts[c] for c in chosen], [self.coefficient(c) for c in chosen], bits)

    def _and(self, x: Array, y: Array) -> Any:
        launcher = launcher_for(x)

        def make(hiding: Stream | None) -> Array:
            streams = [] if hiding is None else [hiding]
            form: Any = {"shape": x.shape, "dtype": np.uint8, "launcher": launcher}
            return combined([], [], [], streams, product=(x, y), **form)

        return LazyStep(launcher, np.uint8, x.shape, make)

    def carry_out(self, g: Share, p: Share) -> Share:
        """Between two messages lies one kernel: it takes in a product, and makes the next
        message."""
        positions, row = g.shape
        if positions == 1:
            return g[0]
        generate, propagate, product = self._held(g), self._held(p), None
        while positions > 1:
            op = self.party.op(AND.name)
            alpha: Any = self._zero_share(op, g, (carry_ands(positions), row))
            generate, propagate, message = replicated.level(
                generate, propagate, product, *alpha.streams
            )
            product = self._held(self._replicated(op, BITS, message))
            positions = (positions + 1) // 2
        root, _, _ = replicated.level(generate, propagate, product)
        held = (self.me, (self.me + 1) % 3)
        return Share(BITS, (row,), {c: a[0] for c, a in zip(held, root, strict=True)})

    def _lifted(self, b1: Array, b2: Array, n: int, mask: Any) -> Array:
        return replicated.lift((b1, b2), n, *mask.streams)

    def _lifted_with_product(self, b: Share, x: Share, mask: Any) -> Array:
        bits, words = ((s.parts[X1], s.parts[X2]) for s in (b, x))
        return replicated.lift(bits, numel(x.shape), *mask.streams, x=words)

    def _injected(self, u_and_d: Array, x3: Array, v: Array, rest: list[Array]) -> Any:
        def make(hiding: Stream | None) -> Array:
            return replicated.inject(u_and_d, x3, v, rest, hiding)

        return LazyStep(launcher_for(x3), x3.dtype, x3.shape, make)


__all__ = ["FusedReplicated3PC"]
