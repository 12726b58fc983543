"""WW-FL, Algorithm 1: clients share data with nearby clusters, clusters train, global servers
aggregate.

The coordinator sends commands and holds handles. It acts as the clients (who own their data) and as
the owner of the initial model, which is public; it never holds a share of anything trained."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from torch import nn

from wwfl.aggregation import Aggregation, FedAvg
from wwfl.data.datasets import Dataset
from wwfl.data.partition import Partition, iid
from wwfl.nn import spec
from wwfl.nn.layers import DEFAULT_INT_BITS
from wwfl.nn.trace import pool_first, trace
from wwfl.privacy import policy
from wwfl_core.channel.cost import Cost
from wwfl_core.errors import ConfigError, Misuse, Refused
from wwfl_core.protocol.backend import MPCBackend
from wwfl_core.sharing.semantics import Security

from . import checkpoint as state
from . import guarantees as downgrade
from . import server_programs as programs
from . import topology
from .client_data import LeafData, check_equal_rows, check_partition, fingerprint, one_hot
from .context import (
    EVALUATION_BATCH,
    RUNS_PER_ROUND,
    Available,
    Progress,
    Setting,
    everybody,
    share_rows,
    silent,
)
from .cost_book import Books
from .engines import EngineName, make
from .engines.plain import load_flat
from .inference import InferenceService
from .run_round import RoundRunner
from .schedule import Round, Schedule
from .topology import (
    CLUSTER_NETWORK,
    GLOBAL_NETWORK,
    Cluster,
    Ensemble,
    Group,
    LocalTrainers,
    Member,
    Place,
    Servers,
)

__all__ = [
    "CLUSTER_NETWORK",
    "GLOBAL_NETWORK",
    "Available",
    "Cluster",
    "Ensemble",
    "Federation",
    "Group",
    "LocalTrainers",
    "Progress",
    "Round",
    "Schedule",
    "Servers",
    "one_hot",
]

_log = logging.getLogger("wwfl.federation.federation")


class Federation:
    """Clusters that run different protocols train one model for global servers; nobody opens it.

    `model` is an ordinary torch module of supported layers. Members are `Cluster`s, `Group`s of
    members, and `LocalTrainers`. `global_servers` are a protocol or its name, or `Servers` that
    also say who operates them and on which device they compute; clusters may share hosts with them.
    `engine` says what carries the federation out: "mpc" (the protocols), "simulate" (their fixed-
    point arithmetic, without secrecy) or "plain" (floats). `insecure_seed` makes the whole run
    reproducible, and therefore insecure (all keys are derived from it), and makes all engines draw
    the same batches and (public) clients; leave it None for fresh keys. `processes=True` runs every
    server as its own process over mutual TLS. Use as a context manager, or call `close`.

    `root` is the servers' own data set, for rules that need one; it is trained by `root_trainer`:
    the global servers, a cluster of its own, or leaf number k. Without a `reveal_policy`, whoever
    holds this object may open the model; with one, every server decides (`wwfl.privacy.policy`).
    `executor` trains what is trained in the clear (all of engine "plain", and `LocalTrainers`) in
    its workers, perhaps on other machines (`wwfl.experiments.RayExecutor`), with the same result;
    data and models go there with every round.

    The model has the guarantee of the weakest cluster that it passes through (`guarantee`). A
    transfer that takes away protection is refused unless `allow_weaker=True`.

    Raises:
        ConfigError: an unsupported layer, no clusters, an aggregation rule that does not fit,
            transfers to clusters that protect the model less than the global servers do.
    """

    def __init__(
        self,
        model: nn.Module,
        global_servers: MPCBackend | Servers | str,
        clusters: Sequence[Member],
        aggregation: Aggregation | None = None,
        *,
        engine: EngineName = "mpc",
        schedule: Schedule | None = None,
        root: Dataset | None = None,
        root_trainer: Cluster | int | None = None,
        processes: bool = False,
        insecure_seed: int | None = None,
        int_bits: int = DEFAULT_INT_BITS,
        deadline_s: float = 120.0,
        allow_weaker: bool = False,
        reveal_policy: policy.RevealPolicy | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.aggregation = aggregation or FedAvg()
        self.schedule = schedule or Schedule()
        servers = global_servers if isinstance(global_servers, Servers) else Servers(global_servers)
        where = (servers.network, servers.hosts, servers.device)
        top = Group(servers.protocol, tuple(clusters), self.aggregation, "global", *where)
        tree = topology.build(top, self.schedule)
        trainer = topology.root_trainer(tree, None if root is None else len(root), root_trainer)
        lost = downgrade.downgrades_in(tree)
        if trainer is not None and trainer.name == "root":
            lost += downgrade.downgrades(tree.security, [(trainer.name, trainer.security)])
        if lost and not allow_weaker:
            raise ConfigError(
                downgrade.refusal(lost, "say allow_weaker=True (fed.guarantee tells what is left)")
            )
        if reveal_policy is not None and engine == "plain":
            raise ConfigError(
                'engine="plain" hides nothing, so no reveal policy can hold: use "simulate" or '
                '"mpc"'
            )
        self.model, self.root = model, root
        layers, self.initial = trace(model)
        self.layers = pool_first(layers)
        self.int_bits, self.allow_weaker = int_bits, allow_weaker
        self.engine: EngineName = engine
        assert isinstance(tree.spec, Group)
        self.members = list(tree.spec.members)
        self.history: list[Round] = []
        options = {"processes": processes, "insecure_seed": insecure_seed, "deadline_s": deadline_s}
        self._books = Books(make(engine, model, executor, **options), allow_weaker)
        leaves = [place for place in tree.walk() if place.leaf is not None]
        self._setting = Setting(
            model=model,
            layers=self.layers,
            int_bits=int_bits,
            schedule=self.schedule,
            seed=insecure_seed,
            deadline_s=deadline_s,
            tree=tree,
            books=self._books,
            leaf_data=[LeafData() for _ in leaves],
            root=trainer,
            reveal_policy=reveal_policy,
            executor=executor,
        )
        self._model: Any = None
        self._train: Dataset | None = None
        self._next_row = 0
        self._fingerprint: str | None = None
        self._written: state.Written = {}
        self._closed = False
        try:
            self._setting.open_all()
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------------ training

    def fit(
        self,
        train: Dataset,
        test: Dataset | None = None,
        *,
        rounds: int | None = None,
        partition: Partition | None = None,
        partition_seed: int = 0,
        checkpoint: str | None = None,
        available: Available = everybody,
        progress: Progress = silent,
        on_round: Callable[[Round, Federation], None] | None = None,
    ) -> list[Round]:
        """Runs rounds up to number `rounds`, by default the schedule's (already finished or
        restored ones count), and returns the history.

        Every client's data is shared with its cluster once, when it is first sampled (with hidden
        sampling: first there). With `test`, the global servers classify the (secret-shared) test
        set after every round and open only the number of hits, where the reveal policy lets them.
        With `checkpoint`, every party writes its shares to that folder after every round, and after
        that `on_round` is called. `partition[k][client]` are the rows of `train` that a client of
        leaf k (in the order of the tree) holds, by default `samples_per_client` random ones.
        `available` says who is there in a round.

        Raises:
            ConfigError: data that does not fit the model, the partition, or the checkpoint that was
                restored.
            ProtocolError: a round cannot be finished; the model is that of the round before, and
                fit() can be called again.
        """
        self._setting.check(train)
        self._take_data(train, partition, partition_seed)
        self._set_up(test)
        last = self.schedule.rounds if rounds is None else rounds
        while len(self.history) < last:
            self._round(train, test, available, progress)
            if checkpoint is not None:
                self.save(checkpoint)
            if on_round is not None:
                on_round(self.history[-1], self)
        return self.history

    def add_data(self, leaf: int | str, client: int, data: Dataset) -> None:
        """A client shares more data with its cluster; it takes part when the client is next
        sampled.

        Call it between rounds, when fit() has got the training set. Local trainers give again after
        a restart.

        Raises:
            Misuse: no such leaf or client, or no training set yet.
            ConfigError: data that does not fit the model.
        """
        place = self._setting.leaf(leaf)
        assert place.leaf is not None and not isinstance(place.spec, Group)
        if not 0 <= client < place.spec.clients:
            raise Misuse(f"{place.name} has clients 0..{place.spec.clients - 1}, not {client}")
        if self.schedule.hidden:
            raise ConfigError(
                "with hidden sampling all clients have equally many rows: give them more in a new "
                "run"
            )
        self._setting.check(data)
        leaf_data = self._setting.leaf_data[place.leaf]
        if leaf_data.give_again(client, data):
            return
        if self._train is None:
            raise Misuse(
                "add_data() comes after fit() has got the training set; or make it part of the "
                "partition"
            )
        upload = leaf_data.add(client, data, self._next_row, len(self.history))
        self._next_row += len(data)
        if place.node is not None:
            self._setting.engine.align(
                place.node, (len(self.history) + 1) * RUNS_PER_ROUND + RUNS_PER_ROUND // 2
            )
            leaf_data.shares[upload.key] = share_rows(self._setting, place.node, data)

    def _take_data(self, train: Dataset, partition: Partition | None, seed: int) -> None:
        """Who holds which rows; a run goes on with the data that it began with."""
        clients = self._setting.clients
        if partition is None:
            partition = iid(
                train, len(clients), max(clients.values()), self.schedule.samples_per_client, seed
            )
        check_partition(partition, clients, len(train))
        if self.schedule.hidden:
            check_equal_rows(partition, clients)
        found = fingerprint(train, partition)
        if self.history and self._fingerprint is not None and found != self._fingerprint:
            raise ConfigError(
                "this federation began with another training set or partition; give fit() the "
                "same ones"
            )
        for leaf_data, parts in zip(self._setting.leaf_data, partition, strict=True):
            leaf_data.parts = parts
        if self._train is None:
            self._next_row = max(self._next_row, len(train))
        self._fingerprint, self._train = found, train
        for record in self.history:
            record.drawn_by(self._batches)

    def _batches(self, record: Round) -> Any:
        return self._setting.batches(record, self.history)

    def _set_up(self, test: Dataset | None) -> None:
        """Shares the initial model, the test set and the root set, under command numbers of their
        own."""
        servers, setting = self.global_servers, self._setting
        if self._model is None:
            flat = np.concatenate(
                [self.initial[name].reshape(-1) for name in spec.parameter_shapes(self.layers)]
            )
            if isinstance(self.aggregation, Ensemble):
                flat = self.aggregation.start(flat, setting.tree.capacity)
            self._model = self._books.share(servers, flat)
        setting.engine.align(servers, RUNS_PER_ROUND)
        if test is not None:
            self._setting.share_test(test)
        if self.root is not None and setting.root is not None and setting.root_rows is None:
            self._setting.check(self.root)
            node = setting.root.node
            if node is not servers:
                setting.engine.align(node, RUNS_PER_ROUND)
            setting.root_rows = share_rows(setting, node, self.root)
            setting.root_size = len(self.root)

    def _round(
        self, train: Dataset, test: Dataset | None, available: Available, progress: Progress
    ) -> None:
        begun, before = time.monotonic(), self._books.bytes_by_stage()
        play = RoundRunner(
            self._setting, self.current_model, self.history, train, available, progress
        )
        self.aggregation.affords(play.record.number)
        model, record = play.run()
        self._model = model
        self.history.append(record)
        record.drawn_by(self._batches)
        self._setting.tell(record)
        if test is not None:
            record.accuracy = self._accuracy(test, record.number, progress)
        spent = (
            (stage, n - before.get(stage, 0)) for stage, n in self._books.bytes_by_stage().items()
        )
        record.bytes_sent = {stage: n for stage, n in spent if n}
        record.seconds = time.monotonic() - begun

    def _accuracy(self, test: Dataset, number: int, progress: Progress) -> float | None:
        """None where the reveal policy does not open it after this round."""
        try:
            return self.evaluate(test, f"hits on the test set after round {number}", progress)
        except Refused as refusal:
            if not refusal.rule.startswith("accuracy."):
                raise
            _log.info("round %d: %s", number, refusal)
            return None

    # ------------------------------------------------------------------ use of the model

    @property
    def current_model(self) -> Any:
        """The global model's shares at the global servers."""
        if self._model is None:
            raise Misuse("there is no model yet: call fit() or restore() first")
        return self._model

    @property
    def guarantee(self) -> Security:
        """What the global model is protected against: the weakest of all clusters that it passed
        (or will pass)."""
        whole = topology.guarantee(self._setting.tree)
        if self._model is None:
            return whole if self.engine == "mpc" else Security(corruptions=0)
        held: Security = self._model.guarantee
        return Security(
            held.malicious,
            held.corruptions,
            tuple(sorted({*held.caveats, *topology.opened(self.tree)})),
        )

    @property
    def tree(self) -> Place:
        """The federation's tree: the global servers, and below them everybody else."""
        return self._setting.tree

    @property
    def global_servers(self) -> Any:
        """The node of the global servers (a `LocalCluster` unless engine="plain")."""
        if self._closed:
            raise Misuse("the federation is closed")
        return self._setting.tree.node

    @property
    def clusters(self) -> list[Any]:
        """The nodes of all clusters and groups below the global servers, parents first."""
        return [place.node for place in self._setting.places[1:]]

    @property
    def costs(self) -> dict[tuple[str, str], Cost]:
        """What was sent, by (where, stage)."""
        return self._books.costs

    @property
    def seconds(self) -> dict[tuple[str, str], float]:
        """Measured seconds by (where, stage); clusters train at the same time."""
        return self._books.seconds

    def evaluate(
        self, test: Dataset, reason: str = "hits on the test set", progress: Progress = silent
    ) -> float:
        """Share of the test images that the model classifies right. Opens only the number of
        hits."""
        servers = self.global_servers
        progress(servers.name, "evaluate", 0, 1)
        tests = self._setting.share_test(test)
        args = (self.layers, self.int_bits, self.current_model, *tests, EVALUATION_BATCH, reason)
        hits: int = self._books.run(servers, "evaluate", programs.evaluate, *args)
        progress(servers.name, "evaluate", 1, 1)
        return hits / len(test)

    def predict(
        self, images: npt.ArrayLike, *, client: str = "coordinator"
    ) -> npt.NDArray[np.int64]:
        """Labels [n] of images [n, c, h, w], by private inference at the global servers. Only the
        client, whom the caller acts as, learns them; `InferenceService` limits and counts what a
        client asks.

        Raises:
            Refused: by the reveal policy.
        """
        begun = time.monotonic()
        answer = InferenceService(self).ask(client, images)
        self._books.spent(self.global_servers.name, "predict", answer.cost, begun)
        return np.asarray(answer.values, np.int64)

    def reveal(self, reason: str = "the final model", *, who: str = "coordinator") -> nn.Module:
        """Opens the global model and loads it into the torch module: the only way to see it; the
        ledger tells. Of an ensemble, all models in the order of its members, as a new
        `torch.nn.ModuleList`; which of them may vote stays secret.

        Raises:
            Refused: by the reveal policy, which knows `who` asks.
        """
        servers, model = self.global_servers, self.current_model
        if isinstance(self.aggregation, Ensemble):
            model = servers.run_agreed(programs.members, model, self._setting.size)
        opened = servers.run_agreed(policy.open_model, model, who, reason)
        if opened.ndim == 1:
            return load_flat(self.model, self.layers, opened)
        return nn.ModuleList(
            load_flat(copy.deepcopy(self.model), self.layers, flat) for flat in opened
        )

    # ------------------------------------------------------------------ checkpoints

    def save(self, folder: str) -> None:
        """Every party writes its shares (model, clients' data); the coordinator writes the public
        state."""
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
        self._closed = True
        for place in self._setting.places:
            if place.node is not None:
                place.node.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
