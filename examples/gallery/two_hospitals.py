"""Two clinics train one classifier, and neither sees the other's patients.

Each clinic has images of two kinds (here: handwritten threes and eights), but hardly any of the
other clinic's kind. Alone, each learns to say "mine". They share their images with a cluster of
three servers, which trains logistic regression on shares; a fourth party gets only the answers.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from wwfl import (
    SGD,
    Cluster,
    Federation,
    LogisticRegression,
    Plain,
    Replicated3PC,
    Schedule,
    datasets,
)


def main(quick: bool = False) -> Figure:
    train, test = datasets.mnist()
    threes, eights = (np.flatnonzero(train.labels == digit) for digit in (3, 8))
    many, few = (40, 3) if quick else (200, 8)
    clinics = [
        np.concatenate([threes[:many], eights[:few]]),
        np.concatenate([threes[many : many + few], eights[few : few + many]]),
    ]
    chosen = test.take(np.flatnonzero(np.isin(test.labels, (3, 8)))[: 60 if quick else None])

    def accuracy(name: str, holders: list[int], protocol: Plain | Replicated3PC) -> float:
        """Trains on what these clinics hold."""
        size = len(clinics[0])
        schedule = Schedule(
            samples_per_client=size,
            clients_per_round=len(holders),
            epochs=4,
            batch=20,
            sgd=SGD(0.05),
        )
        cluster = Cluster(protocol, clients=len(holders))
        with Federation(
            LogisticRegression(1024, 10), protocol, [cluster], schedule=schedule, insecure_seed=1
        ) as fed:
            fed.fit(train, rounds=1, partition=[[clinics[k] for k in holders]])
            right = fed.evaluate(chosen)
        print(f"{name}: {right:.1%} of {len(chosen)} threes and eights")
        return right

    right = {
        "clinic A alone": accuracy("clinic A alone", [0], Plain()),
        "clinic B alone": accuracy("clinic B alone", [1], Plain()),
        "together, in the clear": accuracy("together, in the clear", [0, 1], Plain()),
        "together, on shares": accuracy("together, on shares", [0, 1], Replicated3PC()),
    }

    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(right), list(right.values()), color=["#999", "#999", "#7a9", "#36c"])
    axes.set(xlim=(0, 1), xlabel="accuracy on images of both kinds")
    axes.invert_yaxis()
    return figure


if __name__ == "__main__":
    main("--quick" in sys.argv).savefig(f"{Path(__file__).stem}.svg")
