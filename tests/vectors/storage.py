"""Records as JSON files, and what differs between two records, in words.

In a file, `messages` is the table of what messages are ("LABEL PHASE DTYPE[SHAPE]"); "2.+17 4 12
1a2b3c4d" stands for operation 17 of run 2, arriving in round 4, number 12 of that table, with a
payload whose SHA-256 begins with 1a2b3c4d. The number of the run is left out where it is that of
the message before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .recorder import Message, Record

FOLDER = Path(__file__).parent
PER_LINE = 5  # messages


def path_of(name: str) -> Path:
    """The file of a protocol, of the conversions, or of the federations."""
    return FOLDER / f"{name}.json"


def write(name: str, records: Mapping[str, Record], made_from: str) -> None:
    """Writes a file."""
    table: dict[str, int] = {}
    cases = {
        case: record
        | {
            "links": {
                link: found | {"each": _packed(found["each"], table)}
                for link, found in record["links"].items()
            }
        }
        for case, record in records.items()
    }
    whole = {"made_from": made_from, "messages": list(table), "cases": cases}
    path_of(name).write_text(
        json.dumps(whole, indent=0, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def read(name: str) -> dict[str, Record]:
    """The records of a file, as they were before they were written."""
    whole = json.loads(path_of(name).read_text(encoding="utf-8"))
    for record in whole["cases"].values():
        for found in record["links"].values():
            found["each"] = _unpacked(found["each"], whole["messages"])
    return whole["cases"]


def _packed(messages: Sequence[Message], table: dict[str, int]) -> list[str]:
    """Some messages per line; what is new to the table is added to it."""
    found: list[str] = []
    before = ""
    for number, arrival, what, payload in messages:
        run, op = number.split(".")
        found.append(
            f"{'' if run == before else run}.{op} {arrival} {table.setdefault(what, len(table))} "
            f"{payload}"
        )
        before = run
    return [", ".join(found[i : i + PER_LINE]) for i in range(0, len(found), PER_LINE)]


def _unpacked(lines: Sequence[str], table: Sequence[str]) -> list[Message]:
    """The inverse of `_packed`."""
    found: list[Message] = []
    run = ""
    for packed in (packed for line in lines for packed in line.split(", ")):
        number, arrival, what, payload = packed.split()
        told, op = number.split(".")
        run = told or run
        found.append(Message(f"{run}.{op}", int(arrival), table[int(what)], payload))
    return found


# ---------------------------------------------------------------------- differences


def differences(recorded: Record, found: Record) -> list[str]:
    """What differs, in words, the first message that differs first; empty if nothing does."""
    return [
        *_of_messages(recorded["links"], found["links"]),
        *_of_order(recorded["order"], found["order"]),
        *_of_values("results", recorded["results"], found["results"]),
        *_of_values("books", recorded["books"], found["books"]),
    ]


def _of_messages(recorded: Record, found: Record) -> Iterator[str]:
    """One sentence on links that differ: the earliest operation in which one does."""
    for link in sorted(recorded.keys() - found.keys()):
        yield f"nothing was sent {link}; recorded are {recorded[link]['messages']} messages"
    for link in sorted(found.keys() - recorded.keys()):
        yield f"{found[link]['messages']} messages were sent {link}; recorded is none"
    common = [link for link in recorded if link in found]
    changed = [link for link in common if recorded[link]["digest"] != found[link]["digest"]]
    if changed:
        _, words = min(_first(link, recorded[link], found[link]) for link in changed)
        yield f"{len(changed)} of {len(recorded)} links differ, first {words}"


def _first(link: str, recorded: Record, found: Record) -> tuple[tuple[int, ...], str]:
    """Where a link differs (run, operation) and how."""
    before, now = recorded["each"], found["each"]
    at = next(
        (i for i, (a, b) in enumerate(zip(before, now, strict=False)) if a != b),
        min(len(before), len(now)),
    )
    where = f"{link}, message {at + 1} of {len(before)}"
    if at < min(len(before), len(now)):
        same = [
            field
            for field in Message._fields
            if getattr(before[at], field) == getattr(now[at], field)
        ]
        alike = f" (the same {', '.join(same)})" if same else ""
        return _number(before[at]), f"{where}: recorded {before[at]}; now {now[at]}{alike}"
    if at < len(before):
        return _number(before[at]), f"{where}: recorded {before[at]}; now nothing more is sent"
    if at < len(now):
        return _number(now[at]), f"{where}: recorded nothing more; now {now[at]}"
    return (0, 0), f"{link}: a payload differs behind the recorded start of its digest"


def _number(message: Message) -> tuple[int, ...]:
    return tuple(int(part) for part in message.number.split("."))


def _of_order(recorded: Record, found: Record) -> Iterator[str]:
    """Senders that send to their receivers in another order."""
    for sender in (sender for sender in recorded if sender in found):
        before, now = (_receivers(side[sender]) for side in (recorded, found))
        both = enumerate(zip(before, now, strict=False))
        at = next((i for i, (a, b) in both if a != b), None)
        if at is not None:
            yield (
                f"{sender} sends in another order, first in its send {at + 1}: recorded to "
                f"{before[at]}, now to {now[at]}"
            )
        elif len(before) != len(now):
            yield f"{sender} sends {len(now)} messages; recorded are {len(before)}"


def _receivers(order: Record) -> list[str]:
    return [order["receivers"][int(digit, 36)] for digit in order["sequence"]]


def _of_values(where: str, recorded: Any, found: Any) -> Iterator[str]:
    """Leaves of nested records that differ."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        for key in dict.fromkeys([*recorded, *found]):
            yield from _of_values(
                f"{where} / {key}", recorded.get(key, "nothing"), found.get(key, "nothing")
            )
    elif isinstance(recorded, list) and isinstance(found, list) and len(recorded) == len(found):
        for i, (before, now) in enumerate(zip(recorded, found, strict=True)):
            yield from _of_values(f"{where} / {i + 1}", before, now)
    elif recorded != found:
        yield f"{where}: recorded {recorded}; now {found}"
