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
from typing import Any

import numpy as np

from backends import Additive2PC, Replicated3PC, Tetrad4PC
from wwfl_core import LocalCluster, MPCBackend, Mul, Phase, SharedBits, SharedTensor
from wwfl_core.ops.nonlinear import relu

from .machine import describe

N = 4096
CHECKS = ("check", "check.ok")


def product(mpc: MPCBackend, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return SharedTensor(mpc, mpc.bilinear(Mul(), x.data, y.data), 40)


def product_truncated(mpc: MPCBackend, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return x * y


def truncation(mpc: MPCBackend, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return x.truncate(20)


def sign(mpc: MPCBackend, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return x.negative()


def sign32(mpc: MPCBackend, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return x.negative(32)


def relu64(mpc: MPCBackend, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return relu(x)


def relu32(mpc: MPCBackend, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return relu(x, 32)


def bit_to_ring(mpc: MPCBackend, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return b.to_integers()


def injection(mpc: MPCBackend, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return b.times(x)


def equality(mpc: MPCBackend, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return x.equals(y)


def sharing(mpc: MPCBackend, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return mpc.share(np.ones(N), owner=0)


def reveal(mpc: MPCBackend, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    mpc.reveal(x)


OPERATIONS = {
    "share (by a party)": sharing,
    "reveal to all": reveal,
    "product": product,
    "product, exact truncation": product_truncated,
    "exact truncation": truncation,
    "sign, 64 bits": sign,
    "sign, 32 bits": sign32,
    "bit to ring": bit_to_ring,
    "injection (bit x value)": injection,
    "ReLU, 64 bits": relu64,
    "ReLU, 32 bits": relu32,
    "equality, 64 bits": equality,
}


def measure(protocol: MPCBackend) -> list[dict[str, Any]]:
    """One row per operation."""
    rows: list[dict[str, Any]] = []
    with LocalCluster(protocol) as c:
        values = np.random.default_rng(0).normal(size=N)
        for name, operation in OPERATIONS.items():
            x, y = c.share(values), c.share(values)
            b = c.run(sign, x, y, None)
            x, y = c.share(values), c.share(values)  # fresh: nothing that an earlier operation opened
            c.run(operation, x, y, b)
            cost = c.last_cost
            checks = sum(cost.bytes_sent(label=label) for label in CHECKS)
            rows.append(
                {
                    "protocol": protocol.name,
                    "operation": name,
                    "bits_offline": cost.bytes_sent(phase=Phase.OFFLINE) * 8 / N,
                    "bits_online": (cost.bytes_sent(phase=Phase.ONLINE) - checks) * 8 / N,
                    "rounds": cost.rounds.get(Phase.ONLINE, 0),
                }
            )
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table: operations down, protocols across, `offline / online / rounds`."""
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    lines = ["| operation | " + " | ".join(protocols) + " |", "| --- |" + " --- |" * len(protocols)]
    for operation in OPERATIONS:
        cells = [
            f"{row['bits_offline']:g} / {row['bits_online']:g} / {row['rounds']}"
            for protocol in protocols
            for row in rows
            if (row["protocol"], row["operation"]) == (protocol, operation)
        ]
        lines.append(f"| {operation} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


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
