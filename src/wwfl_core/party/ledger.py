"""The ledger of openings: every value that a run revealed, to whom, and why.

Secret sharing keeps everything hidden that is not opened, so the list of openings is the complete
list of what a run disclosed by design. It records shapes and reasons, never the values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Opening:
    """One opening: in operation `op` of `run`, `count` values were revealed to `to` because of
    `reason`."""

    run: int
    op: int
    label: str
    reason: str
    to: str
    """"all" for everybody in the run, or the name of the one party or client that learns the
    values."""
    shape: tuple[int, ...]
    count: int
    grounds: str = ""
    """Why the servers' guard permitted it; empty where no guard is installed."""


class Ledger:
    """An append-only list of openings."""

    def __init__(self, openings: Iterable[Opening] = ()) -> None:
        self._openings = list(openings)

    def record(
        self,
        *,
        run: int,
        op: int,
        label: str,
        reason: str,
        to: str = "all",
        shape: tuple[int, ...] = (),
        grounds: str = "",
    ) -> Opening:
        """Append an opening of an array of `shape`; returns the entry."""
        entry = Opening(run, op, label, reason, to, tuple(shape), math.prod(shape), grounds)
        self._openings.append(entry)
        return entry

    def extend(self, openings: Iterable[Opening]) -> None:
        """Append the entries of another ledger, in order."""
        self._openings.extend(openings)

    def __iter__(self) -> Iterator[Opening]:
        return iter(self._openings)

    def __len__(self) -> int:
        return len(self._openings)

    def __eq__(self, other: object) -> bool:
        # The parties of one run must have opened the same things; tests and coordinators compare
        # ledgers.
        return isinstance(other, Ledger) and self._openings == other._openings

    def __repr__(self) -> str:
        return f"<Ledger of {len(self)} openings>"

    def summary(self) -> dict[str, tuple[int, int]]:
        """For each reason, how many openings there were and how many values they revealed in
        total."""
        totals: dict[str, tuple[int, int]] = {}
        for entry in self._openings:
            times, values = totals.get(entry.reason, (0, 0))
            totals[entry.reason] = (times + 1, values + entry.count)
        return totals

    def to_json(self) -> list[dict[str, Any]]:
        """A plain list of dicts that `json.dumps` accepts."""
        return [{**vars(entry), "shape": list(entry.shape)} for entry in self._openings]

    def __str__(self) -> str:
        if not self._openings:
            return "nothing was opened"
        totals = self.summary()
        width = max(len(reason) for reason in totals)
        return "\n".join(
            f"{reason:<{width}}  {times:,} openings, {values:,} values"
            for reason, (times, values) in sorted(totals.items())
        )
