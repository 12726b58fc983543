"""What all rounds of a federation have in common: its tree and the servers there, its data, and the
public coins.

Here belongs every command that is given to servers (`run`, `share`, `move`), so that its cost is
booked, and what needs no more than the tree. The course of a round is `run_round`'s, the state that
rounds change is the federation's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl.data import Dataset, draw_batches
from wwfl.nn import Model
from wwfl.privacy import reveal_policy as policy
from wwfl_core.errors import Misuse, ProtocolError
from wwfl_core.randomness import derive_key

from . import server_programs as programs
from .client_data import LeafData, Rows, Upload, content_key, count_classes, one_hot
from .cost_book import CostBook
from .engines import Engine, Node
from .schedule import Batches, Round, Schedule
from .topology import Group, LocalTrainers, Place
from .torch_model import TorchModel

Progress = Callable[[str, str, int, int], None]
"""(cluster, stage, done, total): called from several threads."""

Available = Callable[[int, str, int], bool]
"""(round, leaf, client) -> whether the client is there. Must not change its mind about a round."""

RUNS_PER_ROUND = 1 << 16
"""Command numbers that a round has for itself (see `Engine.align`)."""

_log = logging.getLogger("wwfl.federation.federation")


def silent(cluster: str, stage: str, done: int, total: int) -> None:
    """Nobody wants to hear of progress."""


def everybody(number: int, leaf: str, client: int) -> bool:
    """All clients are always there."""
    return True


@dataclass
class Context:
    """What all rounds of a federation have in common.

    `model` is what programs get, `torch_model` what trains in the clear, perhaps in `executor`'s
    workers. `root` is where the servers' own data set is trained. Nodes are used by one thread at
    a time; different nodes may be used at once."""

    model: Model
    torch_model: TorchModel
    schedule: Schedule
    seed: int | None
    deadline_s: float
    tree: Place
    engine: Engine
    allow_weaker: bool
    leaf_data: list[LeafData]
    root: Place | None = None
    root_rows: Rows | None = None
    root_size: int = 0
    classes: int = 0
    reveal_policy: policy.RevealPolicy | None = None
    tests: dict[str, Rows] = field(default_factory=dict)
    executor: Executor | None = None
    costs: CostBook = field(default_factory=CostBook)

    # ------------------------------------------------------------------ commands

    def run(self, node: Node, stage: str, fn: Callable[..., Any], *args: Any) -> Any:
        """Runs a program whose public results all servers report alike."""
        begun = time.monotonic()
        result = node.run_agreed(fn, *args)
        self.costs.spent(node.name, stage, node.last_cost, begun)
        return result

    def share(self, node: Node, value: npt.ArrayLike, stage: str | None = "upload") -> Any:
        """A client's upload; not booked without a stage."""
        begun = time.monotonic()
        handle = node.share(value)
        if stage is not None:
            self.costs.spent(node.name, stage, node.last_cost, begun)
        return handle

    def share_rows(self, node: Node, data: Dataset, booked: bool = True) -> Rows:
        """A client's (or the servers' own) images and labels, shared at a node."""
        stage = "upload" if booked else None
        images = self.share(node, data.images, stage)
        return images, self.share(node, one_hot(data.labels, self.classes), stage)

    def move(self, x: Any, to: Node, outvoted: list[str], stage: str = "reshare") -> Any:
        """Hands a value on to another node; names of outvoted servers are appended to
        `outvoted`."""
        if x.cluster is to:
            return x
        begun = time.monotonic()
        moved = self.engine.move(x, to, self.allow_weaker)
        self.costs.spent(f"{x.cluster.name} -> {to.name}", stage, moved.cost, begun)
        outvoted.extend(moved.outvoted)
        return moved.handle

    # ------------------------------------------------------------------ the tree

    @property
    def leaves(self) -> list[Place]:
        """Clusters and sets of local trainers, in order."""
        return [place for place in self.tree.walk() if place.leaf is not None]

    def leaf(self, which: int | str) -> Place:
        """The leaf of a number or a name. Raises Misuse if there is none."""
        for place in self.leaves:
            if which in (place.leaf, place.name):
                return place
        raise Misuse(
            f"there is no leaf {which!r}; there are "
            f"{', '.join(f'{p.leaf} ({p.name})' for p in self.leaves)}"
        )

    def check(self, data: Dataset) -> None:
        """Takes note of how many classes there are. Raises ConfigError for data that does not fit
        the model."""
        self.classes = count_classes(self.model, data)

    def share_test(self, test: Dataset) -> Rows:
        """A test set at the global servers, shared once."""
        self.check(test)
        key = content_key(test)
        if key not in self.tests:
            self.tests[key] = self.share_rows(self.tree.node, test)
        return self.tests[key]

    @property
    def clients(self) -> dict[str, int]:
        """How many clients every leaf has, in order."""
        return {
            leaf.name: leaf.spec.clients for leaf in self.leaves if not isinstance(leaf.spec, Group)
        }

    @property
    def places(self) -> list[Place]:
        """All places that have servers; a trainer of the root set that is no cluster of the tree
        comes last."""
        mine = [place for place in self.tree.walk() if not isinstance(place.spec, LocalTrainers)]
        return mine if self.root is None or self.root in mine else [*mine, self.root]

    def open_all(self) -> None:
        """Starts the servers of all places; from then on the reveal policy holds, if there is
        one."""
        for place in self.places:
            self.open(place)
        for place in self.places:
            self._guard(place)

    def _guard(self, place: Place) -> None:
        if self.reveal_policy is not None:
            addresses = [address for p in self.places for address in p.node.addresses]
            policy.enforce(self.reveal_policy, [place.node], addresses, place is self.tree)

    def tell(self, record: Round) -> None:
        """Tells the global servers and the clusters who took part in a round, where a policy wants
        to know. Groups count the rounds that they aggregate, and hear of no clients. Servers below
        the global ones that cannot hear any more are replaced before the next round."""
        if self.reveal_policy is None:
            return
        nodes = [p.node for p in self.places if p.name not in record.absent]
        told = [p.node for p in self.places if p is self.tree or not isinstance(p.spec, Group)]
        for node in (node for node in told if node in nodes):
            try:
                policy.tell(self.reveal_policy, [node], record.number, record.contributors)
            except ProtocolError as error:
                if node is self.tree.node:
                    raise
                _log.warning("round %d is not reported to %s: %s", record.number, node.name, error)

    def open(self, place: Place) -> None:
        """Starts the servers of a place."""
        assert not isinstance(place.spec, LocalTrainers)
        place.node = self.engine.open(place.spec.servers, place.servers_name)

    def rebuild(self, place: Place, rounds: int) -> None:
        """New servers, with new names and keys, for a place whose old ones cannot go on. Its
        clients will share their data again; what a rule kept there is forgotten, but not that
        `rounds` are over."""
        place.node.close()
        place.generation += 1
        place.memory = {}
        if place.leaf is not None:
            for key in self.leaf_data[place.leaf].lose_shares():
                _log.warning("%s lost added data %s; add it again", place.name, key)
        self.open(place)
        self._guard(place)
        self.remind(place, rounds)

    def remind(self, place: Place, rounds: int) -> None:
        """Tells servers that aggregate, and have no share file that says so, how many rounds are
        over."""
        if isinstance(place.spec, Group):
            place.node.run(policy.note_restored, rounds)

    def coin(self, node: Node, who: str, label: str) -> bytes:
        """A joint coin of a node's servers. A run from a public seed tosses it all the same, so
        that it costs what a real one does, and then takes the seed's: all engines draw alike."""
        tossed: bytes = self.run(node, "sample", programs.toss, label)
        return tossed if self.seed is None else derive_key(b"wwfl coin", str(self.seed), who, label)

    def pool(
        self, leaf: int, number: int, people: Sequence[int], history: Sequence[Round]
    ) -> list[Upload]:
        """The data that a cluster trains on in round `number`."""
        past = ((r.number, r.participants[leaf]) for r in self._past(number, history))
        return self.leaf_data[leaf].pool([*past, (number, people)])

    def hidden_rounds(self, leaf: int, number: int, history: Sequence[Round]) -> list[int]:
        """The rounds before `number` whose hidden samples a cluster trains on as well."""
        return [r.number for r in self._past(number, history) if r.hidden[leaf]]

    def _past(self, number: int, history: Sequence[Round]) -> list[Round]:
        """The rounds before `number` in the window."""
        window = self.schedule.window
        return [
            r
            for r in history
            if r.number < number and (window is None or r.number > number - window)
        ]

    def client_batches(
        self, leaf: int, client: int, number: int, coin: bytes
    ) -> tuple[list[Upload], list[list[int]]]:
        """What a local trainer has, and the batches that it draws."""
        uploads = [p for p in self.leaf_data[leaf].uploads(client, number) if len(p.rows)]
        rows = sum(len(p.rows) for p in uploads)
        seed = derive_key(coin, "client", str(client))
        return uploads, draw_batches(
            seed, rows, self.schedule.batch, self.schedule.epochs
        ) if rows else []

    def batches(self, record: Round, history: Sequence[Round]) -> Batches:
        """All batches of a round, drawn again from its coins."""
        plan, drawn = self.schedule, []
        for place, people, coin in zip(self.leaves, record.participants, record.coins, strict=True):
            assert place.leaf is not None
            mine: list[list[int]] = []
            if isinstance(place.spec, LocalTrainers):
                for client in people:
                    uploads, batches = self.client_batches(
                        place.leaf, client, record.number, bytes.fromhex(coin)
                    )
                    mine += _as_rows(uploads, batches)
            elif coin and not plan.hidden:
                uploads = self.pool(place.leaf, record.number, people, history)
                rows = sum(len(p.rows) for p in uploads)
                mine = _as_rows(
                    uploads, draw_batches(bytes.fromhex(coin), rows, plan.batch, plan.epochs)
                )
            drawn.append(mine)
        return drawn


def _as_rows(uploads: Sequence[Upload], batches: Sequence[Sequence[int]]) -> list[list[int]]:
    rows = np.concatenate([p.rows for p in uploads])
    return [rows[np.asarray(batch)].tolist() for batch in batches]
