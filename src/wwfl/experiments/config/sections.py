"""The sections of a configuration: one dataclass per table, its fields are the keys, the text below
a field is the comment of its key.

What a federation is made of stands here no second time: the tables [schedule], [aggregation],
[federation.servers] and the members of [[federation.clusters]] are the federation's own dataclasses
(`wwfl.federation.schedule`, `wwfl.federation.topology`). Here is what only an experiment has: which
data, who holds it, who attacks, how the run is kept. Nothing here builds anything; `from_config`
does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from wwfl.bounds import Count, Fraction, NotNegative, Option, Positive, Seed
from wwfl.federation import (
    Cluster,
    LocalTrainers,
    Member,
    NamedRule,
    Schedule,
    Servers,
    check_clients,
    engine_name,
    leaves,
)
from wwfl_core.errors import ConfigError

PlacementName = Literal["equal", "focused", "cluster-focused", "uniform"]


@dataclass(frozen=True)
class Model:
    """What is trained."""

    name: str = "lenet5"
    """lenet5, mlp, logistic_regression, resnet9, or package.module:function (seed -> module)"""
    hidden: tuple[Count, ...] = (32,)
    """widths of the hidden layers of an mlp"""
    norm: Literal["batch", "none"] = "batch"
    """normalisation of resnet9"""
    int_bits: Annotated[int, Ge(2), Le(43)] = 12
    """integer bits of activations in fixed point"""
    seed: Seed | None = None
    """seed of the (public) initial model; run.seed if absent"""


@dataclass(frozen=True)
class Data:
    """The training and the test set."""

    name: Literal["mnist", "fashion-mnist", "cifar10", "images"] = "mnist"
    """which format to read; mnist without a folder is the embedded 10,000 + 2,000 digits"""
    folder: str | None = None
    """folder with the files of the set, relative to where wwfl runs"""
    pool: Count = 1
    """average images over blocks of this many pixels a side (small, fast models)"""
    train: Count | None = None
    """use only the first so many training images"""
    test: Count | None = None
    """use only the first so many test images"""
    root: Count | None = None
    """keep the last so many training images as the servers' root set (for rules that need one)"""


@dataclass(frozen=True)
class Partition:
    """Who holds which training images."""

    kind: Literal["iid", "paper", "dirichlet", "regions", "shards", "quantity"] = "iid"
    """iid, paper (with duplicates), dirichlet, regions, shards or quantity"""
    alpha: Positive = 0.5
    """concentration of dirichlet, regions and quantity (small: clients differ)"""
    shards_per_client: Count = 2
    """label-sorted shards that each client gets (kind = shards)"""
    seed: Seed | None = None
    """seed of the partition; run.seed if absent"""


@dataclass(frozen=True)
class Federation:
    """Who computes, with which protocols, connected how."""

    engine: Literal["mpc", "simulate", "float", "plain"] = "mpc"
    """mpc (shares), simulate (fixed point in the clear) or float (floats in the clear)"""
    servers: Servers = field(default_factory=Servers)
    """the global servers"""
    clusters: Annotated[tuple[Member, ...], MinLen(1)] = (
        Cluster("2pc"),
        Cluster("3pc"),
        Cluster("4pc"),
    )
    """who trains; nested groups make more layers"""
    processes: bool = False
    """every server as its own process, over TLS"""
    allow_weaker: bool = False
    """let the model pass clusters that protect it less"""
    insecure_seed: Seed | None = None
    """derive all keys from this public seed: reproducible, and therefore insecure"""
    deadline_s: Positive = 120.0
    """how long a server waits for a message"""

    def __post_init__(self) -> None:
        # "plain" is the former name of "float".
        object.__setattr__(self, "engine", engine_name(self.engine))


@dataclass(frozen=True)
class Attack:
    """Data poisoning by malicious clients."""

    name: str | None = None
    """a registered attack: rlf, tlf, slf, dlf, ...; none if absent"""
    rate: Fraction = 0.2
    """fraction of malicious clients"""
    placement: PlacementName = "equal"
    """where they sit"""
    options: Mapping[str, Option] = field(default_factory=dict)
    """options of the attack"""
    seed: Seed | None = None
    """seed of the attack; run.seed if absent"""


@dataclass(frozen=True)
class Privacy:
    """Differential privacy: clipping and distributed noise around the aggregation rule."""

    clip: Positive | None = None
    """norm that every update is clipped to; no privacy if absent"""
    noise_multiplier: NotNegative = 1.0
    """standard deviation of the noise in units of clip"""
    delta: Annotated[float, Gt(0), Lt(1)] = 1e-5
    """delta of the stated guarantee"""
    epsilon: Positive | None = None
    """budget: the run stops before it would be exceeded"""

    def __post_init__(self) -> None:
        if self.epsilon is not None and self.clip is None:
            raise ConfigError(
                "epsilon is a budget of differential privacy, but there is none: give a clip"
            )


@dataclass(frozen=True)
class Reveal:
    """Who may see the model, and when. By default nobody, ever."""

    when: Literal["never", "final", "always"] = "never"
    """never, final (the run opens the last model) or always (it may be opened any time)"""
    min_contributors: Count = 1
    """clients that must have contributed before a model is opened"""
    reason: str = "the final model"
    """what the ledger says of the run's own opening"""


@dataclass(frozen=True)
class Run:
    """How this run is kept."""

    seed: Seed = 0
    """public seed of everything that is not secret: model, partition, attack"""
    evaluate: bool = True
    """open the number of right test images after every round"""
    checkpoint: bool = True
    """every party writes its shares after every round (needed for --resume)"""


@dataclass(frozen=True)
class Grid:
    """What `wwfl attack` runs: every combination of these, each with every seed."""

    attacks: Annotated[tuple[str, ...], MinLen(1)] = ("none", "rlf", "tlf", "slf", "dlf")
    """attacks; none is no attack"""
    placements: Annotated[tuple[PlacementName, ...], MinLen(1)] = (
        "equal",
        "focused",
        "cluster-focused",
    )
    """where the malicious clients sit"""
    rates: Annotated[tuple[Fraction, ...], MinLen(1)] = (0.2,)
    """fractions of malicious clients"""
    rules: Annotated[tuple[NamedRule, ...], MinLen(1)] = (NamedRule(),)
    """aggregation rules"""
    seeds: Annotated[tuple[Seed, ...], MinLen(1)] = (0, 1, 2)
    """one run per seed"""


@dataclass(frozen=True)
class Config:
    """A whole run.

    Raises:
        ConfigError: clusters that cannot provide the clients that the schedule samples.
    """

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    partition: Partition = field(default_factory=Partition)
    federation: Federation = field(default_factory=Federation)
    schedule: Schedule = field(default_factory=Schedule)
    aggregation: NamedRule = field(default_factory=NamedRule)
    attack: Attack = field(default_factory=Attack)
    privacy: Privacy = field(default_factory=Privacy)
    reveal: Reveal = field(default_factory=Reveal)
    run: Run = field(default_factory=Run)
    grid: Grid = field(default_factory=Grid)

    def __post_init__(self) -> None:
        for leaf in leaves(self.federation.clusters):
            check_clients(leaf, self.schedule, _called(leaf))


def _called(leaf: Cluster | LocalTrainers) -> str:
    """A leaf in an error about a file."""
    kind = (
        "trainers"
        if isinstance(leaf, LocalTrainers)
        else f"a cluster of protocol {leaf.protocol!r}"
    )
    return kind if leaf.name is None else f"{leaf.name} ({kind})"
