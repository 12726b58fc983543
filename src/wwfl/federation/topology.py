"""Who is in a federation: clusters that train, groups that aggregate, clients that train on their
own.

A federation is a tree, and a node of it is known by what it does, so that a topology is a
composition: federated learning at one server, secure aggregation at several, hierarchies of any
depth, WW-FL, and mixtures of them.

`Servers`, `Cluster`, `Group`, `LocalTrainers` and `NamedRule` are also tables of a configuration:
its keys are their fields, and the text below a field is the comment of its key. What can be named
in a file (a protocol, a rule, an attack) can be named here; `build` finds what the names stand for.
How a round is carried out is not here."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from wwfl import attacks
from wwfl.aggregation import Aggregation, Inputs
from wwfl.aggregation.registry import rule
from wwfl.attacks.placement import malicious_count
from wwfl.bounds import Count, Options, Seed, check_bounds
from wwfl.bounds import Fraction as Share
from wwfl.data import choose
from wwfl_core.channel.cost import NetworkModel
from wwfl_core.errors import ConfigError
from wwfl_core.protocol.backend import MPCBackend, checked_protocol
from wwfl_core.protocol.registry import resolve
from wwfl_core.sharing.semantics import Security, weaker_of
from wwfl_core.tensors import SharedTensor, permuters, stack_tensors

from .schedule import Schedule

CLUSTER_NETWORK = NetworkModel(latency_s=0.020, bandwidth_bps=1e9)
GLOBAL_NETWORK = NetworkModel(latency_s=0.100, bandwidth_bps=100e6)
PROTOCOL = "2pc"
"""The protocol of servers for whom none is given."""


class ModelAttack(Protocol):
    """What malicious local trainers submit instead of their models (flat, float64)."""

    def craft(
        self, honest: Sequence[np.ndarray], current: np.ndarray, rng: np.random.Generator
    ) -> Sequence[np.ndarray]:
        """`honest`: the models that the malicious clients of this round would have submitted; as
        many come back."""
        ...


@dataclass(frozen=True)
class NamedRule:
    """How models are combined."""

    rule: str = "fedavg"
    """a registered rule: fedavg, trimmed-mean, ..."""
    options: Options = field(default_factory=dict)
    """options of the rule, for example { trim = 2 }; a rule or a network inside is a table"""

    def make(self) -> Aggregation:
        """The rule.

        Raises:
            ConfigError: there is no such rule or option, or the rule refuses a value.
        """
        return rule(self.rule, **self.options)


class _RunByServers:
    """What has servers: `protocol` may be given by name, `backend` is what the name stands for."""

    protocol: MPCBackend | str
    network: NetworkModel | None
    hosts: tuple[str, ...] | None
    device: str

    def __post_init__(self) -> None:
        check_bounds(self)
        if not isinstance(self.protocol, str):
            checked_protocol(self.protocol)

    @property
    def backend(self) -> MPCBackend:
        """The protocol; a new instance each time if it was given by name.

        Raises:
            ConfigError: no protocol has this name, or it cannot be loaded.
        """
        return resolve(self.protocol)() if isinstance(self.protocol, str) else self.protocol

    @property
    def servers(self) -> Servers:
        """Who carries this out."""
        return Servers(self.protocol, self.network, self.hosts, self.device)


@dataclass(frozen=True)
class Servers(_RunByServers):
    """The global servers, who aggregate.

    More generally the servers of one node: the protocol that they run, the network between them
    (modelled), who operates them, and the device that they compute on; see `LocalCluster`."""

    protocol: MPCBackend | str = PROTOCOL
    """a registered protocol (`wwfl backends`) or package.module:Class"""
    network: NetworkModel | None = GLOBAL_NETWORK
    """modelled network between the servers"""
    hosts: tuple[str, ...] | None = None
    """who operates each server; by default hosts of their own"""
    device: str = "cpu"
    """where the servers compute: cpu, cuda, cuda:N"""


@dataclass(frozen=True)
class Cluster(_RunByServers):
    """Servers of one protocol, which train on the pooled data of their clients.

    Its clients share data and nothing else: they cannot submit a model, so there is no model
    poisoning."""

    protocol: MPCBackend | str = PROTOCOL
    """a registered protocol (`wwfl backends`) or package.module:Class"""
    clients: Count = 4
    """clients that share their data with this cluster"""
    name: str | None = None
    """name in reports; made from the protocol if absent"""
    network: NetworkModel | None = CLUSTER_NETWORK
    """modelled network of the cluster"""
    hosts: tuple[str, ...] | None = None
    """who operates each server; by default hosts of their own"""
    device: str = "cpu"
    """where the servers compute: cpu, cuda, cuda:N"""
    count: Count = 1
    """this many members alike"""


@dataclass(frozen=True)
class LocalTrainers:
    """Clients who train on their own and share updates (plain federated learning).

    Every sampled client SEES the node's model in every round (the ledger says so), and submits
    whatever it likes. `malicious` clients submit what `attack` crafts. An attack that is given by
    name, with `options`, is mounted by a fraction `rate` of the clients; who they are is drawn from
    the public `attack_seed` and the place in the tree.
    """

    clients: Count = 4
    """clients who train"""
    name: str | None = None
    """name in reports; made from the place in the tree if absent"""
    attack: ModelAttack | str | None = None
    """a model attack that the malicious ones mount (only possible here)"""
    malicious: tuple[int, ...] = ()
    rate: Share = 0.2
    """fraction of malicious trainers, with attack"""
    options: Options = field(default_factory=dict)
    """options of the attack"""
    count: Count = 1
    """this many members alike"""
    attack_seed: Seed = 0

    def __post_init__(self) -> None:
        check_bounds(self)
        if isinstance(self.attack, str):
            if self.malicious:
                raise ConfigError(
                    "LocalTrainers: a named attack draws its malicious clients: give rate, or the "
                    "attack itself"
                )
        elif bool(self.malicious) != (self.attack is not None):
            raise ConfigError(
                "LocalTrainers: malicious clients need an attack, and an attack malicious clients"
            )
        if any(not 0 <= client < self.clients for client in self.malicious):
            raise ConfigError(
                f"LocalTrainers: malicious clients {self.malicious} are not all in "
                f"0..{self.clients - 1}"
            )

    def drawn(self, number: int) -> LocalTrainers:
        """With the attack that the name stands for, and who mounts it; `number` is that of the
        member in the tree.

        Raises:
            ConfigError: no such attack or option, or a rate that makes nobody malicious.
        """
        if not isinstance(self.attack, str):
            return self
        attack = attacks.model_attack(self.attack, **self.options)
        bad = malicious_count(self.clients, self.rate)
        if not bad:
            return replace(self, attack=None)
        seed = f"malicious trainers {self.attack_seed} {number}"
        key = hashlib.sha256(seed.encode()).digest()
        malicious = tuple(choose(key, self.clients, bad, "malicious"))
        return replace(self, attack=attack, malicious=malicious)


@dataclass(frozen=True)
class Group(_RunByServers):
    """A middle layer: servers of one protocol who aggregate their members and pass the result
    up."""

    protocol: MPCBackend | str = PROTOCOL
    """a registered protocol (`wwfl backends`) or package.module:Class"""
    members: Sequence[Member] = ()
    """clusters, trainers or groups below"""
    aggregation: Aggregation | NamedRule = field(default_factory=NamedRule)
    """how this layer combines its members"""
    name: str | None = None
    """name in reports; made from the protocol if absent"""
    network: NetworkModel | None = CLUSTER_NETWORK
    """modelled network of the group"""
    hosts: tuple[str, ...] | None = None
    """who operates each server; by default hosts of their own"""
    device: str = "cpu"
    """where the servers compute: cpu, cuda, cuda:N"""
    count: Count = 1
    """this many members alike"""

    @property
    def rule(self) -> Aggregation:
        """How the members' models are combined.

        Raises:
            ConfigError: a named rule that does not exist, or refuses its options.
        """
        return (
            self.aggregation.make() if isinstance(self.aggregation, NamedRule) else self.aggregation
        )


Member = Cluster | LocalTrainers | Group


def expanded(members: Sequence[Member]) -> list[Member]:
    """Every member as often as its `count` says; a name gets a number behind it then.

    >>> [member.name for member in expanded([Cluster("3pc", name="clinic", count=2)])]
    ['clinic-1', 'clinic-2']
    """
    found: list[Member] = []
    for member in members:
        for number in range(1, member.count + 1):
            several = member.name is not None and member.count > 1
            name = f"{member.name}-{number}" if several else member.name
            found.append(replace(member, name=name, count=1))
    return found


def leaves(members: Sequence[Member]) -> list[Cluster | LocalTrainers]:
    """The clusters and local trainers of a topology, from left to right.

    >>> tree = [Group("3pc", [Cluster(clients=5, count=2), LocalTrainers(7)]), Cluster(clients=9)]
    >>> [leaf.clients for leaf in leaves(tree)]
    [5, 5, 7, 9]
    """
    found: list[Cluster | LocalTrainers] = []
    for member in expanded(members):
        found += leaves(member.members) if isinstance(member, Group) else [member]
    return found


def _named(top: Group) -> Group:
    """The same tree with what its names stand for, every member as often as it is wanted."""
    numbers = itertools.count()

    def found(member: Member) -> Member:
        number = next(numbers)
        if isinstance(member, LocalTrainers):
            return member.drawn(number)
        if isinstance(member, Cluster):
            return replace(member, protocol=member.backend)
        return within(member)

    def within(group: Group) -> Group:
        protocol, rule = group.backend, group.rule
        members = tuple(map(found, expanded(group.members)))
        return replace(group, protocol=protocol, members=members, aggregation=rule)

    return within(top)


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
        (`policy.PolicyGuard` counts on it), so those of servers that replaced others cannot be
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
        return self.spec.backend.sharing.security


def build(top: Group, schedule: Schedule) -> Place:
    """The tree of a federation, with names and numbers, checked. What `top` names is found.

    Raises:
        ConfigError: a name that stands for nothing, a group without members, a leaf with fewer
            clients than are sampled, one in which hidden sampling hides nobody, names that occur
            twice, a rule that does not fit its members, an ensemble that is not at the top.
    """
    top = _named(top)
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
        check_clients(spec, schedule, f"cluster {name}")
        if schedule.hidden and isinstance(spec, Cluster):
            permuters(spec.backend.sharing)
        return Place(
            name, spec, [], schedule.clients_per_round if isinstance(spec, LocalTrainers) else 1
        )
    if not spec.members:
        raise ConfigError(f"{name} has no members: a federation needs at least one cluster")
    prefix = "" if name == "global" else f"{name}."
    children: list[Place] = []
    first = 0
    for i, member in enumerate(spec.members):
        kind = "clients" if isinstance(member, LocalTrainers) else member.backend.name
        child = _place(member, member.name or f"{prefix}{kind}-{i + 1}", schedule)
        child.first, first = first, first + child.inputs
        children.append(child)
    return Place(name, spec, children, 1)


def check_clients(spec: Cluster | LocalTrainers, schedule: Schedule, who: str) -> None:
    """Whether a leaf has the clients that a schedule samples; `who` names it in errors.

    Raises:
        ConfigError: there are fewer, or hidden sampling could hide nobody.
    """
    sampled = schedule.clients_per_round
    if spec.clients < sampled:
        raise ConfigError(
            f"clients_per_round is {sampled}, but {who} has {spec.clients} clients: sample fewer"
        )
    if not schedule.hidden:
        return
    if isinstance(spec, LocalTrainers):
        raise ConfigError(
            f"sampling is 'hidden', but {who} cannot be: local trainers get the model in the "
            "clear and submit theirs by name. Let them share their data with a cluster, or set "
            "sampling to 'public'"
        )
    if spec.clients == sampled:
        raise ConfigError(
            f"sampling is 'hidden', but all {spec.clients} clients of {who} are sampled "
            "(clients_per_round), which hides nobody: sample fewer, or set sampling to 'public'"
        )


def _check_rule(group: Place, top: bool, schedule: Schedule) -> None:
    assert isinstance(group.spec, Group)
    rule = group.spec.rule
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
                f"{child.spec.clients} must take part in every round; set clients_per_round to "
                "that"
            )


def opened(place: Place) -> tuple[str, ...]:
    """Caveats of a model that local trainers see."""
    trainers = (p.name for p in place.walk() if isinstance(p.spec, LocalTrainers))
    return tuple(f"opened to the clients of {name} in every round" for name in trainers)


def guarantee(place: Place) -> Security:
    """What the model is protected against at its weakest, wherever it goes."""
    servers = [p.security for p in place.walk() if not isinstance(p.spec, LocalTrainers)]
    weakest = weaker_of(*servers)
    return Security(
        weakest.malicious, weakest.corruptions, tuple(sorted({*weakest.caveats, *opened(place)}))
    )


def trained_roots(tree: Place) -> list[str]:
    """Where rules need a model that was trained on the root set."""
    return [p.name for p in tree.walk() if isinstance(p.spec, Group) and p.spec.rule.needs_root]


def validates(tree: Place) -> bool:
    """Whether the global servers measure models on the root set."""
    assert isinstance(tree.spec, Group)
    return isinstance(rule := tree.spec.rule, Ensemble) and rule.min_accuracy is not None


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
        return Place("root", replace(trainer, protocol=trainer.backend), [], 0)
    for place in tree.walk():
        if place.leaf == trainer and isinstance(place.spec, Cluster):
            return place
    raise ConfigError(
        f"root_trainer={trainer} is no cluster: give the number of one, counting leaves from 0"
    )
