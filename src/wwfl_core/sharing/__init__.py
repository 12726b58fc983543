"""Sharing: how a value becomes components, who holds which, and what that protects against.

Here belongs what follows from the table of components alone: dealing plans, groups, reveals, the
partial order of guarantees, Shamir's points, and a party's part of a shared array. Nothing here
sends, draws or multiplies."""

from .semantics import DealPlan, Group, Security, SharingSemantics, weaker_of
from .shamir import ShamirSharing, evaluate, lagrange, shamir
from .share import Share, concat, split, stack, together

__all__ = [
    "DealPlan",
    "Group",
    "Security",
    "ShamirSharing",
    "Share",
    "SharingSemantics",
    "concat",
    "evaluate",
    "lagrange",
    "shamir",
    "split",
    "stack",
    "together",
    "weaker_of",
]
