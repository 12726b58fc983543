"""The abstractions of wwfl: algebra, sharing, party, protocol, and the operations derived from
them."""

from wwfl_core.numbers import Bilinear, Conv2d, FixedPoint, MatMul, Mul
from wwfl_core.protocol import MPCBackend

from .channel import Cost, NetworkModel, Phase
from .cluster import Handle, LocalCluster
from .errors import WwflError
from .recording import recorded
from .sharing import Security, SharingSemantics
from .tensors import Session, SharedBits, SharedTensor

__all__ = [
    "Bilinear",
    "Conv2d",
    "Cost",
    "FixedPoint",
    "Handle",
    "LocalCluster",
    "MPCBackend",
    "MatMul",
    "Mul",
    "NetworkModel",
    "Phase",
    "Security",
    "Session",
    "SharedBits",
    "SharedTensor",
    "SharingSemantics",
    "WwflError",
    "recorded",
]
