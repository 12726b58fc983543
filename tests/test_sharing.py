"""Sharings as data: who can reconstruct, who learns nothing, and how a known value becomes shared. By enumeration."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product

import pytest

from wwfl_core.errors import Misuse
from wwfl_core.sharing import ADDITIVE_2PC, PLAIN, REPLICATED_3PC, TETRAD_4PC, DealPlan, Security, SharingSemantics

MODULUS = 3


def replicated(parties: int, corruptions: int, *, malicious: bool = False) -> SharingSemantics:
    """One component per set of `corruptions` parties, held by all others."""
    holders = tuple(frozenset(range(parties)) - set(out) for out in combinations(range(parties), corruptions))
    signs = tuple(1 if c % 2 == 0 else -1 for c in range(len(holders)))
    return SharingSemantics(f"rep({parties},{corruptions})", parties, holders, signs, Security(malicious, corruptions))


def additive(parties: int) -> SharingSemantics:
    holders = tuple(frozenset({p}) for p in range(parties))
    return SharingSemantics(f"additive({parties})", parties, holders, (1,) * parties, Security(False, parties - 1))


SHARINGS = [
    ADDITIVE_2PC,
    REPLICATED_3PC,
    TETRAD_4PC,
    PLAIN,
    replicated(4, 1, malicious=True),
    replicated(5, 2),
    additive(3),
]
TABLES = pytest.mark.parametrize("sharing", SHARINGS, ids=lambda s: s.name)


def subsets(n: int) -> list[tuple[int, ...]]:
    return [c for size in range(1, n + 1) for c in combinations(range(n), size)]


@TABLES
def test_the_permitted_coalitions_cannot_reconstruct_and_all_together_can(sharing: SharingSemantics) -> None:
    everyone = range(sharing.parties)
    assert sharing.reveals(everyone)
    for size in range(1, sharing.security.corruptions + 1):
        assert not any(sharing.reveals(c) for c in combinations(everyone, size))


@pytest.mark.parametrize("sharing", [s for s in SHARINGS if len(s.holders) <= 6], ids=lambda s: s.name)
def test_what_a_coalition_sees_either_determines_the_secret_or_is_independent_of_it(sharing: SharingSemantics) -> None:
    """`reveals` against the definition, for every coalition: all sharings of all secrets modulo 3 are enumerated."""
    k = len(sharing.holders)
    for coalition in subsets(sharing.parties):
        seen = [c for c in sharing.components if sharing.holders[c] & set(coalition)]
        views: dict[int, Counter[tuple[int, ...]]] = {x: Counter() for x in range(MODULUS)}
        for parts in product(range(MODULUS), repeat=k):
            secret = sum(s * p for s, p in zip(sharing.coefficients, parts, strict=True)) % MODULUS
            views[secret][tuple(parts[c] for c in seen)] += 1
        if sharing.reveals(coalition):
            assert not any(set(views[a]) & set(views[b]) for a, b in combinations(views, 2))
        else:
            assert all(v == views[0] for v in views.values())


@TABLES
def test_components_and_holders_agree(sharing: SharingSemantics) -> None:
    for party in range(sharing.parties):
        held, lacked = sharing.held_by(party), sharing.lacks(party)
        assert sorted(held + lacked) == list(sharing.components)
        assert (party in sharing.evaluators) == bool(held)
        assert all(party in sharing.holders[c] for c in held)
    keys = list(sharing.key_subsets())
    assert len(keys) == len(set(keys)) == 2**sharing.parties - 1 - sharing.parties


# ---------------------------------------------------------------------- dealing


def dealable(sharing: SharingSemantics) -> list[tuple[int, ...]]:
    return [d for d in subsets(sharing.parties) if set(d) & set(sharing.evaluators)]


def views_of(sharing: SharingSemantics, plan: DealPlan, coalition: set[int]) -> dict[int, Counter[tuple[int, ...]]]:
    """For every dealt value, the distribution of all that a coalition sees: mask keys, messages, components."""
    views: dict[int, Counter[tuple[int, ...]]] = {}
    known = [i for i, (_, key) in enumerate(plan.masks) if key & coalition]
    sees_computed = bool(coalition & (sharing.holders[plan.computed] | set(plan.receivers)))
    for value in range(MODULUS):
        views[value] = Counter()
        for drawn in product(range(MODULUS), repeat=len(plan.masks)):
            rest = value - sum(sharing.coefficients[c] * m for (c, _), m in zip(plan.masks, drawn, strict=True))
            computed = sharing.coefficients[plan.computed] * rest % MODULUS
            views[value][(*(drawn[i] for i in known), computed if sees_computed else -1)] += 1
    return views


@TABLES
def test_dealing_hides_the_value_from_every_permitted_coalition_of_others(sharing: SharingSemantics) -> None:
    for dealers in dealable(sharing):
        plan = sharing.deal_plan(dealers)
        others = [p for p in range(sharing.parties) if p not in dealers]
        for size in range(1, min(sharing.security.corruptions, len(others)) + 1):
            for coalition in combinations(others, size):
                if set(sharing.holders[plan.computed]) <= set(dealers):
                    continue  # nobody else sees anything but masks
                views = views_of(sharing, plan, set(coalition))
                assert all(v == views[0] for v in views.values()), (dealers, coalition, plan)


@TABLES
def test_every_holder_can_compute_its_components_of_a_dealt_value(sharing: SharingSemantics) -> None:
    for dealers in dealable(sharing):
        plan = sharing.deal_plan(dealers)
        group = set(dealers)
        assert plan.dealers == dealers
        assert sharing.holders[plan.computed] == (group & sharing.holders[plan.computed]) | set(plan.receivers)
        assert not group & set(plan.receivers)
        masked = [c for c, _ in plan.masks]
        assert len(set(masked)) == len(masked) and plan.computed not in masked
        for component, key in plan.masks:
            assert key == sharing.holders[component] | group  # its holders, and the dealers who subtract it
            assert len(key) > 1


def test_dealing_in_tetrad_costs_what_the_literature_says() -> None:
    """One message for a pair (all six, if the value is an offline one), two for an input of CS1, CS2 or CS3, three for
    CS4's, which must not enter a lambda."""
    for dealers in subsets(4):
        if len(dealers) < 4:
            assert len(TETRAD_4PC.deal_plan(dealers, offline=True).receivers) == 3 - len(dealers)
    assert [len(TETRAD_4PC.deal_plan((p,)).receivers) for p in range(4)] == [2, 2, 2, 3]


def test_inputs_never_enter_an_offline_component() -> None:
    for dealers in subsets(4):
        assert TETRAD_4PC.deal_plan(dealers).computed == 0 or len(dealers) == 4
    assert TETRAD_4PC.cheapest == 0


def test_a_value_that_all_holders_of_a_component_know_is_dealt_for_free() -> None:
    for sharing in (ADDITIVE_2PC, REPLICATED_3PC, TETRAD_4PC):
        for holders in sharing.holders:
            assert sharing.deal_plan(holders, offline=True).receivers == ()


def test_what_a_helper_deals_is_masked_by_a_key_that_the_receiver_lacks() -> None:
    plan = ADDITIVE_2PC.deal_plan((2,))
    assert plan.receivers == (0,) and plan.masks == ((1, frozenset({1, 2})),)


# ---------------------------------------------------------------------- groups


@TABLES
@pytest.mark.parametrize("vouchers", [1, 2, 3])
def test_groups_cover_every_component_exactly_once_and_are_known_to_enough(
    sharing: SharingSemantics, vouchers: int
) -> None:
    if any(len(h) < vouchers for h in sharing.holders):
        with pytest.raises(Misuse, match="fewer than"):
            sharing.groups(vouchers)
        return
    groups = sharing.groups(vouchers)
    assert sorted(c for g in groups for c in g.components) == list(sharing.components)
    for group in groups:
        assert len(group.dealers) >= vouchers
        assert all(set(group.dealers) <= sharing.holders[c] for c in group.components)
        assert set(group.dealers) == frozenset.intersection(*(sharing.holders[c] for c in group.components))


def test_the_number_of_words_is_the_smallest_possible() -> None:
    words = [(ADDITIVE_2PC, 1, 2), (REPLICATED_3PC, 1, 2), (TETRAD_4PC, 2, 2), (TETRAD_4PC, 3, 4), (PLAIN, 1, 1)]
    for sharing, vouchers, count in words:
        assert len(sharing.groups(vouchers)) == count


# ---------------------------------------------------------------------- malformed tables


@pytest.mark.parametrize(
    ("holders", "coefficients", "message"),
    [
        (({0}, {1}), (1,), "needs holders and a coefficient"),
        ((), (), "needs holders and a coefficient"),
        (({0}, {1}), (1, 2), "coefficients are"),
        (({0}, {1}), (1, 0), "coefficients are"),
        (({0}, set()), (1, 1), "non-empty subsets"),
        (({0}, {2}), (1, 1), "non-empty subsets"),
        (({0}, {0, 1}), (1, 1), "together hold every component"),
        (({0, 1},), (1,), "together hold every component"),
    ],
)
def test_malformed_tables_are_refused(
    holders: tuple[set[int], ...], coefficients: tuple[int, ...], message: str
) -> None:
    with pytest.raises(Misuse, match=message):
        SharingSemantics("bad", 2, tuple(frozenset(h) for h in holders), coefficients)


def test_a_table_is_judged_by_the_number_of_corruptions_that_it_claims() -> None:
    holders = REPLICATED_3PC.holders
    with pytest.raises(Misuse, match="together hold every component"):
        SharingSemantics("greedy", 3, holders, (1, 1, 1), Security(corruptions=2))
    assert SharingSemantics("fine", 3, holders, (1, 1, 1), Security(corruptions=1)).evaluators == (0, 1, 2)
