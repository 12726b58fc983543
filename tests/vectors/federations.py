"""Small federations in MPC: sampling, training, conversions, aggregation, evaluation, inference.

Everything that is trained is trained on shares or in the fixed-point arithmetic of the cleartext
protocol, never in floats, whose last bits depend on the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from wwfl import (
    SGD,
    Additive2PC,
    Aggregation,
    Cluster,
    FedAvg,
    FedAvgM,
    Federation,
    FLTrust,
    Group,
    Krum,
    Median,
    MultiKrum,
    NormClipping,
    Plain,
    Private,
    Replicated3PC,
    Schedule,
    Screened,
    Tetrad4PC,
    TrimmedMean,
    TrimmedMeanVariant,
    datasets,
)

from .programs import reals, words
from .recorder import SEED, Record, Recorder, books_of, cost_of, described, shares_of, tapped

SIDE, CLASSES, ROWS = 6, 3, 8
"""Pixels along a side, classes, and how many images a client has."""


def images(name: str, rows: int) -> datasets.Dataset:
    """Images and labels that follow from a name."""
    pixels = reals(name, rows, 1, SIDE, SIDE).astype(np.float32)
    labels = (words(f"{name} labels", rows) % np.uint64(CLASSES)).astype(np.int64)
    return datasets.Dataset(pixels, labels, name, "made by a formula", "", CLASSES)


def initialised(model: nn.Module) -> nn.Module:
    """The model with parameters that follow from their names."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(reals(name, *parameter.shape, low=-0.5, high=0.5)))
    return model


def small_lenet() -> nn.Module:
    return initialised(
        nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, CLASSES)
        )
    )


def regression() -> nn.Module:
    return initialised(nn.Sequential(nn.AvgPool2d(3), nn.Flatten(), nn.Linear(4, CLASSES)))


def three_protocols() -> Federation:
    """A small convolutional network at 2PC and 4PC, aggregated by 3PC.

    Four steps alike per cluster, so that the last one is repeated from a recording.
    """
    schedule = Schedule(
        samples_per_client=ROWS,
        clients_per_round=1,
        epochs=2,
        batch=4,
        sgd=SGD(0.1),
        min_clusters=2,
    )
    members = [Cluster(Additive2PC(), 2), Cluster(Tetrad4PC(), 2)]
    return Federation(
        small_lenet(), Replicated3PC(), members, FedAvg(), schedule=schedule, insecure_seed=SEED
    )


def hidden_sampling() -> Federation:
    """Nobody knows who takes part; a group between; data of two rounds."""
    schedule = Schedule(
        samples_per_client=ROWS,
        clients_per_round=1,
        epochs=1,
        batch=4,
        sgd=SGD(0.1, momentum=0.5),
        sampling="hidden",
        data_policy="window:2",
    )
    inner = Group(Replicated3PC(), [Cluster(Replicated3PC(), 2)], name="inner")
    members = [inner, Cluster(Tetrad4PC(), 2)]
    return Federation(regression(), Additive2PC(), members, schedule=schedule, insecure_seed=SEED)


def with_rule(rule: Aggregation) -> Federation:
    """A rule on the shares of 3PC; who trains does so in the clear, to save time."""
    schedule = Schedule(
        samples_per_client=ROWS, clients_per_round=1, epochs=1, batch=ROWS, sgd=SGD(0.1)
    )
    root = {"root": images("root", ROWS), "root_trainer": 0} if rule.needs_root else {}
    members = [Cluster(Plain(), 1) for _ in range(5)]
    return Federation(
        regression(),
        Replicated3PC(),
        members,
        rule,
        schedule=schedule,
        insecure_seed=SEED,
        allow_weaker=True,
        **root,
    )


RULES: dict[str, Callable[[], Aggregation]] = {
    "FedAvgM": FedAvgM,
    "NormClipping": lambda: NormClipping(0.1),
    "TrimmedMean": lambda: TrimmedMean(trim=1),
    "TrimmedMeanVariant": lambda: TrimmedMeanVariant(trim=1),
    "Median": Median,
    "Krum": lambda: Krum(1),
    "MultiKrum": lambda: MultiKrum(1, 2),
    "FLTrust": FLTrust,
    "Screened": lambda: Screened(FedAvg()),
    "Private": lambda: Private(FedAvg(), clip=1.0, noise_multiplier=0.1),
}

FEDERATIONS: dict[str, Callable[[], Federation]] = {
    "three protocols": three_protocols,
    "hidden sampling": hidden_sampling,
    **{f"rule {name}": (lambda make=make: with_rule(make())) for name, make in RULES.items()},
}
TWICE = ("hidden sampling", "rule FedAvgM")
"""What remembers something from round to round."""


def record_federation(name: str) -> Record:
    """One or two rounds; but for rules with evaluation and a private inference."""
    recorder = Recorder()
    with tapped(recorder), FEDERATIONS[name]() as fed:
        clients = [leaf.spec.clients for leaf in fed.tree.walk() if leaf.leaf is not None]
        train, test = images("train", ROWS * sum(clients)), images("test", 6)
        rows = iter(np.arange(len(train)).reshape(-1, ROWS).tolist())
        partition = [[next(rows) for _ in range(count)] for count in clients]
        whole = not name.startswith(
            "rule"
        )  # how a model is used does not depend on how it was aggregated
        history = fed.fit(
            train, test if whole else None, rounds=2 if name in TWICE else 1, partition=partition
        )
        labels = fed.predict(test.images[:2]) if whole else None
        results = {
            "model": shares_of(fed.current_model),
            "predicted": {"labels": described(labels)},
            "guarantee": {"of the model": str(fed.guarantee)},
            **{
                f"round {r.number}": {k: str(v) for k, v in r.to_json().items() if k != "seconds"}
                for r in history
            },
        }
        nodes = [fed.global_servers, *fed.clusters]
        books = {node.name: books_of(node) for node in nodes}
        results |= {
            f"cost of {stage} at {where}": _sums(cost)
            for (where, stage), cost in sorted(fed.costs.items())
        }
    return recorder.messages() | {"results": results, "books": books}


def _sums(cost: Any) -> Record:
    """What a stage cost; `books` tell it by link."""
    found = cost_of(cost)
    return {
        "rounds": found["rounds"],
        "modelled_s": found["modelled_s"],
        "bytes": str(cost.bytes_sent()),
    }
