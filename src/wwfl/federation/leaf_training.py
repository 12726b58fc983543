"""One leaf's part of a round: sample clients, take their data, train; or let local trainers
train.

Here belongs what happens at one leaf. Which leaves train, what they start from and where their
models go is `run_round`'s."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl.data import Dataset, choose, draw_batches
from wwfl_core.errors import ConfigError, DeadlineExceeded, ProtocolError
from wwfl_core.randomness import derive_key

from . import server_programs as programs
from .client_data import Rows, Upload
from .context import Available, Context, Progress
from .engines import Node
from .schedule import Round
from .topology import Cluster, Group, LocalTrainers, Place
from .torch_model import Job, train_all


@dataclass
class Trained:
    """What a leaf has to give: one model at its own servers, or the models of local trainers as
    arrays."""

    models: list[Any]
    weights: list[float]
    people: list[int]
    coin: bytes


class LeafTraining:
    """Trains the leaves of round `number`; may be used from several threads, for one leaf each."""

    def __init__(
        self,
        context: Context,
        number: int,
        history: Sequence[Round],
        train: Dataset,
        available: Available,
        progress: Progress,
    ) -> None:
        self.context = context
        self.number = number
        self.history = history
        self.train_set = train
        self.available = available
        self.progress = progress

    def choose(self, place: Place, coin: bytes) -> list[int]:
        assert not isinstance(place.spec, Group)
        number, plan = self.number, self.context.schedule
        people = choose(
            coin,
            place.spec.clients,
            plan.clients_per_round,
            "clients",
            present=lambda client: self.available(number, place.name, client),
        )
        if not people and plan.window == 1:
            raise ProtocolError(f"no client of {place.name} is there")
        return people

    def train_cluster(self, place: Place, start: Any) -> Trained:
        """Sample clients, take their data, train on the pool."""
        begun, node, plan = time.monotonic(), place.node, self.context.schedule
        coin = self.context.coin(node, place.name, f"round {self.number}")
        people, shared = ([], self._drawn(place)) if plan.hidden else self._pooled(place, coin)
        if not shared:
            raise ProtocolError(f"{place.name} has no data to train on")
        data = node.run(programs.pool, shared)
        rows = sum(images.shape[0] for images, _ in shared)
        drawn = draw_batches(coin, rows, plan.batch, plan.epochs)
        model = self.fit(node, "train", start, data, drawn, begun)
        return Trained([model], [float(rows)], people, coin)

    def _pooled(self, place: Place, coin: bytes) -> tuple[list[int], list[Rows]]:
        """Public sampling: who takes part, and their data."""
        assert place.leaf is not None
        people = self.choose(place, coin)
        uploads = self.context.pool(place.leaf, self.number, people, self.history)
        return people, [self._upload(place, upload) for upload in uploads]

    def _drawn(self, place: Place) -> list[Rows]:
        """Hidden sampling: every client that is there shares its data, if it has not before, and
        the servers select that of some, nobody knows whose; earlier samples of the window are
        added.

        Who is there is public, so the sample is one of those. That it is all of them would be no
        secret."""
        plan, number, leaf = self.context.schedule, self.number, place.leaf
        assert leaf is not None and isinstance(place.spec, Cluster)
        leaf_data = self.context.leaf_data[leaf]
        there = [
            c
            for c in range(place.spec.clients)
            if leaf_data.has(c) or self.available(number, place.name, c)
        ]
        if len(there) <= plan.clients_per_round:
            raise ProtocolError(
                f"{place.name} has the data of {len(there)} clients, and {plan.clients_per_round} "
                "are sampled: hidden sampling needs more, since everybody's part would be known"
            )
        uploads = [
            self._upload(place, p)
            for client in there
            for p in leaf_data.uploads(client, number)
            if len(p.rows)
        ]
        if not uploads:
            return []
        self.progress(place.name, "select", 0, 1)
        rows: Rows = self.context.run(
            place.node, "select", programs.select, uploads, plan.clients_per_round
        )
        self.progress(place.name, "select", 1, 1)
        earlier = leaf_data.drawn(self.context.hidden_rounds(leaf, number, self.history))
        if plan.window != 1:
            leaf_data.keep_drawn(number, rows, plan.window)
        return [*earlier, rows]

    def fit(
        self,
        node: Node,
        stage: str,
        model: Any,
        data: Rows,
        drawn: Sequence[Sequence[int]],
        begun: float,
    ) -> Any:
        """SGD at a node; late is as bad as failed."""
        context, momentum, sgd = self.context, None, self.context.schedule.sgd
        anchor = (model,) if sgd.prox else ()  # a proximal term pulls towards where the round began
        step = context.engine.batches_per_command or len(drawn)
        try:
            for done in range(0, len(drawn), step):
                self.progress(node.name, stage, done, len(drawn))
                self._limit(node, begun)
                batches = drawn[done : done + step]
                args = (context.model, model, *data, batches, sgd, momentum, *anchor)
                model, momentum = self.context.run(node, stage, programs.train_batch, *args)
            self._limit(node, begun)
        finally:
            node.deadline_s = context.deadline_s
        self.progress(node.name, stage, len(drawn), len(drawn))
        return model

    def _limit(self, node: Node, begun: float) -> None:
        limit = self.context.schedule.cluster_deadline_s
        if limit is None:
            return
        left = limit - (time.monotonic() - begun)
        if left <= 0:
            raise DeadlineExceeded(f"{node.name} was not ready after cluster_deadline_s={limit} s")
        node.deadline_s = min(self.context.deadline_s, left)

    def _upload(self, place: Place, upload: Upload) -> Rows:
        """The shares of a client's data; the client shares them when they are first needed, and
        leaves."""
        assert place.leaf is not None
        leaf_data = self.context.leaf_data[place.leaf]
        if upload.key in leaf_data.shares:
            return leaf_data.shares[upload.key]
        data = leaf_data.data(upload, self.train_set)
        rows = self.context.share_rows(
            place.node, data, booked=upload.key not in leaf_data.uploaded
        )
        leaf_data.uploaded.add(upload.key)
        if self.context.engine.keeps_uploads:
            leaf_data.shares[upload.key] = rows
        return rows

    def train_locally(
        self, place: Place, starts: list[npt.NDArray[np.float64]], coin: bytes
    ) -> Trained:
        """Every sampled client trains in torch on its own data; malicious ones submit something
        else."""
        spec_, leaf = place.spec, place.leaf
        assert isinstance(spec_, LocalTrainers) and leaf is not None
        people = self.choose(place, coin)
        drawn = {
            client: self.context.client_batches(leaf, client, self.number, coin)
            for client in people
        }
        heard = [client for client, (_, batches) in drawn.items() if batches]
        jobs = (self._job(leaf, starts[client % len(starts)], *drawn[client]) for client in heard)
        models: list[Any] = []
        self.progress(place.name, "train", 0, len(people))
        for model in train_all(jobs, self.context.executor):
            models.append(model)
            self.progress(place.name, "train", len(models), len(people))
        weights = [float(sum(len(p.rows) for p in drawn[client][0])) for client in heard]
        if not heard:
            raise ProtocolError(f"no client of {place.name} has data")
        if spec_.attack is not None:
            self._attack(spec_, heard, models, starts[0], coin)
        self.progress(place.name, "train", len(people), len(people))
        return Trained(models, weights, heard, coin)

    def _job(
        self,
        leaf: int,
        start: npt.NDArray[np.float64],
        uploads: Sequence[Upload],
        batches: Sequence[Sequence[int]],
    ) -> Job:
        """What one client trains."""
        parts = [self.context.leaf_data[leaf].data(p, self.train_set) for p in uploads]
        images, labels = (
            np.concatenate([getattr(p, name) for p in parts]) for name in ("images", "labels")
        )
        sgd = self.context.schedule.sgd
        return Job(self.context.torch_model, start, images, labels, batches, sgd)

    def _attack(
        self,
        trainers: LocalTrainers,
        people: Sequence[int],
        models: list[Any],
        current: Any,
        coin: bytes,
    ) -> None:
        """Replaces the models of malicious clients. Its randomness is the experiment's, not a
        secret. Where an attack needs more of them than were sampled, they have nothing to hide
        among, and submit what they trained."""
        assert trainers.attack is not None and not isinstance(trainers.attack, str)
        at = [i for i, client in enumerate(people) if client in trainers.malicious]
        if len(at) < getattr(trainers.attack, "needs", 1):
            return
        rng = np.random.default_rng(np.frombuffer(derive_key(coin, "attack"), np.uint32))
        crafted = trainers.attack.craft([models[i] for i in at], current, rng)
        if len(crafted) != len(at):
            raise ConfigError(
                f"{trainers.attack!r} crafted {len(crafted)} models for {len(at)} malicious clients"
            )
        for i, model in zip(at, crafted, strict=True):
            models[i] = np.asarray(model, np.float64)
