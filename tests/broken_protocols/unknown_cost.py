"""A declared cost that nobody measures, since its name is misspelt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from backends import Replicated3PC
from wwfl_core.testing import DeclaredCost


class UnknownCost(Replicated3PC):
    """Declares "prodct"."""

    declared_costs: ClassVar[Mapping[str, DeclaredCost]] = {"prodct": DeclaredCost(0, 1, 1)}
