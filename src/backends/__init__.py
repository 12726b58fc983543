"""Protocols: one file each."""

from .additive2pc import Additive2PC
from .plain import Plain
from .replicated3pc import Replicated3PC
from .tetrad4pc import Tetrad4PC

__all__ = ["Additive2PC", "Plain", "Replicated3PC", "Tetrad4PC"]
