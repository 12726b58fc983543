"""What a number costs to multiply, to compare and to rectify, in every protocol.

Bytes and rounds depend on shapes only, not on the machine: the simulator counts every message, and
its virtual clocks tell which ones wait for which. The same figures, for all operations, are on the
page [What operations cost](../reference/costs.md), and tests hold the protocols to them.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from backends import Additive2PC, Additive2PCOT, Replicated3PC, Tetrad4PC
from wwfl_core import LocalCluster, Phase

OPERATIONS = {
    "product": lambda mpc, x, y: x * y,
    "matrix product": lambda mpc, x, y: x @ y,
    "comparison": lambda mpc, x, y: x < y,
    "ReLU": lambda mpc, x, y: x.relu(),
}


def main(quick: bool = False) -> Figure:
    protocols = [Additive2PC(), Replicated3PC(), Tetrad4PC()] + ([] if quick else [Additive2PCOT()])
    size = 8 if quick else 64
    values = np.random.default_rng(4).normal(size=(size, size))

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    traffic, waiting = figure.subplots(1, 2)
    width = 0.8 / len(protocols)
    for index, protocol in enumerate(protocols):
        sent, rounds = [], []
        with LocalCluster(protocol) as c:
            for name, operation in OPERATIONS.items():
                c.run(operation, c.share(values), c.share(values))
                sent.append(c.last_cost.bytes_sent() / size**2)
                rounds.append(c.last_cost.rounds[Phase.ONLINE])
                print(
                    f"{protocol.name}, {name}: {sent[-1]:.0f} bytes per number, {rounds[-1]} rounds"
                )
        places = np.arange(len(OPERATIONS)) + index * width
        traffic.bar(places, sent, width, label=protocol.name)
        waiting.bar(places, rounds, width)

    traffic.set(yscale="log", title="bytes per number, all servers, with offline")
    waiting.set(title="rounds after the inputs are known")
    for axes in (traffic, waiting):
        axes.set_xticks(np.arange(len(OPERATIONS)) + 0.4 - width / 2, list(OPERATIONS), fontsize=8)
    figure.legend(*traffic.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


if __name__ == "__main__":
    main("--quick" in sys.argv).savefig(f"{Path(__file__).stem}.svg")
