"""What a conversion between two sharings does, decided from their component tables alone."""

from __future__ import annotations

from dataclasses import dataclass

from wwfl_core.sharing import Group, SharingSemantics


@dataclass(frozen=True)
class ResharePlan:
    """Source components, grouped by parties who know them, are dealt into the target's components.

    Every group's word w (a sum of components known to all its dealers) becomes fresh target components: all but
    `computed` are expanded from 32-byte seeds, and y_computed = +-(w - sum of the others). The target adds up over
    groups. `sources` and `targets` are channel addresses.
    """

    source: SharingSemantics
    target: SharingSemantics
    sources: tuple[str, ...]
    targets: tuple[str, ...]

    @property
    def groups(self) -> tuple[Group, ...]:
        """Semi-honest sources: as few words as possible (3PC: x1 + x2 and x3). Malicious ones: words for which the
        honest dealers are a majority (Tetrad: every component, vouched for by its three holders)."""
        vouchers = 2 * self.source.security.corruptions + 1 if self.source.security.malicious else 1
        return self.source.groups(vouchers)

    def dealers(self, group: Group) -> tuple[int, ...]:
        """Who takes part in dealing a group: everyone who knows it if the source may lie, else the first."""
        return group.dealers if self.source.security.malicious else group.dealers[:1]

    @property
    def computed(self) -> int:
        """One target component travels in full, all others as seeds."""
        return self.target.cheapest

    @property
    def masks(self) -> tuple[int, ...]:
        return tuple(c for c in self.target.components if c != self.computed)

    def seeds_for(self, receiver: int) -> tuple[int, ...]:
        """Mask components whose seed `receiver` gets, in order."""
        return tuple(c for c in self.masks if receiver in self.target.holders[c])

    @property
    def receivers(self) -> tuple[int, ...]:
        """Target parties that hold shares."""
        return self.target.evaluators

    def bytes_sent(self, value_bytes: int, seed_bytes: int, digest_bytes: int) -> int:
        """Bytes on all links for a value of `value_bytes`, when nobody deviates."""
        total = 0
        for group in self.groups:
            dealers = self.dealers(group)
            for receiver in self.receivers:
                total += seed_bytes * len(self.seeds_for(receiver))
                total += value_bytes if receiver in self.target.holders[self.computed] else 0
                if len(dealers) > 1:  # digests, and a verdict byte to every dealer
                    total += (len(dealers) - 1) * digest_bytes + len(dealers)
        return total
