"""The component table, judged by linear algebra: who can reconstruct, who learns nothing, and how
values enter it."""

from __future__ import annotations

from itertools import combinations

from wwfl_core.errors import Misuse
from wwfl_core.sharing import DealPlan, ShamirSharing, SharingSemantics

from .bench import Bench
from .verdict import Failed, NotPromised


def in_row_space(rows: list[list[int]], target: list[int]) -> bool:
    """Whether a 0/+-1 target is an integer combination of unit rows, by elimination over the
    rationals (exact here)."""
    rest = [list(map(float, row)) for row in rows]
    goal = list(map(float, target))
    for column in range(len(goal)):
        pivot = next((r for r in rest if r[column]), None)
        if pivot is None:
            continue
        rest = [r for r in rest if r is not pivot]
        rest = [
            [a - b * r[column] / pivot[column] for a, b in zip(r, pivot, strict=True)] for r in rest
        ]
        goal = [a - b * goal[column] / pivot[column] for a, b in zip(goal, pivot, strict=True)]
    return not any(goal)


def in_row_space_modulo(rows: list[list[int]], target: list[int], p: int) -> bool:
    """The same over the integers modulo a prime."""
    rest, goal = [list(row) for row in rows], list(target)
    for column in range(len(goal)):
        pivot = next((r for r in rest if r[column] % p), None)
        if pivot is None:
            continue
        rest = [r for r in rest if r is not pivot]
        inverse = pow(pivot[column], -1, p)
        for other in (*rest, goal):
            factor = other[column] * inverse
            other[:] = [(a - factor * b) % p for a, b in zip(other, pivot, strict=True)]
    return not any(v % p for v in goal)


def learns(sharing: SharingSemantics, coalition: tuple[int, ...]) -> bool:
    """Whether the value is a combination of the components that a coalition holds.

    Components are independent and uniform given the value, but for their sum; so what is not a
    combination of the held ones is independent of them. Shamir's points are combinations of the
    value and independent coefficients."""
    if isinstance(sharing, ShamirSharing):
        points = [
            [pow(p + 1, k, sharing.modulus) for k in range(sharing.threshold + 1)]
            for p in coalition
        ]
        return in_row_space_modulo(points, [1] + [0] * sharing.threshold, sharing.modulus)
    width = len(sharing.holders)
    held = [c for c in sharing.components if sharing.holders[c] & set(coalition)]
    return in_row_space(
        [[int(i == c) for i in range(width)] for c in held], list(sharing.coefficients)
    )


def privacy(bench: Bench) -> str:
    """No coalition of permitted size can combine its components to the secret."""
    sharing = bench.sharing
    size = sharing.security.corruptions
    if size < 1:
        raise NotPromised("withstands no corrupt party: promises no secrecy")
    coalitions = [q for k in range(1, size + 1) for q in combinations(range(sharing.parties), k)]
    for coalition in coalitions:
        if learns(sharing, coalition):
            raise Failed(f"parties {coalition} together hold enough components to reconstruct")
    return f"{len(coalitions)} coalitions learn nothing"


def reconstructability(bench: Bench) -> str:
    """All parties together reconstruct; in a malicious-secure sharing, so do the honest ones
    without the others."""
    sharing = bench.sharing
    if not learns(sharing, tuple(range(sharing.parties))):
        raise Failed("not even all parties together can reconstruct")
    minimal = [
        q
        for k in range(1, sharing.parties + 1)
        for q in combinations(range(sharing.parties), k)
        if learns(sharing, q)
        and not any(learns(sharing, tuple(p for p in q if p != out)) for out in q)
    ]
    if sharing.security.malicious:
        for absent in combinations(range(sharing.parties), sharing.security.corruptions):
            for component, holders in enumerate(sharing.holders):
                if len(holders - set(absent)) < 2:
                    raise Failed(
                        f"component {component} is held by {sorted(holders)}: without {absent} no "
                        "second party vouches for it"
                    )
    return "smallest reconstructing sets: " + ", ".join(
        "{" + ",".join(map(str, q)) + "}" for q in minimal
    )


def _hidden_from(plan: DealPlan, sharing: SharingSemantics, coalition: tuple[int, ...]) -> bool:
    """Whether a dealt value stays hidden from a coalition without a dealer: it lacks a mask, or the
    whole component."""
    members = set(coalition)
    sees = bool(sharing.holders[plan.computed] & members)
    return not sees or any(not key & members for _, key in plan.masks)


def dealing(bench: Bench) -> str:
    """Every set of parties that knows a value can share it such that no permitted coalition of the
    others learns it."""
    sharing = bench.sharing
    size = sharing.security.corruptions
    plans = 0
    if isinstance(sharing, ShamirSharing):
        return _points(sharing)
    groups = [q for k in range(1, sharing.parties + 1) for q in combinations(sharing.evaluators, k)]
    for group in groups:
        try:
            plan = sharing.deal_plan(group)
        except Misuse as error:
            if len(group) == 1:
                raise Failed(f"party {group[0]} cannot share a value: {error}") from error
            continue
        plans += 1
        outsiders = [p for p in range(sharing.parties) if p not in group]
        for coalition in combinations(outsiders, min(size, len(outsiders))):
            if coalition and not _hidden_from(plan, sharing, coalition):
                raise Failed(f"what parties {group} share is known to {coalition}: {plan}")
    return f"{plans} ways to share"


def _points(sharing: ShamirSharing) -> str:
    """With j masks, dealt points lie on a polynomial of degree j through the value: any j of them
    tell nothing."""
    groups = [
        q for k in range(1, sharing.parties + 1) for q in combinations(range(sharing.parties), k)
    ]
    for group in groups:
        outsiders = [p for p in range(sharing.parties) if p not in group]
        masks = sharing.masked_by(group)
        if not set(masks) <= set(outsiders) or len(masks) < min(sharing.threshold, len(outsiders)):
            raise Failed(f"what parties {group} share is hidden by the masks {masks} only")
    return f"{len(groups)} ways to share"
