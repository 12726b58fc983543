"""Aggregation rules for the global servers."""

from .rules import Aggregation, FedAvg, Inputs, TrimmedMean

__all__ = ["Aggregation", "FedAvg", "Inputs", "TrimmedMean"]
