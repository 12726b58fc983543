"""One round of one cluster in real MPC at the paper's size: 10 clients x 200 digits, 125 batches of
80, LeNet-5."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from .measured_round import (
    BATCH,
    CLIENTS,
    EPOCHS,
    NETWORK,
    PAPER_BATCHES,
    SAMPLES,
    Trained,
    announce,
    train_once,
)

PAPER = {"bytes": 5.28e9, "seconds": 315.0}
DIFFERENCES = (
    "paper: CrypTen on a GPU (M60), its seconds are measured and contain the computation; here: "
    "computed on this machine's CPU cores with all parties on them, seconds on the network are "
    "modelled from the message dependencies and contain no computation",
    "bytes here: payload that all parties and the helper send, both phases, and beside it that of "
    "the party that sends most; the paper does not say which of these its figure counts, or "
    "whether its helper is in it",
    "digits: the 10,000 in the package (drawn from MNIST) unless --data names a folder",
)


def run(
    console: Console,
    *,
    full: bool,
    data: str | None = None,
    protocols: tuple[str, ...] | None = None,
    samples: int = SAMPLES,
    epochs: int = EPOCHS,
) -> dict[str, Any]:
    """The round in each protocol; `full` adds 4PC (malicious). `samples` and `epochs` below the
    paper's for tests."""
    chosen = protocols or (("2pc", "3pc", "4pc") if full else ("2pc", "3pc"))
    announce(
        console,
        (
            f"One training round of one cluster: {CLIENTS} clients x {samples} digits, {epochs} "
            f"epochs, batches of {BATCH}"
        ),
        *DIFFERENCES,
    )
    rows = [_row(train_once(name, samples, epochs, console, data)) for name in chosen]
    console.print(_table(rows))
    return {
        "what": (
            f"{CLIENTS} clients x {samples} digits, {epochs} epochs, batches of {BATCH}, LeNet-5, "
            f"{NETWORK}"
        ),
        "paper": PAPER,
        "paper_batches": PAPER_BATCHES,
        "differences": list(DIFFERENCES),
        "rows": rows,
        "full_command": "wwfl reproduce round --full",
    }


def _row(trained: Trained) -> dict[str, Any]:
    train = trained.stages["train"]
    total = trained.bytes_sent("train")
    return {
        "protocol": trained.protocol,
        "security": trained.guarantee,
        "batches": trained.batches,
        "bytes_offline": train["bytes_offline"],
        "bytes_online": train["bytes_online"],
        "bytes": total,
        "bytes_per_batch": total / trained.batches,
        "bytes_by_party": trained.by_party,
        "rounds": train["rounds_online"],
        "compute_s": trained.compute_s,
        "modelled_s_offline": train["modelled_s_offline"],
        "modelled_s_online": train["modelled_s_online"],
        "modelled_s": trained.modelled_s("train"),
        "upload_bytes_per_client": trained.bytes_sent("upload") / CLIENTS,
        "model_up_bytes": trained.bytes_sent("up"),
        "stages": asdict(trained)["stages"],
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        title=f"training, all parties; network modelled at {NETWORK}",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("")
    for column in (
        "batches",
        "offline GB",
        "online GB",
        "all GB",
        "one party GB",
        "rounds",
        "computed s",
        "network s",
        "sum s",
    ):
        table.add_column(column, justify="right")
    paper = (f"{PAPER['bytes'] / 1e9:.2f}", f"{PAPER['seconds']:.0f}")
    table.add_row("paper", str(PAPER_BATCHES), "", "", paper[0], "", "", "", "", paper[1])
    for row in rows:
        sizes = [row[key] for key in ("bytes_offline", "bytes_online", "bytes")]
        gigabytes = [f"{size / 1e9:.2f}" for size in (*sizes, max(row["bytes_by_party"].values()))]
        seconds = (row["compute_s"], row["modelled_s"], row["compute_s"] + row["modelled_s"])
        table.add_row(
            row["protocol"],
            str(row["batches"]),
            *gigabytes,
            f"{row['rounds']:.0f}",
            *(f"{s:.0f}" for s in seconds),
        )
    return table
