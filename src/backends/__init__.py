"""Protocols: one file each, with the sharing that it computes on."""

from .additive2pc import ADDITIVE_2PC, Additive2PC
from .additive2pc_ot import ADDITIVE_2PC_NO_HELPER, Additive2PCOT
from .float_reference import Real
from .plain import PLAIN, Plain
from .replicated3pc import REPLICATED_3PC, Replicated3PC
from .tetrad4pc import TETRAD_4PC, Tetrad4PC

__all__ = [
    "ADDITIVE_2PC",
    "ADDITIVE_2PC_NO_HELPER",
    "PLAIN",
    "REPLICATED_3PC",
    "TETRAD_4PC",
    "Additive2PC",
    "Additive2PCOT",
    "Plain",
    "Real",
    "Replicated3PC",
    "Tetrad4PC",
]
