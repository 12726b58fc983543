"""Sharings as data: who can reconstruct, who learns nothing, and how a known value becomes shared.
By enumeration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations, product
from time import process_time

import pytest

from backends import (
    ADDITIVE_2PC,
    ADDITIVE_2PC_NO_HELPER,
    PLAIN,
    REPLICATED_3PC,
    TETRAD_4PC,
)
from wwfl_core.errors import Misuse
from wwfl_core.sharing.semantics import DealPlan, Security, SharingSemantics

MODULUS = 3


def replicated(parties: int, corruptions: int, *, malicious: bool = False) -> SharingSemantics:
    """One component per set of `corruptions` parties, held by all others."""
    holders = tuple(
        frozenset(range(parties)) - set(out) for out in combinations(range(parties), corruptions)
    )
    signs = tuple(1 if c % 2 == 0 else -1 for c in range(len(holders)))
    return SharingSemantics(
        f"rep({parties},{corruptions})", parties, holders, signs, Security(malicious, corruptions)
    )


def additive(parties: int) -> SharingSemantics:
    holders = tuple(frozenset({p}) for p in range(parties))
    return SharingSemantics(
        f"additive({parties})", parties, holders, (1,) * parties, Security(False, parties - 1)
    )


SHARINGS = [
    ADDITIVE_2PC,
    REPLICATED_3PC,
    TETRAD_4PC,
    PLAIN,
    replicated(4, 1, malicious=True),
    replicated(5, 2),
    additive(3),
]
UNEVEN = SharingSemantics(
    "uneven",
    5,
    (frozenset({0, 1}), frozenset({2, 3}), frozenset({1, 4}), frozenset({0, 2, 3}), frozenset({4})),
    (1, -1, 1, -1, 1),
    offline=frozenset({1, 4}),
)
TABLES = pytest.mark.parametrize("sharing", SHARINGS, ids=lambda s: s.name)


def subsets(n: int) -> list[tuple[int, ...]]:
    return [c for size in range(1, n + 1) for c in combinations(range(n), size)]


@TABLES
def test_the_permitted_coalitions_cannot_reconstruct_and_all_together_can(
    sharing: SharingSemantics,
) -> None:
    everyone = range(sharing.parties)
    assert sharing.reveals(everyone)
    for size in range(1, sharing.security.corruptions + 1):
        assert not any(sharing.reveals(c) for c in combinations(everyone, size))


@pytest.mark.parametrize(
    "sharing", [s for s in SHARINGS if len(s.holders) <= 6], ids=lambda s: s.name
)
def test_what_a_coalition_sees_either_determines_the_secret_or_is_independent_of_it(
    sharing: SharingSemantics,
) -> None:
    """`reveals` against the definition, for every coalition: all sharings of all secrets modulo 3
    are enumerated."""
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


def views_of(
    sharing: SharingSemantics, plan: DealPlan, coalition: set[int]
) -> dict[int, Counter[tuple[int, ...]]]:
    """For every dealt value, the distribution of all that a coalition sees: mask keys, messages,
    components."""
    views: dict[int, Counter[tuple[int, ...]]] = {}
    known = [i for i, (_, key) in enumerate(plan.masks) if key & coalition]
    sees_computed = bool(coalition & (sharing.holders[plan.computed] | set(plan.receivers)))
    for value in range(MODULUS):
        views[value] = Counter()
        for drawn in product(range(MODULUS), repeat=len(plan.masks)):
            rest = value - sum(
                sharing.coefficients[c] * m for (c, _), m in zip(plan.masks, drawn, strict=True)
            )
            computed = sharing.coefficients[plan.computed] * rest % MODULUS
            views[value][(*(drawn[i] for i in known), computed if sees_computed else -1)] += 1
    return views


@TABLES
def test_dealing_hides_the_value_from_every_permitted_coalition_of_others(
    sharing: SharingSemantics,
) -> None:
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
def test_every_holder_can_compute_its_components_of_a_dealt_value(
    sharing: SharingSemantics,
) -> None:
    for dealers in dealable(sharing):
        plan = sharing.deal_plan(dealers)
        group = set(dealers)
        assert plan.dealers == dealers
        assert sharing.holders[plan.computed] == (group & sharing.holders[plan.computed]) | set(
            plan.receivers
        )
        assert not group & set(plan.receivers)
        masked = [c for c, _ in plan.masks]
        assert len(set(masked)) == len(masked) and plan.computed not in masked
        for component, key in plan.masks:
            assert (
                key == sharing.holders[component] | group
            )  # its holders, and the dealers who subtract it
            assert len(key) > 1


def test_dealing_in_tetrad_costs_what_the_literature_says() -> None:
    """One message for a pair (all six, if the value is an offline one), two for an input of CS1,
    CS2 or CS3, three for CS4's, which must not enter a lambda."""
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


def cheapest_by_search(
    sharing: SharingSemantics, dealers: tuple[int, ...], *, offline: bool
) -> DealPlan | None:
    """The definition: of every computed component with every set of masks, the least cost; of
    several, the lowest components. Exponential."""
    group, everyone = frozenset(dealers), frozenset(range(sharing.parties))
    outsiders = sorted(everyone - group)
    coalitions = [
        set(c) for c in combinations(outsiders, min(sharing.security.corruptions, len(outsiders)))
    ]
    best: tuple[tuple[object, ...], DealPlan] | None = None
    for computed in sharing.components:
        receivers = tuple(sorted(sharing.holders[computed] - group))
        keys = {
            c: h | group
            for c, h in enumerate(sharing.holders)
            if c != computed and h | group != everyone
        }
        for chosen in (c for size in range(len(keys) + 1) for c in combinations(keys, size)):
            masks = tuple((c, keys[c]) for c in chosen)
            hidden = all(
                not set(receivers) & c or any(not key & c for _, key in masks) for c in coalitions
            )
            if not hidden or (receivers and not masks):
                continue
            late = computed in sharing.offline and not offline
            cost = (late, len(receivers), not masks, len(masks), computed, chosen)
            if best is None or cost < best[0]:
                best = cost, DealPlan(dealers, computed, receivers, masks)
    return best[1] if best else None


@pytest.mark.parametrize(
    "sharing",
    [*SHARINGS, ADDITIVE_2PC_NO_HELPER, additive(4), replicated(4, 2), UNEVEN],
    ids=lambda s: s.name,
)
def test_a_plan_is_the_cheapest_of_all(sharing: SharingSemantics) -> None:
    for dealers in subsets(sharing.parties):
        for offline in (False, True):
            wanted = cheapest_by_search(sharing, dealers, offline=offline)
            if wanted is None:
                with pytest.raises(Misuse, match="no component can carry"):
                    sharing.deal_plan(dealers, offline=offline)
            else:
                assert sharing.deal_plan(dealers, offline=offline) == wanted


def in_short(plan: DealPlan) -> str:
    """Computed component > receivers; masks: component(key)."""
    masks = " ".join(f"{c}({''.join(map(str, sorted(key)))})" for c, key in plan.masks)
    return f"{plan.computed}>{''.join(map(str, plan.receivers))}; {masks}"


PINNED: list[tuple[SharingSemantics, dict[str, str]]] = [
    (
        ADDITIVE_2PC,
        {
            "0": "0>; 1(01)",
            "1": "1>; 0(01)",
            "2": "0>0; 1(12)",
            "01": "0>; 1(01)",
            "02": "0>; ",
            "12": "1>; ",
            "012": "0>; ",
        },
    ),
    (
        REPLICATED_3PC,
        {
            "0": "0>2; 1(01)",
            "1": "1>0; 2(12)",
            "2": "0>0; 2(12)",
            "01": "1>; ",
            "02": "0>; ",
            "12": "2>; ",
            "012": "0>; ",
        },
    ),
    (
        TETRAD_4PC,
        {
            "0": "0>12; 1(023) 2(013)",
            "1": "0>02; 2(013) 3(123)",
            "2": "0>01; 1(023) 3(123)",
            "3": "0>012; 1(023) 2(013) 3(123)",
            "01": "0>2; 2(013)",
            "02": "0>1; 1(023)",
            "03": "0>12; 1(023) 2(013)",
            "12": "0>0; 3(123)",
            "13": "0>02; 2(013) 3(123)",
            "23": "0>01; 1(023) 3(123)",
            "012": "0>; ",
            "013": "0>2; 2(013)",
            "023": "0>1; 1(023)",
            "123": "0>0; 3(123)",
            "0123": "0>; ",
        },
    ),
    (
        replicated(5, 2),
        {
            "0": "4>34; 5(024) 6(023) 7(014) 8(013) 9(012)",
            "1": "1>34; 2(124) 3(123) 7(014) 8(013) 9(012)",
            "2": "0>34; 2(124) 3(123) 5(024) 6(023) 9(012)",
            "3": "0>24; 1(134) 3(123) 4(034) 6(023) 8(013)",
            "4": "0>23; 1(134) 2(124) 4(034) 5(024) 7(014)",
            "01": "7>4; 8(013) 9(012)",
            "02": "5>4; 6(023) 9(012)",
            "03": "4>4; 6(023) 8(013)",
            "04": "4>3; 5(024) 7(014)",
            "12": "2>4; 3(123) 9(012)",
            "13": "1>4; 3(123) 8(013)",
            "14": "1>3; 2(124) 7(014)",
            "23": "0>4; 3(123) 6(023)",
            "24": "0>3; 2(124) 5(024)",
            "34": "0>2; 1(134) 4(034)",
            "012": "9>; 2(0124)",
        },
    ),
]


@pytest.mark.parametrize(("sharing", "plans"), PINNED, ids=[s.name for s, _ in PINNED])
def test_the_plans_of_these_sharings_stay_as_they_are(
    sharing: SharingSemantics, plans: dict[str, str]
) -> None:
    """Checkpoints and measured costs rest on them: who draws which mask, and who sends what to
    whom."""
    assert {d: in_short(sharing.deal_plan(map(int, d))) for d in plans} == plans


def test_seven_parties_with_three_corrupt_get_a_plan_at_once() -> None:
    """Against the definition: what coalitions of others see is independent of the value (one key
    that they lack masks the computed component; all others are drawn apart from the value), and no
    way has fewer messages."""
    sharing = replicated(7, 3)
    for dealers in [d for d in subsets(7) if len(d) <= 2]:
        before = process_time()
        plan = sharing.deal_plan(dealers)
        assert process_time() - before < 1
        group, holders = set(dealers), sharing.holders[plan.computed]
        assert set(plan.receivers) == holders - group
        assert len(plan.receivers) == min(len(h - group) for h in sharing.holders)
        assert all(
            key == sharing.holders[c] | group and c != plan.computed for c, key in plan.masks
        )
        seeing = [
            set(c) for c in combinations(sorted(set(range(7)) - group), 3) if holders & set(c)
        ]
        for coalition in seeing:
            assert any(not key & coalition for _, key in plan.masks), (plan, coalition)
        for left_out in plan.masks:  # every mask is needed
            rest = [key for mask, key in plan.masks if mask != left_out[0]]
            assert any(all(key & coalition for key in rest) for coalition in seeing)


class Careless(SharingSemantics):
    def reveals(self, coalition: Iterable[int]) -> bool:
        return False


def test_a_table_that_only_claims_to_hide_has_no_plan() -> None:
    """Party 0 holds everything. (Where `reveals` tells the truth, there is a plan for whoever
    deals.)"""
    sharing = Careless("careless", 4, (frozenset({0, 1}), frozenset({0, 2})), (1, 1))
    with pytest.raises(Misuse, match="no component can carry a value dealt by parties"):
        sharing.deal_plan((3,))


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
        assert set(group.dealers) == frozenset.intersection(
            *(sharing.holders[c] for c in group.components)
        )


def test_the_number_of_words_is_the_smallest_possible() -> None:
    words = [
        (ADDITIVE_2PC, 1, 2),
        (REPLICATED_3PC, 1, 2),
        (TETRAD_4PC, 2, 2),
        (TETRAD_4PC, 3, 4),
        (PLAIN, 1, 1),
    ]
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
    assert SharingSemantics("fine", 3, holders, (1, 1, 1), Security(corruptions=1)).evaluators == (
        0,
        1,
        2,
    )
