"""Table 8: 500 rounds of LeNet-5 in WW-FL and in one cluster, derived from a measured round."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from .measured_round import (
    BATCH,
    CLIENTS,
    EPOCHS,
    GLOBAL,
    NETWORK,
    NUMBERS_PER_IMAGE,
    PAPER_BATCHES,
    PARAMETERS,
    SAMPLES,
    WORD,
    Trained,
    announce,
    copies,
    train_once,
)

ROUNDS, CLUSTERS, ALL_CLIENTS = 500, 10, 1000
PAPER = [
    {"system": "WW-FL (paper)", "hours": 43.83, "bytes": 26.45e12, "storage_bytes": 3.39e9},
    {
        "system": "one MPC cluster (paper)",
        "hours": 437.57,
        "bytes": 26.40e12,
        "storage_bytes": 3.33e9,
    },
    {
        "system": "Poseidon, 10 clients (paper)",
        "hours": 1.24,
        "bytes": 7.03e12,
        "storage_bytes": 3140e9,
    },
    {
        "system": "Poseidon, 50 clients (paper)",
        "hours": 126.26,
        "bytes": 3076e12,
        "storage_bytes": 105_469e9,
    },
    {
        "system": "Hercules, 10 clients (paper)",
        "hours": 0.43,
        "bytes": 0.18e12,
        "storage_bytes": 49e9,
    },
    {
        "system": "Hercules, 50 clients (paper)",
        "hours": 40.73,
        "bytes": 102.5e12,
        "storage_bytes": 823.5e9,
    },
]
FORMULAE = {
    "round_s": (
        "train_s + down_s + up_s + aggregate_s, with train_s = (125 / batches measured) x train_s "
        "measured"
    ),
    "WW-FL hours": "500 x round_s / 3600: clusters work side by side",
    "WW-FL bytes": "500 x (10 x (train + down + up) + aggregate) + 1000 x upload per client",
    "one cluster hours": (
        "500 x 10 x train_s / 3600: one cluster trains what ten did, one batch after the other"
    ),
    "one cluster bytes": "500 x 10 x train + 1000 x upload per client",
    "storage": (
        "8 bytes x words kept per number x (1000 x 200 images x 1034 numbers + a model), and a "
        "model at the top"
    ),
}
DIFFERENCES = (
    (
        "seconds: computed here on CPU cores + modelled network (see `wwfl reproduce round`); the "
        "paper measured on GPUs"
    ),
    "every batch of 80 costs the same bytes and rounds, so a few measured batches give those of "
    "125 exactly; seconds of computation are scaled the same way and carry the noise of this "
    "machine",
    "the systems other than WW-FL are the paper's numbers, run by nobody here",
)


def run(
    console: Console,
    *,
    full: bool,
    data: str | None = None,
    protocols: tuple[str, ...] = ("2pc", "3pc"),
) -> dict[str, Any]:
    """The table; a measured round has 5 batches, or all 125 with `full`."""
    samples, epochs = (SAMPLES, EPOCHS) if full else (SAMPLES // 5, 1)
    announce(
        console,
        (
            f"Table 8 from a measured round of {CLIENTS} clients x {samples} digits, {epochs} "
            f"epochs, batches of {BATCH}"
        ),
        *DIFFERENCES,
    )
    rows: list[dict[str, Any]] = []
    for protocol in protocols:
        trained = train_once(protocol, samples, epochs, console, data)
        rows += derive(trained, samples)
    console.print(_table([*PAPER, *rows]))
    for key, formula in FORMULAE.items():
        console.print(f"{key}: {formula}", highlight=False, markup=False)
    return {
        "what": (
            f"{ROUNDS} rounds, {CLUSTERS} clusters, {ALL_CLIENTS} clients x {SAMPLES} digits, "
            f"LeNet-5, {NETWORK}"
        ),
        "measured_batches": [row["measured_batches"] for row in rows],
        "formulae": FORMULAE,
        "differences": list(DIFFERENCES),
        "paper": PAPER,
        "rows": rows,
        "full_command": "wwfl reproduce table8 --full",
    }


def derive(trained: Trained, samples: int) -> list[dict[str, Any]]:
    """The two rows of a protocol from its measured round of `samples` digits per client."""
    scale = PAPER_BATCHES / trained.batches
    train_bytes = scale * trained.bytes_sent("train")
    train_s = scale * (trained.modelled_s("train") + trained.compute_s)
    other_s = sum(trained.modelled_s(stage) for stage in ("down", "up", "aggregate"))
    transfer = trained.bytes_sent("down") + trained.bytes_sent("up")
    upload = trained.bytes_sent("upload") / CLIENTS * SAMPLES / samples
    held = WORD * trained.copies
    images = held * ALL_CLIENTS * SAMPLES * NUMBERS_PER_IMAGE
    at_global = WORD * copies(GLOBAL) * PARAMETERS
    return [
        {
            "system": f"WW-FL, {trained.protocol} clusters",
            "hours": ROUNDS * (train_s + other_s) / 3600,
            "bytes": ROUNDS
            * (CLUSTERS * (train_bytes + transfer) + trained.bytes_sent("aggregate"))
            + ALL_CLIENTS * upload,
            "storage_bytes": images + CLUSTERS * held * PARAMETERS + at_global,
            "measured_batches": trained.batches,
        },
        {
            "system": f"one {trained.protocol} cluster",
            "hours": ROUNDS * CLUSTERS * train_s / 3600,
            "bytes": ROUNDS * CLUSTERS * train_bytes + ALL_CLIENTS * upload,
            "storage_bytes": images + held * PARAMETERS,
            "measured_batches": trained.batches,
        },
    ]


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"{ROUNDS} rounds, {ALL_CLIENTS} clients, LeNet-5 on MNIST", box=SIMPLE)
    table.add_column("system")
    for column in ("hours", "TB", "storage GB"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["system"],
            f"{row['hours']:.2f}",
            f"{row['bytes'] / 1e12:.2f}",
            f"{row['storage_bytes'] / 1e9:.2f}",
        )
    return table
