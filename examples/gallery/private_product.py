"""Two parties multiply matrices that they do not show each other, in three protocols.

One owner has `x`, another one `y`. The servers compute on shares, and only the product is opened:
`c.ledger` lists everything that was. What the same program costs depends on the protocol, and on
nothing else: no line of it knows which one runs.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from backends import Additive2PC, Replicated3PC, Tetrad4PC
from wwfl_core import LocalCluster, Phase, Session


def product(mpc: Session, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Runs at every server; the first server brings x, the second one y."""
    a, b = mpc.share(x, owner=0), mpc.share(y, owner=1)
    return mpc.reveal(a @ b)


def main(quick: bool = False) -> Figure:
    size = 16 if quick else 128
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(size, size)), rng.normal(size=(size, size))

    names, offline, online = [], [], []
    for protocol in (Additive2PC(), Replicated3PC(), Tetrad4PC()):
        with LocalCluster(protocol) as c:
            z = c.run(product, x, y)
            cost, opened = c.last_cost, len(c.ledger)
        error = np.abs(z - x @ y).max()
        names.append(protocol.name)
        offline.append(cost.bytes_sent(phase=Phase.OFFLINE) / 1e6)
        online.append(cost.bytes_sent(phase=Phase.ONLINE) / 1e6)
        print(
            f"{protocol.name}: largest error {error:.1e}, opened {opened} time(s), "
            f"{offline[-1]:.3f} MB before and {online[-1]:.3f} MB after the inputs are known, "
            f"{cost.rounds[Phase.ONLINE]} rounds"
        )
        assert error < 1e-3

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, offline, label="before the inputs are known")
    axes.barh(names, online, left=offline, label="after")
    axes.set_xlabel(f"MB sent by all servers for a {size} x {size} product")
    axes.invert_yaxis()
    axes.legend()
    return figure


if __name__ == "__main__":
    main("--quick" in sys.argv).savefig(f"{Path(__file__).stem}.svg")
