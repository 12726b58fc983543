"""What it costs to decide which models of an ensemble may vote: LeNets that classify the servers'
root set.

    python -m benchmarks.ensemble [--models 3] [--images 100]

Bytes are exact: payload of all parties, offline and online. Seconds are measured, all parties on
this machine."""

from __future__ import annotations

import argparse
import time

import numpy as np

from backends import Additive2PC, Replicated3PC, Tetrad4PC
from benchmarks.machine import describe
from wwfl.data.datasets import mnist
from wwfl.federation import one_hot
from wwfl.federation import server_programs as programs
from wwfl.nn import Model, models, trace
from wwfl_core import LocalCluster, MPCBackend, Phase

PROTOCOLS = (Additive2PC, Replicated3PC, Tetrad4PC)


def measure(protocol: MPCBackend, count: int, images: int) -> str:
    """A line of the table."""
    layers, initial = trace(models.lenet5(0))
    model = Model.of(layers)
    flat = np.concatenate([value.reshape(-1) for value in initial.values()])
    root = mnist()[0][:images]
    with LocalCluster(protocol) as c:
        voters = [c.share(flat) for _ in range(count)]
        rows = c.share(root.images), c.share(one_hot(root.labels, 10))
        begun = time.perf_counter()
        c.run(programs.validate, model, voters, *rows, 100, images // 2)
        seconds, cost = time.perf_counter() - begun, c.last_cost
    offline, online = (
        cost.bytes_sent(phase=phase) / 1e6 for phase in (Phase.OFFLINE, Phase.ONLINE)
    )
    return (
        f"| {protocol.name} | {offline:.1f} | {online:.1f} | {cost.rounds[Phase.ONLINE]} | "
        f"{seconds:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--images", type=int, default=100)
    options = parser.parse_args()
    print(describe())
    print(f"{options.models} LeNets, a root set of {options.images} images\n")
    print("| protocol | MB offline | MB online | rounds online | seconds |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for protocol in PROTOCOLS:
        print(measure(protocol(), options.models, options.images), flush=True)


if __name__ == "__main__":
    main()
