"""From a configuration to objects: data, partition, attack, model, rule, federation. Only this
knows both sides."""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from wwfl import attacks
from wwfl import federation as fl
from wwfl.aggregation import Aggregation, registry
from wwfl.attacks import malicious_count
from wwfl.data import datasets, partition, readers, sampling
from wwfl.data.datasets import Dataset
from wwfl.data.partition import Partition
from wwfl.federation import Member
from wwfl.nn import SGD, models
from wwfl.privacy import Budget, Permission, Private, RevealPolicy
from wwfl_core.channel.cost import NetworkModel
from wwfl_core.errors import ConfigError
from wwfl_core.plugins import resolve
from wwfl_core.protocol.backend import MPCBackend

from .config import sections
from .config.sections import Config, nearest

WITH_SURROGATE = ("dlf",)
"""Attacks that train a model of the architecture under attack, from a seed of their own."""


@dataclass(frozen=True)
class Setting:
    """Everything that a run needs but the servers. `malicious[k]` are the malicious clients of leaf
    k, who mount `attack`; `root` is the servers' own data, if they have any."""

    train: Dataset
    test: Dataset
    root: Dataset | None
    partition: Partition
    malicious: list[list[int]]
    attack: attacks.DataAttack | None = None


Sets = tuple[Dataset, Dataset]
"""Training and test set, as `data` reads them."""


def setting(config: Config, sets: Sets | None = None) -> Setting:
    """Data, who holds what, and what the malicious ones made of it. `sets` saves reading the data
    again.

    Raises:
        ConfigError: data that does not exist or does not suffice, an attack that does not exist or
        does not fit.
    """
    train, test = data(config.data) if sets is None else sets
    train, root = _split_root(train, config.data.root)
    sizes = [m.clients for m in sections.trainers_and_clusters(config.federation.clusters)]
    who = holders(config, train, sizes)
    attack = data_attack(config, train)
    if attack is None:
        return Setting(train, test, root, who, [[] for _ in who])
    section = config.attack
    seed = config.run.seed if section.seed is None else section.seed
    poisoned = attacks.poison(
        train, who, attack, rate=section.rate, placement=section.placement, seed=seed
    )
    # Its partition: samples that honest clients hold, too, were poisoned as copies behind the
    # training set.
    return Setting(poisoned.train, test, root, poisoned.partition, poisoned.malicious, attack)


def _split_root(train: Dataset, count: int | None) -> tuple[Dataset, Dataset | None]:
    """What clients may hold, and the root set, which they may not."""
    if count is None:
        return train, None
    if count >= len(train):
        raise ConfigError(
            f"data.root is {count}, but the training set has {len(train)} images, which clients "
            "need"
        )
    return train[:-count], train[-count:]


# ---------------------------------------------------------------------- data


def data(section: sections.Data) -> Sets:
    """Training and test set, cut and pooled as configured."""
    sets = []
    for name, whole, count in zip(
        ("train", "test"), _read(section), (section.train, section.test), strict=True
    ):
        if count is not None and count > len(whole):
            raise ConfigError(
                f"data.{name} is {count}, but {section.name} has {len(whole)} images there"
            )
        sets.append((whole if count is None else whole[:count]).pooled(section.pool))
    return sets[0], sets[1]


def _read(section: sections.Data) -> Sets:
    if section.folder is not None:
        return readers.read(section.name, section.folder)
    if section.name == "mnist":
        return datasets.mnist()
    raise ConfigError(f"data.folder is missing: {section.name} is not part of the package")


def holders(config: Config, train: Dataset, sizes: list[int]) -> Partition:
    """Who holds which images: holders[cluster][client]; cluster k has sizes[k] clients."""
    section = config.partition
    shapes: dict[str, dict[str, Any]] = {
        "iid": {},
        "paper": {},
        "dirichlet": {"alpha": section.alpha},
        "regions": {"alpha": section.alpha},
        "quantity": {"alpha": section.alpha},
        "shards": {"shards_per_client": section.shards_per_client},
    }
    seed = config.run.seed if section.seed is None else section.seed
    make = getattr(partition, section.kind)
    count = config.schedule.samples_per_client
    made: Partition = make(train, len(sizes), max(sizes), count, seed=seed, **shapes[section.kind])
    return [clients[:size] for clients, size in zip(made, sizes, strict=True)]


def data_attack(config: Config, train: Dataset) -> attacks.DataAttack | None:
    """The attack of a configuration, if there is one."""
    section = config.attack
    if section.name is None:
        return None
    options: dict[str, Any] = dict(section.options)
    if section.name in WITH_SURROGATE:
        options.setdefault("model", lambda fresh: _model(config.model, train, fresh))
    return attacks.attack(section.name, **options)


# ---------------------------------------------------------------------- model and rule


def model(config: Config, train: Dataset) -> nn.Module:
    """The initial model for images like these."""
    section = config.model
    return _model(section, train, config.run.seed if section.seed is None else section.seed)


def _model(section: sections.Model, train: Dataset, seed: int) -> nn.Module:
    inputs = int(np.prod(train.images.shape[1:]))
    classes = train.classes
    known: dict[str, Callable[[], nn.Module]] = {
        "lenet5": lambda: models.lenet5(seed),
        "mlp": lambda: models.mlp(inputs, section.hidden, classes, seed),
        "logistic_regression": lambda: models.logistic_regression(inputs, classes, seed),
        "resnet9": lambda: models.resnet9(norm=section.norm, seed=seed),
    }
    if ":" in section.name:
        return _imported(section.name, "model.name")(seed)
    if section.name not in known:
        raise ConfigError(
            f"model.name {section.name!r} is unknown{nearest(section.name, known)} Known are "
            f"{', '.join(known)} and "
            f"package.module:function"
        )
    return known[section.name]()


def rule(section: sections.Aggregation, privacy: sections.Privacy | None = None) -> Aggregation:
    """The aggregation rule of a section, with differential privacy around it if `privacy` clips."""
    made = registry.rule(section.rule, **section.options)
    if privacy is None or privacy.clip is None:
        return made
    budget = None if privacy.epsilon is None else Budget(privacy.epsilon, privacy.delta)
    return Private(
        made, clip=privacy.clip, noise_multiplier=privacy.noise_multiplier, budget=budget
    )


def protocol(name: str) -> MPCBackend:
    """The protocol of a registered name or `package.module:Class`; the current folder is searched,
    too."""
    _here(name)
    return resolve(name)()


# ---------------------------------------------------------------------- the federation


def federation(config: Config, setting: Setting, executor: Executor | None = None) -> fl.Federation:
    """The servers of a run, started; `executor` is where they train in the clear.

    Raises:
        ConfigError: protocols, rules or layers that do not exist, do not fit, or protect the model
            less than before; an executor for a run that trains nothing in the clear.
    """
    section = config.federation
    leaves = sections.trainers_and_clusters(section.clusters)
    if (
        executor is not None
        and section.engine != "float"
        and not any(isinstance(m, sections.Trainers) for m in leaves)
    ):
        raise ConfigError(
            f'engine "{section.engine}" trains at its servers, not in workers: --jobs and --ray '
            "spread what is trained "
            f'in the clear (engine "float", trainers)'
        )
    options: dict[str, Any] = {
        "executor": executor,
        "engine": section.engine,
        "root": setting.root,
        "reveal_policy": reveal_policy(config),
        "schedule": schedule(config.schedule),
        "processes": section.processes,
        "insecure_seed": public_seed(config),
        "int_bits": config.model.int_bits,
        "deadline_s": section.deadline_s,
        "allow_weaker": section.allow_weaker,
    }
    return fl.Federation(
        model(config, setting.train),
        fl.Servers(protocol(section.servers.protocol), **_where(section.servers)),
        _members(section.clusters, config.run.seed, itertools.count()),
        rule(config.aggregation, config.privacy),
        **options,
    )


def public_seed(config: Config) -> int | None:
    """What all randomness of a run is derived from; None for fresh keys. Engines without secrets
    need none."""
    section = config.federation
    return (
        config.run.seed
        if section.insecure_seed is None and section.engine != "mpc"
        else section.insecure_seed
    )


def schedule(section: sections.Schedule) -> fl.Schedule:
    """The schedule of a section."""
    steps = {key: getattr(section, key) for key in ("lr", "momentum", "weight_decay", "prox")}
    same = ("samples_per_client", "clients_per_round", "epochs", "batch", "data_policy", "sampling")
    late = ("cluster_deadline_s", "min_clusters")
    return fl.Schedule(sgd=SGD(**steps), **{key: getattr(section, key) for key in (*same, *late)})


def network(section: sections.Network) -> NetworkModel:
    """The modelled network of a section."""
    return NetworkModel(section.latency_s, section.bandwidth_mbps * 1e6)


def _members(listed: Sequence[sections.Member], seed: int, numbers: Iterator[int]) -> list[Member]:
    """All members, each as often as it is wanted; a name that is given gets a number behind it
    where there are several. `numbers` numbers the members of the whole tree."""
    found: list[Member] = []
    for section in listed:
        names = [section.name] * section.count
        if section.name is not None and section.count > 1:
            names = [f"{section.name}-{i + 1}" for i in range(section.count)]
        found += [_member(section, name, seed, numbers) for name in names]
    return found


def _member(
    section: sections.Member, name: str | None, seed: int, numbers: Iterator[int]
) -> Member:
    number = next(numbers)
    if isinstance(section, sections.Trainers):
        return _trainers(section, name, f"{seed} {number}")
    where = {"name": name, **_where(section)}
    if isinstance(section, sections.Group):
        members = _members(section.members, seed, numbers)
        return fl.Group(protocol(section.protocol), members, rule(section.aggregation), **where)
    return fl.Cluster(protocol(section.protocol), clients=section.clients, **where)


def _where(section: sections.Servers | sections.Cluster | sections.Group) -> dict[str, Any]:
    """What servers run on."""
    hosts = None if section.hosts is None else tuple(section.hosts)
    return {"network": network(section.network), "hosts": hosts, "device": section.device}


def _trainers(section: sections.Trainers, name: str | None, seed: str) -> fl.LocalTrainers:
    """Clients who train; which of them are malicious is drawn from a public seed."""
    if section.attack is None:
        return fl.LocalTrainers(section.clients, name)
    attack = attacks.model_attack(section.attack, **section.options)
    bad = malicious_count(section.clients, section.rate)
    if not bad:
        return fl.LocalTrainers(section.clients, name)
    key = hashlib.sha256(f"malicious trainers {seed}".encode()).digest()
    malicious = tuple(sampling.choose(key, section.clients, bad, "malicious"))
    return fl.LocalTrainers(section.clients, name, attack, malicious)


def reveal_policy(config: Config) -> RevealPolicy | None:
    """What every server will refuse to open: a model at another time, or of fewer clients, than
    configured; and what a rule opens of its own, unless an option of the rule asks for it. Local
    trainers, where the topology has some, see the model in every round. There is no policy for
    engine "float": floats in the clear hide nothing."""
    if config.federation.engine == "float":
        return None
    leaves = sections.trainers_and_clusters(config.federation.clusters)
    seen = any(isinstance(leaf, sections.Trainers) for leaf in leaves)
    section = config.reveal
    asked = any(rule.options.get("reveal_outliers") is True for rule in _rules(config))
    return RevealPolicy(
        model=Permission(section.when, min_clients=section.min_contributors),
        trainers=Permission("always" if seen else "never"),
        other=Permission("always" if asked else "never"),
        last_round=config.schedule.rounds,
    )


def _rules(config: Config) -> list[sections.Aggregation]:
    """All rules of a federation."""
    found, members = [config.aggregation], list(config.federation.clusters)
    while members:
        member = members.pop()
        if isinstance(member, sections.Group):
            found.append(member.aggregation)
            members += member.members
    return found


def names(config: Config) -> None:
    """Finds what a configuration names, without reading data or starting servers.

    Raises:
        ConfigError: a protocol, a rule or its options, or a model of one's own that does not exist.
    """
    members: list[Any] = [config.federation.servers, *config.federation.clusters]
    while members:
        member = members.pop(0)
        members += getattr(member, "members", ())
        if name := getattr(member, "protocol", None):
            protocol(name)
    for section in _rules(config):
        rule(section)
    if ":" in config.model.name:
        _imported(config.model.name, "model.name")


def _imported(what: str, option: str) -> Callable[..., Any]:
    _here(what)
    module, _, path = what.partition(":")
    try:
        return reduce(getattr, path.split("."), import_module(module))
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{option}: {what} cannot be loaded: {error}") from error


def _here(name: str) -> None:
    if ":" in name and os.getcwd() not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
