"""Correlated randomness between two parties: dealt by a helper, or made by oblivious transfer.

Here belongs what several protocols share. A protocol's own equations are in its file."""

from .dealer import Roles
from .truncation import PairTruncation

__all__ = ["PairTruncation", "Roles"]
