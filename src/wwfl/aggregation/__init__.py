"""Aggregation rules: how servers combine the models of their members.

Here belongs what combines flat models on shares, and the very same rules on floats (`in_floats`).
Which members there are and what happens to the result is the federation's; noise and its
accounting are `wwfl.privacy`'s. `rule(name)` makes a rule by name, `registry` knows all of them
(docs/how-to/aggregation.md).

>>> from wwfl.aggregation import rule
>>> rule("trimmed-mean", trim=2)
TrimmedMean(trim=2, bits=64, by=NetworkModel(latency_s=0.1, bandwidth_bps=100000000.0))
"""

from . import in_floats, registry
from .clipping import NormClipping
from .fedavg import FedAvg, FedAvgM
from .fltrust import FLTrust
from .in_floats import InRange, floats, held
from .krum import Krum, MultiKrum
from .registry import rule
from .rule_interface import WAN, Aggregation, Inputs
from .screen import Screened
from .trimmed import Median, TrimmedMean
from .trimmed_variant import TrimmedMeanVariant

__all__ = [
    "WAN",
    "Aggregation",
    "FLTrust",
    "FedAvg",
    "FedAvgM",
    "InRange",
    "Inputs",
    "Krum",
    "Median",
    "MultiKrum",
    "NormClipping",
    "Screened",
    "TrimmedMean",
    "TrimmedMeanVariant",
    "floats",
    "held",
    "in_floats",
    "registry",
    "rule",
]
