"""What a protocol declares that its operations cost; the conformance kit holds it to that,
exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Sizes(NamedTuple):
    """What a formula may depend on: elements of the result, elements of all operands, fractional
    bits, the window."""

    n: int
    operands: int
    f: int
    bits: int = 64


Formula = int | Callable[[Sizes], float]
"""A number is bits per element of the result; a function of `Sizes` is bits in total."""


@dataclass(frozen=True)
class DeclaredCost:
    """What one operation costs over all links, payload only. `rounds` are online.

    A protocol declares its costs as a class attribute:

        declared_costs: ClassVar[Mapping[str, DeclaredCost]] = {
            "product": DeclaredCost(offline=0, online=192, rounds=1),
            "truncation": DeclaredCost(offline=lambda s: s.n * s.f, online=130, rounds=2),
        }

    `links` may add, for directed pairs of parties, the online and offline bits of each; pairs not
    named send nothing. The two rounds and the messages of a check point are counted apart: they do
    not depend on the operation."""

    offline: Formula
    online: Formula
    rounds: int
    links: Mapping[tuple[int, int], Formula] | None = None

    def at(self, sizes: Sizes) -> tuple[float, float, int]:
        """(offline bits, online bits, rounds) for operands of these sizes."""
        return bits_of(self.offline, sizes), bits_of(self.online, sizes), self.rounds


def bits_of(formula: Formula, sizes: Sizes) -> float:
    """A formula's bits in total."""
    return formula(sizes) if callable(formula) else formula * sizes.n
