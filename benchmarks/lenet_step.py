"""One LeNet-5 training step in every protocol, beside plain PyTorch.

    python -m benchmarks.lenet_step --json -

Batch 80, 20 fractional bits, max-pool, softmax cross-entropy, all parties as threads of one
process. A step is forward, loss gradient, backward and update; sharing of inputs and compilation
are not timed. `seconds` is the median of the repeats, `bytes_total` what all parties (the helper
included) sent in one step, offline and online; `gradient_error` compares every layer's gradient
with float64 PyTorch (relative L2; the worst layer is named)."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from wwfl.data.datasets import mnist
from wwfl.nn import SGD, Layer, Network, Params, gradients, lenet5, pool_first, trace
from wwfl_core import LocalCluster, MPCBackend, Phase, Session, SharedTensor, recorded

from .machine import describe

BATCH, LR = 80, 0.05
PROTOCOLS: dict[str, Callable[[], MPCBackend]] = {
    "plain": Plain,
    "2pc": Additive2PC,
    "3pc": Replicated3PC,
    "4pc": Tetrad4PC,
}


def step(
    mpc: Session, layers: list[Layer], params: Params, x: SharedTensor, one_hot: SharedTensor
) -> tuple[Params, Params]:
    """Forward, backward, update: gradients (summed over the batch) and the new parameters."""
    grads = gradients(Network(layers), params, x, one_hot)
    return grads, SGD(LR).update(params, grads, None, BATCH)[0]


repeated = recorded(step)
RECORDING = 3
"""Runs of `repeated` before it is a repetition."""


def reference(
    images: np.ndarray, labels: np.ndarray, dtype: torch.dtype, repeats: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """PyTorch's time for the step, and its gradients of the summed loss."""
    model = lenet5(0).to(dtype)
    x, y = torch.tensor(images, dtype=dtype), torch.tensor(labels)
    seconds = []
    for _ in range(repeats + 1):
        model.zero_grad()
        begun = time.perf_counter()
        torch.nn.functional.cross_entropy(model(x), y, reduction="sum").backward()
        with torch.no_grad():
            for p in model.parameters():
                assert p.grad is not None
                p.sub_(
                    p.grad, alpha=0.0
                )  # the update's cost, without moving away from the initial model
        seconds.append(time.perf_counter() - begun)
    grads = {
        n: p.grad.double().numpy().copy() for n, p in model.named_parameters() if p.grad is not None
    }
    row = {
        "protocol": f"pytorch {str(dtype).rsplit('.', 1)[-1]}",
        "seconds": statistics.median(seconds[1:]),
    }
    return {**row, "bytes_total": 0, "rounds": 0}, grads


def measure(
    name: str, images: np.ndarray, labels: np.ndarray, exact: dict[str, np.ndarray], repeats: int
) -> dict[str, Any]:
    """One protocol's row."""
    layers, initial = trace(lenet5(0))
    layers = pool_first(layers)
    with LocalCluster(PROTOCOLS[name](), name=name) as cluster:
        params = {key: cluster.share(value) for key, value in initial.items()}
        x, one_hot = cluster.share(images), cluster.share(np.eye(10)[labels])
        seconds: list[float] = []
        ordinary: list[float] = []
        grads: dict[str, Any] = {}
        for program, warm_up, found in ((step, 1, ordinary), (repeated, RECORDING, seconds)):
            for _ in range(repeats + warm_up):
                begun = time.perf_counter()
                grads, _ = cluster.run(program, layers, params, x, one_hot)
                found.append(time.perf_counter() - begun)
            del found[:warm_up]
        cost = cluster.last_cost
        errors = {
            key: float(
                np.linalg.norm(cluster.reveal(g, "benchmark") - exact[key])
                / np.linalg.norm(exact[key])
            )
            for key, g in grads.items()
        }
    worst = max(errors, key=lambda key: errors[key])
    return {
        "protocol": name,
        "seconds": statistics.median(seconds),
        "seconds_min": min(seconds),
        "seconds_ordinary": statistics.median(ordinary),
        "bytes_total": cost.bytes_sent(),
        "bytes_online": cost.bytes_sent(phase=Phase.ONLINE),
        "bytes_offline": cost.bytes_sent(phase=Phase.OFFLINE),
        "rounds": cost.rounds.get(Phase.ONLINE, 0),
        "gradient_error": errors[worst],
        "gradient_error_layer": worst,
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the rows to FILE ('-' for standard output)"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--protocols", default="plain,2pc,3pc,4pc")
    args = parser.parse_args(argv)
    train, _ = mnist()
    images, labels = train.images[:BATCH].astype(np.float64), train.labels[:BATCH]
    exact_row, exact = reference(images, labels, torch.float64, args.repeats)
    rows = [reference(images, labels, torch.float32, args.repeats)[0], exact_row]
    rows += [
        measure(name, images, labels, exact, args.repeats) for name in args.protocols.split(",")
    ]
    out = sys.stderr if args.json == "-" else sys.stdout
    print(f"LeNet-5 training step, batch {BATCH}: {describe()}", file=out)
    for row in rows:
        text = f"{row['protocol']:>16}  {row['seconds']:.4f} s  {row['bytes_total'] / 1e6:7.1f} MB"
        text += f"  {row['rounds']:4} rounds"
        if "gradient_error" in row:
            text += f"  {row['seconds_ordinary']:.4f} s before it is recorded"
            text += f"  gradient error {row['gradient_error']:.2e} ({row['gradient_error_layer']})"
        print(text, file=out)
    if args.json:
        text = json.dumps(rows, indent=1)
        if args.json == "-":
            print(text)
        else:
            Path(args.json).write_text(text + "\n")


if __name__ == "__main__":
    main()
