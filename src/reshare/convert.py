"""Shares of any sharing on any parties become shares of any other sharing on any other parties.

One program for the source's servers, one for the target's, one pair for all protocols (WW-FL, arXiv
2302.09904, Section 3.6): every word known to some source parties is dealt afresh to the target and
the target adds up. No party of either side, nor the coordinator, learns anything. A
malicious-secure source passes a check point first, and every word comes from three dealers: the
first sends it, the others its digest, and the receivers take the majority. An outvoted dealer is
named; its value is fetched from another one. With two dealers per word a lie is detected, not
corrected."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from wwfl_core.accelerate import HOST, Device
from wwfl_core.channel import Phase
from wwfl_core.errors import VerificationFailed
from wwfl_core.numbers import (
    BITS,
    U8,
    Algebra,
    Array,
    Shape,
    from_wire,
    to_host,
    to_wire,
    wire_form,
)
from wwfl_core.party import digest
from wwfl_core.protocol import MPCBackend
from wwfl_core.randomness import KEY_BYTES, Prg
from wwfl_core.sharing import Group, Share
from wwfl_core.tensors import Session, SharedBits, SharedTensor

from .modulus_change import Change
from .plan import Plan, ResharePlan

NAME = "reshare"
ACCEPTED, RESEND = 1, 2
ONLINE = Phase.ONLINE


class _Link:
    """Messages between the two clusters: numbered by group and step, since operation counters
    differ."""

    def __init__(self, mpc: MPCBackend, peers: tuple[str, ...], group: int) -> None:
        self.device = mpc.party.device
        self._endpoint = mpc.party.endpoint
        self._label = mpc.party.label(NAME)
        self._peers = peers
        self._base = group * 8

    def send(self, to: int, step: int, value: Array) -> None:
        self._endpoint.send(
            self._peers[to], self._base + step, NAME, ONLINE, to_wire(value), label=self._label
        )

    def recv(self, frm: int, step: int, algebra: Algebra, shape: Shape) -> Array:
        """Elements, on this party's device."""
        return self.device.put(self._recv(frm, step, algebra, shape))

    def recv_bytes(self, frm: int, step: int, size: int) -> U8:
        """Bytes that are compared or expanded: they stay on the host."""
        return to_host(self._recv(frm, step, BITS, (size,)))

    def _recv(self, frm: int, step: int, algebra: Algebra, shape: Shape) -> Array:
        dtype, size = wire_form(algebra.dtype, shape)
        words = self._endpoint.recv(
            self._peers[frm], self._base + step, NAME, ONLINE, dtype=dtype, shape=size
        )
        return from_wire(words, algebra.dtype)


SEEDS, VALUE, DIGEST, VERDICT, AGAIN_SEEDS, AGAIN_VALUE = range(6)


@dataclass(frozen=True)
class _Dealt:
    """One group's word at one of its dealers, ready to be sent."""

    plan: ResharePlan
    dealers: tuple[int, ...]
    link: _Link
    masks: dict[int, Array] = field(repr=False)  # or their seeds
    computed: dict[int, Array] = field(repr=False)

    def message(self, receiver: int) -> tuple[U8, Array | None]:
        """What `receiver` is to know: its masks (or seeds), and the computed component if it holds
        that."""
        chosen = [_octets(self.masks[c]) for c in self.plan.masks_for(receiver)]
        packed = np.concatenate(chosen) if chosen else np.zeros(0, np.uint8)
        computed = self.plan.computed_for(receiver)
        return packed, None if computed is None else self.computed[computed]

    def send(self, receiver: int, seeds_step: int, value_step: int) -> None:
        packed, value = self.message(receiver)
        self.link.send(receiver, seeds_step, packed)
        if value is not None:
            self.link.send(receiver, value_step, value)


def send_shares(mpc: Session, x: SharedTensor | SharedBits, plan: Plan, change: Change) -> int:
    """The source's program: a check point (malicious sources only), then the plan's; returns
    host-internal bytes."""
    mpc.party.invite(plan.targets)
    mpc.party.admit_move(plan.targets)
    mpc.verify()
    return plan.send(mpc.protocol, x.data, change)


class Dealing(ResharePlan):
    """The programs of a `ResharePlan`."""

    def send(self, mpc: MPCBackend, x: Share, change: Change) -> int:
        """Everything is sent, then verdicts are awaited (where a dealer can be outvoted)."""
        _deal_out(mpc, x, self, change)
        return 0

    def receive(self, mpc: MPCBackend, change: Change) -> tuple[Share, tuple[str, ...]]:
        """Takes, compares and combines the words.

        Raises:
            VerificationFailed: when dealers contradict each other and nobody can be outvoted.
        """
        return _take_in(mpc, self, change)


def _deal_out(mpc: MPCBackend, x: Share, plan: ResharePlan, change: Change) -> None:
    dealt = [
        d
        for number, group in enumerate(plan.groups)
        if (d := _prepare(mpc, x, plan, change, number, group))
    ]
    for item in dealt:
        for receiver in plan.receivers:
            if item.dealers[0] == mpc.me:
                item.send(receiver, SEEDS, VALUE)
            else:
                item.link.send(receiver, DIGEST, _digest(*item.message(receiver)))
    for item in dealt:
        for receiver in plan.receivers if plan.corrects else ():
            verdict = int(item.link.recv_bytes(receiver, VERDICT, 1)[0])
            # Repeating to a receiver what it may know anyway gives a lying receiver nothing.
            if verdict == RESEND and item.dealers[1] == mpc.me:
                item.send(receiver, AGAIN_SEEDS, AGAIN_VALUE)


def _prepare(
    mpc: MPCBackend, share: Share, plan: ResharePlan, change: Change, number: int, group: Group
) -> _Dealt | None:
    """This dealer's copy of a group's word in the target's sharing: fresh seeds, and what follows
    from them."""
    op = mpc.party.op(NAME)
    dealers = plan.dealers(group)
    if mpc.me not in dealers:
        return None
    algebra, shape = change.target, change.dealt
    word = change.parts(mpc.partial(share, group.components), number, len(plan.groups))
    sent: dict[int, Array] = {}
    drawn: dict[int, Array] = {}
    for component in plan.masks:
        if plan.masks_in_full:
            sent[component] = drawn[component] = op.random(dealers, f"m{component}", algebra, shape)
        else:
            sent[component] = op.random(dealers, f"s{component}", BITS, (KEY_BYTES,))
            drawn[component] = expand(sent[component], algebra, shape, mpc.party.device)
    computed = plan.target.complete(algebra, word, drawn)
    return _Dealt(plan, dealers, _Link(mpc, plan.targets, number), sent, computed)


def _digest(seeds: U8, value: Array | None) -> U8:
    body = b"" if value is None else _octets(value).tobytes()
    return digest(np.frombuffer(seeds.tobytes() + body, np.uint8))


def receive_shares(
    mpc: Session, plan: Plan, change: Change, frac_bits: int | None, rescale: bool
) -> tuple[SharedTensor | SharedBits, tuple[str, ...]]:
    """The target's program: the tensor, and who was outvoted. `rescale` brings it to the target's
    own format.

    Raises:
        VerificationFailed: when dealers contradict each other and nobody can be outvoted.
    """
    mpc.party.invite(plan.sources)
    total, outvoted = plan.receive(mpc.protocol, change)
    if frac_bits is None:
        return SharedBits(mpc, total, change.shape), outvoted
    tensor = SharedTensor(mpc, total, frac_bits)
    return tensor.rescale(
        mpc.format.frac_bits
    ) if rescale and change.target == mpc.protocol.numbers else tensor, outvoted


def _take_in(mpc: MPCBackend, plan: ResharePlan, change: Change) -> tuple[Share, tuple[str, ...]]:
    algebra, shape = change.target, change.dealt
    outvoted: list[str] = []
    boxes: list[_Inbox] = []
    for number, group in enumerate(plan.groups):
        mpc.party.op(NAME)
        if mpc.me in plan.receivers:
            boxes.append(
                _Inbox(mpc.me, _Link(mpc, plan.sources, number), plan, group, algebra, shape)
            )
    for box in boxes:
        box.receive()
    for box in boxes:
        outvoted.extend(box.vote())
    dealt = [Share(algebra, shape, box.parts()) for box in boxes]
    if not dealt:  # a helper
        dealt = [Share(algebra, shape, {}) for _ in plan.groups]
    if mpc.sharing.security.malicious:
        for word in [change.combine(mpc, dealt)] if change.kept else dealt:
            _cross_check(mpc, word)
    return change.combine(mpc, dealt), tuple(outvoted)


class _Inbox:
    """One group's word at one receiver: received, voted on, expanded."""

    def __init__(
        self, me: int, link: _Link, plan: ResharePlan, group: Group, algebra: Algebra, shape: Shape
    ) -> None:
        self.me, self.link, self.plan, self.group = me, link, plan, group
        self.algebra, self.shape = algebra, shape
        self.mine = plan.masks_for(me)
        self.mask_bytes = algebra.nbytes(shape) if plan.masks_in_full else KEY_BYTES
        self.dealers = plan.dealers(group)
        self.majority = b""
        self.resend = False

    def _take(self, dealer: int, seeds_step: int, value_step: int) -> None:
        self.masks = self.link.recv_bytes(dealer, seeds_step, self.mask_bytes * len(self.mine))
        self.computed = self.plan.computed_for(self.me)
        arrives = self.computed is not None
        self.value = (
            self.link.recv(dealer, value_step, self.algebra, self.shape) if arrives else None
        )

    def receive(self) -> None:
        """The first dealer's message and the other dealers' digests of it."""
        self._take(self.dealers[0], SEEDS, VALUE)
        own = _digest(self.masks, self.value).tobytes()
        self.votes = [
            own,
            *(self.link.recv_bytes(d, DIGEST, KEY_BYTES).tobytes() for d in self.dealers[1:]),
        ]

    def vote(self) -> list[str]:
        """Tells the dealers the verdict; names those who were outvoted.

        Raises:
            VerificationFailed: when no majority agrees.
        """
        if len(self.dealers) == 1:
            return []
        if not self.plan.corrects:
            self._agree()
            return []
        self.majority = max(set(self.votes), key=self.votes.count)
        if 2 * self.votes.count(self.majority) <= len(self.votes):
            raise VerificationFailed(
                f"reshare: the dealers {[self.plan.sources[d] for d in self.dealers]} of "
                f"components {self.group.components} all disagree at "
                f"{self.plan.targets[self.me]}; more than one is corrupt"
            )
        wrong = [
            d for d, vote in zip(self.dealers, self.votes, strict=True) if vote != self.majority
        ]
        self.resend = self.dealers[0] in wrong
        for dealer in self.dealers:
            self.link.send(
                dealer, VERDICT, np.full(1, RESEND if self.resend else ACCEPTED, np.uint8)
            )
        return [self.plan.sources[d] for d in wrong]

    def _agree(self) -> None:
        """Too few dealers to outvote one: all must say the same."""
        for dealer, vote in zip(self.dealers, self.votes, strict=True):
            if vote != self.votes[0]:
                raise VerificationFailed(
                    f"reshare: {self.plan.sources[dealer]} does not vouch for the components "
                    f"{self.group.components} "
                    f"that {self.plan.sources[self.dealers[0]]} sent to "
                    f"{self.plan.targets[self.me]}; one of the two "
                    f'deviated. Nothing was converted; path="generic" outvotes one liar'
                )

    def parts(self) -> dict[int, Array]:
        """This party's target components, after fetching the value again if the first dealer
        lied."""
        if self.resend:
            self._take(self.dealers[1], AGAIN_SEEDS, AGAIN_VALUE)
            if _digest(self.masks, self.value).tobytes() != self.majority:
                raise VerificationFailed(
                    f"reshare: {self.plan.sources[self.dealers[1]]} sent something else than it "
                    "vouched for"
                )
        found: dict[int, Array] = {}
        for i, c in enumerate(self.mine):
            octets = self.masks[i * self.mask_bytes : (i + 1) * self.mask_bytes]
            if (
                self.plan.masks_in_full
            ):  # a copy: a slice of what arrived need not be aligned to the elements
                found[c] = self.link.device.put(_elements(octets, self.algebra, self.shape))
            else:
                found[c] = expand(octets, self.algebra, self.shape, self.link.device)
        if self.value is not None and self.computed is not None:
            found[self.computed] = self.value
        return found


def _cross_check(mpc: MPCBackend, share: Share) -> None:
    """Holders of one component vouch for it to each other; compared at the target's next check
    point."""
    op = mpc.party.op(NAME)
    for component, array in share.parts.items():
        for other in sorted(mpc.sharing.holders[component] - {mpc.me}):
            mpc.party.transcript.vouch(other, op.number, array)
            mpc.party.transcript.expect(other, op.number, array)


def _octets(value: Array) -> U8:
    """The bytes of an array."""
    return np.frombuffer(to_host(to_wire(value)).tobytes(), np.uint8)


def _elements(octets: U8, algebra: Algebra, shape: Shape) -> Array:
    """The inverse of `_octets`."""
    dtype, size = wire_form(algebra.dtype, shape)
    return from_wire(np.frombuffer(octets.tobytes(), dtype).reshape(size), algebra.dtype)


def expand(seed: U8, algebra: Algebra, shape: Shape, device: Device = HOST) -> Array:
    """The uniform elements that a seed stands for, made on a device."""
    return device.draw(Prg(to_host(seed).tobytes()), 0, "mask", algebra, shape)
