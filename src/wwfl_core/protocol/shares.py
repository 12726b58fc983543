"""What every protocol does with shares: public values in and out of them, and dealing.

Here is what follows from the sharing alone. How a value leaves the sharing is in `opening.py`, what
follows from the sharing and its product in `derived.py`, and what a protocol must say of itself in
`backend.py`."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from wwfl_core import kernels
from wwfl_core.channel import Phase
from wwfl_core.numbers import RING, Algebra, Array, Shape
from wwfl_core.party import ONLINE, Party
from wwfl_core.sharing import Group, Share, SharingSemantics

from .dealing import Dealing, TableDealing, sum_of

Known = Any
"""An array at the parties that know it, None at the others: which they are depends on the party, so
no type says it."""
Word = tuple[Array | None, Sequence[int], Phase]
"""A word (None at those who do not know it), who know it, and in which phase it is dealt."""


class ShareOperations(ABC):
    """One party's shares of one sharing."""

    name: ClassVar[str]
    sharing: SharingSemantics
    numbers: Algebra = RING  # where number tensors are shared
    dealing: type[Dealing] = TableDealing  # how a party's value is shared
    party: Party

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
        zero = self.party.zeros(value.shape, kind.dtype)
        return self.add_public(
            Share(kind, value.shape, dict.fromkeys(self.sharing.held_by(self.me), zero)), value
        )

    def add_public(self, x: Share, value: Array) -> Share:
        """x + value for a public array of words (packed bits for `BITS`)."""
        return x.add_public(x.algebra.from_words(value), self.sharing.unit)

    def partial(self, x: Share, components: Iterable[int]) -> Array:
        """sum of coefficient_c * x_c over some components that this party holds."""
        plus, minus = list[Array](), list[Array]()
        for c in components:
            coefficient, part = self.coefficient(c), x.parts[c]
            if coefficient == -1:
                minus.append(part)
            else:
                plus.append(x.algebra.scale(coefficient, part))
        return x.algebra.difference(plus, minus)

    def words(self, x: Share) -> list[tuple[Group, Array | None]]:
        """x as a sum of words, each with the parties who know it (the word itself at those
        parties, None elsewhere). In a malicious-secure sharing each is known to so many that one of
        them is honest."""
        security = self.sharing.security
        vouchers = security.corruptions + 1 if security.malicious else 1
        groups = self.sharing.groups(vouchers)
        return [
            (g, self.partial(x, g.components) if self.me in g.dealers else None) for g in groups
        ]

    def planes(self, x: Share, components: Iterable[int], bits: int) -> Array:
        """The low `bits` bits of `partial(x, components)` as bit planes [bits, ceil(n/8)]."""
        return kernels.to_planes(self.partial(x, components), 0, bits)

    # ------------------------------------------------------------------ dealing

    def deal(
        self,
        value: Array | None,
        dealers: Sequence[int],
        shape: Shape,
        algebra: Algebra | None = None,
        *,
        phase: Phase = ONLINE,
        name: str = "deal",
    ) -> Share:
        """A value (elements of `algebra`, by default that of numbers) that all `dealers` know
        becomes shared. Other parties pass None.

        Masks come from PRG keys; one component is computed and sent to those of its holders who are
        not dealers (one round, or none). In a malicious-secure sharing, several dealers vouch for
        each other, and the receivers of a single dealer compare what they got; both are checked
        before anything is opened."""
        return self.deal_many([(value, dealers)], shape, algebra, phase=phase, name=name)[0]

    def deal_many(
        self,
        jobs: Sequence[tuple[Array | None, Sequence[int]]],
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
        words = [(value, dealers, phase) for value, dealers in jobs]
        return [sum_of([dealing]) for dealing in self._dealt(words, shape, algebra, name)]

    def deal_sum(
        self,
        words: Sequence[Word],
        shape: Shape,
        algebra: Algebra | None = None,
        *,
        name: str = "deal",
    ) -> Share:
        """The sum of several words, each known to some parties and dealt in a phase of its own:
        what `deal_many` of (value, dealers, phase) would return, added up."""
        return sum_of(self._dealt(words, shape, algebra, name))

    def _dealt(
        self, words: Sequence[Word], shape: Shape, algebra: Algebra | None, name: str
    ) -> list[Dealing]:
        kind = self.numbers if algebra is None else algebra
        dealt = [
            self.dealing(self.party, self.sharing, dealers, name, phase, kind, shape)
            for _, dealers, phase in words
        ]
        for dealing, (value, _, _) in zip(dealt, words, strict=True):
            dealing.send(None if value is None else self.party.put(value))
        for dealing in dealt:
            dealing.receive()
        for dealing in dealt:
            dealing.compare()
        return dealt


__all__ = ["Known", "ShareOperations", "Word"]
