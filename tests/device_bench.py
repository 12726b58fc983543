"""What device tests share: a bench on a device that keeps every message, and a small LeNet."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np

from wwfl.nn import SGD, Network, Params, gradients, spec
from wwfl_core import LocalCluster, Session, SharedTensor
from wwfl_core.channel.frames import Frame
from wwfl_core.numbers.arrays import Array, on_host, to_host
from wwfl_core.party.verification import CHECK_LABELS
from wwfl_core.testing.bench import Bench

SEED = 11
CONTROL = (*CHECK_LABELS, "open", "keys", "coin", "coin.ok", "coin.r", "restore")
"""Messages of these operations may be digests and verdicts, which stay on the host."""

Message = tuple[str, int, str, tuple[int, ...], bytes]


@dataclass
class Log:
    """Everything that was sent, per link in order: operation, number, dtype, shape and a hash of
    the bytes."""

    messages: dict[tuple[str, str], list[Message]] = field(
        default_factory=lambda: defaultdict(list)
    )
    from_host: set[str] = field(default_factory=set)  # operations that sent NumPy arrays

    def __call__(self, sender: str, receiver: str, frame: Frame) -> Frame:
        payload = frame.payload
        digest = sha256(to_host(payload).tobytes()).digest()
        self.messages[sender, receiver].append(
            (frame.tag.name, frame.tag.op, payload.dtype.str, tuple(payload.shape), digest)
        )
        if on_host(payload) and frame.tag.name not in CONTROL:
            self.from_host.add(frame.tag.name)
        return frame


@dataclass(frozen=True)
class DeviceBench(Bench):
    """The kit's bench on a device, with equal keys on all devices."""

    device: str = "cpu"
    log: Log = field(default_factory=Log)

    def cluster(
        self,
        *,
        name: str | None = None,
        insecure_seed: int | None = None,
        deadline_s: float = 120.0,
    ) -> LocalCluster:
        seed = SEED if insecure_seed is None else insecure_seed
        c = LocalCluster(
            self.factory(),
            name=name or "c",
            insecure_seed=seed,
            deadline_s=120.0,
            device=self.device,
        )
        c.memory.tamper = self.log
        return c


LAYERS: list[spec.Layer] = [
    spec.Conv2d("0", (2, 1, 3, 3), 1, 0, True),
    spec.MaxPool2d("1", 2, 2),
    spec.ReLU("2"),
    spec.Conv2d("3", (3, 2, 2, 2), 1, 0, True),
    spec.AvgPool2d("4", 2, 2),
    spec.ReLU("5"),
    spec.Flatten("6"),
    spec.Linear("7", (4, 3), True),
]
"""LeNet in small: 8x8 images, four classes."""


def lenet_inputs() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Parameters, two images and their one-hot labels; public test values."""
    g = np.random.default_rng(5)
    params = {
        name: g.normal(size=shape) / 3 for name, shape in spec.parameter_shapes(LAYERS).items()
    }
    return params, g.normal(size=(2, 1, 8, 8)), np.eye(4)[[1, 2]]


def lenet_step(
    mpc: Session, params: Params, images: SharedTensor, one_hot: SharedTensor
) -> list[tuple[bool, dict[int, Array]]]:
    """Forward, softmax, backward, update. Of every gradient and new parameter, this party's
    components, and whether they were where the party works."""
    grads = gradients(Network(LAYERS), params, images, one_hot)
    new, _ = SGD(0.1).update(params, grads, None, 2)
    host = mpc.party.device.name == "cpu"
    found: list[Any] = [*grads.values(), *new.values()]
    return [
        (all(on_host(a) == host for a in t.data.parts.values()), dict(t.data.parts)) for t in found
    ]


def lenet_outcomes(
    factory: Any, device: str
) -> tuple[list[list[tuple[bool, dict[int, Array]]]], Log, LocalCluster]:
    """What every party holds after one step on a device, and what was sent."""
    params, images, one_hot = lenet_inputs()
    bench = DeviceBench(factory, device=device)
    with bench.cluster() as c:
        shared = {name: c.share(value) for name, value in params.items()}
        x, y = c.share(images), c.share(one_hot)
        outcomes = c.submit(lenet_step, shared, x, y).outcomes()
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
    return [o.value for o in outcomes], bench.log, c
