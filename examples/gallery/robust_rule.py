"""Malicious clients flip labels; a robust rule at the servers does not care.

Of 100 clients in ten clusters some are malicious, and they sit together, so that whole clusters
are theirs (the worst that clients who only share data can do). The mean follows them; the trimmed
mean leaves out the most extreme models of every coordinate. The experiment runs in floats
(`engine="float"`): what the rules do on shares is the same, and is tested to be.
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from wwfl import (
    MLP,
    SGD,
    Cluster,
    FedAvg,
    Federation,
    Plain,
    Schedule,
    TrimmedMean,
    attack,
    datasets,
    poison,
)
from wwfl.data import partition


def main(quick: bool = False) -> Figure:
    train, test = datasets.mnist()
    rates = (0.0, 0.3) if quick else (0.0, 0.1, 0.2, 0.3, 0.4)
    schedule = Schedule(samples_per_client=50, clients_per_round=5, epochs=2, sgd=SGD(0.1))
    held = partition.iid(train, clusters=10, clients=10, per_client=50, seed=0)

    def accuracy(rule: FedAvg | TrimmedMean, rate: float) -> float:
        data, who = train, held
        if rate:
            bad = poison(train, held, attack("slf"), rate=rate, placement="cluster-focused", seed=0)
            data, who = bad.train, bad.partition
        with Federation(
            MLP(1024, [32], 10),
            Plain(),
            [Cluster(Plain(), clients=10)] * 10,
            rule,
            schedule=schedule,
            engine="float",
            insecure_seed=3,
        ) as fed:
            fed.fit(data, rounds=2 if quick else 8, partition=who)
            return fed.evaluate(test)

    rules = {"mean (FedAvg)": FedAvg(), "trimmed mean, 4 of each side": TrimmedMean(trim=4)}
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, rule in rules.items():
        right = [accuracy(rule, rate) for rate in rates]
        print(
            f"{name}: "
            + ", ".join(f"{r:.0%} malicious {a:.1%}" for r, a in zip(rates, right, strict=True))
        )
        axes.plot(rates, right, "o-", label=name)

    axes.set(xlabel="fraction of malicious clients", ylabel="accuracy", ylim=(0, 1))
    axes.legend(loc="lower left")
    return figure


if __name__ == "__main__":
    main("--quick" in sys.argv).savefig(f"{Path(__file__).stem}.svg")
