"""One party's end of a protocol.

A protocol is its sharing and its product: `MPCBackend` asks for `sharing` and `bilinear`.
Everything else follows: dealing (`shares.py`) and opening (`opening.py`) from the sharing;
truncation, comparison and conversion between the arithmetic and the Boolean world from the product
(`derived.py`). A protocol overrides a derived operation where it has something cheaper."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

from wwfl_core.errors import Misuse
from wwfl_core.numbers import Bilinear, FixedPoint, NumberFormat
from wwfl_core.party import Party
from wwfl_core.sharing import Share, SharingSemantics

from .bit_format import PACKED, BitFormat
from .declared_cost import DeclaredCost
from .derived import DerivedOperations


class MPCBackend(DerivedOperations):
    """A protocol. Built unbound (`MyProtocol()`), it describes itself; `at(party)` gives one
    party's end of it.

    Protocol code is SPMD: every party executes the same methods in the same order on its own
    shares."""

    name: ClassVar[str]
    sharing: SharingSemantics
    number_format: ClassVar[type[NumberFormat]] = FixedPoint
    """How programs' numbers become words of `numbers`, given `frac_bits`."""
    bits: BitFormat = PACKED  # how secret bits are shared
    declared_costs: ClassVar[Mapping[str, DeclaredCost]] = {}
    """What operations cost, by name (`wwfl_core.testing.cost.OPERATIONS`); the conformance kit
    compares them."""
    runtime: ClassVar[str] = ""
    """Another runtime whose processes execute this protocol; they take seconds to start."""
    known_defects: ClassVar[Mapping[str, str]] = {}
    """Checks of the conformance kit that are known to fail, with the reason; reported as such,
    never as conforming."""
    numpy_only: ClassVar[bool] = False
    """Whether shares must be NumPy arrays. Code over the algebra and its kernels takes any."""
    keeps_state: ClassVar[bool] = False
    """Whether an operation depends on more than its operands and its number, for example on a pool
    of precomputed values."""

    def __init__(self, *, frac_bits: int = 20) -> None:
        self.format = self.number_format(frac_bits)

    def at(self, party: Party) -> Self:
        """This protocol as seen by one party."""
        bound = copy.copy(self)
        bound.party = party
        return bound

    def reset(self) -> None:
        """An earlier run failed: forget whatever the parties may no longer agree on. Called before
        the next run."""

    def close(self) -> None:
        """The server stops: release what this end of the protocol holds outside memory (a foreign
        engine's process)."""

    # ------------------------------------------------------------------ what a protocol must give

    @abstractmethod
    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        """f(x, y), divided by 2^truncate (rounded to one of the two neighbours) if truncate > 0."""


def checked_protocol(given: object) -> MPCBackend:
    """A protocol that clusters can run.

    Raises:
        Misuse: for a class instead of an instance, for something else, or for a protocol without a
            sharing.
    """
    if isinstance(given, type) and issubclass(given, MPCBackend):
        raise Misuse(
            f"a protocol is an instance, not a class: write {given.__name__}() instead of "
            f"{given.__name__}"
        )
    if not isinstance(given, MPCBackend):
        raise Misuse(
            "a protocol is an instance of a subclass of MPCBackend, such as MyProtocol(); got "
            f"{given!r}"
        )
    if not isinstance(getattr(given, "sharing", None), SharingSemantics):
        kind = type(given).__name__
        raise Misuse(
            f"protocol {kind} says nothing about its sharing: set {kind}.sharing = "
            "SharingSemantics(...)"
        )
    return given
