"""One party's end of a protocol.

A protocol is its sharing and its product: `MPCBackend` asks for `sharing` and `bilinear`.
Everything else follows: dealing and opening from the sharing (`shares.py`); truncation, comparison
and conversion between the arithmetic and the Boolean world from the product (`derived.py`). A
protocol overrides a derived operation where it has something cheaper."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import Misuse
from wwfl_core.numbers.algebra import Algebra
from wwfl_core.numbers.arrays import Array, Shape, as_float, as_ring, to_host
from wwfl_core.numbers.bilinear import Bilinear
from wwfl_core.numbers.fixed_point import FixedPoint
from wwfl_core.party.party import Party
from wwfl_core.sharing.semantics import SharingSemantics
from wwfl_core.sharing.share import Share
from wwfl_core.tensors.tensor import SharedBits, SharedTensor

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
    bits: BitFormat = PACKED  # how secret bits are shared
    declared_costs: ClassVar[Mapping[str, DeclaredCost]] = {}
    """What operations cost, by name (`wwfl_core.testing.cost.OPERATIONS`); the conformance kit
    compares them."""
    runtime: ClassVar[str] = ""
    """Another runtime whose processes execute this protocol; they take seconds to start."""
    known_defects: ClassVar[Mapping[str, str]] = {}
    """Checks of the conformance kit that are known to fail, with the reason; reported as such,
    never as conforming."""
    devices: ClassVar[bool] = True
    """Whether shares may live on a GPU. True for what is written over the algebra and its
    kernels."""
    repeatable: ClassVar[bool] = True
    """Whether an operation depends on nothing but its operands and its number, so that programs may
    be recorded and repeated (`wwfl_core.recording`). False for protocols that keep a state of their
    own."""

    def __init__(self, *, frac_bits: int = 20) -> None:
        self.fixed = FixedPoint(frac_bits)

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

    # ------------------------------------------------------------------ what programs call

    def share(
        self, value: npt.ArrayLike | None, owner: int, *, shape: Shape | None = None
    ) -> SharedTensor:
        """Shares a float array known to party `owner` (other parties may pass None and the shape).

        Raises:
            Misuse: wrong owner, dtype or shape, before anything is sent.
            RangeError: a value outside the fixed-point range, before anything is sent.
        """
        if not isinstance(owner, int) or owner not in self.sharing.evaluators:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise Misuse(
                f"owner={owner!r} is not a party that holds shares; choose one of "
                f"{self.sharing.evaluators}"
            )
        if value is None and (shape is None or self.me == owner):
            raise Misuse(
                f"party {owner} shares a value: it must be given there, and its shape everywhere"
            )
        encoded = None if value is None else self.fixed.encode(value, "the shared value")
        known = encoded.shape if encoded is not None else tuple(shape or ())
        if shape is not None and known != tuple(shape):
            raise Misuse(f"the shared value has shape {known}, declared was {tuple(shape)}")
        mine = None if encoded is None or self.me != owner else self.numbers.from_words(encoded)
        dealt = self.deal(mine, [owner], known, name="share")
        return SharedTensor(self, dealt, self.fixed.frac_bits)

    def public_tensor(self, value: npt.ArrayLike) -> SharedTensor:
        """A public float array as a shared tensor (nothing is hidden, nothing is sent)."""
        return SharedTensor(
            self, self.public(self.fixed.encode(value, "the public value")), self.fixed.frac_bits
        )

    def reveal(
        self, x: SharedTensor | SharedBits, reason: str = "reveal", to: Sequence[int] | None = None
    ) -> Any:
        """Opens a tensor (float64; integers for tensors without fraction; bool for bits) at `to`,
        None elsewhere."""
        if x.mpc is not self:
            raise Misuse("this tensor belongs to another cluster or party; reshare it first")
        opened = self.open(x.data, reason, to)
        if opened is None:
            return None
        return self.decode(
            to_host(opened),
            x.data.algebra,
            x.shape,
            None if isinstance(x, SharedBits) else x.frac_bits,
        )

    def decode(self, opened: Array, algebra: Algebra, shape: Shape, frac_bits: int | None) -> Any:
        """Opened elements as float64, as integers (no fraction), or as bools (`frac_bits` is None:
        bits)."""
        if frac_bits is None:
            return self.bits.to_bools(opened, shape)
        words = algebra.to_words(opened)
        return words.view(np.int64) if frac_bits == 0 else self.fixed.decode(words, frac_bits)

    def scope(self, label: str) -> AbstractContextManager[None]:
        """`with mpc.scope("conv1"):` reports costs and openings inside under that label."""
        return self.party.scope(label)

    def constant(self, value: npt.ArrayLike, frac_bits: int) -> Array:
        """A public array as words of the given scale (integers for frac_bits=0)."""
        if frac_bits == 0:
            return as_ring(value, "the public operand")
        return self.fixed.encode(
            as_float(value, "the public operand"), "the public operand", frac_bits
        )

    def factor(self, value: npt.ArrayLike) -> tuple[Array, int]:
        """A public factor as (words, bits) with value = words / 2^bits, about frac_bits significant
        bits.

        Small factors get more fractional bits, so that a learning rate of 0.001 is as precise as
        one of 1; trailing zero bits are dropped, so that powers of two cost no more than they must.
        """
        given = np.asarray(value)
        if np.issubdtype(given.dtype, np.integer) or given.dtype == np.bool_:
            return self.constant(given, 0), 0
        real = np.asarray(given, np.float64)
        largest = float(np.max(np.abs(real), initial=0.0))
        small = max(0, -int(np.floor(np.log2(largest)))) if 0 < largest < 1 else 0
        bits = min(self.fixed.frac_bits + small, 44)
        ring = self.fixed.encode(real, "the public factor", bits)
        used = int(np.bitwise_or.reduce(ring, axis=None)) if ring.size else 0
        spare = min(bits, (used & -used).bit_length() - 1) if used else bits
        return (ring.view(np.int64) >> np.int64(spare)).view(np.uint64), bits - spare


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
