"""What every operation costs in every protocol, measured on the wire.

    python -m benchmarks.costs --json -          rows
    python -m benchmarks.costs --markdown FILE   the table of docs/reference/costs.md
    python -m benchmarks.costs 2pc 3pc           only these protocols

Every cell gives bits offline / bits online / rounds online.

Bits are per 64-bit element, over all directed links together, payload only. Check points of
malicious-secure protocols (64 bytes per channel and check point) are left out, except for those
that accompany a reveal. Costs depend on shapes only, not on the machine.

Rounds are measured along the message dependencies, at the slowest party: Tetrad's CS1 lags one
message behind its evaluators. The last row is what a cluster sends once (keys; base transfers of
2pc-ot).

`crypten` and `shamir` run on other people's engines (CrypTen, MPyC), which are optional packages.
The bytes of shamir are those of field elements of 128 bits, with 160 bits of framing per message of
MPyC.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from wwfl.experiments.operation_costs import markdown, measure_operations
from wwfl_core.errors import ConfigError
from wwfl_core.protocol.registry import backends, resolve

from .machine import describe

FREE = "plain"  # sends nothing


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "protocols", nargs="*", help="registered names; by default all built-in ones that work here"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the rows to FILE ('-' for standard output)"
    )
    parser.add_argument("--markdown", metavar="FILE", help="write the table to FILE")
    args = parser.parse_args(argv)
    names = args.protocols or [e.name for e in backends().values() if e.built_in and e.name != FREE]
    rows: list[dict[str, Any]] = []
    for name in names:
        try:
            rows += measure_operations(resolve(name)())
        except ConfigError as error:  # its engine is not installed
            print(f"{name} is left out: {error}", file=sys.stderr)
    if args.markdown:
        text = (__doc__ or "").split("\n\n", 2)[2]
        Path(args.markdown).write_text(
            "# What operations cost\n"
            "\n"
            "Made by `python -m benchmarks.costs --markdown docs/reference/costs.md`.\n"
            "\n"
            f"{text.strip()}\n"
            "\n"
            f"{markdown(rows)}"
        )
    if args.json == "-":
        print(json.dumps(rows, indent=1))
    elif args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1) + "\n")
    if not args.json and not args.markdown:
        sys.stdout.write(f"{describe()}\n{markdown(rows)}")


if __name__ == "__main__":
    main()
