"""One round of Algorithm 1 on a tree of any depth: models go down, leaves train, groups aggregate on the way up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from wwfl_core.errors import ConfigError, DeadlineExceeded, ProtocolError, RangeError
from wwfl_core.prg import derive_key

from . import programs, sampling
from .books import Books
from .clients import Parcel, Rows, Shelf, one_hot
from .data.datasets import Dataset
from .engine import Engine, Node
from .engine.plain import train_flat
from .nn import spec
from .schedule import Batches, Round, Schedule
from .topology import Cluster, Ensemble, Group, LocalTrainers, Place

Progress = Callable[[str, str, int, int], None]
"""(cluster, stage, done, total): called from several threads."""

Available = Callable[[int, str, int], bool]
"""(round, leaf, client) -> whether the client is there. Must not change its mind about a round."""

RUNS_PER_ROUND = 1 << 16
"""Command numbers that a round has for itself (see `Engine.align`)."""

_log = logging.getLogger("wwfl.federation")


def everybody(number: int, leaf: str, client: int) -> bool:
    """All clients are always there."""
    return True


@dataclass
class Setting:
    """What all rounds of a federation have in common."""

    model: nn.Module
    layers: list[spec.Layer]
    int_bits: int
    schedule: Schedule
    seed: int | None
    deadline_s: float
    tree: Place
    books: Books
    shelves: list[Shelf]
    root: Place | None = None
    root_rows: Rows | None = None
    root_size: int = 0
    classes: int = 0

    @property
    def engine(self) -> Engine:
        return self.books.engine

    @property
    def leaves(self) -> list[Place]:
        """Clusters and sets of local trainers, in order."""
        return [place for place in self.tree.walk() if place.leaf is not None]

    @property
    def places(self) -> list[Place]:
        """All places that have servers; a trainer of the root set that is no cluster of the tree comes last."""
        mine = [place for place in self.tree.walk() if not isinstance(place.spec, LocalTrainers)]
        return mine if self.root is None or self.root in mine else [*mine, self.root]

    def open(self, place: Place) -> None:
        """Starts the servers of a place."""
        assert not isinstance(place.spec, LocalTrainers)
        name = f"{place.name}.{place.generation + 1}" if place.generation else place.name
        place.node = self.engine.open(place.spec.protocol, name, place.spec.network, place.spec.hosts)

    def rebuild(self, place: Place) -> None:
        """New servers, with new names and keys, for a place whose old ones cannot go on. Its clients will share their
        data again; what a rule kept there is forgotten."""
        place.node.close()
        place.generation += 1
        place.memory = {}
        if place.leaf is not None:
            for key in self.shelves[place.leaf].lose_shares():
                _log.warning("%s lost added data %s; add it again", place.name, key)
        self.open(place)

    def coin(self, node: Node, who: str, label: str) -> bytes:
        """A joint coin of a node's servers. A run from a public seed tosses it all the same, so that it costs what a
        real one does, and then takes the seed's: all engines draw alike."""
        tossed: bytes = self.books.run(node, "sample", programs.toss, label)
        return tossed if self.seed is None else derive_key(b"wwfl coin", str(self.seed), who, label)

    def pool(self, leaf: int, number: int, people: Sequence[int], history: Sequence[Round]) -> list[Parcel]:
        """The data that a cluster trains on in round `number`."""
        window = self.schedule.window
        past = [r for r in history if r.number < number and (window is None or r.number > number - window)]
        return self.shelves[leaf].pool([*((r.number, r.participants[leaf]) for r in past), (number, people)])

    def client_batches(self, leaf: int, client: int, number: int, coin: bytes) -> tuple[list[Parcel], list[list[int]]]:
        """What a local trainer has, and the batches that it draws."""
        parcels = [p for p in self.shelves[leaf].parcels(client, number) if len(p.rows)]
        rows = sum(len(p.rows) for p in parcels)
        seed = derive_key(coin, "client", str(client))
        return parcels, sampling.batches(seed, rows, self.schedule.batch, self.schedule.epochs) if rows else []

    def batches(self, record: Round, history: Sequence[Round]) -> Batches:
        """All batches of a round, drawn again from its coins."""
        plan, drawn = self.schedule, []
        for place, people, coin in zip(self.leaves, record.participants, record.coins, strict=True):
            assert place.leaf is not None
            mine: list[list[int]] = []
            if isinstance(place.spec, LocalTrainers):
                for client in people:
                    parcels, batches = self.client_batches(place.leaf, client, record.number, bytes.fromhex(coin))
                    mine += _as_rows(parcels, batches)
            elif coin:
                parcels = self.pool(place.leaf, record.number, people, history)
                rows = sum(len(p.rows) for p in parcels)
                mine = _as_rows(parcels, sampling.batches(bytes.fromhex(coin), rows, plan.batch, plan.epochs))
            drawn.append(mine)
        return drawn


def _as_rows(parcels: Sequence[Parcel], batches: Sequence[Sequence[int]]) -> list[list[int]]:
    rows = np.concatenate([p.rows for p in parcels])
    return [rows[np.asarray(batch)].tolist() for batch in batches]


@dataclass
class _Trained:
    """What a leaf has to give: one model at its own servers, or the models of local trainers as arrays."""

    models: list[Any]
    weights: list[float]
    people: list[int]
    coin: bytes


class Play:
    """Plays one round. Commands to a node that several leaves share are given in the order of the tree, never from
    several threads, so that a seeded run is reproducible; leaves train at the same time."""

    def __init__(
        self, setting: Setting, current: Any, history: Sequence[Round], train: Dataset, available: Available,
        progress: Progress,
    ) -> None:  # fmt: skip
        self.setting = setting
        self.books = setting.books
        self.current = current
        self.history = history
        self.train = train
        self.available = available
        self.progress = progress
        self.record = Round(len(history) + 1)
        self.memories: list[tuple[Place, dict[str, Any]]] = []
        self._starts: dict[str, Any] = {}
        self._coins: dict[str, bytes] = {}
        self._trained: dict[str, _Trained] = {}

    def run(self) -> tuple[Any, Round]:
        """The next global model and the record of the round; nothing of the federation has changed if it raises.

        Raises:
            ProtocolError: the global servers failed, too few leaves answered, or too few for the rule.
        """
        setting, tree = self.setting, self.setting.tree
        self._make_ready()
        self._hand_down(tree, self.current)
        root = self._train_root()
        leaves = [place for place in setting.leaves if place.name in self._starts]
        with ThreadPoolExecutor(max(1, setting.engine.workers(len(leaves)))) as pool:
            for place, trained in zip(leaves, pool.map(self._train_leaf, leaves), strict=True):
                if isinstance(trained, _Trained):
                    self._trained[place.name] = trained
                else:
                    self._leave_out(place, trained)
        model = self._aggregate(tree, self.current, root)
        self._settle()
        for place, memory in self.memories:
            place.memory = memory
        return model, self.record

    def _leave_out(self, place: Place, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        _log.warning("round %d goes on without %s: %s", self.record.number, place.name, reason)
        self.record.absent[place.name] = reason

    def _settle(self) -> None:
        """Who took part; whatever was left out did not."""
        for place in self.setting.leaves:
            trained = self._trained.get(place.name)
            self.record.participants.append(trained.people if trained else [])
            self.record.coins.append(trained.coin.hex() if trained else "")
        answered = sum(bool(people) for people in self.record.participants)
        if answered < self.setting.schedule.min_clusters:
            self._give_up(f"{answered} clusters answered, min_clusters is {self.setting.schedule.min_clusters}")

    def _give_up(self, why: str) -> None:
        absent = "; ".join(f"{name}: {reason}" for name, reason in self.record.absent.items())
        raise ProtocolError(f"round {self.record.number} cannot be finished: {why}. Absent: {absent or 'nobody'}")

    # ------------------------------------------------------------------ down

    def _make_ready(self) -> None:
        """Aligns all nodes' randomness with the round, and replaces servers that cannot go on."""
        for place in self.setting.places:
            try:
                self._align(place)
            except ProtocolError as error:
                if place is self.setting.tree:
                    raise
                self._leave_out(place, error)

    def _align(self, place: Place) -> None:
        run = (self.record.number + 1) * RUNS_PER_ROUND
        if place.node.broken is None:
            try:
                self.setting.engine.align(place.node, run)
                return
            except ProtocolError:
                if place.node.broken is None:
                    raise
        if place is self.setting.tree:
            raise ProtocolError(f"the global servers cannot go on: {place.node.broken}; restore from a checkpoint")
        self.setting.rebuild(place)
        self.setting.engine.align(place.node, run)

    def _hand_down(self, place: Place, model: Any) -> None:
        for child in place.children:
            if child.name in self.record.absent:
                continue
            try:
                if isinstance(child.spec, LocalTrainers):
                    self._starts[child.name] = self._open_for(place, child, model)
                    continue
                mine = self._part(model, child.first) if _apart(place) else model
                start = self.books.move(mine, child.node, self.record.outvoted)
                if isinstance(child.spec, Group):
                    self._starts[child.name] = start
                    self._hand_down(child, start)
                else:
                    self._starts[child.name] = start
            except ProtocolError as error:
                self._fail(place, child, error)

    def _fail(self, place: Place, child: Place, error: ProtocolError) -> None:
        """Leaves a child out, unless it is the servers above that can no longer work."""
        if place.node.broken is not None:
            raise error
        for below in child.walk():
            self._starts.pop(below.name, None)
            self._trained.pop(below.name, None)
        self._leave_out(child, error)

    def _open_for(self, place: Place, child: Place, model: Any) -> list[npt.NDArray[np.float64]]:
        """Local trainers get the model in the clear; in an ensemble, each its own one."""
        number = self.record.number
        self._coins[child.name] = self.setting.coin(place.node, child.name, f"round {number} of {child.name}")
        reason = f"the model before round {number}, for the clients of {child.name}"
        if not _apart(place):
            return [place.node.reveal(model, reason)] * child.inputs
        return [
            place.node.reveal(self._part(model, child.first + i), f"{reason} (client {i})") for i in range(child.inputs)
        ]

    def _part(self, stacked: Any, index: int) -> Any:
        return self.books.run(stacked.cluster, "ensemble", programs.part, stacked, index)

    # ------------------------------------------------------------------ leaves

    def _train_leaf(self, place: Place) -> _Trained | ProtocolError:
        try:
            if isinstance(place.spec, LocalTrainers):
                return self._train_locally(place)
            return self._train_cluster(place)
        except ProtocolError as error:
            return error

    def _choose(self, place: Place, coin: bytes) -> list[int]:
        assert not isinstance(place.spec, Group)
        number, plan = self.record.number, self.setting.schedule
        people = sampling.choose(
            coin,
            place.spec.clients,
            plan.clients_per_round,
            "clients",
            present=lambda client: self.available(number, place.name, client),
        )
        if not people and plan.window == 1:
            raise ProtocolError(f"no client of {place.name} is there")
        return people

    def _train_cluster(self, place: Place) -> _Trained:
        """Sample clients, take their data, train on the pool."""
        begun, node, number = time.monotonic(), place.node, self.record.number
        assert place.leaf is not None
        coin = self.setting.coin(node, place.name, f"round {number}")
        people = self._choose(place, coin)
        parcels = self.setting.pool(place.leaf, number, people, self.history)
        rows = sum(len(p.rows) for p in parcels)
        if not rows:
            raise ProtocolError(f"{place.name} has no data to train on")
        shared = [self._parcel(place, parcel) for parcel in parcels]
        data = node.run(programs.pool, shared)
        drawn = sampling.batches(coin, rows, self.setting.schedule.batch, self.setting.schedule.epochs)
        model = self._fit(node, "train", self._starts[place.name], data, drawn, begun)
        return _Trained([model], [float(rows)], people, coin)

    def _fit(self, node: Node, stage: str, model: Any, data: Rows, drawn: Sequence[Sequence[int]], begun: float) -> Any:
        """SGD at a node; late is as bad as failed."""
        setting, momentum, sgd = self.setting, None, self.setting.schedule.sgd
        anchor = (model,) if getattr(sgd, "prox", 0.0) else ()  # a proximal term pulls towards where the round began
        step = setting.engine.batches_per_command or len(drawn)
        try:
            for done in range(0, len(drawn), step):
                self.progress(node.name, stage, done, len(drawn))
                self._limit(node, begun)
                batches = drawn[done : done + step]
                args = (setting.layers, setting.int_bits, model, *data, batches, sgd, momentum, *anchor)
                model, momentum = self.books.run(node, stage, programs.train_batch, *args)
            self._limit(node, begun)
        finally:
            node.deadline_s = setting.deadline_s
        self.progress(node.name, stage, len(drawn), len(drawn))
        return model

    def _limit(self, node: Node, begun: float) -> None:
        limit = self.setting.schedule.cluster_deadline_s
        if limit is None:
            return
        left = limit - (time.monotonic() - begun)
        if left <= 0:
            raise DeadlineExceeded(f"{node.name} was not ready after cluster_deadline_s={limit} s")
        node.deadline_s = min(self.setting.deadline_s, left)

    def _parcel(self, place: Place, parcel: Parcel) -> Rows:
        """The shares of a client's data; the client shares them when they are first needed, and leaves."""
        assert place.leaf is not None
        shelf = self.setting.shelves[place.leaf]
        if parcel.key in shelf.shares:
            return shelf.shares[parcel.key]
        rows = share_rows(self.setting, place.node, shelf.data(parcel, self.train), parcel.key not in shelf.uploaded)
        shelf.uploaded.add(parcel.key)
        if self.setting.engine.keeps_uploads:
            shelf.shares[parcel.key] = rows
        return rows

    def _train_locally(self, place: Place) -> _Trained:
        """Every sampled client trains in torch on its own data; malicious ones submit something else."""
        spec_, leaf, coin = place.spec, place.leaf, self._coins[place.name]
        assert isinstance(spec_, LocalTrainers) and leaf is not None
        people = self._choose(place, coin)
        starts: list[npt.NDArray[np.float64]] = self._starts[place.name]
        models, weights, heard = [], [], []
        for at, client in enumerate(people):
            self.progress(place.name, "train", at, len(people))
            parcels, drawn = self.setting.client_batches(leaf, client, self.record.number, coin)
            if not drawn:
                continue
            heard.append(client)
            parts = [self.setting.shelves[leaf].data(p, self.train) for p in parcels]
            images, labels = (np.concatenate([getattr(p, name) for p in parts]) for name in ("images", "labels"))
            start, sgd = starts[client % len(starts)], self.setting.schedule.sgd
            models.append(train_flat(self.setting.model, self.setting.layers, start, images, labels, drawn, sgd))
            weights.append(float(len(labels)))
        if not heard:
            raise ProtocolError(f"no client of {place.name} has data")
        if spec_.attack is not None:
            self._attack(spec_, heard, models, starts[0], coin)
        self.progress(place.name, "train", len(people), len(people))
        return _Trained(models, weights, heard, coin)

    def _attack(
        self, trainers: LocalTrainers, people: Sequence[int], models: list[Any], current: Any, coin: bytes
    ) -> None:
        """Replaces the models of malicious clients. Its randomness is the experiment's, not a secret."""
        assert trainers.attack is not None
        at = [i for i, client in enumerate(people) if client in trainers.malicious]
        if not at:
            return
        rng = np.random.default_rng(np.frombuffer(derive_key(coin, "attack"), np.uint32))
        crafted = trainers.attack.craft([models[i] for i in at], current, rng)
        if len(crafted) != len(at):
            raise ConfigError(f"{trainers.attack!r} crafted {len(crafted)} models for {len(at)} malicious clients")
        for i, model in zip(at, crafted, strict=True):
            models[i] = np.asarray(model, np.float64)

    def _train_root(self) -> Any:
        """The current model, trained on the servers' own root set where this is done."""
        setting, place = self.setting, self.setting.root
        if place is None or setting.root_rows is None:
            return None
        if place.name in self.record.absent:
            self._give_up(f"the root set is trained at {place.name}")
        moved = self.books.move(self.current, place.node, self.record.outvoted, "root")
        coin = setting.coin(place.node, "root", f"root, round {self.record.number}")
        drawn = sampling.batches(coin, setting.root_size, setting.schedule.batch, setting.schedule.epochs)
        return self._fit(place.node, "root", moved, setting.root_rows, drawn, time.monotonic())

    # ------------------------------------------------------------------ up

    def _aggregate(self, place: Place, current: Any, root: Any) -> Any:
        """What a group makes of its members' models; `current` is the model that it handed down."""
        assert isinstance(place.spec, Group)
        found = self._collect(place, root)
        rule = place.spec.aggregation
        if _apart(place):
            models = [found[i][0] if i in found else self._part(current, i) for i in range(place.capacity)]
            return self.books.run(place.node, "aggregate", programs.stack, models)
        models, weights = [m for m, _ in found.values()], [w for _, w in found.values()]
        try:
            rule.check(len(models))
        except ConfigError as error:
            self._give_up(str(error)) if place is self.setting.tree else self._refuse(place, error)
        mine = None
        if rule.needs_root and root is not None:
            mine = self.books.move(root, place.node, self.record.outvoted, "root")
        seed, label = self.setting.seed, f"rule, round {self.record.number}"
        coin = None if seed is None else derive_key(b"wwfl coin", str(seed), place.name, label)
        self.progress(place.name, "aggregate", 0, 1)
        args = (rule, models, weights, current, mine, place.memory, coin)
        model, memory = self.books.run(place.node, "aggregate", programs.aggregate, *args)
        self.progress(place.name, "aggregate", 1, 1)
        self.memories.append((place, memory))
        return model

    def _refuse(self, place: Place, error: ConfigError) -> None:
        raise ProtocolError(f"{place.name}: {error}")

    def _collect(self, place: Place, root: Any) -> dict[int, tuple[Any, float]]:
        """The members' models at a group's servers with their weights, by the number of the input."""
        found: dict[int, tuple[Any, float]] = {}
        for child in place.children:
            if child.name not in self._starts:
                continue
            try:
                found |= self._receive(place, child, root)
            except ProtocolError as error:
                self._fail(place, child, error)
        return found

    def _receive(self, place: Place, child: Place, root: Any) -> dict[int, tuple[Any, float]]:
        self.progress(child.name, "reshare", 0, 1)
        if isinstance(child.spec, Group):
            model = self._aggregate(child, self._starts[child.name], root)
            weight = sum(sum(t.weights) for p in child.walk() if (t := self._trained.get(p.name)))
            return {child.first: (self.books.move(model, place.node, self.record.outvoted), weight)}
        trained = self._trained.get(child.name)
        if trained is None:
            return {}
        if isinstance(child.spec, Cluster):
            moved = self.books.move(trained.models[0], place.node, self.record.outvoted)
            return {child.first: (moved, trained.weights[0])}
        return self._receive_uploads(place, child, trained)

    def _receive_uploads(self, place: Place, child: Place, trained: _Trained) -> dict[int, tuple[Any, float]]:
        """Local trainers share their models with the servers above; one that does not fit the format is not taken."""
        found: dict[int, tuple[Any, float]] = {}
        for slot, (client, model) in enumerate(zip(list(trained.people), trained.models, strict=True)):
            number = child.first + (client if _apart(place) else slot)
            try:
                found[number] = self.books.share(place.node, model), trained.weights[slot]
            except RangeError as error:
                self.record.absent[f"{child.name}/{client}"] = f"RangeError: {error}"
                trained.people.remove(client)
        return found


def _apart(place: Place) -> bool:
    """Whether a group keeps its members' models apart."""
    return isinstance(place.spec, Group) and isinstance(place.spec.aggregation, Ensemble)


def share_rows(setting: Setting, node: Node, data: Dataset, booked: bool = True) -> Rows:
    """A client's (or the servers' own) images and labels, shared at a node."""
    stage = "upload" if booked else None
    images = setting.books.share(node, data.images, stage)
    return images, setting.books.share(node, one_hot(data.labels, setting.classes), stage)
