"""What differential privacy costs: one aggregation of LeNet-sized models, plain and private.

    python -m benchmarks.privacy [--inputs 10] [--size 61706] [--json FILE]

Bytes are exact: payload of all parties, offline and online. Seconds are measured, all parties on
this machine."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from backends import Additive2PC, Replicated3PC, Tetrad4PC
from benchmarks.machine import describe
from wwfl.aggregation import Aggregation, FedAvg
from wwfl.federation import server_programs as programs
from wwfl.privacy import Private
from wwfl_core import LocalCluster, MPCBackend, Phase

PROTOCOLS = (Additive2PC, Replicated3PC, Tetrad4PC)


def measure(protocol: MPCBackend, rule: Aggregation, inputs: int, size: int) -> dict[str, Any]:
    """One aggregation of models that moved by norms around 1."""
    g = np.random.default_rng(0)  # the models of a benchmark
    current = g.normal(scale=0.05, size=size)
    with LocalCluster(protocol) as c:
        models = [
            c.share(current + g.normal(scale=1 / np.sqrt(size), size=size)) for _ in range(inputs)
        ]
        start = c.share(current)
        begun = time.perf_counter()
        c.run(programs.aggregate, rule, models, [1.0] * inputs, start, None, {})
        seconds, cost = time.perf_counter() - begun, c.last_cost
    return {
        "protocol": protocol.name,
        "rule": repr(rule),
        "bytes_offline": cost.bytes_sent(phase=Phase.OFFLINE),
        "bytes_online": cost.bytes_sent(phase=Phase.ONLINE),
        "rounds_online": cost.rounds[Phase.ONLINE],
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10)
    parser.add_argument("--size", type=int, default=61_706)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(describe())
    print(f"{options.inputs} inputs, {options.size} coordinates\n")
    print("| protocol | rule | MB offline | MB online | rounds online | seconds |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    found: list[dict[str, Any]] = []
    for protocol in PROTOCOLS:
        for rule in (FedAvg(), Private(FedAvg(), clip=1.0, noise_multiplier=1.0)):
            row = measure(protocol(), rule, options.inputs, options.size)
            found.append(row)
            megabytes = " | ".join(
                f"{row[key] / 1e6:.1f}" for key in ("bytes_offline", "bytes_online")
            )
            name = type(rule).__name__
            print(
                f"| {row['protocol']} | {name} | {megabytes} | {row['rounds_online']} | "
                f"{row['seconds']:.1f} |"
            )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
