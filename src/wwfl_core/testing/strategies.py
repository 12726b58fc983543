"""Hypothesis strategies for tests of protocols and programs: arrays with edge values, shapes, sharings, expressions.

The only module of the kit that needs hypothesis (`pip install hypothesis`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ..arrays import F64, U8, U64, Array, Shape
from ..backend import MPCBackend
from ..sharing import Security, SharingSemantics
from ..tensor import SharedTensor
from .bench import EDGES, MASK

try:
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
except ImportError as _missing:
    raise ImportError(
        "wwfl_core.testing.strategies needs hypothesis: pip install hypothesis (or wwfl[dev]). "
        "The rest of wwfl_core.testing works without it"
    ) from _missing

# ---------------------------------------------------------------------- shapes


def shapes(*, max_dims: int = 3, max_side: int = 5, empty: bool = True) -> st.SearchStrategy[Shape]:
    """Shapes of 0 to `max_dims` dimensions; with `empty`, sides may be 0."""
    return st.lists(st.integers(0 if empty else 1, max_side), max_size=max_dims).map(tuple)


def broadcast_pairs(
    *, max_dims: int = 3, max_side: int = 5, empty: bool = True
) -> st.SearchStrategy[tuple[Shape, Shape]]:
    """Pairs of shapes that broadcast against each other: dimensions missing or 1 on either side, 0-d and empty ones."""

    @st.composite
    def build(draw: st.DrawFn) -> tuple[Shape, Shape]:
        full = draw(shapes(max_dims=max_dims, max_side=max_side, empty=empty))
        sides = [list(full), list(full)]
        for i in range(len(full)):
            thin = draw(st.sampled_from((None, 0, 1)))
            if thin is not None:
                sides[thin][i] = 1
        cut = draw(st.integers(0, len(full)))
        short = draw(st.booleans())
        sides[short] = sides[short][cut:]
        return tuple(sides[0]), tuple(sides[1])

    return build()


# ---------------------------------------------------------------------- arrays


def ring_elements() -> st.SearchStrategy[int]:
    """Integers modulo 2^64: edges, small ones of both signs, and all others."""
    near = st.integers(-4, 4).map(lambda v: v % (1 << 64))
    return st.one_of(st.sampled_from([int(e) for e in EDGES]), near, st.integers(0, MASK))


def _strided(array: Array, how: str) -> Array:
    """The same values in another memory layout."""
    if how == "reversed" and array.ndim:
        return np.ascontiguousarray(array[::-1])[::-1]
    if how == "every other" and array.ndim:
        wide = np.repeat(array, 2, axis=-1)
        return wide[..., ::2]
    if how == "transposed" and array.ndim >= 2:
        return np.ascontiguousarray(array.T).T
    return array


def layouts(arrays: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The same arrays, some of them as non-contiguous views."""
    kinds = st.sampled_from(("as is", "reversed", "every other", "transposed"))
    return st.builds(_strided, arrays, kinds)


def ring_arrays(shape: Shape | st.SearchStrategy[Shape] | None = None) -> st.SearchStrategy[U64]:
    """uint64 arrays with edge values, of a given shape or any, contiguous or not."""
    return layouts(hnp.arrays(np.uint64, shapes() if shape is None else shape, elements=ring_elements()))


def fixed_point_arrays(
    shape: Shape | st.SearchStrategy[Shape] | None = None, *, frac_bits: int = 20, magnitude_bits: int = 8
) -> st.SearchStrategy[F64]:
    """Float arrays that fixed point represents exactly, below 2^magnitude_bits in magnitude, with edge values."""
    top = (1 << (frac_bits + magnitude_bits)) - 1
    unit = 1 << frac_bits
    elements = st.one_of(st.sampled_from([0, 1, -1, unit, -unit, unit - 1, top, -top]), st.integers(-top, top))
    integers = hnp.arrays(np.int64, shapes() if shape is None else shape, elements=elements)
    return layouts(integers.map(lambda a: a / float(unit)))


def bit_arrays(max_bytes: int = 40) -> st.SearchStrategy[U8]:
    """Packed bits: flat uint8 arrays."""
    return hnp.arrays(np.uint8, st.integers(0, max_bytes))


# ---------------------------------------------------------------------- sharings


def sharings(*, max_parties: int = 5) -> st.SearchStrategy[SharingSemantics]:
    """Component tables with random signs and party orders: additive with or without a helper, and replicated ones."""

    @st.composite
    def build(draw: st.DrawFn) -> SharingSemantics:
        parties = draw(st.integers(2, max_parties))
        threshold = draw(st.integers(1, parties - 1))
        order = draw(st.permutations(range(parties)))
        helper = threshold == parties - 1 and parties > 2 and draw(st.booleans())
        if helper:
            holders = [frozenset({p}) for p in order[:-1]]
            threshold = parties - 2
        else:  # one component per coalition, held by everybody else
            holders = [frozenset(order) - frozenset(q) for q in combinations(order, threshold)]
        signs = draw(st.lists(st.sampled_from((1, -1)), min_size=len(holders), max_size=len(holders)))
        return SharingSemantics("generated", parties, tuple(holders), tuple(signs), Security(corruptions=threshold))

    return build()


# ---------------------------------------------------------------------- expressions


@dataclass(frozen=True)
class Expression:
    """A small program over the public operations, as a tree; `on_shares` and `in_numpy` evaluate it.

    Values are integers modulo 2^64 of one shape. `gate(a, b)` is b where a < 0 (as a signed number), else 0; `same` is
    b where a == b, else 0.
    """

    op: str
    args: tuple[Expression, ...] = ()
    value: int = 0

    def on_shares(self, tensors: Sequence[SharedTensor]) -> SharedTensor:
        """The result over shared integers (tensors with frac_bits = 0)."""
        if self.op == "leaf":
            return tensors[self.value]
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
            case "same":
                return a.equals(b).times(b)
            case _:
                raise ValueError(f"unknown operation {self.op!r}")

    def in_numpy(self, arrays: Sequence[U64]) -> U64:
        """The result in the clear."""
        if self.op == "leaf":
            return arrays[self.value]
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

    def __str__(self) -> str:
        if self.op == "leaf":
            return f"x{self.value}"
        inner = [str(arg) for arg in self.args] + ([str(self.value)] if "public" in self.op else [])
        return f"{self.op}({', '.join(inner)})"


UNARY, BINARY, WITH_PUBLIC = ("neg",), ("add", "sub", "mul", "gate", "same"), ("add public", "mul public")


def expressions(inputs: int = 3, *, max_leaves: int = 8) -> st.SearchStrategy[Expression]:
    """Random expression trees over `inputs` operands."""
    leaf = st.integers(0, inputs - 1).map(lambda i: Expression("leaf", (), i))

    def grow(smaller: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        return st.one_of(
            st.builds(Expression, st.sampled_from(UNARY), st.tuples(smaller)),
            st.builds(Expression, st.sampled_from(BINARY), st.tuples(smaller, smaller)),
            st.builds(Expression, st.sampled_from(WITH_PUBLIC), st.tuples(smaller), ring_elements()),
        )

    return st.recursive(leaf, grow, max_leaves=max_leaves)


def evaluate(mpc: MPCBackend, expression: Expression, *tensors: SharedTensor) -> Any:
    """A program for `cluster.run`: opens the ring elements of an expression over shared integers."""
    return mpc.open(expression.on_shares(tensors).data, "expression")
