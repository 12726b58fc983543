"""One round of Algorithm 1 on a tree of any depth: models go down, leaves train, groups aggregate
on the way up.

Here belongs the course of one round: who gets which model, who is left out, what is made of the
answers. It changes nothing of the federation but what `RoundRunner.run` returns."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl.aggregation import Aggregation
from wwfl.data import Dataset, draw_batches
from wwfl.privacy import reveal_policy as policy
from wwfl_core.errors import ConfigError, ProtocolError, RangeError
from wwfl_core.randomness import derive_key

from . import server_programs as programs
from .context import RUNS_PER_ROUND, Available, Context, Progress
from .leaf_training import LeafTraining, Trained
from .schedule import Round
from .topology import Cluster, Ensemble, Group, LocalTrainers, Place, trained_roots

_log = logging.getLogger("wwfl.federation.federation")


class RoundRunner:
    """Runs one round. Commands to a node that several leaves share are given in the order of the
    tree, never from several threads, so that a seeded run is reproducible; leaves train at the same
    time."""

    def __init__(
        self,
        context: Context,
        current: Any,
        history: Sequence[Round],
        train: Dataset,
        available: Available,
        progress: Progress,
    ) -> None:
        self.context = context
        self.current = current
        self.progress = progress
        self.record = Round(len(history) + 1)
        self.leaves = LeafTraining(context, self.record.number, history, train, available, progress)
        self.memories: list[tuple[Place, dict[str, Any]]] = []
        self._starts: dict[str, Any] = {}
        self._coins: dict[str, bytes] = {}
        self._trained: dict[str, Trained] = {}

    def run(self) -> tuple[Any, Round]:
        """The next global model and the record of the round; nothing of the federation has changed
        if it raises.

        Raises:
            ProtocolError: the global servers failed, too few leaves answered, or too few for the
                rule.
        """
        context, tree = self.context, self.context.tree
        self._make_ready()
        self._hand_down(tree, self.current)
        root = self._train_root()
        leaves = [place for place in context.leaves if place.name in self._starts]
        with ThreadPoolExecutor(max(1, context.engine.workers(len(leaves)))) as pool:
            for place, trained in zip(leaves, pool.map(self._train_leaf, leaves), strict=True):
                if isinstance(trained, Trained):
                    self._trained[place.name] = trained
                else:
                    self._leave_out(place, trained)
        model = self._aggregate(tree, self.current, root)
        for place, memory in self.memories:
            place.memory = memory
        return model, self.record

    def _leave_out(self, place: Place, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        _log.warning("round %d goes on without %s: %s", self.record.number, place.name, reason)
        self.record.absent[place.name] = reason

    def _settle(self) -> None:
        """Who took part; whatever was left out did not."""
        plan = self.context.schedule
        for place in self.context.leaves:
            trained = self._trained.get(place.name)
            self.record.participants.append(trained.people if trained else [])
            self.record.hidden.append(plan.clients_per_round if trained and plan.hidden else 0)
            self.record.coins.append(trained.coin.hex() if trained else "")
        answered = len(self._trained)
        if answered < plan.min_clusters:
            self._give_up(f"{answered} clusters answered, min_clusters is {plan.min_clusters}")

    def _give_up(self, why: str) -> None:
        absent = "; ".join(f"{name}: {reason}" for name, reason in self.record.absent.items())
        raise ProtocolError(
            f"round {self.record.number} cannot be finished: {why}. Absent: {absent or 'nobody'}"
        )

    # ------------------------------------------------------------------ down

    def _make_ready(self) -> None:
        """Aligns all nodes' randomness with the round, and replaces servers that cannot go on."""
        for place in self.context.places:
            try:
                self._align(place)
            except ProtocolError as error:
                if place is self.context.tree:
                    raise
                self._leave_out(place, error)

    def _align(self, place: Place) -> None:
        run = (self.record.number + 1) * RUNS_PER_ROUND
        if place.node.broken is None:
            try:
                self.context.engine.align(place.node, run)
                return
            except ProtocolError:
                if place.node.broken is None:
                    raise
        if place is self.context.tree:
            raise ProtocolError(
                f"the global servers cannot go on: {place.node.broken}; restore from a checkpoint"
            )
        self.context.rebuild(place, self.record.number - 1)
        self.context.engine.align(place.node, run)

    def _hand_down(self, place: Place, model: Any) -> None:
        for child in place.children:
            if child.name in self.record.absent:
                continue
            try:
                if isinstance(child.spec, LocalTrainers):
                    self._starts[child.name] = self._open_for(place, child, model)
                    continue
                mine = self._part(model, child.first) if _apart(place) else model
                start = self.context.move(mine, child.node, self.record.outvoted)
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
        self._coins[child.name] = self.context.coin(
            place.node, child.name, f"round {number} of {child.name}"
        )
        reason, to = f"the model before round {number}, for the clients of {child.name}", child.name
        if not _apart(place):
            return [
                place.node.run_agreed(policy.open_for_trainers, model, to, reason)
            ] * child.inputs
        return [
            place.node.run_agreed(
                policy.open_for_trainers,
                self._part(model, child.first + i),
                to,
                f"{reason} (client {i})",
            )
            for i in range(child.inputs)
        ]

    def _part(self, stacked: Any, index: int) -> Any:
        return self.context.run(
            stacked.cluster, "ensemble", programs.part, stacked, index, self.context.model.size
        )

    # ------------------------------------------------------------------ leaves

    def _train_leaf(self, place: Place) -> Trained | ProtocolError:
        try:
            start = self._starts[place.name]
            if isinstance(place.spec, LocalTrainers):
                return self.leaves.train_locally(place, start, self._coins[place.name])
            return self.leaves.train_cluster(place, start)
        except ProtocolError as error:
            return error

    def _train_root(self) -> Any:
        """The current model, trained on the servers' own root set where this is done."""
        context, place = self.context, self.context.root
        if place is None or context.root_rows is None or not trained_roots(context.tree):
            return None
        if place.name in self.record.absent:
            self._give_up(f"the root set is trained at {place.name}")
        moved = self.context.move(self.current, place.node, self.record.outvoted, "root")
        coin = context.coin(place.node, "root", f"root, round {self.record.number}")
        plan = context.schedule
        drawn = draw_batches(coin, context.root_size, plan.batch, plan.epochs)
        return self.leaves.fit(
            place.node, "root", moved, context.root_rows, drawn, time.monotonic()
        )

    # ------------------------------------------------------------------ up

    def _aggregate(self, place: Place, current: Any, root: Any) -> Any:
        """What a group makes of its members' models; `current` is the model that it handed down."""
        assert isinstance(place.spec, Group)
        found = self._collect(place, root)
        if place is self.context.tree:
            self._settle()
        rule = place.spec.rule
        if _apart(place):
            models = [
                found[i][0] if i in found else self._part(current, i) for i in range(place.capacity)
            ]
            return self._keep_apart(place, rule, models)
        models, weights = [m for m, _ in found.values()], [w for _, w in found.values()]
        try:
            rule.check(len(models))
        except ConfigError as error:
            self._give_up(str(error)) if place is self.context.tree else self._refuse(place, error)
        mine = None
        if rule.needs_root and root is not None:
            mine = self.context.move(root, place.node, self.record.outvoted, "root")
        seed, label = self.context.seed, f"rule, round {self.record.number}"
        coin = None if seed is None else derive_key(b"wwfl coin", str(seed), place.name, label)
        self.progress(place.name, "aggregate", 0, 1)
        args = (self.context.engine.rule(rule), models, weights, current, mine, place.memory, coin)
        model, memory = self.context.run(place.node, "aggregate", programs.aggregate, *args)
        self.progress(place.name, "aggregate", 1, 1)
        self.memories.append((place, memory))
        return model

    def _keep_apart(self, place: Place, rule: Aggregation, models: list[Any]) -> Any:
        """The models of an ensemble, and which of them may vote, where that is measured on the
        servers' own data."""
        assert isinstance(rule, Ensemble)
        context = self.context
        if rule.min_accuracy is None:
            return self.context.run(place.node, "aggregate", programs.stack, models)
        assert context.root_rows is not None
        least = rule.least(context.root_size)
        args = (context.model, models, *context.root_rows, context.engine.evaluation_batch, least)
        return self.context.run(place.node, "validate", programs.validate, *args)

    def _refuse(self, place: Place, error: ConfigError) -> None:
        raise ProtocolError(f"{place.name}: {error}")

    def _collect(self, place: Place, root: Any) -> dict[int, tuple[Any, float]]:
        """The members' models at a group's servers with their weights, by the number of the
        input."""
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
            return {
                child.first: (self.context.move(model, place.node, self.record.outvoted), weight)
            }
        trained = self._trained.get(child.name)
        if trained is None:
            return {}
        if isinstance(child.spec, Cluster):
            moved = self.context.move(trained.models[0], place.node, self.record.outvoted)
            return {child.first: (moved, trained.weights[0])}
        return self._receive_uploads(place, child, trained)

    def _receive_uploads(
        self, place: Place, child: Place, trained: Trained
    ) -> dict[int, tuple[Any, float]]:
        """Local trainers share their models with the servers above; one that does not fit the
        format is not taken."""
        found: dict[int, tuple[Any, float]] = {}
        uploads = list(zip(trained.people, trained.models, trained.weights, strict=True))
        trained.people, trained.models, trained.weights = [], [], []
        for slot, (client, model, weight) in enumerate(uploads):
            number = child.first + (client if _apart(place) else slot)
            try:
                found[number] = self.context.share(place.node, model), weight
            except RangeError as error:
                self.record.absent[f"{child.name}/{client}"] = f"RangeError: {error}"
                continue
            trained.people.append(client)
            trained.models.append(model)
            trained.weights.append(weight)
        if not found:
            raise ProtocolError(f"no client of {child.name} submitted a model that fits the format")
        return found


def _apart(place: Place) -> bool:
    """Whether a group keeps its members' models apart."""
    return isinstance(place.spec, Group) and isinstance(place.spec.rule, Ensemble)
