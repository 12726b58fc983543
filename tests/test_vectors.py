"""Messages, shares, costs, rounds and openings of all protocols are those that were recorded.

What differs is said in words, the first message first. A change that is meant to change messages
makes the vectors again (`vectors/make.py`) and says why.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import pytest

from vectors import storage
from vectors.cases import CASES
from vectors.recorder import Message, Record

NAMES = [(file, case) for file, cases in CASES.items() for case in cases]


@cache
def recorded(file: str) -> dict[str, Record]:
    return storage.read(file)


@pytest.mark.parametrize(("file", "case"), NAMES, ids=[f"{file}-{case}" for file, case in NAMES])
def test_a_run_does_what_was_recorded(file: str, case: str) -> None:
    found = storage.differences(recorded(file)[case], CASES[file][case]())
    if found:
        more = f"\n... and {len(found) - 12} more" if len(found) > 12 else ""
        pytest.fail(f"{file}, {case}:\n" + "\n".join(found[:12]) + more, pytrace=False)


@pytest.mark.parametrize("file", CASES)
def test_every_recorded_case_is_run(file: str) -> None:
    assert list(recorded(file)) == list(CASES[file])


# ------------------------------------------------------- a difference is found, and named


def _payload(record: Record) -> None:
    link = record["links"]["3pc/1 -> 3pc/0"]
    link["each"][1] = link["each"][1]._replace(payload="00000000")
    link["digest"] = "another"


def _missing(record: Record) -> None:
    link = record["links"]["3pc/1 -> 3pc/0"]
    link["each"].pop()
    link["digest"] = "another"


def _behind_the_start(record: Record) -> None:
    record["links"]["3pc/1 -> 3pc/0"]["digest"] = "another"


def _order(record: Record) -> None:
    order = record["order"]["3pc/0"]
    order["sequence"] = order["sequence"][::-1]


def _share(record: Record) -> None:
    record["results"]["numbers"]["2"] = "another"


def _rounds(record: Record) -> None:
    record["books"]["3pc"]["cost"]["rounds"] = "offline 0, online 99"


def _opening(record: Record) -> None:
    record["books"]["3pc"]["ledger"].pop()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_payload, "1 of 6 links differ, first 3pc/1 -> 3pc/0, message 2 of"),
        (_missing, "now nothing more is sent"),
        (_behind_the_start, "behind the recorded start"),
        (_order, "3pc/0 sends in another order"),
        (_share, "results / numbers / 2: recorded"),
        (_rounds, "books / 3pc / cost / rounds: recorded"),
        (_opening, "books / 3pc / ledger: recorded"),
    ],
)
def test_every_kind_of_difference_is_named(change: Callable[[Record], None], words: str) -> None:
    before = recorded("3pc")["reveal"]
    changed = copy.deepcopy(before)
    assert storage.differences(before, changed) == []
    change(changed)
    (found,) = storage.differences(before, changed)
    assert words in found


def test_a_record_survives_its_file(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "FOLDER", tmp_path)
    record = recorded("4pc")["reveal"]
    storage.write("copy", {"reveal": record}, "no commit")
    again = storage.read("copy")["reveal"]
    assert again == record and isinstance(again["links"]["4pc/0 -> 4pc/1"]["each"][0], Message)
