"""A table that claims malicious security without a second honest holder: nobody vouches for what a
corrupt party sends.

(MP-SPDZ's documentation says which of its replicated protocols are malicious-secure; the table
alone must, too.)"""

from __future__ import annotations

import copy

from backends import REPLICATED_3PC, Replicated3PC
from wwfl_core.sharing.semantics import Security

UNVOUCHED = copy.copy(REPLICATED_3PC)
object.__setattr__(UNVOUCHED, "security", Security(malicious=True))


class UnvouchedTable(Replicated3PC):
    """Two holders of every component, of whom one may lie."""

    sharing = UNVOUCHED
