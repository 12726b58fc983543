"""How different clients are in each partition, and what attacks make of their data.

    python -m benchmarks.data                          the digits in the package
    python -m benchmarks.data --data fashion-mnist --folder /usr/share/datasets/fashion-mnist
    python -m benchmarks.data --rates 0.01,0.1 --json FILE

10 clusters of 100 clients. Skew is the mean total variation distance between a client's (a
cluster's) label distribution and that of all. A surrogate is LeNet-5, trained on the data of all
malicious clients with the paper's parameters (50 epochs, batch 128, lr 0.05, momentum 0.9, weight
decay 5e-4); its accuracy is on the clean test set."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from wwfl.attacks import Held, Placement, attack, place, poison
from wwfl.attacks.dynamic import DynamicLabelFlip
from wwfl.data import partition, readers
from wwfl.data.dataset import Dataset
from wwfl.data.datasets import mnist
from wwfl.data.skew import label_counts, label_skew
from wwfl.federation.torch_reference import accuracy

from .machine import describe

CLUSTERS, CLIENTS = 10, 100
FLIPS = ("rlf", "tlf", "slf", "badnets")
Row = dict[str, Any]


def partitions(data: Dataset, per_client: int, seed: int) -> Iterator[Row]:
    """One row per partition."""
    shape, fair = (data, CLUSTERS, CLIENTS), len(data) // (CLUSTERS * CLIENTS)
    made = {
        f"iid, {fair} each": partition.iid(*shape, fair, seed),
        f"paper, {per_client} each": partition.paper(*shape, per_client, seed=seed),
        **{
            f"dirichlet, alpha {a:g}": partition.dirichlet(*shape, seed=seed, alpha=a)
            for a in (10.0, 1.0, 0.5, 0.1)
        },
        **{
            f"regions, alpha {a:g}": partition.regions(*shape, seed=seed, alpha=a)
            for a in (0.5, 0.1)
        },
        "shards, 2 each": partition.shards(*shape, seed=seed),
        "quantity, alpha 0.5": partition.quantity(*shape, seed=seed),
    }
    for name, parts in made.items():
        sizes = [len(client) for cluster in parts for client in cluster]
        yield {
            "partition": name,
            "samples, least": min(sizes),
            "median": float(np.median(sizes)),
            "most": max(sizes),
            "skew of clients": label_skew(label_counts(parts, data)),
            "skew of clusters": label_skew(
                label_counts([[np.concatenate(cluster)] for cluster in parts], data)
            ),
        }


def placements(rates: Sequence[float], seed: int) -> Iterator[Row]:
    """One row per placement and rate: malicious clients per cluster, most first."""
    for rate in rates:
        for rule in Placement:
            found = place([CLIENTS] * CLUSTERS, rate, rule, seed)
            yield {
                "placement": str(rule),
                "rate": rate,
                "malicious per cluster": sorted((len(cluster) for cluster in found), reverse=True),
            }


def flips(
    data: Dataset, parts: partition.Partition, rates: Sequence[float], seed: int
) -> Iterator[Row]:
    """One row per attack without a surrogate, and rate."""
    for rate in rates:
        for name in FLIPS:
            found = poison(data, parts, attack(name), rate=rate, placement="equal", seed=seed)
            ids = _ids(parts, found.malicious)
            yield {
                "attack": name,
                "rate": rate,
                "samples that malicious clients hold": len(np.unique(ids)),
                "of these relabelled": found.relabelled,
                "of these also held by honest clients": len(found.train) - len(data),
            }


def surrogates(
    data: Dataset, test: Dataset, parts: partition.Partition, rates: Sequence[float], seed: int
) -> Iterator[Row]:
    """One row per rate: how good the surrogate of dlf is, and what it makes of the labels."""
    for rate in rates:
        ids = _ids(parts, place([CLIENTS] * CLUSTERS, rate, "equal", seed))
        held = Held(data, np.unique(ids), ids)
        what, started = DynamicLabelFlip(), time.perf_counter()
        surrogate = what.surrogate(held, seed)
        seconds = time.perf_counter() - started
        labels = what.logits(surrogate, data.images[held.ids]).argmin(1)
        pairs = np.zeros((data.classes, data.classes), np.int64)
        np.add.at(pairs, (data.labels[held.ids], labels), 1)
        yield {
            "rate": rate,
            "pool": len(ids),
            "different samples": len(held.ids),
            "surrogate, % of the test set right": 100 * accuracy(surrogate, test),
            "relabelled %": 100 * float((labels != data.labels[held.ids]).mean()),
            "% with the commonest new label of their class": 100
            * float(pairs.max(1).sum() / pairs.sum()),
            "training s": seconds,
        }


def _ids(parts: partition.Partition, malicious: Sequence[Sequence[int]]) -> np.ndarray:
    held = [
        cluster[client] for cluster, bad in zip(parts, malicious, strict=True) for client in bad
    ]
    return np.concatenate(held)


def _print(console: Console, title: str, rows: list[Row]) -> None:
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(
            *(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values())
        )
    console.print(table)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="mnist", help=f"one of {', '.join(readers.READERS)}")
    parser.add_argument(
        "--folder", help="where the files are; without it, the digits in the package"
    )
    parser.add_argument(
        "--per-client", type=int, default=200, help="samples per client in the paper's partition"
    )
    parser.add_argument("--rates", default="0.01,0.1,0.2", help="poison rates")
    parser.add_argument(
        "--surrogate-rates",
        default="0.01,0.1",
        help="poison rates for which a surrogate is trained",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--json", metavar="FILE", help="write everything to FILE ('-' for standard output)"
    )
    args = parser.parse_args(argv)
    data, test = readers.read(args.data, args.folder) if args.folder else mnist()
    rates, surrogate_rates = (
        [float(r) for r in text.split(",") if r] for text in (args.rates, args.surrogate_rates)
    )
    parts = partition.paper(data, CLUSTERS, CLIENTS, args.per_client, seed=args.seed)
    tables = {
        "partitions": list(partitions(data, args.per_client, args.seed)),
        "placements": list(placements(rates, args.seed)),
        "flips": list(flips(data, parts, rates, args.seed)),
        "surrogates of dlf": list(surrogates(data, test, parts, surrogate_rates, args.seed)),
    }
    if args.json:
        text = json.dumps(
            {"machine": describe(), "train": data.describe(), "test": test.describe(), **tables},
            indent=1,
        )
        Path("/dev/stdout" if args.json == "-" else args.json).write_text(text + "\n")
        return
    console = Console(width=150)
    console.print(describe(), data.describe(), test.describe(), sep="\n")
    for title, rows in tables.items():
        if rows:
            _print(console, title, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
