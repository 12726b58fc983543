"""Training steps of whole networks on a GPU and on the CPU, in the same run."""

from __future__ import annotations

import inspect
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from backends import Replicated3PC, Tetrad4PC
from wwfl.nn.models import lenet5
from wwfl.nn.trace import pool_first, trace
from wwfl_core import LocalCluster, MPCBackend, Phase

from .lenet_step import step

PROTOCOLS: dict[str, Callable[[], MPCBackend]] = {"3pc": Replicated3PC, "4pc": Tetrad4PC}
VGG_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions


def vgg16() -> nn.Sequential:
    """VGG16 for 32 x 32 images without batch normalisation: float32 [n, 3, 32, 32] -> logits [n, 10]."""
    layers: list[nn.Module] = []
    channels = 3
    for size, convolutions in VGG_BLOCKS:
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, size, 3, padding=1), nn.ReLU()]
            channels = size
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)]
    return nn.Sequential(*layers)


NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, ...], int]] = {  # model, image, batch
    "LeNet-5": (lambda: lenet5(0), (1, 32, 32), 128),
    "VGG16-CIFAR10": (vgg16, (3, 32, 32), 32),
}


def available() -> bool:
    """Whether clusters can keep their shares on a device."""
    return "device" in inspect.signature(LocalCluster.__init__).parameters


def measure(network: str, protocol: str, device: str, repeats: int) -> dict[str, Any]:
    """One network in one protocol on one device: the median seconds of a step, its bytes and rounds."""
    build, image, batch = NETWORKS[network]
    torch.manual_seed(0)
    layers, initial = trace(build())
    layers = pool_first(layers)
    rng = np.random.default_rng(0)  # public: the time does not depend on the values
    images, labels = rng.random((batch, *image)), rng.integers(0, 10, batch)
    options: dict[str, Any] = {"device": device} if available() else {}
    with LocalCluster(PROTOCOLS[protocol](), name=f"{protocol}-{device}", deadline_s=600.0, **options) as cluster:
        params = {key: cluster.share(value) for key, value in initial.items()}
        x, one_hot = cluster.share(images), cluster.share(np.eye(10)[labels])
        seconds: list[float] = []
        for _ in range(repeats + 1):
            begun = time.perf_counter()
            cluster.run(step, layers, params, x, one_hot)
            seconds.append(time.perf_counter() - begun)
        cost = cluster.last_cost
    return {
        "network": network,
        "batch": batch,
        "protocol": protocol,
        "device": device,
        "seconds": statistics.median(seconds[1:]),
        "seconds_first": seconds[0],
        "bytes_total": cost.bytes_sent(),
        "bytes_online": cost.bytes_sent(phase=Phase.ONLINE),
        "rounds": cost.rounds.get(Phase.ONLINE, 0),
    }


def rows(networks: Sequence[str], devices: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """All combinations; on the CPU one repeat is enough, as a step of VGG16 takes minutes there."""
    found: list[dict[str, Any]] = []
    for network in networks:
        for protocol in PROTOCOLS:
            for device in devices:
                try:
                    found.append(measure(network, protocol, device, 1 if device == "cpu" else repeats))
                except Exception as error:  # for example out of memory: the other rows still count
                    problem = f"{type(error).__name__}: {error}"[:300]
                    found.append({"network": network, "protocol": protocol, "device": device, "error": problem})
    return found
