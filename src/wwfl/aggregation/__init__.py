"""Aggregation rules for the global servers. `registry.rule(name)` makes one by name;
docs/how-to/aggregation.md."""

from .clipping import NormClipping
from .fedavg import FedAvg, FedAvgM
from .fltrust import FLTrust
from .krum import Krum, MultiKrum
from .rules import WAN, Aggregation, Inputs
from .screen import Screened
from .trimmed import Median, TrimmedMean
from .variant import TrimmedMeanVariant

__all__ = [
    "WAN",
    "Aggregation",
    "FLTrust",
    "FedAvg",
    "FedAvgM",
    "Inputs",
    "Krum",
    "Median",
    "MultiKrum",
    "NormClipping",
    "Screened",
    "TrimmedMean",
    "TrimmedMeanVariant",
]
