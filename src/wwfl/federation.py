"""WW-FL, Algorithm 1: clients share data with nearby clusters, clusters train, global servers aggregate.

The coordinator in this file sends commands and holds handles. It acts as the clients (who own their data) and as the
owner of the initial model, which is public; it never holds a share of anything trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from torch import nn

from reshare import reshare_with_report
from wwfl_core.backend import MPCBackend
from wwfl_core.channel.pki import Authority
from wwfl_core.cluster import Handle, LocalCluster
from wwfl_core.cost import Cost, NetworkModel
from wwfl_core.errors import ConfigError, Misuse
from wwfl_core.sharing import Security, weaker_of

from . import downgrade, programs, sampling, state
from .aggregation import Aggregation, FedAvg
from .data.datasets import Dataset
from .data.partition import iid
from .nn import spec
from .nn.layers import DEFAULT_INT_BITS
from .nn.trace import load_parameters, output_shape, pool_first, trace
from .nn.train import SGD

CLUSTER_NETWORK = NetworkModel(latency_s=0.020, bandwidth_bps=1e9)
GLOBAL_NETWORK = NetworkModel(latency_s=0.100, bandwidth_bps=100e6)
EVALUATION_BATCH = 100


@dataclass(frozen=True)
class Cluster:
    """One training cluster: its protocol, how many clients share data with it, who operates its servers (by default
    hosts of their own), and the device that they compute on; see `LocalCluster`."""

    protocol: MPCBackend
    clients: int = 4
    name: str | None = None
    network: NetworkModel | None = CLUSTER_NETWORK
    hosts: tuple[str, ...] | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Schedule:
    """How a round trains."""

    samples_per_client: int = 50
    clients_per_round: int = 2
    epochs: int = 5
    batch: int = 20
    sgd: SGD = field(default_factory=SGD)

    def __post_init__(self) -> None:
        for name in ("samples_per_client", "clients_per_round", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"Schedule.{name} must be at least 1, got {getattr(self, name)}")


@dataclass
class Round:
    """What happened in one round. `batches[k]` are the batches of cluster k as indices into the training set."""

    number: int
    accuracy: float | None = None
    participants: list[list[int]] = field(default_factory=list)
    batches: list[list[list[int]]] = field(default_factory=list)
    outvoted: list[str] = field(default_factory=list)


Progress = Callable[[str, str, int, int], None]
"""(cluster, stage, done, total): called from several threads."""


def _silent(cluster: str, stage: str, done: int, total: int) -> None:
    return


class Federation:
    """Clusters that run different protocols train one model for global servers; nobody opens it.

    `model` is an ordinary torch module of supported layers. `seed` makes the whole run reproducible, and therefore
    insecure (all keys are derived from it); leave it None for fresh keys. `processes=True` runs every server as its
    own process over mutual TLS. `global_hosts` says who operates the global servers; clusters may share hosts with
    them. Use as a context manager, or call `close`.

    The model has the guarantee of the weakest cluster that it passes through (`guarantee`). A transfer that takes away
    protection is refused unless `allow_weaker=True`.

    Raises:
        ConfigError: an unsupported layer, no clusters, an aggregation rule that does not fit, transfers to clusters
            that protect the model less than the global servers do.
    """

    def __init__(
        self,
        model: nn.Module,
        global_servers: MPCBackend,
        clusters: Sequence[Cluster],
        aggregation: Aggregation | None = None,
        *,
        schedule: Schedule | None = None,
        processes: bool = False,
        insecure_seed: int | None = None,
        global_network: NetworkModel | None = GLOBAL_NETWORK,
        int_bits: int = DEFAULT_INT_BITS,
        deadline_s: float = 120.0,
        global_hosts: Sequence[str] | None = None,
        allow_weaker: bool = False,
    ) -> None:
        if not clusters:
            raise ConfigError("a federation needs at least one cluster")
        self.aggregation = aggregation or FedAvg()
        self.aggregation.check(len(clusters))
        if self.aggregation.needs_root:
            raise ConfigError(
                f"{self.aggregation!r} needs a model trained on a root set, which no federation makes yet"
            )
        self.schedule = schedule or Schedule()
        for cluster in clusters:
            if cluster.clients < self.schedule.clients_per_round:
                raise ConfigError(
                    f"{self.schedule.clients_per_round} clients are sampled per round, but cluster "
                    f"{cluster.name or cluster.protocol.name} has {cluster.clients}"
                )
        self.allow_weaker = allow_weaker
        names = [member.name or f"{member.protocol.name}-{i + 1}" for i, member in enumerate(clusters)]
        lost = downgrade.downgrades(
            global_servers.sharing.security,
            [(name, member.protocol.sharing.security) for name, member in zip(names, clusters, strict=True)],
        )
        if lost and not allow_weaker:
            raise ConfigError(downgrade.refusal(lost, "say allow_weaker=True (fed.guarantee tells what is left)"))
        self.model = model
        layers, self.initial = trace(model)
        self.layers: list[spec.Layer] = pool_first(layers)
        self.int_bits = int_bits
        self.members = list(clusters)
        self.history: list[Round] = []
        self.costs: dict[tuple[str, str], Cost] = {}
        self.seconds: dict[tuple[str, str], float] = {}  # measured; clusters train at the same time
        authority = Authority() if processes else None
        common: dict[str, Any] = {
            "processes": processes,
            "insecure_seed": insecure_seed,
            "deadline_s": deadline_s,
            "authority": authority,
        }
        self.clusters: list[LocalCluster] = []
        self._model: Handle | None = None
        self._memory: dict[str, Handle] = {}
        self._data: list[dict[int, tuple[Handle, Handle]]] = [{} for _ in clusters]
        self._partition: list[list[npt.NDArray[np.intp]]] = []
        self._tests: dict[str, tuple[Handle, Handle]] = {}
        self.servers: LocalCluster | None = None
        try:
            self.servers = LocalCluster(
                global_servers, name="global", network=global_network, hosts=global_hosts, **common
            )
            for name, member in zip(names, clusters, strict=True):
                options = {"network": member.network, "hosts": member.hosts, "device": member.device}
                self.clusters.append(LocalCluster(member.protocol, name=name, **options, **common))
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------------ training

    def fit(
        self,
        train: Dataset,
        test: Dataset | None = None,
        *,
        rounds: int = 10,
        partition_seed: int = 0,
        checkpoint: str | None = None,
        progress: Progress = _silent,
    ) -> list[Round]:
        """Runs rounds up to number `rounds` (already finished or restored ones count) and returns the history.

        Every client's data is shared with its cluster once, when it is first sampled. With `test`, the global
        servers classify the (secret-shared) test set after every round and open only the number of hits. With
        `checkpoint`, every party writes its shares to that folder after every round.
        """
        self._check_data(train)
        self._partition = iid(
            train,
            len(self.members),
            max(m.clients for m in self.members),
            self.schedule.samples_per_client,
            partition_seed,
        )
        if self._model is None:
            flat = np.concatenate([self.initial[name].reshape(-1) for name in spec.parameter_shapes(self.layers)])
            self._model = self._share(self.global_servers, flat)
        while len(self.history) < rounds:
            self.history.append(self._round(train, test, progress))
            if checkpoint is not None:
                self.save(checkpoint)
        return self.history

    def _check_data(self, data: Dataset) -> None:
        shape = output_shape(self.layers, data.images.shape[1:])
        if len(shape) != 1:
            raise ConfigError(
                f"the model's output for {data.images.shape[1:]} is {shape}; classification needs [classes]"
            )
        if data.labels.max(initial=0) >= shape[0]:
            raise ConfigError(
                f"label {data.labels.max()} needs at least {data.labels.max() + 1} outputs, the model has {shape[0]}"
            )
        self.classes = shape[0]

    def _round(self, train: Dataset, test: Dataset | None, progress: Progress) -> Round:
        record = Round(len(self.history) + 1)
        models: list[Handle] = []
        with ThreadPoolExecutor(len(self.clusters)) as pool:
            local = [self._transfer(self.current_model, cluster, record) for cluster in self.clusters]
            jobs = [
                pool.submit(self._train_cluster, k, flat, train, record.number, progress)
                for k, flat in enumerate(local)
            ]
            for (trained, people, drawn), cluster in zip([j.result() for j in jobs], self.clusters, strict=True):
                progress(cluster.name, "reshare", 0, 1)
                models.append(self._transfer(trained, self.global_servers, record))
                record.participants.append(people)
                record.batches.append(drawn)
        weights = [float(len(people)) for people in record.participants]
        args = (self.aggregation, models, weights, self.current_model, None, self._memory)
        self._model, self._memory = self._run(self.global_servers, "aggregate", programs.aggregate, *args)
        if test is not None:
            record.accuracy = self.evaluate(test, f"hits on the test set after round {record.number}", progress)
        return record

    def _transfer(self, x: Handle, to: LocalCluster, record: Round) -> Handle:
        begun = time.monotonic()
        moved = reshare_with_report(x, to, allow_weaker=self.allow_weaker)
        self._spent(f"{x.cluster.name} -> {to.name}", "reshare", moved.cost, begun)
        record.outvoted.extend(moved.outvoted)
        return moved.handle

    def _train_cluster(
        self, k: int, flat: Handle, train: Dataset, number: int, progress: Progress
    ) -> tuple[Handle, list[int], list[list[int]]]:
        """One cluster's part of a round: sample clients, take their data, train."""
        cluster, plan = self.clusters[k], self.schedule
        coin: bytes = self._run(cluster, "sample", programs.toss, f"round {number}")
        people = sampling.choose(coin, self.members[k].clients, plan.clients_per_round, "clients")
        rows = [self._client_data(k, person, train) for person in people]
        images, one_hot = cluster.run(programs.pool, rows)
        indices = np.concatenate([self._partition[k][person] for person in people])
        drawn = sampling.batches(coin, len(indices), plan.batch, plan.epochs)
        momentum = None
        for done, batch in enumerate(drawn):
            progress(cluster.name, "train", done, len(drawn))
            args = (self.layers, self.int_bits, flat, images, one_hot, [batch], plan.sgd, momentum)
            flat, momentum = self._run(cluster, "train", programs.train_batch, *args)
        progress(cluster.name, "train", len(drawn), len(drawn))
        return flat, people, [[int(i) for i in indices[batch]] for batch in drawn]

    def _client_data(self, k: int, person: int, train: Dataset) -> tuple[Handle, Handle]:
        """The shares of a client's data at its cluster; the client shares them when it first takes part, and leaves."""
        if person not in self._data[k]:
            mine = train.take(self._partition[k][person])
            cluster, labels = self.clusters[k], one_hot(mine.labels, self.classes)
            self._data[k][person] = (self._share(cluster, mine.images), self._share(cluster, labels))
        return self._data[k][person]

    # ------------------------------------------------------------------ use of the model

    @property
    def current_model(self) -> Handle:
        """The global model's shares at the global servers."""
        if self._model is None:
            raise Misuse("there is no model yet: call fit() or restore() first")
        return self._model

    @property
    def guarantee(self) -> Security:
        """What the global model is protected against: the weakest of all clusters that it passed (or will pass)."""
        if self._model is not None:
            return self._model.guarantee
        return weaker_of(*(c.sharing.security for c in (self.global_servers, *self.clusters)))

    @property
    def global_servers(self) -> LocalCluster:
        if self.servers is None:
            raise Misuse("the federation is closed")
        return self.servers

    def evaluate(self, test: Dataset, reason: str = "hits on the test set", progress: Progress = _silent) -> float:
        """Share of the test images that the model classifies right. Opens only the number of hits."""
        self._check_data(test)
        servers = self.global_servers
        if test.sha256 not in self._tests:
            labels = one_hot(test.labels, self.classes)
            self._tests[test.sha256] = (self._share(servers, test.images), self._share(servers, labels))
        progress(servers.name, "evaluate", 0, 1)
        data = self._tests[test.sha256]
        args = (self.layers, self.int_bits, self.current_model, *data, EVALUATION_BATCH, reason)
        hits: int = self._run(servers, "evaluate", programs.evaluate, *args)
        progress(servers.name, "evaluate", 1, 1)
        return hits / len(test)

    def predict(self, images: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Labels [n] of images [n, c, h, w], by private inference at the global servers; only the labels are opened."""
        shared = self._share(self.global_servers, images)
        args = (self.layers, self.int_bits, self.current_model, shared, EVALUATION_BATCH)
        labels = self._run(self.global_servers, "predict", programs.predict, *args)
        return np.asarray(labels, np.int64)

    def reveal(self, reason: str = "the final model") -> nn.Module:
        """Opens the global model and loads it into the torch module: the only way to see it; the ledger tells."""
        flat = self.global_servers.reveal(self.current_model, reason)
        params, at = {}, 0
        for name, shape in spec.parameter_shapes(self.layers).items():
            size = int(np.prod(shape))
            params[name] = flat[at : at + size].reshape(shape)
            at += size
        load_parameters(self.model, params)
        return self.model

    # ------------------------------------------------------------------ commands and their costs

    def _run(self, cluster: LocalCluster, stage: str, fn: Callable[..., Any], *args: Any) -> Any:
        """Runs a program whose public results all servers report alike, and books its cost under a stage."""
        begun = time.monotonic()
        result = cluster.run_agreed(fn, *args)
        self._spent(cluster.name, stage, cluster.last_cost, begun)
        return result

    def _share(self, cluster: LocalCluster, value: npt.ArrayLike) -> Handle:
        """A client's upload."""
        begun = time.monotonic()
        handle = cluster.share(value)
        self._spent(cluster.name, "upload", cluster.last_cost, begun)
        return handle

    def _spent(self, where: str, stage: str, cost: Cost, begun: float) -> None:
        self.costs[where, stage] = self.costs.get((where, stage), Cost()) + cost
        self.seconds[where, stage] = self.seconds.get((where, stage), 0.0) + time.monotonic() - begun

    # ------------------------------------------------------------------ checkpoints

    def save(self, folder: str) -> None:
        """Every party writes its shares (model, clients' data); the coordinator writes the public state."""
        state.save(self, folder)

    def restore(self, folder: str) -> Self:
        """Continues from a checkpoint of the same configuration.

        Raises:
            DataError: a missing, corrupt or foreign file; nothing is changed then.
            ConfigError: a checkpoint of another configuration.
        """
        state.restore(self, folder)
        return self

    # ------------------------------------------------------------------ lifetime

    def close(self) -> None:
        """Stops all servers."""
        for cluster in [*self.clusters, *([self.servers] if self.servers else [])]:
            cluster.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def one_hot(labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float64]:
    """Labels [n] as rows of a unit matrix [n, classes]."""
    return np.eye(classes)[labels]
