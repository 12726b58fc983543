"""How the numbers of a program are written as the words that a protocol shares, and read again.

A protocol names its format (`MPCBackend.number_format`): fixed point for those that share
integers, floats for the reference that computes in the clear. Here is what any format must offer;
the formats themselves stand elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy.typing as npt

from .algebra import Algebra
from .arrays import F64, Array


class NumberFormat(ABC):
    """Numbers with `frac_bits` fractional bits, unless a scale of their own is given."""

    frac_bits: int
    """The scale of values that are shared: the word 1 stands for 2^-frac_bits."""

    @abstractmethod
    def __init__(self, frac_bits: int = 20) -> None: ...

    @abstractmethod
    def encode(
        self, value: npt.ArrayLike, what: str = "value", frac_bits: int | None = None
    ) -> Array:
        """Real numbers as words. `what` names them in errors.

        Raises:
            RangeError: for a value that the format cannot hold.
            Misuse: for a dtype that is not a real number.
        """

    @abstractmethod
    def decode(self, words: Array, frac_bits: int | None = None) -> F64:
        """Words as float64."""

    @abstractmethod
    def constant(self, value: npt.ArrayLike, frac_bits: int) -> Array:
        """A public operand as words of the given scale (0: it must be integers)."""

    @abstractmethod
    def factor(self, value: npt.ArrayLike) -> tuple[Array, int]:
        """A public factor as (words, bits) with value = words / 2^bits."""

    @abstractmethod
    def from_elements(self, algebra: Algebra, elements: Array, frac_bits: int) -> Any:
        """Opened elements of `algebra`, on the host, as the numbers that they stand for."""
