"""What a conversion between two sharings does, decided from their component tables and hosts
alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from wwfl_core.numbers.algebra import RING, Algebra
from wwfl_core.party import DIGEST_BYTES
from wwfl_core.protocol.backend import MPCBackend
from wwfl_core.randomness.prg import KEY_BYTES
from wwfl_core.sharing import Group, Share, SharingSemantics

from .modulus_change import Change

Form = Mapping[str, int]
"""A linear form: coefficients of independent variables, each of them a source component or a fresh
mask."""


def component(number: int) -> str:
    """The variable that stands for a source component."""
    return f"component {number}"


@dataclass(frozen=True)
class Side:
    """One cluster of a conversion: its sharing, its servers' channel addresses, who operates each
    server, and the algebra that the value is shared in there."""

    sharing: SharingSemantics
    addresses: tuple[str, ...]
    hosts: tuple[str, ...]
    algebra: Algebra = RING


@dataclass(frozen=True)
class Plan(ABC):
    """One way to turn shares at `here` into shares at `there`: two party programs, their bytes, who
    learns what.

    Plans are hashable and importable, since they travel to server processes.
    """

    here: Side
    there: Side
    chained: ClassVar[bool] = False  # the target's messages wait for the source's: rounds add up

    @property
    def source(self) -> SharingSemantics:
        return self.here.sharing

    @property
    def target(self) -> SharingSemantics:
        return self.there.sharing

    @property
    def sources(self) -> tuple[str, ...]:
        return self.here.addresses

    @property
    def targets(self) -> tuple[str, ...]:
        return self.there.addresses

    @property
    def linear(self) -> bool:
        """Whether everything that servers see is a linear form (`learned`): independent components,
        one algebra."""
        return (
            self.here.algebra == self.there.algebra
            and self.source.independent
            and self.target.independent
        )

    @abstractmethod
    def send(self, mpc: MPCBackend, x: Share, change: Change) -> int:
        """The program of the source's servers; returns the bytes that this one sent inside its
        host."""

    @abstractmethod
    def receive(self, mpc: MPCBackend, change: Change) -> tuple[Share, tuple[str, ...]]:
        """The program of the target's servers: the share, and the addresses of outvoted dealers."""

    @abstractmethod
    def bytes_sent(self, value_bytes: int) -> int:
        """Exact bytes between hosts for a value of `value_bytes`, when nobody deviates; without
        check points."""

    def local_bytes(self, value_bytes: int) -> int:
        """Exact bytes between servers of one host; they cross no network."""
        return 0

    @abstractmethod
    def learned(self) -> Mapping[str, tuple[Form, ...]]:
        """Per server address: everything that it draws, sends or receives, beside its source
        components (`linear` plans)."""

    def knowledge(self) -> dict[str, tuple[Form, ...]]:
        """Per server address: all linear forms that it knows."""
        learned = self.learned()
        known = {a: learned.get(a, ()) for a in (*self.sources, *self.targets)}
        for party, address in enumerate(self.sources):
            known[address] = (
                *({component(c): 1} for c in self.source.held_by(party)),
                *known[address],
            )
        return known

    def word(self, components: tuple[int, ...]) -> dict[str, int]:
        """The form of a sum of source components."""
        return {component(c): self.source.coefficients[c] for c in components}


@dataclass(frozen=True)
class ResharePlan(Plan):
    """Source components, grouped by parties who know them, are dealt into the target's components.

    Every group's word w (a sum of components known to all its dealers) becomes fresh target
    components: `masks`, and `computed` ones that follow from them (y_computed = +-(w - sum of the
    others), or the remaining points of a polynomial). The target adds up over groups, or combines
    them where the modulus changes. Each word comes from `vouchers` dealers: the first sends it, the
    others its digest. Masks travel as 32-byte seeds, or themselves if `masks_in_full`."""

    vouchers: int
    masks_in_full: bool = False

    @property
    def groups(self) -> tuple[Group, ...]:
        """As few words as possible: one dealer for each gives the paper's two words of 3PC (x1 + x2
        and x3), three give Tetrad's four components, two give x = (m - l1) + (-l2 - l3)."""
        return self.source.groups(self.vouchers)

    def dealers(self, group: Group) -> tuple[int, ...]:
        """Who takes part in dealing a group."""
        return group.dealers[: self.vouchers]

    @property
    def corrects(self) -> bool:
        """Whether honest dealers are a majority, so that a lie is outvoted; else it is only
        detected."""
        return 1 < self.vouchers and self.vouchers > 2 * self.source.security.corruptions

    @property
    def masks(self) -> tuple[int, ...]:
        """Target components that dealers draw; the others follow from them and the word, and travel
        in full."""
        return self.target.seeded

    def masks_for(self, receiver: int) -> tuple[int, ...]:
        """Mask components that `receiver` gets, in order."""
        return tuple(c for c in self.masks if receiver in self.target.holders[c])

    def computed_for(self, receiver: int) -> int | None:
        """The component that `receiver` gets in full; nobody gets two."""
        return next((c for c in self.target.computed if receiver in self.target.holders[c]), None)

    @property
    def receivers(self) -> tuple[int, ...]:
        """Target parties that hold shares."""
        return self.target.evaluators

    def bytes_sent(self, value_bytes: int) -> int:
        """Masks or their seeds, the computed component, digests, and a verdict byte to every dealer
        who can be outvoted."""
        mask_bytes = value_bytes if self.masks_in_full else KEY_BYTES
        total = 0
        for group in self.groups:
            dealers = self.dealers(group)
            for receiver in self.receivers:
                total += mask_bytes * len(self.masks_for(receiver))
                total += 0 if self.computed_for(receiver) is None else value_bytes
                total += (len(dealers) - 1) * DIGEST_BYTES + (len(dealers) if self.corrects else 0)
        return total

    def learned(self) -> dict[str, tuple[Form, ...]]:
        """Dealers know the masks of their words. Digests are of what the receiver gets anyway."""
        known: dict[str, list[Form]] = {}
        signs = self.target.coefficients
        (computed,) = self.target.computed
        for number, group in enumerate(self.groups):
            masks = {c: f"mask {number}.{c}" for c in self.masks}
            rest = self.word(group.components) | {name: -signs[c] for c, name in masks.items()}
            dealt: Form = {name: signs[computed] * k for name, k in rest.items()}
            for dealer in self.dealers(group):
                known.setdefault(self.sources[dealer], []).extend(
                    {name: 1} for name in masks.values()
                )
            for receiver in self.receivers:
                mine = known.setdefault(self.targets[receiver], [])
                mine.extend({masks[c]: 1} for c in self.masks_for(receiver))
                if self.computed_for(receiver) is not None:
                    mine.append(dealt)
        return {address: tuple(forms) for address, forms in known.items()}
