"""What every operation costs in every protocol, measured on the wire.

    python -m benchmarks.costs --json -          rows
    python -m benchmarks.costs --markdown FILE   the table of docs/costs.md

Bits per 64-bit element, all directed links together, payload only; digests and verdicts of malicious-secure protocols
(32 bytes per channel and check point) are left out, but for those that accompany a reveal. Costs depend on shapes only,
not on the machine. `rounds` are measured along the message dependencies at the slowest party: Tetrad's CS1 lags one
message behind its evaluators.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from backends import Additive2PC, Replicated3PC, Tetrad4PC
from wwfl.measure import markdown, measure

from .machine import describe


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the rows to FILE ('-' for standard output)")
    parser.add_argument("--markdown", metavar="FILE", help="write the table to FILE")
    args = parser.parse_args(argv)
    rows = [row for make in (Additive2PC, Replicated3PC, Tetrad4PC) for row in measure(make())]
    if args.markdown:
        text = (__doc__ or "").split("\n\n", 2)[2]
        Path(args.markdown).write_text(
            "# What operations cost\n\nMade by `python -m benchmarks.costs --markdown docs/costs.md`.\n\n"
            f"{text.strip()}\n\nEvery cell: bits offline / bits online / rounds online.\n\n{markdown(rows)}"
        )
    if args.json == "-":
        print(json.dumps(rows, indent=1))
    elif args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1) + "\n")
    if not args.json and not args.markdown:
        sys.stdout.write(f"{describe()}\n{markdown(rows)}")


if __name__ == "__main__":
    main()
