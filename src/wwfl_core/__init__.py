"""The abstractions of wwfl: algebra, sharing, party, protocol, and the operations derived from them."""

from .backend import MPCBackend
from .bilinear import Bilinear, Conv2d, MatMul, Mul
from .cluster import Handle, LocalCluster
from .cost import Cost, NetworkModel, Phase
from .errors import WwflError
from .fixedpoint import FixedPoint
from .recording import recorded
from .sharing import Security, SharingSemantics
from .tensor import SharedBits, SharedTensor

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
    "SharedBits",
    "SharedTensor",
    "SharingSemantics",
    "WwflError",
    "recorded",
]
