"""Writes the recorded vectors: `python -m vectors.make [FILE ...]` in the folder above this one.

Run it on a commit whose messages are right, and say in the commit that changes the files why they
changed. Without names all files are written. `--check` compares and writes nothing; `--messages
CASE` prints a case's messages in full.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import wwfl_core

from . import storage
from .cases import CASES


def commit() -> str:
    """The commit of the library that is imported, and whether its files were changed since."""
    source = Path(wwfl_core.__file__).parent.parent

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(source), *args], capture_output=True, text=True, check=True
        ).stdout

    changed = git("status", "--porcelain", "--", ".").strip()
    return git("rev-parse", "HEAD").strip() + (" with changes" if changed else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help=f"all, if none is named; {', '.join(CASES)}"
    )
    parser.add_argument(
        "--check", action="store_true", help="compare with the files, write nothing"
    )
    parser.add_argument(
        "--messages", metavar="CASE", help="print the messages of a case, write nothing"
    )
    options = parser.parse_args()
    if unknown := sorted({*options.files} - {*CASES}):
        parser.error(f"there is no file {unknown[0]!r}; files are {', '.join(CASES)}")
    wrong = 0

    for name in options.files or CASES:
        begun = time.monotonic()
        if options.messages is not None:
            _print_messages(name, options.messages)
            continue
        records = {case: record() for case, record in CASES[name].items()}
        if options.check:
            recorded = storage.read(name)
            for case, record in records.items():
                found = storage.differences(recorded[case], record)
                wrong += bool(found)
                print(
                    *(f"{name}, {case}: {words}" for words in found[:3]),
                    sep="\n",
                    end="\n" if found else "",
                )
        else:
            storage.write(name, records, commit())
        print(f"{name}: {len(records)} cases, {time.monotonic() - begun:.1f} s", file=sys.stderr)
    return int(wrong > 0)


def _print_messages(name: str, case: str) -> None:
    for link, found in CASES[name][case]()["links"].items():
        print(f"{name}, {case}: {link}, {found['messages']} messages")
        print(*(f"  {message}" for message in found["each"]), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
