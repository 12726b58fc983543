"""LeNet on full MNIST at the scale of the WW-FL paper: 10 clusters x 100 clients, 10 of them per
cluster and round.

    python -m benchmarks.federation_scale FOLDER --engine simulate --rounds 10 --checkpoint RUN
    [--json FILE]

FOLDER holds the four IDX files. Each client has 200 samples, so that most samples are held by
several clients; 5 epochs in batches of 80, lr 0.05. With --checkpoint, a run that was stopped goes
on. One line of JSON per round."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from backends import Additive2PC, Replicated3PC
from wwfl import SGD, Cluster, Federation, Round, Schedule, datasets
from wwfl.data.partition import paper
from wwfl.nn import lenet5

CLUSTERS, CLIENTS, SAMPLES = 10, 100, 200
PAPER = Schedule(
    samples_per_client=SAMPLES, clients_per_round=10, epochs=5, batch=80, sgd=SGD(0.05)
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--engine", choices=["simulate", "float"], default="simulate")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint")
    parser.add_argument("--json", help="where to write all rounds")
    options = parser.parse_args()
    train, test = datasets.mnist(options.folder)

    def show(record: Round, fed: Federation) -> None:
        figures = {
            "round": record.number,
            "accuracy": record.accuracy,
            "seconds": round(record.seconds, 1),
        }
        print(json.dumps({"engine": options.engine, **figures}), flush=True)

    clusters = [Cluster(Replicated3PC(), CLIENTS, name=f"cluster-{k}") for k in range(CLUSTERS)]
    model = lenet5(options.seed)
    with Federation(
        model,
        Additive2PC(),
        clusters,
        engine=options.engine,
        schedule=PAPER,
        insecure_seed=options.seed,
    ) as fed:
        if options.checkpoint and (Path(options.checkpoint) / "state.json").exists():
            fed.restore(options.checkpoint)
        parts = paper(train, CLUSTERS, CLIENTS, SAMPLES, seed=options.seed)
        history = fed.fit(
            train,
            test,
            rounds=options.rounds,
            partition=parts,
            checkpoint=options.checkpoint,
            on_round=show,
        )
    if options.json:
        Path(options.json).write_text(json.dumps([record.to_json() for record in history]))


if __name__ == "__main__":
    main()
