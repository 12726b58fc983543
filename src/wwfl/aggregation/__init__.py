"""Aggregation rules for the global servers."""

from .rules import Aggregation, FedAvg, TrimmedMean

__all__ = ["Aggregation", "FedAvg", "TrimmedMean"]
