"""Hypothesis strategies for tests of protocols and programs: arrays with edge values, shapes,
sharings, expressions, and running clusters (`ClusterPool`).

The only module of the kit that needs hypothesis (`pip install hypothesis`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from types import TracebackType
from typing import Any, Self

import numpy as np

from wwfl_core.cluster import LocalCluster
from wwfl_core.errors import Misuse, ProtocolError
from wwfl_core.numbers import F64, U8, U64, Array, Shape
from wwfl_core.sharing import Security, SharingSemantics
from wwfl_core.tensors import Session

from .bench import EDGES, MASK, Factory
from .expressions import BINARY, UNARY, WITH_PUBLIC, Expression, evaluate

try:
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
except ImportError as _missing:
    raise ImportError(
        "wwfl_core.testing.strategies needs hypothesis: pip install hypothesis (or wwfl[dev]). "
        "The rest of wwfl_core.testing works without it"
    ) from _missing

__all__ = [
    "ClusterPool",
    "Expression",
    "bit_arrays",
    "broadcast_pairs",
    "evaluate",
    "expressions",
    "fixed_point_arrays",
    "layouts",
    "ring_arrays",
    "ring_elements",
    "shapes",
    "sharings",
]

# ---------------------------------------------------------------------- arguments


def _whole(what: str, value: Any, low: int, high: int | None = None) -> int:
    """An integer argument in [low, high].

    Raises:
        Misuse: it is no integer, or outside.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise Misuse(f"{what} must be an integer, not {value!r}")
    if value < low or (high is not None and value > high):
        raise Misuse(
            f"{what} must be {f'at least {low}' if high is None else f'from {low} to {high}'}, "
            f"not {value}"
        )
    return value


def _shape_of(what: str, shape: Any) -> Any:
    """A shape, or a strategy for shapes; any shape if None.

    Raises:
        Misuse: it is neither.
    """
    if shape is None:
        return shapes()
    if isinstance(shape, st.SearchStrategy):
        return shape  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(shape, tuple):
        raise Misuse(
            f"{what}: shape must be a tuple such as (3, 4), a strategy for shapes, or None, not "
            f"{shape!r}"
        )
    return tuple(_whole(f"{what}: side {i} of the shape", side, 0) for i, side in enumerate(shape))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


# ---------------------------------------------------------------------- shapes


def shapes(*, max_dims: int = 3, max_side: int = 5, empty: bool = True) -> st.SearchStrategy[Shape]:
    """Shapes of 0 to `max_dims` dimensions; with `empty`, sides may be 0.

    Raises:
        Misuse: more dimensions than NumPy has (32), or sides that cannot be.
    """
    _whole("shapes: max_dims", max_dims, 0, 32)
    _whole("shapes: max_side", max_side, 0 if empty else 1)
    return st.lists(st.integers(0 if empty else 1, max_side), max_size=max_dims).map(tuple)


def broadcast_pairs(
    *, max_dims: int = 3, max_side: int = 5, empty: bool = True
) -> st.SearchStrategy[tuple[Shape, Shape]]:
    """Pairs of shapes that broadcast against each other: dimensions missing or 1 on either side,
    0-d and empty ones.

    Raises:
        Misuse: as `shapes`.
    """
    whole = shapes(max_dims=max_dims, max_side=max_side, empty=empty)

    @st.composite
    def build(draw: st.DrawFn) -> tuple[Shape, Shape]:
        full = draw(whole)
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
    """The same arrays, some of them as non-contiguous views.

    Raises:
        Misuse: `arrays` is an array and not a strategy for arrays.
    """
    if not isinstance(arrays, st.SearchStrategy):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise Misuse(
            "layouts: needs a strategy for arrays such as ring_arrays(), not "
            f"{type(arrays).__name__}"
        )
    kinds = st.sampled_from(("as is", "reversed", "every other", "transposed"))
    return st.builds(_strided, arrays, kinds)


def ring_arrays(shape: Shape | st.SearchStrategy[Shape] | None = None) -> st.SearchStrategy[U64]:
    """uint64 arrays with edge values, of a given shape or any, contiguous or not.

    Raises:
        Misuse: `shape` is neither a tuple of sides nor a strategy.
    """
    return layouts(hnp.arrays(np.uint64, _shape_of("ring_arrays", shape), elements=ring_elements()))


def fixed_point_arrays(
    shape: Shape | st.SearchStrategy[Shape] | None = None,
    *,
    frac_bits: int = 20,
    magnitude_bits: int = 8,
) -> st.SearchStrategy[F64]:
    """Float arrays that fixed point represents exactly, below 2^magnitude_bits in magnitude, with
    edge values.

    Raises:
        Misuse: `shape` is neither a tuple of sides nor a strategy, or more than 53 bits, which
            floats do not have.
    """
    _whole("fixed_point_arrays: frac_bits", frac_bits, 0, 53)
    _whole("fixed_point_arrays: magnitude_bits", magnitude_bits, -frac_bits + 1)
    if frac_bits + magnitude_bits > 53:
        raise Misuse(
            f"fixed_point_arrays: frac_bits + magnitude_bits is {frac_bits + magnitude_bits}, but "
            "a float holds 53 bits; ask for fewer"
        )
    top = (1 << (frac_bits + magnitude_bits)) - 1
    unit = 1 << frac_bits
    elements = st.one_of(
        st.sampled_from([0, 1, -1, unit, -unit, unit - 1, top, -top]), st.integers(-top, top)
    )
    integers = hnp.arrays(np.int64, _shape_of("fixed_point_arrays", shape), elements=elements)
    return layouts(integers.map(lambda a: a / float(unit)))


def bit_arrays(max_bytes: int = 40) -> st.SearchStrategy[U8]:
    """Packed bits: flat uint8 arrays.

    Raises:
        Misuse: a negative size.
    """
    _whole("bit_arrays: max_bytes", max_bytes, 0)
    return hnp.arrays(np.uint8, st.integers(0, max_bytes))


# ---------------------------------------------------------------------- sharings


def sharings(*, max_parties: int = 5) -> st.SearchStrategy[SharingSemantics]:
    """Component tables with random signs and party orders: additive with or without a helper, and
    replicated ones.

    Raises:
        Misuse: fewer than 2 parties, or so many (over 10) that replicated tables have hundreds of
            components.
    """
    _whole("sharings: max_parties", max_parties, 2, 10)

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
        signs = draw(
            st.lists(st.sampled_from((1, -1)), min_size=len(holders), max_size=len(holders))
        )
        return SharingSemantics(
            "generated", parties, tuple(holders), tuple(signs), Security(corruptions=threshold)
        )

    return build()


# ---------------------------------------------------------------------- expressions


def expressions(inputs: int = 3, *, max_leaves: int = 8) -> st.SearchStrategy[Expression]:
    """Random expression trees over `inputs` operands.

    Raises:
        Misuse: no operand or no leaf.
    """
    _whole("expressions: inputs", inputs, 1)
    _whole("expressions: max_leaves", max_leaves, 1)
    leaf = st.integers(0, inputs - 1).map(lambda i: Expression("leaf", (), i))

    def grow(smaller: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        return st.one_of(
            st.builds(Expression, st.sampled_from(UNARY), st.tuples(smaller)),
            st.builds(Expression, st.sampled_from(BINARY), st.tuples(smaller, smaller)),
            st.builds(
                Expression, st.sampled_from(WITH_PUBLIC), st.tuples(smaller), ring_elements()
            ),
        )

    return st.recursive(leaf, grow, max_leaves=max_leaves)


# ---------------------------------------------------------------------- clusters


class ClusterPool:
    """Running clusters for examples to draw, one and the same in all of them: starting one costs
    more than an example.

        with ClusterPool({"mine": MyProtocol, "theirs": TheirProtocol}) as pool:

            @given(pool.pairs(), ring_arrays())
            def test(pair, ring):
                source, target = pair
                ...

            test()

    A cluster starts when it is first drawn, with threads as servers, and stops at the end of the
    `with` block. Of every protocol there are two: a source and a target, so that a pair can have
    one protocol on both sides. Tensors of one example stay valid in the next, and a run that failed
    leaves the cluster usable; one that is closed or broken is replaced. Not for several threads at
    once.

    Raises:
        Misuse: no protocols, a value that makes none, or a deadline that is not positive; drawing
            outside of the block.
    """

    def __init__(self, protocols: Mapping[str, Factory], *, deadline_s: float = 60.0) -> None:
        if not isinstance(protocols, Mapping) or not protocols:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise Misuse(
                "ClusterPool: needs factories of protocols by name, such as {'mine': "
                f"MyProtocol}}, not {protocols!r}"
            )
        for name, factory in protocols.items():
            if not callable(factory):
                raise Misuse(
                    f"ClusterPool: {name!r} must be a class or function that makes a protocol, "
                    f"not {factory!r}"
                )
        if not deadline_s > 0:
            raise Misuse(f"ClusterPool: deadline_s must be positive, not {deadline_s}")
        self.protocols = dict(protocols)
        self.deadline_s = deadline_s
        self._running: dict[tuple[str, str], LocalCluster] = {}
        self._open = False
        self._started = 0

    def __enter__(self) -> Self:
        self._open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        while self._running:
            self._running.popitem()[1].close()

    def clusters(self) -> st.SearchStrategy[LocalCluster]:
        """One running cluster of any of the protocols."""
        return st.sampled_from(sorted(self.protocols)).map(
            lambda name: self._cluster("source", name)
        )

    def pairs(self) -> st.SearchStrategy[tuple[LocalCluster, LocalCluster]]:
        """Two running clusters of any two protocols, or of one, connected to each other: (source,
        target)."""
        names = st.sampled_from(sorted(self.protocols))
        return st.tuples(names, names).map(lambda pair: self._pair(*pair))

    def _pair(self, source: str, target: str) -> tuple[LocalCluster, LocalCluster]:
        a, b = self._cluster("source", source), self._cluster("target", target)
        a.connect(b)
        return a, b

    def _cluster(self, side: str, name: str) -> LocalCluster:
        if not self._open:
            raise Misuse(
                "ClusterPool: clusters run only inside `with ClusterPool(...) as pool:`; call the "
                "test there"
            )
        running = self._running.get((side, name))
        if running is not None:
            try:
                running.run(_nothing)
                return running
            except ProtocolError:  # a closed or broken cluster refuses
                running.close()
        self._started += 1
        started = LocalCluster(
            self.protocols[name](),
            name=f"{side}-{name}-{self._started}",
            deadline_s=self.deadline_s,
        )
        self._running[side, name] = started
        return started


def _nothing(mpc: Session) -> None:
    """A run that asks whether the servers still answer."""
