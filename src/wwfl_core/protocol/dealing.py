"""How a value that some parties know becomes shared, message by message."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from wwfl_core.accelerate.device import Hiding
from wwfl_core.channel.cost import Phase
from wwfl_core.errors import Misuse
from wwfl_core.numbers.algebra import Algebra
from wwfl_core.numbers.arrays import Array, Shape
from wwfl_core.sharing.shamir import ShamirSharing
from wwfl_core.sharing.share import Share

if TYPE_CHECKING:
    from .backend import MPCBackend


Made = Callable[[Array | Hiding | None], Array]
"""A value as a function of a mask to take from it (None: of none): for steps that devices mask in
the same pass."""


class Dealing(ABC):
    """One `deal` in its steps, so that several can be interleaved: send, receive, compare, and then
    its terms."""

    def __init__(
        self,
        mpc: MPCBackend,
        dealers: Sequence[int],
        name: str,
        phase: Phase,
        algebra: Algebra,
        shape: Shape,
    ) -> None:
        self.mpc, self.dealers, self.phase, self.algebra, self.shape = (
            mpc,
            tuple(dealers),
            phase,
            algebra,
            shape,
        )
        self.op = mpc.party.op(name)

    @abstractmethod
    def send(self, value: Array | Made | None) -> None:
        """Draws the masks; dealers, who know the value, send what others lack."""

    @abstractmethod
    def receive(self) -> None:
        """Takes what dealers sent."""

    def compare(self) -> None:  # noqa: B027 (only malicious-secure sharings have something to compare)
        """Receivers compare what they got, where nobody vouches for a dealer."""

    @abstractmethod
    def terms(self) -> dict[int, Array | Hiding]:
        """What the dealt value adds to the components that this party holds; nothing to those that
        are missing."""


def total(dealt: Sequence[Dealing], more: Mapping[int, Array | Hiding]) -> Share:
    """The sum of dealt values, with `more` added to components: each of them in one pass over masks
    and what was sent, where a device can do that."""
    mpc, algebra, shape = dealt[0].mpc, dealt[0].algebra, dealt[0].shape
    found = [*(dealing.terms() for dealing in dealt), more]
    parts: dict[int, Array] = {}
    for c in mpc.sharing.held_by(mpc.me):
        terms = [terms[c] for terms in found if c in terms]
        parts[c] = (
            algebra.combined(terms) if terms else mpc.party.device.zeros(shape, algebra.dtype)
        )
    return Share(algebra, shape, parts)


class TableDealing(Dealing):
    """By the component table: masks from PRG keys, one component computed
    (`SharingSemantics.deal_plan`)."""

    def __init__(
        self,
        mpc: MPCBackend,
        dealers: Sequence[int],
        name: str,
        phase: Phase,
        algebra: Algebra,
        shape: Shape,
    ) -> None:
        super().__init__(mpc, dealers, name, phase, algebra, shape)
        self.plan = mpc.sharing.deal_plan(dealers, offline=phase is Phase.OFFLINE)
        self.malicious = mpc.sharing.security.malicious
        self.parts: dict[int, Array | Hiding] = {}
        self.rest: Array | None = None  # the computed component, where it is known

    def send(self, value: Array | Made | None) -> None:
        """Draws the masks; dealers compute the component that makes the sum right and send it or
        vouch for it."""
        masks = self.draw()
        if self.mpc.me not in self.plan.dealers:
            return
        assert value is not None
        sign = self.mpc.coefficient(self.plan.computed)
        terms: dict[int, list[Array | Hiding]] = {
            1: [],
            -1: [],
        }  # of the computed component, by sign
        for component, mask in masks.items():
            terms[-sign * self.mpc.coefficient(component)].append(mask)
        if callable(value):  # it takes one mask off by itself
            value = value(terms[-1].pop() if sign == 1 and terms[-1] else None)
        terms[sign].append(value)
        self.publish(self.algebra.combined(terms[1], terms[-1]))

    def draw(self) -> dict[int, Array | Hiding]:
        """The masks that this party knows, by component. `send` does this first."""
        me, holders = self.mpc.me, self.mpc.sharing.holders
        masks = {
            c: self.op.mask(self.algebra, self.shape, plus=[(key, f"m{c}")])
            for c, key in self.plan.masks
            if me in key
        }
        self.parts.update({c: mask for c, mask in masks.items() if me in holders[c]})
        return masks

    def publish(self, rest: Array) -> None:
        """Dealers send the computed component, or vouch for it. `send` does this last."""
        self.rest = rest
        for receiver in self.plan.receivers:
            self._joint_send(receiver)

    def receive(self) -> None:
        """Receivers take the computed component."""
        if self.mpc.me in self.plan.receivers:
            self.rest = self._joint_send(self.mpc.me)

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
        trusted = len(self.plan.dealers) > self.mpc.sharing.security.corruptions
        if not self.malicious or trusted or self.mpc.me not in self.plan.receivers:
            return
        assert self.rest is not None
        for other in self.plan.receivers:
            if other != self.mpc.me:
                self.mpc.party.transcript.vouch(other, self.op.number, self.rest)
                self.mpc.party.transcript.expect(other, self.op.number, self.rest)

    def terms(self) -> dict[int, Array | Hiding]:
        if self.mpc.me in self.mpc.sharing.holders[self.plan.computed]:
            self.parts[self.plan.computed] = self.known()
        return self.parts


class PointDealing(Dealing):
    """By a polynomial (Shamir): as many points as the threshold allows are PRG masks of their
    holders and the dealers, all others follow from them and the value, and the first dealer sends
    them. Semi-honest.

    Bytes: one element to every holder without a mask who is no dealer: (m - 1 - t) for a single
    dealer; one round."""

    def send(self, value: Array | Made | None) -> None:
        sharing, me = self.mpc.sharing, self.mpc.me
        if not isinstance(sharing, ShamirSharing):
            raise Misuse(
                f"{self.mpc.name}: dealing points needs a ShamirSharing, not {sharing.name!r}"
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
        value = value(None) if callable(value) else value
        points = {**drawn, **sharing.complete(self.algebra, value, drawn)}
        self.mine = points[me]
        for receiver in self.sent_to if me == self.sender else ():
            self.op.send(receiver, points[receiver], self.phase)

    def receive(self) -> None:
        if self.mpc.me in self.sent_to:
            self.mine = self.op.recv(self.sender, self.algebra.dtype, self.shape, self.phase)

    def terms(self) -> dict[int, Array | Hiding]:
        assert self.mine is not None
        return {self.mpc.me: self.mine}
