"""The sections of a configuration. A section knows its keys, their types and ranges; nothing here
builds anything."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from wwfl.federation import engine_name

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Placement = Literal["equal", "focused", "cluster-focused", "uniform"]
Option = bool | int | float | str


class Section(BaseModel, frozen=True):
    """A table of the configuration: strict types, immutable, unknown keys refused with the nearest
    known one."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        unknown = (
            [key for key in data if key not in cls.model_fields] if isinstance(data, dict) else []
        )
        if unknown:
            hints = [f"{key!r} is no key here{nearest(key, cls.model_fields)}" for key in unknown]
            known = ", ".join(cls.model_fields)
            raise PydanticCustomError(
                "unknown_key", "{text}", {"text": f"{'; '.join(hints)} (keys are {known})"}
            )
        return data


def nearest(word: str, known: Any) -> str:
    """ ", did you mean 'x'?" for the known word that is nearest; nothing if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""


class Model(Section, frozen=True):
    """What is trained."""

    name: str = Field(
        default="lenet5",
        description=(
            "lenet5, mlp, logistic_regression, resnet9, or package.module:function (seed -> module)"
        ),
    )
    hidden: list[Count] = Field(default=[32], description="widths of the hidden layers of an mlp")
    norm: Literal["batch", "none"] = Field(default="batch", description="normalisation of resnet9")
    int_bits: Annotated[int, Field(ge=2, le=43)] = Field(
        default=12, description="integer bits of activations in fixed point"
    )
    seed: Seed | None = Field(
        default=None, description="seed of the (public) initial model; run.seed if absent"
    )


class Data(Section, frozen=True):
    """The training and the test set."""

    name: Literal["mnist", "fashion-mnist", "cifar10", "images"] = Field(
        default="mnist",
        description=(
            "which format to read; mnist without a folder is the embedded 10,000 + 2,000 digits"
        ),
    )
    folder: str | None = Field(
        default=None, description="folder with the files of the set, relative to where wwfl runs"
    )
    pool: Count = Field(
        default=1,
        description="average images over blocks of this many pixels a side (small, fast models)",
    )
    train: Count | None = Field(
        default=None, description="use only the first so many training images"
    )
    test: Count | None = Field(default=None, description="use only the first so many test images")
    root: Count | None = Field(
        default=None,
        description=(
            "keep the last so many training images as the servers' root set (for rules that need "
            "one)"
        ),
    )


class Partition(Section, frozen=True):
    """Who holds which training images."""

    kind: Literal["iid", "paper", "dirichlet", "regions", "shards", "quantity"] = Field(
        default="iid",
        description="iid, paper (with duplicates), dirichlet, regions, shards or quantity",
    )
    alpha: Positive = Field(
        default=0.5,
        description="concentration of dirichlet, regions and quantity (small: clients differ)",
    )
    shards_per_client: Count = Field(
        default=2, description="label-sorted shards that each client gets (kind = shards)"
    )
    seed: Seed | None = Field(default=None, description="seed of the partition; run.seed if absent")


class Network(Section, frozen=True):
    """A modelled network between the servers of a cluster; it costs nothing and delays nothing in
    reality."""

    latency_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.02, description="one-way latency"
    )
    bandwidth_mbps: Positive = Field(
        default=1000.0, description="uplink of each server, megabits per second"
    )


class Servers(Section, frozen=True):
    """The global servers, who aggregate."""

    protocol: str = Field(
        default="2pc", description="a registered protocol (`wwfl backends`) or package.module:Class"
    )
    hosts: list[str] | None = Field(
        default=None, description="who operates each server; by default hosts of their own"
    )
    device: str = Field(default="cpu", description="where the servers compute: cpu, cuda, cuda:N")
    network: Network = Field(
        default=Network(latency_s=0.1, bandwidth_mbps=100.0),
        description="modelled network of the global servers",
    )


class _Member(Section, frozen=True):
    name: str | None = Field(
        default=None, description="name in reports; made from the protocol if absent"
    )
    count: Count = Field(default=1, description="this many members alike")


class Cluster(_Member, frozen=True):
    """Servers of one protocol, which train on the pooled data of their clients."""

    kind: Literal["cluster"] = Field(default="cluster", description="cluster, group or trainers")
    protocol: str = Field(default="2pc", description="as for the global servers")
    clients: Count = Field(default=4, description="clients that share their data with this cluster")
    hosts: list[str] | None = Field(default=None, description="who operates each server")
    device: str = Field(default="cpu", description="where the servers compute: cpu, cuda, cuda:N")
    network: Network = Field(default=Network(), description="modelled network of the cluster")


class Trainers(_Member, frozen=True):
    """Clients who train on their own and share updates (plain federated learning)."""

    kind: Literal["trainers"] = Field(default="trainers", description="cluster, group or trainers")
    clients: Count = Field(default=4, description="clients who train")
    attack: str | None = Field(
        default=None,
        description="a model attack that the malicious ones mount (only possible here)",
    )
    rate: Fraction = Field(default=0.2, description="fraction of malicious trainers, with attack")
    options: dict[str, Option] = Field(default={}, description="options of the attack")


class Aggregation(Section, frozen=True):
    """How models are combined."""

    rule: str = Field(default="fedavg", description="a registered rule: fedavg, trimmed-mean, ...")
    options: dict[str, Option | dict[str, Option]] = Field(
        default={},
        description=(
            "options of the rule, for example { trim = 2 }; a rule or a network inside is a table"
        ),
    )


class Group(_Member, frozen=True):
    """A middle layer: servers of one protocol who aggregate their members and pass the result
    up."""

    kind: Literal["group"] = Field(default="group", description="cluster, group or trainers")
    protocol: str = Field(default="2pc", description="as for the global servers")
    members: Annotated[list[Member], Field(min_length=1)] = Field(
        description="clusters, trainers or groups below"
    )
    aggregation: Aggregation = Field(
        default=Aggregation(), description="how this layer combines its members"
    )
    hosts: list[str] | None = Field(default=None, description="who operates each server")
    device: str = Field(default="cpu", description="where the servers compute: cpu, cuda, cuda:N")
    network: Network = Field(default=Network(), description="modelled network of the group")


def _kind(value: Any) -> str:
    return (
        value.get("kind", "cluster")
        if isinstance(value, dict)
        else getattr(value, "kind", "cluster")
    )


Member = Annotated[
    Annotated[Cluster, Tag("cluster")]
    | Annotated[Group, Tag("group")]
    | Annotated[Trainers, Tag("trainers")],
    Discriminator(
        _kind,
        custom_error_type="unknown_kind",
        custom_error_message="kind must be 'cluster', 'group' or 'trainers'",
    ),
]
KINDS = ("cluster", "group", "trainers")


class Federation(Section, frozen=True):
    """Who computes, with which protocols, connected how."""

    engine: Literal["mpc", "simulate", "float"] = Field(
        default="mpc",
        description=(
            "mpc (shares), simulate (fixed point in the clear) or float (floats in the clear)"
        ),
    )
    servers: Servers = Field(default=Servers(), description="the global servers")
    clusters: Annotated[list[Member], Field(min_length=1)] = Field(
        default=[Cluster(protocol="2pc"), Cluster(protocol="3pc"), Cluster(protocol="4pc")],
        description="who trains; nested groups make more layers",
    )
    processes: bool = Field(default=False, description="every server as its own process, over TLS")
    allow_weaker: bool = Field(
        default=False, description="let the model pass clusters that protect it less"
    )
    insecure_seed: Seed | None = Field(
        default=None,
        description="derive all keys from this public seed: reproducible, and therefore insecure",
    )
    deadline_s: Positive = Field(default=120.0, description="how long a server waits for a message")

    @field_validator("engine", mode="before")
    @classmethod
    def _former_name(cls, given: Any) -> Any:
        return engine_name(given) if given == "plain" else given


class Schedule(Section, frozen=True):
    """What a round does."""

    rounds: Count = Field(default=10, description="rounds of federated training")
    samples_per_client: Count = Field(
        default=50, description="images that a sampled client contributes"
    )
    clients_per_round: Count = Field(default=2, description="clients sampled per cluster and round")
    epochs: Count = Field(default=5, description="passes over the pooled data per round")
    batch: Count = Field(default=20, description="batch size")
    lr: Positive = Field(default=0.05, description="learning rate of SGD")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="momentum of SGD"
    )
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0, description="weight decay of SGD"
    )
    prox: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0, description="FedProx mu; 0 is plain SGD"
    )
    data_policy: Annotated[str, Field(pattern=r"^(fresh|accumulate|window:[1-9]\d*)$")] = Field(
        default="fresh",
        description="fresh, accumulate or window:k: which rounds' data a cluster trains on",
    )
    sampling: Literal["public", "hidden"] = Field(
        default="public",
        description="hidden: nobody learns which clients a round uses; all share their data once",
    )
    cluster_deadline_s: Positive | None = Field(
        default=None, description="leave a cluster out of a round after this long"
    )
    min_clusters: Count = Field(
        default=1, description="fewest clusters that a round may go on with"
    )


class Attack(Section, frozen=True):
    """Data poisoning by malicious clients."""

    name: str | None = Field(
        default=None, description="a registered attack: rlf, tlf, slf, dlf, ...; none if absent"
    )
    rate: Fraction = Field(default=0.2, description="fraction of malicious clients")
    placement: Placement = Field(default="equal", description="where they sit")
    options: dict[str, Option] = Field(default={}, description="options of the attack")
    seed: Seed | None = Field(default=None, description="seed of the attack; run.seed if absent")


class Privacy(Section, frozen=True):
    """Differential privacy: clipping and distributed noise around the aggregation rule."""

    clip: Positive | None = Field(
        default=None, description="norm that every update is clipped to; no privacy if absent"
    )
    noise_multiplier: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=1.0, description="standard deviation of the noise in units of clip"
    )
    delta: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=1e-5, description="delta of the stated guarantee"
    )
    epsilon: Positive | None = Field(
        default=None, description="budget: the run stops before it would be exceeded"
    )

    @model_validator(mode="after")
    def _not_in_vain(self) -> Privacy:
        if self.epsilon is not None and self.clip is None:
            raise PydanticCustomError(
                "budget_without_clip",
                "epsilon is a budget of differential privacy, but there is none: give a clip",
            )
        return self


class Reveal(Section, frozen=True):
    """Who may see the model, and when. By default nobody, ever."""

    when: Literal["never", "final", "always"] = Field(
        default="never",
        description=(
            "never, final (the run opens the last model) or always (it may be opened any time)"
        ),
    )
    min_contributors: Count = Field(
        default=1, description="clients that must have contributed before a model is opened"
    )
    reason: str = Field(
        default="the final model", description="what the ledger says of the run's own opening"
    )


class Run(Section, frozen=True):
    """How this run is kept."""

    seed: Seed = Field(
        default=0,
        description="public seed of everything that is not secret: model, partition, attack",
    )
    evaluate: bool = Field(
        default=True, description="open the number of right test images after every round"
    )
    checkpoint: bool = Field(
        default=True,
        description="every party writes its shares after every round (needed for --resume)",
    )


class Grid(Section, frozen=True):
    """What `wwfl attack` runs: every combination of these, each with every seed."""

    attacks: Annotated[list[str], Field(min_length=1)] = Field(
        default=["none", "rlf", "tlf", "slf", "dlf"], description="attacks; none is no attack"
    )
    placements: Annotated[list[Placement], Field(min_length=1)] = Field(
        default=["equal", "focused", "cluster-focused"],
        description="where the malicious clients sit",
    )
    rates: Annotated[list[Fraction], Field(min_length=1)] = Field(
        default=[0.2], description="fractions of malicious clients"
    )
    rules: Annotated[list[Aggregation], Field(min_length=1)] = Field(
        default=[Aggregation()], description="aggregation rules"
    )
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(
        default=[0, 1, 2], description="one run per seed"
    )


class Config(Section, frozen=True):
    """A whole run."""

    model: Model = Field(default=Model(), description=Model.__doc__)
    data: Data = Field(default=Data(), description=Data.__doc__)
    partition: Partition = Field(default=Partition(), description=Partition.__doc__)
    federation: Federation = Field(default=Federation(), description=Federation.__doc__)
    schedule: Schedule = Field(default=Schedule(), description=Schedule.__doc__)
    aggregation: Aggregation = Field(default=Aggregation(), description=Aggregation.__doc__)
    attack: Attack = Field(default=Attack(), description=Attack.__doc__)
    privacy: Privacy = Field(default=Privacy(), description=Privacy.__doc__)
    reveal: Reveal = Field(default=Reveal(), description=Reveal.__doc__)
    run: Run = Field(default=Run(), description=Run.__doc__)
    grid: Grid = Field(default=Grid(), description=Grid.__doc__)

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        for member in trainers_and_clusters(self.federation.clusters):
            if self.schedule.sampling == "hidden":
                _hides(member, self.schedule.clients_per_round)
            if isinstance(member, Cluster) and member.clients < self.schedule.clients_per_round:
                raise PydanticCustomError(
                    "too_few_clients",
                    (
                        "schedule.clients_per_round is {wanted}, but a cluster of protocol "
                        "{protocol} "
                        "has {have} clients"
                    ),
                    {
                        "wanted": self.schedule.clients_per_round,
                        "protocol": repr(member.protocol),
                        "have": member.clients,
                    },
                )
        return self


def _hides(member: Cluster | Trainers, sampled: int) -> None:
    """Refuses hidden sampling where it cannot hide anybody."""
    if isinstance(member, Trainers):
        raise PydanticCustomError(
            "trainers_are_known",
            "schedule.sampling is 'hidden', but trainers cannot be sampled in secret: they get "
            "the model in the clear "
            "and submit theirs by name; let them share data with a cluster (kind = 'cluster')",
        )
    if member.clients == sampled:
        raise PydanticCustomError(
            "nobody_hidden",
            "schedule.sampling is 'hidden', but all {have} clients of a cluster of protocol "
            "{protocol} are sampled "
            "(schedule.clients_per_round), which hides nobody",
            {"have": member.clients, "protocol": repr(member.protocol)},
        )


def trainers_and_clusters(members: list[Any]) -> list[Cluster | Trainers]:
    """The leaves of a topology, from left to right."""
    found: list[Cluster | Trainers] = []
    for member in members:
        found += (
            trainers_and_clusters(member.members)
            if isinstance(member, Group)
            else [member] * member.count
        )
    return found
