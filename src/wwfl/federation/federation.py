"""WW-FL, Algorithm 1: clients share data with nearby clusters, clusters train, global servers
aggregate.

Here belongs what a user of a federation calls, and the state that rounds change. The coordinator
sends commands and holds handles. It acts as the clients (who own their data) and as the owner of
the initial model, which is public; it never holds a share of anything trained."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from torch import nn

from wwfl.aggregation import Aggregation, FedAvg
from wwfl.data import Dataset, Partition, iid
from wwfl.nn import DEFAULT_INT_BITS, Model, trace
from wwfl.privacy import reveal_policy as policy
from wwfl_core.channel import Cost
from wwfl_core.errors import ConfigError, Misuse, Refused
from wwfl_core.protocol import MPCBackend
from wwfl_core.sharing import Security

from . import guarantees, topology
from . import server_programs as programs
from .checkpoint import Checkpoints, Snapshot, configuration_of
from .client_data import LeafData, check_equal_rows, check_partition, fingerprint
from .context import (
    RUNS_PER_ROUND,
    Available,
    Context,
    Progress,
    everybody,
    silent,
)
from .cost_book import CostBook
from .engine_names import EngineName, engine_name
from .engines import make
from .inference import InferenceService
from .run_round import RoundRunner
from .schedule import Batches, Round, Schedule
from .topology import Cluster, Ensemble, Group, Member, Place, Servers
from .torch_model import TorchModel

_log = logging.getLogger("wwfl.federation.federation")


class Federation:
    """Clusters that run different protocols train one model for global servers; nobody opens it.

    `model` is an ordinary torch module of supported layers (`wwfl.nn.SUPPORTED`). Members are
    `Cluster`s, `Group`s of members, and `LocalTrainers`. `global_servers` are a protocol or its
    name, or `Servers` that also say who operates them and on which device they compute; clusters
    may share hosts with them. `aggregation` is the global servers' rule, by default `FedAvg`. Use a
    federation as a context manager, or call `close`.

    `engine` says what carries the federation out: "mpc" (the protocols), "simulate" (their
    fixed-point arithmetic, without secrecy) or "float" (float64, and a model's layers in torch;
    no secrecy either). `processes=True` runs every server as its own process over mutual TLS; a
    command that takes longer than `deadline_s` seconds fails. `executor` trains what is trained in
    the clear (all of engine "float", and `LocalTrainers`) in its workers, perhaps on other machines
    (`wwfl.experiments.RayExecutor`), with the same result; data and models go there with every
    round.

    `insecure_seed` makes the whole run reproducible, and therefore insecure (all keys are derived
    from it), and makes all engines draw the same batches and (public) clients; leave it None for
    fresh keys.

    `int_bits` declares the range of activations: they must stay below 2^(int_bits - 1) in
    magnitude, or comparisons are wrong.

    `root` is the servers' own data set, for rules that need one; it is trained by `root_trainer`:
    the global servers, a cluster of its own, or leaf number k.

    Security: the model has the guarantee of the weakest cluster that it passes through
    (`guarantee`). A transfer that takes away protection is refused unless `allow_weaker=True`.
    Without a `reveal_policy`, whoever holds this object may open the model; with one, every server
    decides (`RevealPolicy`).

    Raises:
        ConfigError: an unsupported layer, no clusters, an aggregation rule that does not fit,
            transfers to clusters that protect the model less than the global servers do.

    >>> from wwfl import Cluster, Federation, LogisticRegression, Replicated3PC, Schedule, datasets
    >>> train, test = datasets.mnist(pad=0)
    >>> schedule = Schedule(samples_per_client=20, clients_per_round=2, epochs=1)
    >>> members = [Cluster(Replicated3PC(), clients=4), Cluster(Replicated3PC(), clients=4)]
    >>> with Federation(
    ...     LogisticRegression(28 * 28, 10), Replicated3PC(), members, schedule=schedule
    ... ) as fed:
    ...     history = fed.fit(train, test[:50], rounds=1)
    ...     print(fed.guarantee)
    semi-honest, 1 corrupt party
    >>> [len(people) for people in history[0].participants]
    [2, 2]
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
        self.engine: EngineName = engine_name(engine)
        self.allow_weaker, self.root = allow_weaker, root
        self.history: list[Round] = []

        servers = global_servers if isinstance(global_servers, Servers) else Servers(global_servers)
        tree = self._tree(servers, clusters)
        assert isinstance(tree.spec, Group)
        self.members = list(tree.spec.members)
        trainer = topology.root_trainer(tree, None if root is None else len(root), root_trainer)
        self._refuse_downgrades(tree, trainer)
        if reveal_policy is not None and self.engine == "float":
            raise ConfigError(
                'engine="float" hides nothing, so no reveal policy can hold: use "simulate" or '
                '"mpc"'
            )

        layers, self.initial = trace(model)
        traced = TorchModel(model, Model.of(layers, int_bits))
        carrier = make(
            self.engine,
            processes=processes,
            insecure_seed=insecure_seed,
            deadline_s=deadline_s,
            executor=executor,
        )
        self._context = Context(
            model=carrier.model(traced),
            torch_model=traced,
            schedule=self.schedule,
            seed=insecure_seed,
            deadline_s=deadline_s,
            tree=tree,
            engine=carrier,
            allow_weaker=allow_weaker,
            leaf_data=[LeafData() for place in tree.walk() if place.leaf is not None],
            root=trainer,
            reveal_policy=reveal_policy,
            executor=executor,
        )
        root_set = None if root is None else root.sha256
        self._checkpoints = Checkpoints(
            self._context, configuration_of(self._context, self.engine, root_set)
        )
        self._current: Any = None
        self._train: Dataset | None = None
        self._next_row = 0
        self._fingerprint: str | None = None
        self._closed = False
        try:
            self._context.open_all()
        except BaseException:
            self.close()
            raise

    def _tree(self, servers: Servers, clusters: Sequence[Member]) -> Place:
        """The members below the global servers, checked."""
        top = Group(
            servers.protocol,
            tuple(clusters),
            self.aggregation,
            "global",
            network=servers.network,
            hosts=servers.hosts,
            device=servers.device,
        )
        return topology.build(top, self.schedule)

    def _refuse_downgrades(self, tree: Place, trainer: Place | None) -> None:
        lost = guarantees.downgrades_in(tree)
        if trainer is not None and trainer.name == "root":
            lost += guarantees.downgrades(tree.security, [(trainer.name, trainer.security)])
        if lost and not self.allow_weaker:
            raise ConfigError(
                guarantees.refusal(lost, "say allow_weaker=True (fed.guarantee tells what is left)")
            )

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
        sampling: first there).

        Args:
            train: all clients' data; images [n, ...] and labels in 0..classes-1.
            test: the global servers classify it, secret-shared, after every round, and open only
                the number of hits, where the reveal policy lets them.
            rounds: the number of the last round.
            partition: `partition[k][client]` are the rows of `train` that a client of leaf k (in
                the order of the tree) holds; by default `samples_per_client` random ones, drawn
                from `partition_seed`.
            checkpoint: a folder to which every party writes its shares after every round.
            available: who is there in a round; it must not change its mind about one.
            progress: called with (cluster, stage, done, total), from several threads.
            on_round: called after every round, when its checkpoint is written.

        Raises:
            ConfigError: data that does not fit the model, the partition, or the checkpoint that was
                restored.
            ProtocolError: a round cannot be finished; the model is that of the round before, and
                fit() can be called again.
            Refused: by the reveal policy, or a rule whose privacy budget is spent.
        """
        self._context.check(train)
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
            ConfigError: data that does not fit the model, or hidden sampling.
        """
        place = self._context.leaf(leaf)
        assert place.leaf is not None and not isinstance(place.spec, Group)
        if not 0 <= client < place.spec.clients:
            raise Misuse(f"{place.name} has clients 0..{place.spec.clients - 1}, not {client}")
        if self.schedule.hidden:
            raise ConfigError(
                "with hidden sampling all clients have equally many rows: give them more in a new "
                "run"
            )
        self._context.check(data)
        leaf_data = self._context.leaf_data[place.leaf]
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
            self._context.engine.align(
                place.node, (len(self.history) + 1) * RUNS_PER_ROUND + RUNS_PER_ROUND // 2
            )
            leaf_data.shares[upload.key] = self._context.share_rows(place.node, data)

    def _take_data(self, train: Dataset, partition: Partition | None, seed: int) -> None:
        """Who holds which rows; a run goes on with the data that it began with."""
        clients = self._context.clients
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
        for leaf_data, parts in zip(self._context.leaf_data, partition, strict=True):
            leaf_data.parts = parts
        if self._train is None:
            self._next_row = max(self._next_row, len(train))
        self._fingerprint, self._train = found, train
        for record in self.history:
            record.drawn_by(self._batches)

    def _batches(self, record: Round) -> Batches:
        return self._context.batches(record, self.history)

    def _set_up(self, test: Dataset | None) -> None:
        """Shares the initial model, the test set and the root set, under command numbers of their
        own."""
        servers, context = self.global_servers, self._context
        if self._current is None:
            flat = np.concatenate([self.initial[name].reshape(-1) for name in context.model.shapes])
            if isinstance(self.aggregation, Ensemble):
                flat = self.aggregation.start(flat, context.tree.capacity)
            self._current = context.share(servers, flat)
        context.engine.align(servers, RUNS_PER_ROUND)
        if test is not None:
            context.share_test(test)
        if self.root is not None and context.root is not None and context.root_rows is None:
            context.check(self.root)
            node = context.root.node
            if node is not servers:
                context.engine.align(node, RUNS_PER_ROUND)
            context.root_rows = context.share_rows(node, self.root)
            context.root_size = len(self.root)

    def _round(
        self, train: Dataset, test: Dataset | None, available: Available, progress: Progress
    ) -> None:
        begun, costs = time.monotonic(), self._context.costs
        before = costs.bytes_by_stage()
        runner = RoundRunner(
            self._context, self.current_model, self.history, train, available, progress
        )
        self.aggregation.affords(runner.record.number)
        self._current, record = runner.run()
        self.history.append(record)
        record.drawn_by(self._batches)
        self._context.tell(record)
        if test is not None:
            record.accuracy = self._accuracy(test, record.number, progress)

        spent = ((stage, n - before.get(stage, 0)) for stage, n in costs.bytes_by_stage().items())
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
        if self._current is None:
            raise Misuse("there is no model yet: call fit() or restore() first")
        return self._current

    @property
    def guarantee(self) -> Security:
        """What the global model is protected against: the weakest of all clusters that it passed
        (or will pass)."""
        whole = guarantees.guarantee(self._context.tree)
        if self._current is None:
            return whole if self.engine == "mpc" else Security(corruptions=0)
        held: Security = self._current.guarantee
        return Security(
            held.malicious,
            held.corruptions,
            tuple(sorted({*held.caveats, *guarantees.opened(self.tree)})),
        )

    @property
    def tree(self) -> Place:
        """The federation's tree: the global servers, and below them everybody else."""
        return self._context.tree

    @property
    def global_servers(self) -> Any:
        """The node of the global servers (a `LocalCluster` unless engine="float")."""
        if self._closed:
            raise Misuse("the federation is closed")
        return self._context.tree.node

    @property
    def clusters(self) -> list[Any]:
        """The nodes of all clusters and groups below the global servers, parents first."""
        return [place.node for place in self._context.places[1:]]

    @property
    def model(self) -> Model:
        """What the model computes and how its parameters lie in a flat vector."""
        return self._context.model

    @property
    def cost_book(self) -> CostBook:
        """What was sent and how long it took, by (where, stage)."""
        return self._context.costs

    @property
    def costs(self) -> dict[tuple[str, str], Cost]:
        """What was sent, by (where, stage)."""
        return self.cost_book.costs

    @property
    def seconds(self) -> dict[tuple[str, str], float]:
        """Measured seconds by (where, stage); clusters train at the same time."""
        return self.cost_book.seconds

    def evaluate(
        self, test: Dataset, reason: str = "hits on the test set", progress: Progress = silent
    ) -> float:
        """Share (0 to 1) of the test images that the model classifies right. Opens only the number
        of hits; the ledger gives `reason`.

        The servers get the test set once, as shares, and compute on 100 images at a time.

        Raises:
            ConfigError: data that does not fit the model.
            Refused: by the reveal policy.
        """
        servers = self.global_servers
        progress(servers.name, "evaluate", 0, 1)
        tests = self._context.share_test(test)
        batch = self._context.engine.evaluation_batch
        args = (self.model, self.current_model, *tests, batch, reason)
        hits: int = self._context.run(servers, "evaluate", programs.evaluate, *args)
        progress(servers.name, "evaluate", 1, 1)
        return hits / len(test)

    def predict(
        self, images: npt.ArrayLike, *, client: str = "coordinator"
    ) -> npt.NDArray[np.int64]:
        """Labels int64 [n] of images [n, c, h, w], by private inference at the global servers. Only
        the client, whom the caller acts as, learns them; `InferenceService` limits and counts what
        a client asks.

        Raises:
            Misuse: images that are no batch of the model's inputs.
            Refused: by the reveal policy.
        """
        begun = time.monotonic()
        answer = InferenceService(self).ask(client, images)
        self.cost_book.spent(self.global_servers.name, "predict", answer.cost, begun)
        return np.asarray(answer.values, np.int64)

    def reveal(self, reason: str = "the final model", *, who: str = "coordinator") -> nn.Module:
        """Opens the global model and loads it into the torch module: the only way to see it; the
        ledger tells. Of an ensemble, all models in the order of its members, as a new
        `torch.nn.ModuleList`; which of them may vote stays secret.

        Raises:
            Refused: by the reveal policy, which knows `who` asks.
        """
        servers, model = self.global_servers, self.current_model
        traced = self._context.torch_model
        if isinstance(self.aggregation, Ensemble):
            model = servers.run_agreed(programs.members, model, self.model.size)
        opened = servers.run_agreed(policy.open_model, model, who, reason)
        if opened.ndim == 1:
            return traced.load(opened, into=traced.module)
        return nn.ModuleList(traced.load(flat) for flat in opened)

    # ------------------------------------------------------------------ checkpoints

    def save(self, folder: str) -> None:
        """Every party writes its shares (model, clients' data); the coordinator writes the public
        state.

        A crash while it writes leaves the old checkpoint whole.

        Raises:
            ProtocolError: the global servers cannot write. Others that cannot are left out, with a
                warning in the log.
        """
        self._checkpoints.save(
            folder, Snapshot(self.current_model, self.history, self._fingerprint, self._next_row)
        )

    def restore(self, folder: str) -> Self:
        """Continues from a checkpoint of the same configuration.

        Raises:
            DataError: a missing, corrupt or foreign file; nothing is changed then.
            ConfigError: a checkpoint of another configuration.
        """
        found = self._checkpoints.restore(folder, self._fingerprint)
        self._current, self.history = found.model, found.history
        self._fingerprint, self._next_row = found.fingerprint, found.next_row
        if self.history:
            self._context.tell(self.history[-1])
        if self._train is not None:
            for record in self.history:
                record.drawn_by(self._batches)
        return self

    # ------------------------------------------------------------------ lifetime

    def close(self) -> None:
        """Stops all servers."""
        self._closed = True
        for place in self._context.places:
            if place.node is not None:
                place.node.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
