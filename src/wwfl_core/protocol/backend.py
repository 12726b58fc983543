"""One party's end of a protocol.

A protocol is its sharing and its product: `MPCBackend` asks for `sharing` and `bilinear` and
derives everything else (dealing, opening, truncation, comparison, conversion between the arithmetic
and the Boolean world). A protocol overrides a derived operation where it has something cheaper."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Self

import numpy as np

from wwfl_core.accelerate.device import Hiding
from wwfl_core.channel.cost import Phase
from wwfl_core.errors import Misuse, VerificationFailed
from wwfl_core.numbers.algebra import RING, Algebra
from wwfl_core.numbers.arrays import Array, Shape
from wwfl_core.numbers.bilinear import Bilinear, DirectSum
from wwfl_core.numbers.fixed_point import FixedPoint
from wwfl_core.numbers.number_format import NumberFormat
from wwfl_core.party.party import ONLINE, Op, Party
from wwfl_core.party.transcript import DIGEST_BYTES, agree, digest
from wwfl_core.sharing.semantics import SharingSemantics
from wwfl_core.sharing.share import Share, concat, split

from . import derived
from .bit_format import PACKED, BitFormat
from .dealing import Dealing, Made, TableDealing, total
from .declared_cost import DeclaredCost

Word = tuple[Array | Made | None, Sequence[int], Phase]
"""A word (at those who know it), who they are, and in which phase it is dealt."""


class MPCBackend(ABC):
    """A protocol. Built unbound (`Replicated3PC()`), it describes itself; `at(party)` gives one
    party's end of it.

    Protocol code is SPMD: every party executes the same methods in the same order on its own
    shares."""

    name: ClassVar[str]
    sharing: SharingSemantics
    numbers: Algebra = RING  # where number tensors are shared
    number_format: ClassVar[type[NumberFormat]] = FixedPoint
    """How programs' numbers become words of `numbers`, given `frac_bits`."""
    bits: BitFormat = PACKED  # how secret bits are shared
    dealing: type[Dealing] = TableDealing  # how a party's value is shared
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
    party: Party

    def __init__(self, *, frac_bits: int = 20) -> None:
        self.format = self.number_format(frac_bits)

    def at(self, party: Party) -> Self:
        """This protocol as seen by one party."""
        bound = copy.copy(self)
        bound.party = party
        return bound

    def reset(self) -> None:  # noqa: B027 (an optional hook)
        """An earlier run failed: forget whatever the parties may no longer agree on. Called before
        the next run."""

    def close(self) -> None:  # noqa: B027 (an optional hook)
        """The server stops: release what this end of the protocol holds outside memory (a foreign
        engine's process)."""

    # ------------------------------------------------------------------ what a protocol must give

    @abstractmethod
    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        """f(x, y), divided by 2^truncate (rounded to one of the two neighbours) if truncate > 0."""

    # ---------------------------------------------------- derived; override what you can do cheaper

    def bilinear_many(
        self, jobs: Sequence[tuple[Bilinear, Share, Share]], truncate: int = 0
    ) -> list[Share]:
        """Independent products in the rounds of one."""
        if len(jobs) == 1:
            return [self.bilinear(*jobs[0], truncate)]
        total = DirectSum(
            tuple(f for f, _, _ in jobs),
            tuple(x.shape for _, x, _ in jobs),
            tuple(y.shape for _, _, y in jobs),
        )
        flat = self.bilinear(
            total,
            concat([x.map(np.ravel) for _, x, _ in jobs]),
            concat([y.map(np.ravel) for _, _, y in jobs]),
            truncate,
        )
        return split(flat, total.outputs())

    def truncate(self, x: Share, bits: int) -> Share:
        """x / 2^bits, rounded to one of the two neighbours, for |x| < 2^62."""
        return derived.truncate(self, x, bits)

    def carry_inputs(self, x: Share, bits: int) -> tuple[Share, Share]:
        """Generate and propagate planes (g [bits-1, .], p [bits, .]) of the addition that
        reconstructs x mod 2^bits."""
        return derived.carry_inputs(self, x, bits)

    def carry_level(
        self, g: Share, p: Share, product: Share | None
    ) -> tuple[Share, Share, Share | None]:
        """A level of the carry tree (`derived.carry_out`): g and p after the last level's product
        (None: there is none yet), and this level's product (None: one position is left). One
        product, or nothing sent."""
        return derived.carry_level(self, g, p, product)

    def sign(self, x: Share, bits: int = 64) -> Share:
        """[x < 0] as shared bits (see `bits`), for |x| < 2^(bits - 1)."""
        return derived.sign(self, x, bits)

    def is_zero(self, x: Share, bits: int = 64) -> Share:
        """[x == 0], for |x| < 2^bits (over Z_2^64: [x == 0 mod 2^bits])."""
        return derived.is_zero(self, x, bits)

    def bit_to_ring(self, b: Share, shape: Shape) -> Share:
        """Packed bits as 0/1 ring elements of the given shape."""
        return derived.bit_to_ring(self, b, shape)

    def inject(self, b: Share, x: Share) -> Share:
        """b * x for packed bits b (one per element of x)."""
        return derived.inject(self, b, x)

    # ------------------------------------------------------------------ sharing and opening

    @property
    def me(self) -> int:
        return self.party.index

    @property
    def stands_for(self) -> SharingSemantics:
        """Whose servers this computation shows: those of its own sharing, but in a simulation by a
        single party those that are simulated. What every server does by itself (drawing noise) this
        party does for all of them."""
        return self.sharing

    def coefficient(self, component: int) -> int:
        return self.sharing.coefficients[component]

    def public(self, value: Array, algebra: Algebra | None = None) -> Share:
        """A public array of words (packed bits for `BITS`) as a (trivial) share; `algebra` is that
        of numbers if not given."""
        kind = self.numbers if algebra is None else algebra
        zero = self.party.device.zeros(value.shape, kind.dtype)
        return self.add_public(
            Share(kind, value.shape, dict.fromkeys(self.sharing.held_by(self.me), zero)), value
        )

    def add_public(self, x: Share, value: Array) -> Share:
        """x + value for a public array of words (packed bits for `BITS`)."""
        return x.add_public(x.algebra.from_words(value), self.sharing.unit)

    def partial(self, x: Share, components: Iterable[int]) -> Array:
        """sum of coefficient_c * x_c over some components that this party holds."""
        return x.algebra.sum([x.algebra.scale(self.coefficient(c), x.parts[c]) for c in components])

    def deal(
        self,
        value: Array | Made | None,
        dealers: Sequence[int],
        shape: Shape,
        algebra: Algebra | None = None,
        *,
        phase: Phase = ONLINE,
        name: str = "deal",
    ) -> Share:
        """A value (elements of `algebra`, by default that of numbers) that all `dealers` know
        becomes shared.

        It may also be given as a function of the mask to take from it (`dealing.Made`).

        Masks come from PRG keys; one component is computed and sent to those of its holders who are
        not dealers (one round, or none). In a malicious-secure sharing, several dealers vouch for
        each other, and the receivers of a single dealer compare what they got; both are checked
        before anything is opened."""
        return self.deal_many([(value, dealers)], shape, algebra, phase=phase, name=name)[0]

    def deal_many(
        self,
        jobs: Sequence[tuple[Array | Made | None, Sequence[int]]],
        shape: Shape,
        algebra: Algebra | None = None,
        *,
        phase: Phase = ONLINE,
        name: str = "deal",
    ) -> list[Share]:
        """Several independent `deal`s of (value, dealers), all of one shape, in the one round of a
        single one.

        Everything is sent before anything is received, and digests are appended in the same order
        at both ends."""
        dealt = self._dealt(
            [(value, dealers, phase) for value, dealers in jobs], shape, algebra, name
        )
        return [total([dealing], {}) for dealing in dealt]

    def deal_sum(
        self,
        jobs: Sequence[Word],
        shape: Shape,
        algebra: Algebra | None = None,
        *,
        name: str = "deal",
        more: Mapping[int, Array | Hiding] | None = None,
    ) -> Share:
        """The sum of several words, each known to some parties and dealt in a phase of its own:
        `deal_many` of (value, dealers, phase) and the sum of what it returns, which a device
        computes in one pass per component. A value may be a function of the mask to take from it
        (`dealing.Made`); `more` is added to components."""
        return total(self._dealt(jobs, shape, algebra, name), more or {})

    def _dealt(
        self, jobs: Sequence[Word], shape: Shape, algebra: Algebra | None, name: str
    ) -> list[Dealing]:
        kind = self.numbers if algebra is None else algebra
        dealt = [
            self.dealing(self, dealers, name, phase, kind, shape) for _, dealers, phase in jobs
        ]
        for dealing, (value, _, _) in zip(dealt, jobs, strict=True):
            dealing.send(
                value if value is None or callable(value) else self.party.device.put(value)
            )
        for dealing in dealt:
            dealing.receive()
        for dealing in dealt:
            dealing.compare()
        return dealt

    def verify(self) -> None:
        """Compares all digests of joint sends since the last check point; nobody goes on unless all
        of them agree.

        Two rounds, 64 bytes per ordered pair of parties (`wwfl_core.party.transcript.agree`). Free
        for semi-honest protocols.

        Raises:
            VerificationFailed: at every honest party, without telling whose digests differ.
        """
        if self.sharing.security.malicious:
            agree(self.party)

    def open(self, x: Share, reason: str, to: Sequence[int] | None = None) -> Array | None:
        """Opens a share to some parties (default: all that hold components). The one door through
        which values leave.

        Every missing component is sent by one holder; in a malicious-secure protocol the other
        holders send its digest, after a check point. One round (plus the check point's two). The
        opening is recorded in the ledger.

        Returns:
            The value at receivers, None elsewhere.

        Raises:
            Refused: by this server's guard (`Party.guard`), before anything is sent.
        """
        receivers = tuple(self.sharing.evaluators if to is None else to)
        audience = "all" if to is None else ",".join(map(str, receivers))
        grounds = self.party.admit(reason, audience, x.shape)
        self.verify()
        op = self.party.op("open")
        self.party.record_opening(op, reason, audience, x.shape, grounds)
        for receiver in receivers:
            for component in self.sharing.lacks(receiver):
                self._show(op, x, component, receiver)
        if self.me not in receivers:
            return None
        parts = dict(x.parts)
        for component in self.sharing.lacks(self.me):
            parts[component] = self._see(op, x, component)
        algebra = x.algebra
        return algebra.sum(
            [algebra.scale(self.coefficient(c), parts[c]) for c in self.sharing.required]
        )

    def _holders_for(self, component: int, receiver: int) -> list[int]:
        """Holders of a component, the one who sends its value to `receiver` first (its nearest
        predecessor)."""
        return sorted(
            self.sharing.holders[component], key=lambda h: (receiver - h) % self.sharing.parties
        )

    def _show(self, op: Op, x: Share, component: int, receiver: int) -> None:
        holders = self._holders_for(component, receiver)
        if self.me == holders[0]:
            op.send(receiver, x.parts[component])
        elif self.sharing.security.malicious and self.me in holders:
            op.send(receiver, digest(x.parts[component]))

    def _see(self, op: Op, x: Share, component: int) -> Array:
        holders = self._holders_for(component, self.me)
        value = op.recv(holders[0], x.algebra.dtype, x.shape)
        if self.sharing.security.malicious:
            mine = digest(value).tobytes()
            votes = [op.recv_bytes(h, DIGEST_BYTES) == mine for h in holders[1:]]
            if (
                sum(votes) < self.sharing.security.corruptions
            ):  # else the corrupt ones might be all who say so
                raise VerificationFailed(
                    f"party {holders[0]} ({self.party.addresses[holders[0]]}) sent party "
                    f"{self.me} a component "
                    f"{component} in the opening of operation {op.number} that too few other "
                    "holders confirm"
                )
        return value


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
            "a protocol is an instance of a subclass of MPCBackend, such as Replicated3PC(); got "
            f"{given!r}"
        )
    if not isinstance(getattr(given, "sharing", None), SharingSemantics):
        kind = type(given).__name__
        raise Misuse(
            f"protocol {kind} says nothing about its sharing: set {kind}.sharing = "
            "SharingSemantics(...)"
        )
    return given
