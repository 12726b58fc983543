"""A secret wanders through clusters of four protocols, and nobody sees it on its way.

`reshare` turns shares of one protocol into shares of another. Servers of the source deal fresh
shares of what they hold to the servers of the target, so that no server, and not the caller, learns
the value. It arrives exactly as it left, and its guarantee is that of the weakest cluster on the
way. The picture shows what each kind of conversion sends.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from backends import Additive2PC, Additive2PCOT, Replicated3PC, Tetrad4PC
from reshare import reshare, reshare_with_report
from wwfl_core import LocalCluster


def main(quick: bool = False) -> Figure:
    count = 100 if quick else 10_000
    kinds = [Additive2PC, Additive2PCOT, Replicated3PC, Tetrad4PC]
    secret = np.random.default_rng(2).normal(size=count)
    sent = np.zeros((len(kinds), len(kinds)))

    for row, source in enumerate(kinds):
        for column, target in enumerate(kinds):
            with (
                LocalCluster(source(), name="here") as a,
                LocalCluster(target(), name="there") as b,
            ):
                report = reshare_with_report(a.share(secret), b, allow_weaker=True)
                assert np.abs(b.reveal(report.handle) - secret).max() < 1e-5
                sent[row, column] = report.cost.bytes_sent() / count

    with (
        LocalCluster(Tetrad4PC(), name="first") as a,
        LocalCluster(Replicated3PC(), name="second") as b,
    ):
        there = reshare(a.share(secret), b, allow_weaker=True)  # without it: refused, 3PC is weaker
        back = reshare(there, a)
        print("from 4PC to 3PC and back; the value is now protected against:", back.guarantee)

    figure = Figure(figsize=(5.2, 4), layout="constrained")
    axes = figure.subplots()
    names = [kind.name for kind in kinds]
    axes.imshow(sent, cmap="Blues", vmin=0, vmax=1.6 * sent.max())
    for (row, column), value in np.ndenumerate(sent):
        axes.text(column, row, f"{value:.0f}", ha="center", va="center")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="to", ylabel="from", title="bytes per number of 64 bits, all links")
    return figure


if __name__ == "__main__":
    main("--quick" in sys.argv).savefig(f"{Path(__file__).stem}.svg")
