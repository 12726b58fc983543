"""Training steps of whole networks on a GPU and on the CPU, in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from backends import Replicated3PC, Tetrad4PC
from wwfl.nn import lenet5, pool_first, trace
from wwfl_core import LocalCluster, MPCBackend, Phase
from wwfl_core.accelerate.cuda.device import cupy_launcher, require_device
from wwfl_core.accelerate.cuda.launch import Launcher

from .emulated import EMULATED, emulated_launcher
from .gpu_split import split
from .lenet_step import RECORDING, repeated

Task = tuple[Callable[[], nn.Sequential], tuple[int, ...], int]  # model, image, batch
PROTOCOLS: dict[str, Callable[[], MPCBackend]] = {"3pc": Replicated3PC, "4pc": Tetrad4PC}
VGG_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions


def vgg16() -> nn.Sequential:
    """VGG16 for 32 x 32 images without batch normalisation: float32 [n, 3, 32, 32] -> logits [n,
    10]."""
    layers: list[nn.Module] = []
    channels = 3
    for size, convolutions in VGG_BLOCKS:
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, size, 3, padding=1), nn.ReLU()]
            channels = size
        layers.append(nn.MaxPool2d(2))
    layers += [
        nn.Flatten(),
        nn.Linear(512, 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    ]
    return nn.Sequential(*layers)


NETWORKS: dict[str, Task] = {
    "LeNet-5": (lambda: lenet5(0), (1, 32, 32), 128),
    "VGG16-CIFAR10": (vgg16, (3, 32, 32), 32),
}


def measure(network: str, task: Task, protocol: str, device: str, repeats: int) -> dict[str, Any]:
    """One network in one protocol on one device: the median seconds of a step (repeated from its
    recording, as training does), its bytes and rounds; on a device also where the time of one more
    step went (`gpu_split`)."""
    build, image, batch = task
    torch.manual_seed(0)
    layers, initial = trace(build())
    layers = pool_first(layers)
    rng = np.random.default_rng(0)  # public: the time does not depend on the values
    images, labels = rng.random((batch, *image)), rng.integers(0, 10, batch)
    with LocalCluster(
        PROTOCOLS[protocol](), name=protocol, deadline_s=600.0, device=device
    ) as cluster:
        params = {key: cluster.share(value) for key, value in initial.items()}
        x, one_hot = cluster.share(images), cluster.share(np.eye(10)[labels])
        seconds: list[float] = []
        for _ in range(repeats + RECORDING):
            begun = time.perf_counter()
            cluster.run(repeated, layers, params, x, one_hot)
            seconds.append(time.perf_counter() - begun)
        cost = cluster.last_cost
        where = kernels_of(device)
        parts = where and split(lambda: cluster.run(repeated, layers, params, x, one_hot), *where)
        (memory,) = cluster.memory_report() or [None]
    return {
        "network": network,
        "batch": batch,
        "protocol": protocol,
        "device": device,
        "seconds": statistics.median(seconds[RECORDING:]),
        "seconds_first": seconds[0],
        "bytes_total": cost.bytes_sent(),
        "bytes_online": cost.bytes_sent(phase=Phase.ONLINE),
        "rounds": cost.rounds.get(Phase.ONLINE, 0),
        "split": parts,
        "memory": memory
        and {"used_bytes": memory.used_bytes, "reserved_bytes": memory.reserved_bytes},
    }


def kernels_of(device: str) -> tuple[Launcher, Any] | None:
    """The launcher and the array module of a device; None for the host."""
    if device == "cpu":
        return None
    if device == EMULATED:
        return emulated_launcher(), np
    return cupy_launcher(), require_device()


def row(network: str, task: Task, protocol: str, device: str, repeats: int) -> dict[str, Any]:
    """`measure`; what went wrong is a row, too: for example out of memory."""
    try:
        return measure(network, task, protocol, device, repeats)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"[:300]
        return {"network": network, "protocol": protocol, "device": device, "error": problem}
