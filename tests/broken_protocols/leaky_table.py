"""A component table in which two of the promised coalitions reconstruct: replicated sharing
declared for one too many.

(`SharingSemantics` refuses such tables; this one was changed after it was made, as a plug-in's own
class might.)"""

from __future__ import annotations

import copy

from backends import REPLICATED_3PC, Replicated3PC
from wwfl_core.sharing.semantics import Security

LEAKY = copy.copy(REPLICATED_3PC)
object.__setattr__(LEAKY, "security", Security(corruptions=2))


class LeakyTable(Replicated3PC):
    """Claims to withstand two corrupt parties of three."""

    sharing = LEAKY
