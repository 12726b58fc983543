"""Conversion: shares of any sharing on any servers become shares of any other sharing on any other
servers, and nobody learns anything.

    moved = reshare(x, to=other_cluster)

A conversion is a *plan* (`plan`): two party programs, exact bytes, and who learns what, decided
from the two tables of components and the hosts. `paths` are the ways to make one, `convert` runs
it at the servers, `modulus_change` is what becomes of words where the modulus changes,
`joint_knowledge` proves by linear algebra that no permitted coalition of both clusters learns
anything, and `coordinator` is the caller's side."""

from .coordinator import Reshared, is_weaker, plan_for, reshare, reshare_with_report
from .paths import Path, register
from .plan import Plan, ResharePlan, Side

__all__ = [
    "Path",
    "Plan",
    "ResharePlan",
    "Reshared",
    "Side",
    "is_weaker",
    "plan_for",
    "register",
    "reshare",
    "reshare_with_report",
]
