"""Shares of any sharing on any party set become shares of any other sharing on any other party
set."""

from .api import Reshared, is_weaker, plan_for, reshare, reshare_with_report
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
