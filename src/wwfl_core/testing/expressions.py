"""Small programs over the public operations, as trees that both shares and NumPy evaluate.

`wwfl_core.testing.strategies.expressions` makes random ones. Needs no hypothesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wwfl_core.errors import Misuse
from wwfl_core.numbers import U64
from wwfl_core.tensors import Session, SharedTensor

UNARY, BINARY, WITH_PUBLIC = (
    ("neg",),
    ("add", "sub", "mul", "gate", "same"),
    ("add public", "mul public"),
)
OPERATIONS = (*UNARY, *BINARY, *WITH_PUBLIC)


def _unknown(op: str) -> Misuse:
    return Misuse(
        f"Expression: unknown operation {op!r}; known are 'leaf', "
        f"{', '.join(map(repr, OPERATIONS))}"
    )


@dataclass(frozen=True)
class Expression:
    """A small program over the public operations, as a tree; `on_shares` and `in_numpy` evaluate
    it.

    Values are integers modulo 2^64 of one shape. `gate(a, b)` is b where a < 0 (as a signed
    number), else 0; `same` is b where a == b, else 0."""

    op: str
    args: tuple[Expression, ...] = ()
    value: int = 0

    def on_shares(self, tensors: Sequence[SharedTensor]) -> SharedTensor:
        """The result over shared integers (tensors with frac_bits = 0)."""
        if self.op == "leaf":
            return tensors[self.value]
        if self.op not in OPERATIONS:
            raise _unknown(self.op)
        values = [arg.on_shares(tensors) for arg in self.args]
        a, b = values[0], values[-1]
        constant = np.array(self.value, np.uint64)
        match self.op:
            case "add":
                return a + b
            case "sub":
                return a - b
            case "mul":
                return a * b
            case "neg":
                return -a
            case "add public":
                return a + constant
            case "mul public":
                return a * constant
            case "gate":
                return a.negative().times(b)
            case _:  # "same"
                return a.equals(b).times(b)

    def in_numpy(self, arrays: Sequence[U64]) -> U64:
        """The result in the clear."""
        if self.op == "leaf":
            return arrays[self.value]
        if self.op not in OPERATIONS:
            raise _unknown(self.op)
        values = [arg.in_numpy(arrays) for arg in self.args]
        a, b = values[0], values[-1]
        constant = np.array(self.value, np.uint64)
        results: dict[str, Any] = {
            "add": lambda: a + b,
            "sub": lambda: a - b,
            "mul": lambda: a * b,
            "neg": lambda: 0 - a,
            "add public": lambda: a + constant,
            "mul public": lambda: a * constant,
            "gate": lambda: (np.asarray(a).view(np.int64) < 0) * b,
            "same": lambda: (a == b) * b,
        }
        return np.asarray(results[self.op](), np.uint64)

    def operands(self) -> int:
        """How many operands it needs: one more than the highest number of a leaf."""
        return self.value + 1 if self.op == "leaf" else max(arg.operands() for arg in self.args)

    def __str__(self) -> str:
        if self.op == "leaf":
            return f"x{self.value}"
        inner = [str(arg) for arg in self.args] + ([str(self.value)] if "public" in self.op else [])
        return f"{self.op}({', '.join(inner)})"


def evaluate(mpc: Session, expression: Expression, *tensors: SharedTensor) -> Any:
    """A program for `cluster.run`: opens the ring elements of an expression over shared integers.

    Raises:
        Misuse: an operand has fractional bits, or the expression has more operands than are given.
    """
    if any(t.frac_bits for t in tensors):
        raise Misuse(
            "evaluate: expressions are over integers; share with frac_bits=0, not "
            f"{tensors[0].frac_bits}"
        )
    if expression.operands() > len(tensors):
        raise Misuse(
            f"evaluate: {expression} has {expression.operands()} operands, {len(tensors)} tensors "
            "were given"
        )
    return mpc.protocol.open(expression.on_shares(tensors).data, "expression")
