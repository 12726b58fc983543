"""SPU's declared costs differ between debug and release (ABY3's P2A); CrypTen's are approximate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from backends import Replicated3PC
from wwfl_core.testing import DeclaredCost


class WrongCost(Replicated3PC):
    """Claims the cost of the paper's fastest variant."""

    declared_costs: ClassVar[Mapping[str, DeclaredCost]] = {"product": DeclaredCost(0, 128, 1)}
