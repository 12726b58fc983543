"""A dealer that sends its value without a mask: a receiver of the computed component learns it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace

from backends import REPLICATED_3PC, Replicated3PC
from wwfl_core.sharing.semantics import DealPlan, SharingSemantics


class NoMasks(SharingSemantics):
    """The plan of the table, with all masks left out."""

    def deal_plan(self, dealers: Iterable[int], *, offline: bool = False) -> DealPlan:
        return replace(super().deal_plan(dealers, offline=offline), masks=())


class DealtInTheClear(Replicated3PC):
    """One component is the value, the others are 0."""

    sharing = NoMasks(
        **{f.name: getattr(REPLICATED_3PC, f.name) for f in fields(REPLICATED_3PC) if f.init}
    )
