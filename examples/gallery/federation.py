"""Three clusters that run three protocols train LeNet-5 as well as floats in the clear do.

The clusters aggregate at servers that run 2PC. The model is 61,706 numbers that no server ever
sees; after every round the servers open one number, how many test digits were right. Beside it the
same federation runs in floats without any secrecy, on the same batches.
"""

import sys
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from wwfl import (
    MLP,
    SGD,
    Additive2PC,
    Cluster,
    Federation,
    LeNet,
    Replicated3PC,
    Schedule,
    Tetrad4PC,
    datasets,
)


def main(quick: bool = False) -> Figure:
    train, test = datasets.mnist()
    rounds = 2 if quick else 6
    schedule = Schedule(
        samples_per_client=20 if quick else 100, epochs=1 if quick else 5, batch=20, sgd=SGD(0.1)
    )
    tested = test[:100] if quick else test[:1000]

    def train_with(engine: Literal["mpc", "float"]) -> list[float]:
        clusters = [Cluster(Additive2PC()), Cluster(Replicated3PC()), Cluster(Tetrad4PC())]
        model = MLP(1024, [8], 10) if quick else LeNet()
        with Federation(
            model, Additive2PC(), clusters, schedule=schedule, engine=engine, insecure_seed=7
        ) as fed:
            history = fed.fit(train, tested, rounds=rounds)
            print(
                f"{engine}: {', '.join(f'{r.accuracy:.1%}' for r in history)}; "
                f"protected against: {fed.guarantee}"
            )
        return [done.accuracy or 0.0 for done in history]

    private, clear = train_with("mpc"), train_with("float")

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    number = range(1, rounds + 1)
    axes.plot(number, clear, "o--", color="#999", label="floats, in the clear")
    axes.plot(number, private, "o-", color="#36c", label="2PC, 3PC and 4PC, on shares")
    axes.set(xlabel="round", ylabel=f"accuracy on {len(tested)} digits", ylim=(0, 1))
    axes.set_xticks(list(number))
    axes.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    main("--quick" in sys.argv).savefig(f"{Path(__file__).stem}.svg")
