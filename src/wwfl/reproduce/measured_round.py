"""What several reproductions share: one cluster's round of training, measured."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress

from wwfl.experiments import Config, parse, prepare_data, start_federation
from wwfl.federation import Federation
from wwfl_core.channel import Phase
from wwfl_core.protocol import resolve

BATCH, EPOCHS, CLIENTS, SAMPLES = 80, 5, 10, 200
PAPER_BATCHES = CLIENTS * SAMPLES * EPOCHS // BATCH
PARAMETERS = 61_706
WORD = 8  # bytes of a ring element
NUMBERS_PER_IMAGE = 32 * 32 + 10  # pixels and a one-hot label
NETWORK = "1 Gbps, 20 ms"
GLOBAL = "2pc"  # the global servers


@dataclass(frozen=True)
class Trained:
    """One round of one cluster with LeNet-5: totals per stage, all parties; `batches` of 80 were
    trained.

    `copies`: how many ring elements all servers together keep for one shared number.
    """

    protocol: str
    guarantee: str
    batches: int
    took_s: float
    compute_s: float
    stages: dict[str, dict[str, float]]
    by_party: dict[str, int]
    copies: int

    def bytes_sent(self, stage: str) -> float:
        """Payload of a stage, both phases."""
        return self.stages[stage]["bytes_offline"] + self.stages[stage]["bytes_online"]

    def modelled_s(self, stage: str) -> float:
        """Seconds of a stage on the modelled network, one phase after the other."""
        return self.stages[stage]["modelled_s_offline"] + self.stages[stage]["modelled_s_online"]


def train_once(
    protocol: str, samples: int, epochs: int, console: Console, data: str | None = None
) -> Trained:
    """One round of one cluster: `CLIENTS` clients with `samples` digits each, batches of 80."""
    config = _config(protocol, samples, epochs, data)
    held = prepare_data(config)
    with start_federation(config, held) as federation:
        with Progress(console=console, transient=True) as bars:
            task = bars.add_task(f"{protocol}, batches of {BATCH}", total=None)

            def show(_: str, stage: str, done: int, total: int) -> None:
                if stage == "train":
                    bars.update(task, completed=done, total=total)

            begun = time.monotonic()
            federation.fit(held.train, rounds=1, partition=held.partition, progress=show)
            took = time.monotonic() - begun
        return _measured(protocol, federation, took)


def _config(protocol: str, samples: int, epochs: int, data: str | None) -> Config:
    folder = "" if data is None else f"folder = {data!r}"
    return parse(
        f"""
        [data]
        {folder}
        [federation]
        insecure_seed = 0
        [federation.servers]
        protocol = "{GLOBAL}"
        [[federation.clusters]]
        name = "cluster"
        protocol = "{protocol}"
        clients = {CLIENTS}
        [schedule]
        rounds = 1
        samples_per_client = {samples}
        clients_per_round = {CLIENTS}
        epochs = {epochs}
        batch = {BATCH}
        """
    )


def _measured(protocol: str, federation: Federation, took_s: float) -> Trained:
    stages: dict[str, dict[str, float]] = {}
    for (where, stage), cost in federation.costs.items():
        key = {"cluster -> global": "up", "global -> cluster": "down"}.get(where, stage)
        if where == "global" and stage == "upload":
            key = "initial model"
        stages[key] = {
            "measured_s": federation.seconds[where, stage],
            **{f"bytes_{p.value}": cost.bytes_sent(phase=p) for p in Phase},
            **{f"rounds_{p.value}": cost.rounds.get(p, 0) for p in Phase},
            **{f"modelled_s_{p.value}": cost.modelled_s.get(p, 0.0) for p in Phase},
        }
    batches = len(federation.history[-1].batches[0])
    compute = stages["train"]["measured_s"]
    training = federation.costs["cluster", "train"]
    sent = {
        sender: training.bytes_sent(sender=sender)
        for sender in sorted({link.sender for link in training.links})
    }
    sharing = resolve(protocol)().sharing
    return Trained(
        protocol, str(sharing.security), batches, took_s, compute, stages, sent, copies(protocol)
    )


def copies(protocol: str) -> int:
    """How many words all servers together keep for one shared number."""
    return sum(len(holders) for holders in resolve(protocol)().sharing.holders)


def announce(console: Console, title: str, *lines: str) -> None:
    """The head of a reproduction: what was run, on how much data, where it differs."""
    console.print(f"[bold]{title}[/bold]")
    for line in lines:
        console.print(line, highlight=False)
