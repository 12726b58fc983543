"""Two clients, two clusters, global servers: one round of WW-FL in real protocols, and what every
server sees of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from backends import Additive2PC, Replicated3PC
from reshare import reshare
from wwfl.aggregation import FedAvg
from wwfl.federation import server_programs as programs
from wwfl.nn import SGD
from wwfl_core.channel import Frame
from wwfl_core.cluster import Handle, LocalCluster
from wwfl_core.numbers import Array
from wwfl_core.tensors import Session, SharedTensor

from ._differencing_net import CLASSES, Net

F64 = npt.NDArray[np.float64]
GLOBAL, VICTIM, OTHER = "global", "victim", "other"
ENOUGH = 4096
"""Arrays with fewer bytes than this are too small for statistics of their bytes."""


@dataclass
class View:
    """What one server holds and received. `difference`: the sum of its components of the model
    after the round minus those before, read as numbers; `arrays`: all components and messages that
    are large enough for statistics."""

    server: str
    difference: F64
    arrays: list[Array] = field(default_factory=list)


def components(mpc: Session, *tensors: SharedTensor) -> list[dict[int, Array]]:
    """The components that this party holds, per tensor: an experiment looks at its own servers'
    secrets."""
    return [dict(t.data.parts) for t in tensors]


class TwoClusters:
    """The other client's cluster (2PC), the victim's (3PC) and the global servers (2PC). Keys are
    derived from a seed unless it is None."""

    def __init__(self, net: Net, lr: float, insecure_seed: int | None) -> None:
        self._net, self._sgd = net, SGD(lr)
        keys: dict[str, Any] = {"insecure_seed": insecure_seed}
        self.servers = LocalCluster(Additive2PC(), name=GLOBAL, **keys)
        self.clusters = [
            LocalCluster(Additive2PC(), name=OTHER, **keys),
            LocalCluster(Replicated3PC(), name=VICTIM, **keys),
        ]
        self._before = self.servers.share(net.flat)
        self._after = self._before
        self._received: dict[str, list[Array]] = defaultdict(list)

    def round(self, images: F64, labels: npt.NDArray[np.int64], *, record: bool) -> list[View]:
        """Both clients share one digit, both clusters train, the global servers average. Every
        server's view; with `record`, its messages are in it."""
        self._received.clear()
        self._tap(self._note if record else None)
        held: dict[str, tuple[Handle, Handle]] = {}
        trained: list[Handle] = []
        inputs: list[Handle] = []
        for k, cluster in enumerate(self.clusters):
            local = reshare(self._before, to=cluster)
            image = cluster.share(images[k : k + 1])
            label = cluster.share(np.eye(CLASSES)[labels[k : k + 1]])
            args = (self._net.model, local, image, label, [[0]], self._sgd, None)
            model, _ = cluster.run(programs.train_batch, *args)
            held[cluster.name] = (local, model)
            inputs.append(image)
            trained.append(reshare(model, to=self.servers))
        args = (FedAvg(), trained, [1.0, 1.0], self._before, None, {})
        self._after, _ = self.servers.run(programs.aggregate, *args)
        self._tap(None)
        held[GLOBAL] = (self._before, self._after)
        every = [(c, *held[c.name]) for c in (self.servers, *self.clusters)]
        extra = {self.clusters[1].name: [inputs[1]], GLOBAL: trained}
        return [
            v
            for cluster, *models in every
            for v in self._views(cluster, models, extra.get(cluster.name, []), record)
        ]

    def _views(
        self, cluster: LocalCluster, models: list[Handle], extra: list[Handle], record: bool
    ) -> list[View]:
        shown = [
            o.value
            for o in cluster.submit(components, *models, *(extra if record else [])).outcomes()
        ]
        views: list[View] = []
        for party in cluster.sharing.evaluators:
            before, after, *_ = shown[party]
            moved = [after[c] - before[c] for c in before]
            total = np.asarray(np.sum(moved, axis=0, dtype=np.uint64)).view(np.int64)
            difference = np.asarray(total * 2.0**-cluster.protocol.format.frac_bits, np.float64)
            arrays = [a for parts in shown[party][1:] for a in parts.values()] if record else []
            address = cluster.addresses[party]
            views.append(View(address, difference, _large([*arrays, *self._received[address]])))
        return views

    def _tap(self, tamper: Callable[[str, str, Frame], Frame | None] | None) -> None:
        for cluster in (self.servers, *self.clusters):
            cluster.memory.tamper = tamper

    def _note(self, sender: str, receiver: str, frame: Frame) -> Frame:
        self._received[receiver].append(np.array(frame.payload))
        return frame

    def revealed_difference(self) -> F64:
        """Opens the models before and after the round, as servers that reveal every round do; their
        difference."""
        before, after = (
            self.servers.reveal(m, f"the model {when} the round")
            for m, when in ((self._before, "before"), (self._after, "after"))
        )
        return np.asarray(after - before, np.float64)

    def opened(self) -> list[str]:
        """The reasons of all openings so far."""
        return [opening.reason for c in (self.servers, *self.clusters) for opening in c.ledger]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for cluster in (self.servers, *self.clusters):
            cluster.close()


def _large(arrays: list[Array]) -> list[Array]:
    return [a for a in arrays if a.nbytes >= ENOUGH]
