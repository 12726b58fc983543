"""Protocols: one file each."""

from .additive2pc import Additive2PC
from .additive2pc_ot import Additive2PCOT
from .plain import Plain
from .replicated3pc import Replicated3PC
from .tetrad4pc import Tetrad4PC

__all__ = ["Additive2PC", "Additive2PCOT", "Plain", "Replicated3PC", "Tetrad4PC"]
