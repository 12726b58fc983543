"""Differential privacy of the aggregated model: clipping in MPC, discrete Gaussian noise of every
server, accounting.

No torch here: server processes stay small.
"""

from .accountant import Budget, Guarantee, gaussian_epsilon, releases_within
from .rule import Private

__all__ = ["Budget", "Guarantee", "Private", "gaussian_epsilon", "releases_within"]
