"""Fantastic Four on a device: its cross term is one kernel, and so is the mask that hides it.

The protocol (fantastic4.py) does not know this package. A cluster on a device finds it by the entry
point `f4` in the group `wwfl.accelerated`; messages, draws and results stay the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fantastic4 import FantasticFour

from wwfl_core import Bilinear, Mul
from wwfl_core.accelerate import LazyStep
from wwfl_core.accelerate.cuda import (
    Stream,
    launcher_for,
    over,
    ring_or_bits,
    same_kind,
    stream_args,
)
from wwfl_core.numbers import Algebra

SOURCE = str(Path(__file__).parent / "cross.cu")


class FusedFantasticFour(FantasticFour):
    """`FantasticFour`, with a kernel for elementwise products."""

    def _cross(self, f: Bilinear, algebra: Algebra, x: Any, y: Any) -> Any:
        arrays = (*x, *y)
        kinds = {(a.shape, a.dtype.name) for a in arrays}
        if type(f) is not Mul or len(kinds) > 1 or arrays[0].dtype.name not in ("uint64", "uint8"):
            return super()._cross(f, algebra, x, y)

        def make(hiding: Stream | None) -> Any:
            operands = same_kind(arrays, "cross")
            z = launcher_for(operands[0]).empty(operands[0].shape, operands[0].dtype)
            masks = [int(hiding is not None), *stream_args(hiding)]
            kernel = ring_or_bits(operands[0], "cross")
            over(SOURCE, kernel, -(-z.nbytes // 64), [*operands, z, z.nbytes, *masks], z)
            return z

        first = arrays[0]
        return LazyStep(launcher_for(first), first.dtype, first.shape, make)
