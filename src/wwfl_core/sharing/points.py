"""Shamir's sharing (CACM 1979) as `SharingSemantics`: components are points of one polynomial, so
they are not independent, and any t + 1 of m reconstruct."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from wwfl_core.errors import Misuse
from wwfl_core.numbers import MERSENNE_127, Algebra, Array

from .semantics import DealPlan, Security, SharingSemantics


@lru_cache(maxsize=1024)
def lagrange(points: tuple[int, ...], at: int, modulus: int) -> tuple[int, ...]:
    """Coefficients c with f(at) = sum_i c_i f(points_i) mod p, for polynomials of degree below
    len(points)."""
    found: list[int] = []
    for i, xi in enumerate(points):
        above = below = 1
        for j, xj in enumerate(points):
            if j != i:
                above = above * (at - xj) % modulus
                below = below * (xi - xj) % modulus
        found.append(above * pow(below, -1, modulus) % modulus)
    return tuple(found)


def evaluate(algebra: Algebra, known: Mapping[int, Array], at: int) -> Array:
    """f(at) of the polynomial of least degree through the points {x: f(x)}."""
    weights = lagrange(tuple(known), at, algebra.modulus)
    return algebra.sum([algebra.scale(w, a) for w, a in zip(weights, known.values(), strict=True)])


@dataclass(frozen=True)
class ShamirSharing(SharingSemantics):
    """f(0) = x, deg f <= threshold; party i (from 0) holds component i = f(i + 1), modulo
    `modulus`.

    `coefficients` reconstruct from the first threshold + 1 components (the others have coefficient
    0); opening and conversion use these. Whoever lacks threshold + 1 points learns nothing."""

    threshold: int = 1
    modulus: int = MERSENNE_127

    def _check_coefficients(self) -> None:
        if self.parties <= 2 * self.threshold:
            raise Misuse(
                f"sharing {self.name!r}: products need an honest majority, more than "
                f"{2 * self.threshold} parties for threshold {self.threshold}, got {self.parties}"
            )

    def reveals(self, coalition: Iterable[int]) -> bool:
        return len(set(coalition)) > self.threshold

    @property
    def independent(self) -> bool:
        return False

    @property
    def unit(self) -> tuple[int, ...]:
        return (1,) * self.parties

    @property
    def seeded(self) -> tuple[int, ...]:
        return tuple(range(self.threshold))

    @property
    def computed(self) -> tuple[int, ...]:
        return tuple(range(self.threshold, self.parties))

    def complete(
        self, algebra: Algebra, value: Array, drawn: Mapping[int, Array]
    ) -> dict[int, Array]:
        """The points that the value and the drawn points determine."""
        known = {0: value} | {c + 1: a for c, a in drawn.items()}
        return {c: evaluate(algebra, known, c + 1) for c in self.components if c not in drawn}

    def deal_plan(self, dealers: Iterable[int], *, offline: bool = False) -> DealPlan:
        """Not a plan of independent components.

        Raises:
            Misuse: always; see `masked_by` for how a party deals points.
        """
        raise Misuse(
            f"sharing {self.name!r}: points of a polynomial follow no component table; use "
            "masked_by"
        )

    def masked_by(self, dealers: Sequence[int]) -> tuple[int, ...]:
        """Components that a value known to `dealers` leaves to PRG keys (each that of the dealers
        and the holder): as many as the threshold allows, of parties who do not know the value. The
        dealers compute all others."""
        outsiders = [p for p in range(self.parties) if p not in dealers]
        return tuple(outsiders[: self.threshold])


def shamir(parties: int = 3, modulus: int = MERSENNE_127) -> ShamirSharing:
    """The sharing among `parties` servers with the largest threshold that allows products: (parties
    - 1) // 2."""
    if parties < 3:
        raise Misuse(f"Shamir's sharing with products needs at least 3 parties, got {parties}")
    threshold = (parties - 1) // 2
    weights = lagrange(tuple(range(1, threshold + 2)), 0, modulus)
    return ShamirSharing(
        name=f"Shamir {threshold + 1} of {parties}",
        parties=parties,
        holders=tuple(frozenset({i}) for i in range(parties)),
        coefficients=(*weights, *[0] * (parties - threshold - 1)),
        security=Security(malicious=False, corruptions=threshold),
        threshold=threshold,
        modulus=modulus,
    )
