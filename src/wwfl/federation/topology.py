"""Who is in a federation: clusters that train, groups that aggregate, clients that train on their
own.

A federation is a tree, and a node of it is known by what it does, so that a topology is a
composition: federated learning at one server, secure aggregation at several, hierarchies of any
depth, WW-FL, and mixtures of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from wwfl.aggregation import Aggregation, FedAvg, Inputs
from wwfl_core.channel.cost import NetworkModel
from wwfl_core.errors import ConfigError
from wwfl_core.protocol.backend import MPCBackend, checked_protocol
from wwfl_core.sharing.semantics import Security
from wwfl_core.tensors import SharedTensor, permuters, stack_tensors

from .schedule import Schedule

CLUSTER_NETWORK = NetworkModel(latency_s=0.020, bandwidth_bps=1e9)
GLOBAL_NETWORK = NetworkModel(latency_s=0.100, bandwidth_bps=100e6)


class ModelAttack(Protocol):
    """What malicious local trainers submit instead of their models (flat, float64)."""

    def craft(
        self, honest: Sequence[np.ndarray], current: np.ndarray, rng: np.random.Generator
    ) -> Sequence[np.ndarray]:
        """`honest`: the models that the malicious clients of this round would have submitted; as
        many come back."""
        ...


@dataclass(frozen=True)
class Servers:
    """The servers of one node: the protocol that they run, the network between them (modelled), who
    operates them (by default hosts of their own), and the device that they compute on; see
    `LocalCluster`."""

    protocol: MPCBackend
    network: NetworkModel | None = GLOBAL_NETWORK
    hosts: tuple[str, ...] | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        checked_protocol(self.protocol)


@dataclass(frozen=True)
class Cluster:
    """One training cluster: its protocol, how many clients share data with it, and what else there
    is to say of its `Servers`. Its clients share data and nothing else: they cannot submit a model,
    so there is no model poisoning."""

    protocol: MPCBackend
    clients: int = 4
    name: str | None = None
    network: NetworkModel | None = CLUSTER_NETWORK
    hosts: tuple[str, ...] | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        checked_protocol(self.protocol)

    @property
    def servers(self) -> Servers:
        """Who carries the cluster out."""
        return Servers(self.protocol, self.network, self.hosts, self.device)


@dataclass(frozen=True)
class LocalTrainers:
    """Clients who train by themselves, in the clear, and share their models with the node above
    them.

    This is plain federated learning: every sampled client SEES the node's model in every round (the
    ledger says so), and submits whatever it likes. `malicious` clients submit what `attack` crafts.
    """

    clients: int = 4
    name: str | None = None
    attack: ModelAttack | None = None
    malicious: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.malicious) != (self.attack is not None):
            raise ConfigError(
                "LocalTrainers: malicious clients need an attack, and an attack malicious clients"
            )
        if any(not 0 <= client < self.clients for client in self.malicious):
            raise ConfigError(
                f"LocalTrainers: malicious clients {self.malicious} are not all in "
                f"0..{self.clients - 1}"
            )


@dataclass(frozen=True)
class Group:
    """A layer between: servers that aggregate the models of their members and hand the result
    on."""

    protocol: MPCBackend
    members: Sequence[Cluster | LocalTrainers | Group]
    aggregation: Aggregation = field(default_factory=FedAvg)
    name: str | None = None
    network: NetworkModel | None = CLUSTER_NETWORK
    hosts: tuple[str, ...] | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        checked_protocol(self.protocol)

    @property
    def servers(self) -> Servers:
        """Who carries the group out."""
        return Servers(self.protocol, self.network, self.hosts, self.device)


Member = Cluster | LocalTrainers | Group


@dataclass(frozen=True)
class Ensemble(Aggregation):
    """Keeps its members' models apart, each one goes on training its own, and predictions are voted
    on in MPC (as in SafeNet, Chaudhari et al. 2023). The global model is all models, [members,
    parameters]; of equal votes the first class wins.

    With `min_accuracy` (the paper's threshold phi), a model has a vote only if it classifies at
    least this share of the servers' root set right. That is computed after every round and stays
    secret, how many models there are left, too: votes are multiplied by a shared bit, which is one
    more number behind each model, [members, parameters + 1]. (If no model is good enough, every
    prediction is class 0.)

    Raises:
        ConfigError: a threshold that is no share.
    """

    min_accuracy: float | None = None

    def __post_init__(self) -> None:
        if self.min_accuracy is not None and not 0 <= self.min_accuracy <= 1:
            raise ConfigError(
                f"Ensemble(min_accuracy={self.min_accuracy}): the threshold must be in 0..1"
            )

    def start(self, flat: np.ndarray, members: int) -> np.ndarray:
        """The global model before the first round: every member's is the same [parameters], and all
        may vote."""
        voice = [] if self.min_accuracy is None else [1.0]
        return np.tile(np.concatenate([flat, voice]), (members, 1))

    def least(self, rows: int) -> int:
        """How many of so many images a model must get right to have a vote."""
        return math.ceil(Fraction(str(self.min_accuracy or 0.0)) * rows)

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        return stack_tensors(list(inputs.models))


@dataclass
class Place:
    """A node of the tree. `node` (its servers, as the engine makes them) is None for local
    trainers; `first` is the number of its first model among its parent's inputs, `inputs` how many
    it gives at most; `leaf` counts leaves. `generation` counts servers that were replaced."""

    name: str
    spec: Member
    children: list[Place]
    inputs: int
    first: int = 0
    leaf: int | None = None
    node: Any = None
    generation: int = 0
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def servers_name(self) -> str:
        """What the servers that are here now are called. Names of places have no "/"
        (`PolicyGuard` counts on it), so those of servers that replaced others cannot be
        another place's."""
        return f"{self.name}/{self.generation + 1}" if self.generation else self.name

    def walk(self) -> Iterator[Place]:
        """This place and all below, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def capacity(self) -> int:
        """How many models its rule combines when nobody is absent."""
        return sum(child.inputs for child in self.children)

    @property
    def security(self) -> Security:
        """What a model is protected against here, by the protocol that was asked for."""
        if isinstance(self.spec, LocalTrainers):
            return Security(corruptions=0)
        return self.spec.protocol.sharing.security


def build(top: Group, schedule: Schedule) -> Place:
    """The tree of a federation, with names and numbers, checked.

    Raises:
        ConfigError: a group without members, a leaf with fewer clients than are sampled, one in
            which hidden sampling hides nobody, names that occur twice, a rule that does not fit its
            members, an ensemble that is not at the top.
    """
    place = _place(top, top.name or "global", schedule)
    places = list(place.walk())
    names = [p.name for p in places]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"the names {', '.join(twice)} occur twice in the federation; give every member its own"
        )
    if any("/" in name or not name for name in names):
        raise ConfigError(
            "names are used in addresses and file names: they need a character, and no '/': "
            f"{names}"
        )
    for number, leaf in enumerate(p for p in places if not isinstance(p.spec, Group)):
        leaf.leaf = number
    for group in places:
        if isinstance(group.spec, Group):
            _check_rule(group, group is place, schedule)
    return place


def _place(spec: Member, name: str, schedule: Schedule) -> Place:
    if not isinstance(spec, Group):
        if spec.clients < schedule.clients_per_round:
            raise ConfigError(
                f"{schedule.clients_per_round} clients are sampled per round, but cluster {name} "
                f"has {spec.clients}"
            )
        if schedule.hidden:
            _check_hidden(spec, name, schedule.clients_per_round)
        return Place(
            name, spec, [], schedule.clients_per_round if isinstance(spec, LocalTrainers) else 1
        )
    if not spec.members:
        raise ConfigError(f"{name} has no members: a federation needs at least one cluster")
    prefix = "" if name == "global" else f"{name}."
    children: list[Place] = []
    first = 0
    for i, member in enumerate(spec.members):
        kind = "clients" if isinstance(member, LocalTrainers) else member.protocol.name
        child = _place(member, member.name or f"{prefix}{kind}-{i + 1}", schedule)
        child.first, first = first, first + child.inputs
        children.append(child)
    return Place(name, spec, children, 1)


def _check_hidden(spec: Cluster | LocalTrainers, name: str, sampled: int) -> None:
    """Refuses a leaf in which nobody's part can be hidden."""
    if isinstance(spec, LocalTrainers):
        raise ConfigError(
            f"{name}: local trainers cannot be sampled in secret: whoever trains gets the model "
            "in the clear and "
            "submits its own under its name. Let them share their data with a Cluster, or set "
            "sampling to 'public'"
        )
    if spec.clients == sampled:
        raise ConfigError(
            f"hidden sampling of {sampled} of {spec.clients} clients in cluster {name} would hide "
            "nothing: lower "
            f"clients_per_round, or set sampling to 'public'"
        )
    permuters(spec.protocol.sharing)


def _check_rule(group: Place, top: bool, schedule: Schedule) -> None:
    assert isinstance(group.spec, Group)
    rule = group.spec.aggregation
    rule.check(group.capacity)
    around, inner = rule, rule.inner
    while inner is not None:
        if isinstance(inner, Ensemble):
            raise ConfigError(
                f"{group.name}: {type(around).__name__} changes one model; an ensemble gives "
                "several"
            )
        around, inner = inner, inner.inner
    if not isinstance(rule, Ensemble):
        return
    if not top:
        raise ConfigError(
            f"{group.name}: an ensemble can only be at the top, since what it gives is several "
            "models"
        )
    for child in group.children:
        if (
            isinstance(child.spec, LocalTrainers)
            and child.spec.clients != schedule.clients_per_round
        ):
            raise ConfigError(
                f"{child.name}: in an ensemble every client has a model of its own, so all "
                f"{child.spec.clients} "
                f"must take part in every round; set clients_per_round to that"
            )


def trained_roots(tree: Place) -> list[str]:
    """Where rules need a model that was trained on the root set."""
    return [
        p.name for p in tree.walk() if isinstance(p.spec, Group) and p.spec.aggregation.needs_root
    ]


def validates(tree: Place) -> bool:
    """Whether the global servers measure models on the root set."""
    assert isinstance(tree.spec, Group)
    return (
        isinstance(tree.spec.aggregation, Ensemble)
        and tree.spec.aggregation.min_accuracy is not None
    )


def root_trainer(tree: Place, rows: int | None, trainer: Cluster | int | None) -> Place | None:
    """Where a root set of so many rows (None: there is none) is trained; its own cluster stands
    beside the tree.

    Raises:
        ConfigError: a rule that needs a root set without one, a trainer without a root set, no such
        leaf.
    """
    needs = trained_roots(tree)
    if rows is None:
        if needs:
            raise ConfigError(
                f"the rule at {', '.join(needs)} needs a model trained on a root set: give "
                "root=Dataset"
            )
        if validates(tree):
            raise ConfigError(
                f"the ensemble at {tree.name} measures its models on a root set: give root=Dataset"
            )
        if trainer is not None:
            raise ConfigError("root_trainer is given, but no root set: give root=Dataset")
        return None
    if not rows:
        raise ConfigError("the root set is empty")
    if trainer is None:
        return tree
    if validates(tree):
        raise ConfigError(
            "an ensemble measures its models on the root set at the global servers: give no "
            "root_trainer"
        )
    if isinstance(trainer, Cluster):
        return Place("root", trainer, [], 0)
    for place in tree.walk():
        if place.leaf == trainer and isinstance(place.spec, Cluster):
            return place
    raise ConfigError(
        f"root_trainer={trainer} is no cluster: give the number of one, counting leaves from 0"
    )
