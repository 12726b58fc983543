"""The abstractions of wwfl: algebra, sharing, party, protocol, and the operations derived from
them."""

from .channel import Cost, NetworkModel, Phase
from .cluster import Handle, LocalCluster
from .errors import WwflError
from .numbers.bilinear import Bilinear, Conv2d, MatMul, Mul
from .numbers.fixed_point import FixedPoint
from .protocol.backend import MPCBackend
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
