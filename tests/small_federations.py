"""Small federations of every kind, for tests; as a program, one that kills itself while it trains.

    python small_federations.py KIND ENGINE FOLDER ROUNDS DELAY_S

trains with checkpoints in FOLDER (going on where the last one stopped) and dies DELAY_S after
training began."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from wwfl import SGD, Cluster, Ensemble, FedAvg, Federation, Group, LocalTrainers, Schedule
from wwfl.aggregation import Inputs
from wwfl.data.datasets import Dataset, mnist
from wwfl.nn import mlp
from wwfl_core import SharedTensor

SMALL = Schedule(samples_per_client=20, clients_per_round=2, epochs=2, batch=20, sgd=SGD(0.5))


class Remembering(FedAvg):
    """FedAvg that moves halfway from its last result, which it remembers: a rule with a memory."""

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        mean = super().aggregate(inputs)
        last = inputs.memory.get("last", inputs.current)
        inputs.memory["last"] = mean
        return (mean + last) * 0.5


def digits(rows: int = 400, test: int = 60) -> tuple[Dataset, Dataset]:
    """Real digits, 8x8 pixels."""
    train, rest = mnist()
    return train[:rows].pooled(4), rest[:test].pooled(4)


def model() -> nn.Module:
    return mlp(64, [8], 10, seed=1)


def flat(kind: dict[str, Any]) -> Federation:
    members = [Cluster(Replicated3PC(), 3), Cluster(Additive2PC(), 3), Cluster(Tetrad4PC(), 3)]
    return Federation(model(), Additive2PC(), members, **({"schedule": SMALL} | kind))


def hidden(kind: dict[str, Any]) -> Federation:
    members = [Cluster(Replicated3PC(), 4), Cluster(Tetrad4PC(), 4)]
    schedule = dataclasses.replace(SMALL, epochs=1, sampling="hidden", data_policy="window:2")
    return Federation(model(), Additive2PC(), members, **({"schedule": schedule} | kind))


def deep(kind: dict[str, Any]) -> Federation:
    inner = Group(Replicated3PC(), [Cluster(Replicated3PC(), 3), LocalTrainers(3)], name="inner")
    outer = Group(Additive2PC(), [inner, Cluster(Additive2PC(), 3)], name="outer")
    return Federation(
        model(), Additive2PC(), [outer, LocalTrainers(3)], **({"schedule": SMALL} | kind)
    )


def remembering(kind: dict[str, Any]) -> Federation:
    inner = Group(Replicated3PC(), [Cluster(Replicated3PC(), 3)], Remembering(), name="inner")
    members = [inner, Cluster(Additive2PC(), 3)]
    return Federation(
        model(), Additive2PC(), members, Remembering(), **({"schedule": SMALL} | kind)
    )


def voting(kind: dict[str, Any]) -> Federation:
    members = [Cluster(Replicated3PC(), 3), LocalTrainers(2)]
    return Federation(model(), Replicated3PC(), members, Ensemble(), **({"schedule": SMALL} | kind))


def single(kind: dict[str, Any]) -> Federation:
    return Federation(model(), Plain(), [LocalTrainers(4)], **({"schedule": SMALL} | kind))


KINDS: dict[str, Callable[[dict[str, Any]], Federation]] = {
    f.__name__: f for f in (flat, hidden, deep, remembering, voting, single)
}


def make(kind: str, engine: str, **options: Any) -> Federation:
    """A small federation from seed 3."""
    return KINDS[kind]({"engine": engine, "insecure_seed": 3, "deadline_s": 60} | options)


def weights(fed: Federation) -> bytes:
    """The global model, exactly as the servers have it."""
    return np.asarray(fed.global_servers.reveal(fed.current_model, "test")).tobytes()


def train_until_killed(kind: str, engine: str, folder: str, rounds: int, delay_s: float) -> None:
    def die() -> None:
        time.sleep(delay_s)
        os.kill(os.getpid(), signal.SIGKILL)

    train, test = digits()
    with make(kind, engine) as fed:
        if (Path(folder) / "federation.state").exists():
            fed.restore(folder)
        threading.Thread(target=die, daemon=True).start()
        fed.fit(train, test, rounds=rounds, checkpoint=folder)


if __name__ == "__main__":
    train_until_killed(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
