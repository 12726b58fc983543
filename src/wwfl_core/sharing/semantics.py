"""What a sharing is, as data: components, their coefficients, who holds which, and against whom it
protects.

A secret x is split as x = sum_c coefficient_c * s_c, and component s_c is held by the parties in
holders_c. Everything else follows from this table: dealing, reconstruction, linear operations,
which coalitions learn the value, how a value known to some parties becomes shared, and how it is
converted to any other sharing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, reduce
from itertools import combinations

from wwfl_core.errors import Misuse
from wwfl_core.numbers import Algebra, Array

Parties = frozenset[int]


@dataclass(frozen=True)
class Security:
    """The adversary that a sharing and its protocol withstand: at most `corruptions` of the
    parties.

    `caveats` say on what else the promise rests (for example "masks from torch.Generator, no
    cryptographic PRG").

    Securities are ordered by `covers`: malicious above semi-honest, more corruptions above fewer,
    fewer caveats above more; two of them may be incomparable. `weaker_of` is their meet. Without a
    permitted corruption nothing is promised, so all such securities are alike and everything covers
    them."""

    malicious: bool = False
    corruptions: int = 1
    caveats: tuple[str, ...] = ()

    def covers(self, other: Security) -> bool:
        """Whether everything that `other` promises is promised here, too."""
        return not self.lost_from(other)

    def lost_from(self, other: Security) -> tuple[str, ...]:
        """What `other` promises and this does not, in words; nothing if this covers it."""
        if other.corruptions < 1:
            return ()
        if self.corruptions < 1:
            return ("all protection: its one server sees the value",)
        lost = (
            ["protection against servers that deviate"]
            if other.malicious and not self.malicious
            else []
        )
        if self.corruptions < other.corruptions:
            lost.append(
                f"protection against {other.corruptions} corrupt parties (only {self.corruptions})"
            )
        return (
            *lost,
            *(f"freedom from the caveat: {c}" for c in self.caveats if c not in other.caveats),
        )

    def __str__(self) -> str:
        kind = "malicious, security with abort" if self.malicious else "semi-honest"
        body = f"{kind}, {self.corruptions} corrupt part{'y' if self.corruptions == 1 else 'ies'}"
        return "; ".join([body if self.corruptions else "none", *self.caveats])


def weaker_of(*securities: Security) -> Security:
    """The meet: the strongest security that all of these cover, what a value that passed through
    all of them has."""
    corruptions = min(s.corruptions for s in securities)
    return Security(
        malicious=corruptions > 0 and all(s.malicious for s in securities),
        corruptions=corruptions,
        caveats=tuple(sorted({c for s in securities for c in s.caveats})),
    )


@dataclass(frozen=True)
class DealPlan:
    """How a value known to `dealers` becomes shared (see `SharingSemantics.deal_plan`).

    `masks` are components drawn from a PRG key of the named parties; `computed` is the component
    that makes the sum right; the dealers who hold it know it, and it is sent to `receivers`. All
    other components are zero."""

    dealers: tuple[int, ...]
    computed: int
    receivers: tuple[int, ...]
    masks: tuple[tuple[int, Parties], ...]


@dataclass(frozen=True)
class Group:
    """Some components of a value and the parties who know all of them."""

    components: tuple[int, ...]
    dealers: tuple[int, ...]


@dataclass(frozen=True)
class SharingSemantics:
    """A linear sharing among `parties` servers, numbered from 0.

    `holders[c]` are the parties that hold component c. `coefficients[c]` is +1 or -1. Parties that
    hold nothing are helpers. Public constants are added to component 0. `offline` are components
    that are fixed before any input is known (Tetrad's lambdas), so that what depends on them alone
    can be computed ahead; inputs never enter them."""

    name: str
    parties: int
    holders: tuple[Parties, ...]
    coefficients: tuple[int, ...]
    security: Security = field(default_factory=Security)
    offline: Parties = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "holders", tuple(frozenset(h) for h in self.holders)
        )  # lists and sets will do
        object.__setattr__(self, "coefficients", tuple(self.coefficients))
        object.__setattr__(self, "offline", frozenset(self.offline))
        if len(self.holders) != len(self.coefficients) or not self.holders:
            raise Misuse(f"sharing {self.name!r}: every component needs holders and a coefficient")
        self._check_coefficients()
        known = set(range(self.parties))
        if any(not h or not h <= known for h in self.holders):
            raise Misuse(
                f"sharing {self.name!r}: holders must be non-empty subsets of parties "
                f"0..{self.parties - 1}"
            )
        if not self.offline <= set(self.components):
            last = len(self.holders) - 1
            raise Misuse(
                f"sharing {self.name!r}: offline are components 0..{last}, got "
                f"{sorted(self.offline)}"
            )
        for coalition in combinations(range(self.parties), self.security.corruptions):
            if self.parties > 1 and self.reveals(coalition):
                raise Misuse(
                    f"sharing {self.name!r}: parties {coalition} together hold every component"
                )

    def _check_coefficients(self) -> None:
        """Components are independent, so each must be invertible in every ring: the sum is uniform
        without it."""
        if any(c not in (1, -1) for c in self.coefficients):
            raise Misuse(
                f"sharing {self.name!r}: coefficients are +1 or -1, got {self.coefficients}"
            )

    @property
    def components(self) -> range:
        return range(len(self.holders))

    @cached_property
    def evaluators(self) -> tuple[int, ...]:
        """Parties that hold at least one component (all but helpers)."""
        return tuple(sorted(frozenset[int]().union(*self.holders)))

    def held_by(self, party: int) -> tuple[int, ...]:
        """Components that `party` holds, in order."""
        return self._held.get(party, ())

    @cached_property
    def _held(self) -> dict[int, tuple[int, ...]]:
        return {
            p: tuple(c for c in self.components if p in self.holders[c])
            for p in range(self.parties)
        }

    @property
    def independent(self) -> bool:
        """Whether components are independent and all needed, as the table of this class says;
        points of a polynomial (`wwfl_core.sharing.points`) are not."""
        return True

    @cached_property
    def required(self) -> tuple[int, ...]:
        """The components that reconstruction uses."""
        return tuple(c for c in self.components if self.coefficients[c])

    def lacks(self, party: int) -> tuple[int, ...]:
        """Components that `party` needs to reconstruct and does not hold, in order."""
        return tuple(c for c in self.required if party not in self.holders[c])

    @property
    def unit(self) -> tuple[int, ...]:
        """A sharing of the public constant 1, component by component."""
        return (self.coefficients[0], *[0] * (len(self.holders) - 1))

    def reveals(self, coalition: Iterable[int]) -> bool:
        """Whether these parties together hold every component, that is, can reconstruct.

        Components are independent and every coefficient is a unit, so a coalition that lacks one
        component learns nothing: the sum is uniform given the others."""
        members = set(coalition)
        return all(h & members for h in self.holders)

    def key_subsets(self) -> Iterator[Parties]:
        """The sets of parties that share a PRG key: all with at least two members."""
        for size in range(2, self.parties + 1):
            for subset in combinations(range(self.parties), size):
                yield frozenset(subset)

    @property
    def cheapest(self) -> int:
        """The component in which a value from outside costs least: few holders, not an offline
        one."""
        return min(self.components, key=lambda c: (c in self.offline, len(self.holders[c]), c))

    @property
    def seeded(self) -> tuple[int, ...]:
        """Components that someone outside the cluster draws at random when sharing a value; as
        seeds on the wire."""
        return tuple(c for c in self.components if c != self.cheapest)

    @property
    def computed(self) -> tuple[int, ...]:
        """Components that then follow from the value (`complete`); they travel in full."""
        return (self.cheapest,)

    def complete(
        self, algebra: Algebra, value: Array, drawn: Mapping[int, Array]
    ) -> dict[int, Array]:
        """The `computed` components of a sharing of `value` whose `seeded` ones were drawn:
        s_computed = coefficient * (value - sum_c coefficient_c s_c)."""
        (computed,) = self.computed
        terms = [algebra.scale(self.coefficients[c], s) for c, s in drawn.items()]
        rest = algebra.sub(value, algebra.sum(terms)) if terms else value
        return {computed: algebra.scale(self.coefficients[computed], rest)}

    def deal_plan(self, dealers: Iterable[int], *, offline: bool = False) -> DealPlan:
        """The cheapest way to share a value that all of `dealers` know, so that no permitted
        coalition learns it.

        `offline` says that the value does not depend on inputs and may enter offline components.

        Raises:
            Misuse: when no such way exists.
        """
        wanted = tuple(dealers), offline
        plan = self._plans.get(wanted)
        if plan is None:
            plan = self._plans[wanted] = _deal_plan(self, tuple(sorted(set(wanted[0]))), offline)
        return plan

    @cached_property
    def _plans(self) -> dict[tuple[tuple[int, ...], bool], DealPlan]:
        return {}  # by dealers; hashing the whole table takes longer than a short message does

    def groups(self, vouchers: int = 1) -> tuple[Group, ...]:
        """The fewest groups of components such that each group is known to at least `vouchers`
        parties.

        With vouchers=1 this is the paper's "sum of two components in 3PC" (arXiv 2302.09904,
        Section 3.6); with vouchers=3, Tetrad's four components, each vouched for by three parties.
        """
        return _groups(self, vouchers)


def _deal_plan(sharing: SharingSemantics, dealers: tuple[int, ...], offline: bool) -> DealPlan:
    """Of one plan per computed component, the one of least cost: no offline component if it can be
    helped, then fewest messages, then with a mask rather than without (so that components are not
    zero), then fewest masks, then the lowest component."""
    group = frozenset(dealers)
    # A mask that every party knows hides nothing, so such components are not worth drawing.
    everyone = frozenset(range(sharing.parties))
    keys = {
        c: holders | group
        for c, holders in enumerate(sharing.holders)
        if holders | group != everyone
    }
    found: list[tuple[tuple[bool, int, bool, int, int], DealPlan]] = []
    for computed in sharing.components:
        receivers = sharing.holders[computed] - group
        others = {c: key for c, key in keys.items() if c != computed}
        chosen = _masks(sharing, group, receivers, others)
        if chosen is not None:
            late = computed in sharing.offline and not offline
            masks = tuple((c, keys[c]) for c in chosen)
            cost = (late, len(receivers), not masks, len(masks), computed)
            found.append((cost, DealPlan(dealers, computed, tuple(sorted(receivers)), masks)))
    if not found:
        raise Misuse(
            f"sharing {sharing.name!r}: no component can carry a value dealt by parties {dealers}"
        )
    return min(found, key=lambda item: item[0])[1]


def _masks(
    sharing: SharingSemantics, dealers: Parties, receivers: Parties, keys: Mapping[int, Parties]
) -> tuple[int, ...] | None:
    """Which of the components `keys` to draw, so that every permitted coalition without a dealer
    that sees the computed component lacks the key of a mask; None if even all of them are not
    enough.

    Right: a coalition that lacks the key of some mask sees the computed component as uniform,
    whatever else it holds, because masks are independent and coefficients are units. Coalitions of
    the permitted size are enough: a smaller one lacks what a larger one lacks. One that meets no
    receiver sees masks only. So the masks must *cover* the coalitions that meet a receiver, where a
    component covers those that share no member with its key, and the loop below ends when all are
    covered. A cover exists if `reveals` is true to the table: a permitted coalition lacks a
    component, which is not the computed one if it meets a receiver; no dealer is a member, so it
    lacks that component's key.

    Fast: in turn, the component that covers most of what is uncovered, the lowest of several. Each
    turn covers something, so that the work is polynomial in components times coalitions. Least
    covers are set covers, in general NP-hard, but masks cost no message, only their drawing. And
    the cover is the least one, and of several least ones the lowest components,

    - if there is one coalition to cover (every single corruption with one receiver; additive
      sharings of n parties with n - 1 corrupt): the first turn covers it;
    - if no component covers two coalitions, as where at most as many parties lack a component as
      may be corrupt (replicated sharings: exactly as many, so there is nothing to choose): then any
      cover has a component of its own for every coalition, and each turn takes the lowest one for a
      coalition.

    For other tables it has at most 1 + ln(coalitions) times as many masks (Chvatal, Math. of OR
    1979)."""
    if not keys:
        return (
            None if receivers else ()
        )  # without receivers nothing is sent: all who hold the component know the value
    outsiders = [p for p in range(sharing.parties) if p not in dealers]
    size = min(sharing.security.corruptions, len(outsiders))
    uncovered = {c for c in map(frozenset, combinations(outsiders, size)) if c & receivers}
    if not uncovered:
        return (min(keys),)  # nothing to hide, but components should not be zero
    covers = {
        c: {coalition for coalition in uncovered if not key & coalition} for c, key in keys.items()
    }
    chosen: list[int] = []
    while uncovered:
        best = max(sorted(covers), key=lambda c: len(covers[c] & uncovered))
        if not covers[best] & uncovered:
            return None  # a subclass whose `reveals` promises too much
        chosen.append(best)
        uncovered -= covers[best]
    return tuple(sorted(chosen))


@lru_cache(maxsize=64)
def _groups(sharing: SharingSemantics, vouchers: int) -> tuple[Group, ...]:
    def known_to(components: tuple[int, ...]) -> Parties:
        return reduce(lambda a, b: a & b, (sharing.holders[c] for c in components))

    def split(rest: tuple[int, ...]) -> tuple[Group, ...] | None:
        if not rest:
            return ()
        best: tuple[Group, ...] | None = None
        for size in range(len(rest), 0, -1):
            for tail in combinations(rest[1:], size - 1):
                chosen = (rest[0], *tail)
                dealers = known_to(chosen)
                if len(dealers) < vouchers:
                    continue
                others = split(tuple(c for c in rest if c not in chosen))
                if others is not None and (best is None or 1 + len(others) < len(best)):
                    best = (Group(chosen, tuple(sorted(dealers))), *others)
        return best

    found = split(sharing.required)
    if found is None:
        raise Misuse(
            f"sharing {sharing.name!r} has components that fewer than {vouchers} parties can "
            "vouch for"
        )
    return found
