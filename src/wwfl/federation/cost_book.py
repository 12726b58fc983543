"""What a federation sent and how long it took, by place and stage; as sums, and as plain numbers.

Here belongs the accounting, and nothing that causes costs: the commands that are booked here are
given by `Context`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from threading import Lock
from typing import Any

from wwfl_core.channel import Cost, Phase

STAGE_KEYS = ("where", "stage")
LINK_KEYS = ("sender", "receiver")

Rows = list[dict[str, Any]]
Tally = dict[str, Rows]
"""`stages`: rows by (where, stage), and `links`: rows by (sender, receiver)."""


class CostBook:
    """The costs of a federation by (where, stage). Several threads may book at once.

    >>> book = CostBook()
    >>> book.spent("global", "evaluate", Cost(), begun=time.monotonic())
    >>> [row["stage"] for row in book.tally()["stages"]]
    ['evaluate']
    """

    def __init__(self) -> None:
        self.costs: dict[tuple[str, str], Cost] = {}
        self.seconds: dict[tuple[str, str], float] = {}
        self._lock = Lock()

    def spent(self, where: str, stage: str, cost: Cost, begun: float) -> None:
        """Books a cost, and the wall time in seconds since `begun` (of `time.monotonic`)."""
        key = where, stage
        with self._lock:
            self.costs[key] = self.costs.get(key, Cost()) + cost
            self.seconds[key] = self.seconds.get(key, 0.0) + time.monotonic() - begun

    def bytes_by_stage(self) -> dict[str, int]:
        """Payload bytes so far, all places together."""
        total: dict[str, int] = {}
        with self._lock:
            for (_, stage), cost in self.costs.items():
                total[stage] = total.get(stage, 0) + cost.bytes_sent()
        return total

    def tally(self) -> Tally:
        """Totals since the servers started, as plain numbers."""
        stages = [
            {
                "where": where,
                "stage": stage,
                "measured_s": self.seconds[where, stage],
                **{f"bytes_{p.value}": cost.bytes_sent(phase=p) for p in Phase},
                **{f"rounds_{p.value}": cost.rounds.get(p, 0) for p in Phase},
                **{f"modelled_s_{p.value}": cost.modelled_s.get(p, 0.0) for p in Phase},
            }
            for (where, stage), cost in sorted(self.costs.items())
        ]
        return {"stages": stages, "links": _links(self.costs.values())}


def _links(costs: Iterable[Cost]) -> Rows:
    total = Cost.merge(costs)
    pairs = sorted({(link.sender, link.receiver) for link in total.links})
    return [
        {
            "sender": sender,
            "receiver": receiver,
            **{
                f"bytes_{p.value}": total.bytes_sent(phase=p, sender=sender, receiver=receiver)
                for p in Phase
            },
        }
        for sender, receiver in pairs
    ]


def difference(now: Tally, before: Tally) -> Tally:
    """What was added between two tallies; rows that did not change are left out."""
    return {
        "stages": _less(now["stages"], before["stages"], STAGE_KEYS),
        "links": _less(now["links"], before["links"], LINK_KEYS),
    }


def total(rows: Rows, keys: tuple[str, ...]) -> Rows:
    """Rows of many rounds, summed by `keys`.

    >>> total([{"stage": "train", "bytes": 2}, {"stage": "train", "bytes": 3}], ("stage",))
    [{'stage': 'train', 'bytes': 5}]
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        entry = found.setdefault(tuple(row[k] for k in keys), {})
        for key, value in row.items():
            entry[key] = value if key in keys else entry.get(key, 0) + value
    return [found[key] for key in sorted(found)]


def _less(now: Rows, before: Rows, keys: tuple[str, ...]) -> Rows:
    old = {tuple(row[k] for k in keys): row for row in before}
    rows = []
    for row in now:
        was = old.get(tuple(row[k] for k in keys), {})
        less = {k: v if k in keys else _minus(v, was.get(k, 0)) for k, v in row.items()}
        if any(v for k, v in less.items() if k not in keys):
            rows.append(less)
    return rows


def _minus(now: float, before: float) -> float:
    """Seconds in whole nanoseconds: the difference of two sums must not tell how long they already
    were."""
    return round(now - before, 9) if isinstance(now, float) else now - before
