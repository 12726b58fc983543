"""What a federation sent, as plain numbers: per stage and per link, and what one round added to
them."""

from __future__ import annotations

from typing import Any

from wwfl_core.channel.cost import Cost, Phase

from .federation import Federation

STAGE_KEYS = ("where", "stage")
LINK_KEYS = ("sender", "receiver")


def tally(federation: Federation) -> dict[str, list[dict[str, Any]]]:
    """Totals since the servers started: `stages` (where, stage) and `links` (sender, receiver)."""
    stages = [
        {
            "where": where,
            "stage": stage,
            "measured_s": federation.seconds[where, stage],
            **{f"bytes_{p.value}": cost.bytes_sent(phase=p) for p in Phase},
            **{f"rounds_{p.value}": cost.rounds.get(p, 0) for p in Phase},
            **{f"modelled_s_{p.value}": cost.modelled_s.get(p, 0.0) for p in Phase},
        }
        for (where, stage), cost in sorted(federation.costs.items())
    ]
    return {"stages": stages, "links": _links(federation.costs.values())}


def _links(costs: Any) -> list[dict[str, Any]]:
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


def difference(now: dict[str, Any], before: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What was added between two tallies; rows that did not change are left out."""
    return {
        "stages": _less(now["stages"], before["stages"], STAGE_KEYS),
        "links": _less(now["links"], before["links"], LINK_KEYS),
    }


def total(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows of many rounds, summed by `keys`."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        entry = found.setdefault(tuple(row[k] for k in keys), {})
        for key, value in row.items():
            entry[key] = value if key in keys else entry.get(key, 0) + value
    return [found[key] for key in sorted(found)]


def _less(
    now: list[dict[str, Any]], before: list[dict[str, Any]], keys: tuple[str, ...]
) -> list[dict[str, Any]]:
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
