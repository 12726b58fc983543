"""How a value that some parties know becomes shared, message by message."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from wwfl_core.channel import Phase
from wwfl_core.errors import Misuse
from wwfl_core.numbers import Algebra, Array, Shape, computed
from wwfl_core.party import Party
from wwfl_core.sharing import ShamirSharing, Share, SharingSemantics


class Dealing(ABC):
    """One `deal` in its steps, so that several can be interleaved: send, receive, compare, and then
    what it adds to the components of a share."""

    def __init__(
        self,
        party: Party,
        sharing: SharingSemantics,
        dealers: Sequence[int],
        name: str,
        phase: Phase,
        algebra: Algebra,
        shape: Shape,
    ) -> None:
        self.party, self.sharing, self.dealers = party, sharing, tuple(dealers)
        self.phase, self.algebra, self.shape = phase, algebra, shape
        self.op = party.op(name)

    @abstractmethod
    def send(self, value: Array | None) -> None:
        """Draws the masks; dealers, who know the value, send what others lack."""

    @abstractmethod
    def receive(self) -> None:
        """Takes what dealers sent."""

    def compare(self) -> None:  # noqa: B027 (only malicious-secure sharings have something to compare)
        """Receivers compare what they got, where nobody vouches for a dealer."""

    @abstractmethod
    def terms(self) -> dict[int, Array]:
        """What the dealt value adds to the components that this party holds; a component that is
        missing is zero."""


def sum_of(dealt: Sequence[Dealing]) -> Share:
    """The sum of dealt values of one shape, as a share."""
    first = dealt[0]
    party, algebra, shape = first.party, first.algebra, first.shape
    found = [dealing.terms() for dealing in dealt]
    parts: dict[int, Array] = {}
    zero: Array | None = None  # of all components that no dealing adds to
    for c in first.sharing.held_by(party.index):
        terms = [terms[c] for terms in found if c in terms]
        if terms:
            parts[c] = algebra.sum(terms)
        else:
            zero = party.zeros(shape, algebra.dtype) if zero is None else zero
            parts[c] = zero
    return Share(algebra, shape, parts)


class TableDealing(Dealing):
    """By the component table: masks from PRG keys, one component computed
    (`SharingSemantics.deal_plan`)."""

    def __init__(
        self,
        party: Party,
        sharing: SharingSemantics,
        dealers: Sequence[int],
        name: str,
        phase: Phase,
        algebra: Algebra,
        shape: Shape,
    ) -> None:
        super().__init__(party, sharing, dealers, name, phase, algebra, shape)
        self.plan = sharing.deal_plan(dealers, offline=phase is Phase.OFFLINE)
        self.malicious = sharing.security.malicious
        self.parts: dict[int, Array] = {}
        self.rest: Array | None = None  # the computed component, where it is known

    def send(self, value: Array | None) -> None:
        """Draws the masks; dealers compute the component that makes the sum right and send it or
        vouch for it: s_k x_k = value - sum of s_c x_c over the masks, with coefficients s."""
        masks = self.draw()
        if self.party.index not in self.plan.dealers:
            return
        assert value is not None
        coefficients = self.sharing.coefficients
        sign = coefficients[self.plan.computed]
        terms: dict[int, list[Array]] = {1: [], -1: []}  # of the computed component, by sign
        for component, mask in masks.items():
            terms[-sign * coefficients[component]].append(mask)
        terms[sign].append(value)
        self.publish(self.algebra.difference(terms[1], terms[-1]))

    def draw(self) -> dict[int, Array]:
        """The masks that this party knows, by component. `send` does this first."""
        me, holders = self.party.index, self.sharing.holders
        masks = {
            c: self.op.mask(key, f"m{c}", self.algebra, self.shape)
            for c, key in self.plan.masks
            if me in key
        }
        self.parts.update({c: mask for c, mask in masks.items() if me in holders[c]})
        return masks

    def publish(self, rest: Array) -> None:
        """Dealers send the computed component, or vouch for it. `send` does this last."""
        self.rest = computed(rest)
        for receiver in self.plan.receivers:
            self._joint_send(receiver)

    def receive(self) -> None:
        """Receivers take the computed component."""
        if self.party.index in self.plan.receivers:
            self.rest = self._joint_send(self.party.index)

    def known(self) -> Array:
        """The computed component, once it was published or received."""
        assert self.rest is not None
        return self.rest

    def _joint_send(self, receiver: int) -> Array | None:
        return self.op.joint_send(
            self.plan.dealers,
            receiver,
            self.rest,
            self.algebra.dtype,
            self.shape,
            self.phase,
            vouched=self.malicious,
        )

    def compare(self) -> None:
        """Receivers of so few dealers that all of them may be corrupt compare what they got."""
        me, transcript = self.party.index, self.party.transcript
        trusted = len(self.plan.dealers) > self.sharing.security.corruptions
        if not self.malicious or trusted or me not in self.plan.receivers:
            return
        assert self.rest is not None
        for other in self.plan.receivers:
            if other != me:
                transcript.vouch(other, self.op.number, self.rest)
                transcript.expect(other, self.op.number, self.rest)

    def terms(self) -> dict[int, Array]:
        if self.party.index in self.sharing.holders[self.plan.computed]:
            self.parts[self.plan.computed] = self.known()
        return self.parts


class PointDealing(Dealing):
    """By a polynomial (Shamir): as many points as the threshold allows are PRG masks of their
    holders and the dealers, all others follow from them and the value, and the first dealer sends
    them. Semi-honest.

    Bytes: one element to every holder without a mask who is no dealer: (m - 1 - t) for a single
    dealer; one round."""

    def send(self, value: Array | None) -> None:
        sharing, me = self.sharing, self.party.index
        if not isinstance(sharing, ShamirSharing):
            raise Misuse(
                f"PointDealing deals the points of a ShamirSharing, not {sharing.name!r}: set "
                "dealing = TableDealing"
            )
        masked = sharing.masked_by(self.dealers)
        self.mine: Array | None = None
        drawn: dict[int, Array] = {}
        for c in masked:
            if me == c or me in self.dealers:
                drawn[c] = self.op.random({*self.dealers, c}, f"m{c}", self.algebra, self.shape)
        self.sender = self.dealers[0]
        self.sent_to = [c for c in sharing.components if c not in (*masked, *self.dealers)]
        if me not in self.dealers:
            self.mine = drawn.get(me)
            return
        assert value is not None
        points = {**drawn, **sharing.complete(self.algebra, value, drawn)}
        self.mine = points[me]
        for receiver in self.sent_to if me == self.sender else ():
            self.op.send(receiver, points[receiver], self.phase)

    def receive(self) -> None:
        if self.party.index in self.sent_to:
            self.mine = self.op.recv(self.sender, self.algebra.dtype, self.shape, self.phase)

    def terms(self) -> dict[int, Array]:
        assert self.mine is not None
        return {self.party.index: self.mine}
