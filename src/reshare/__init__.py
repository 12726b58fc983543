"""Shares of any sharing on any party set become shares of any other sharing on any other party set."""

from .api import Reshared, plan_for, reshare, reshare_with_report
from .plan import ResharePlan

__all__ = ["ResharePlan", "Reshared", "plan_for", "reshare", "reshare_with_report"]
