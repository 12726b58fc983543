"""From a configuration to what runs: data, partition, attack, model, rule, federation.

What a configuration can say stands in `config`, how a run is carried out in `run`; only this file
knows both sides."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from wwfl import attacks
from wwfl.aggregation import Aggregation
from wwfl.data import PARTITIONS, Dataset, Partition, mnist, read
from wwfl.federation import federation as fl
from wwfl.federation.topology import Group, LocalTrainers, Member, NamedRule, leaves
from wwfl.nn import models
from wwfl.privacy import Budget, Private
from wwfl.privacy.policy import Permission, RevealPolicy
from wwfl_core.errors import ConfigError
from wwfl_core.plugins import did_you_mean
from wwfl_core.protocol.backend import MPCBackend
from wwfl_core.protocol.registry import resolve

from .config import Config, Data, Model, Privacy

WITH_SURROGATE = ("dlf",)
"""Attacks that train a model of the architecture under attack, from a seed of their own."""

Sets = tuple[Dataset, Dataset]
"""Training and test set, as `read_data` gives them."""


# ---------------------------------------------------------------------- data


@dataclass(frozen=True)
class ExperimentData:
    """All data of a run, and who holds it.

    `partition[k][client]` are the rows of `train` that a client of leaf k holds; `malicious[k]` are
    the malicious clients of leaf k, who mount `attack`; `root` is the servers' own data, if they
    have any."""

    train: Dataset
    test: Dataset
    root: Dataset | None
    partition: Partition
    malicious: list[list[int]]
    attack: attacks.DataAttack | None = None


def prepare_data(config: Config, sets: Sets | None = None) -> ExperimentData:
    """Data, who holds what, and what the malicious ones made of it. `sets` saves reading the data
    again.

    Raises:
        ConfigError: data that does not exist or does not suffice, an attack that does not exist or
            does not fit.
    """
    train, test = read_data(config.data) if sets is None else sets
    train, root = _split_root(train, config.data.root)
    sizes = [leaf.clients for leaf in leaves(config.federation.clusters)]
    held = _partition(config, train, sizes)
    attack = data_attack(config, train)
    if attack is None:
        return ExperimentData(train, test, root, held, [[] for _ in held])

    section = config.attack
    seed = config.run.seed if section.seed is None else section.seed
    poisoned = attacks.poison(
        train, held, attack, rate=section.rate, placement=section.placement, seed=seed
    )
    # The partition of the poisoned set: samples that honest clients hold, too, were poisoned as
    # copies behind the training set.
    return ExperimentData(
        poisoned.train, test, root, poisoned.partition, poisoned.malicious, attack
    )


def read_data(section: Data) -> Sets:
    """Training and test set, cut and pooled as configured.

    Raises:
        ConfigError: data that does not exist, or has fewer images than are wanted.
    """
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


def _read(section: Data) -> Sets:
    if section.folder is not None:
        return read(section.name, section.folder)
    if section.name == "mnist":
        return mnist()
    raise ConfigError(f"data.folder is missing: {section.name} is not part of the package")


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


def _partition(config: Config, train: Dataset, sizes: list[int]) -> Partition:
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
    make = PARTITIONS[section.kind]
    count = config.schedule.samples_per_client
    made = make(train, len(sizes), max(sizes), count, seed=seed, **shapes[section.kind])
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


def initial_model(config: Config, train: Dataset) -> nn.Module:
    """The initial model for images like these.

    Raises:
        ConfigError: no such model, or one of one's own that cannot be loaded.
    """
    section = config.model
    return _model(section, train, config.run.seed if section.seed is None else section.seed)


def _model(section: Model, train: Dataset, seed: int) -> nn.Module:
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
            f"model.name {section.name!r} is unknown; {did_you_mean(section.name, known)}known "
            f"are {', '.join(known)} and package.module:function"
        )
    return known[section.name]()


def aggregation_rule(named: NamedRule, privacy: Privacy | None = None) -> Aggregation:
    """The aggregation rule of a table, with differential privacy around it if `privacy` clips.

    Raises:
        ConfigError: there is no such rule or option, or the rule refuses a value.
    """
    made = named.make()
    if privacy is None or privacy.clip is None:
        return made
    budget = None if privacy.epsilon is None else Budget(privacy.epsilon, privacy.delta)
    return Private(
        made, clip=privacy.clip, noise_multiplier=privacy.noise_multiplier, budget=budget
    )


def protocol(name: str) -> MPCBackend:
    """The protocol of a registered name or `package.module:Class`; the current folder is searched,
    too.

    Raises:
        ConfigError: there is no such protocol, or it cannot run here.
    """
    search_current_folder(name)
    return resolve(name)()


def search_current_folder(*names: str) -> None:
    """Makes modules in the current folder importable, if a name is `package.module:Class`."""
    here = str(Path.cwd())
    if any(":" in name for name in names) and here not in sys.path:
        sys.path.insert(0, here)


# ---------------------------------------------------------------------- the federation


def start_federation(
    config: Config, data: ExperimentData, executor: Executor | None = None
) -> fl.Federation:
    """The servers of a run, started; `executor` is where they train in the clear.

    Raises:
        ConfigError: protocols, rules or layers that do not exist, do not fit, or protect the model
            less than before; an executor for a run that trains nothing in the clear.
    """
    section = config.federation
    if executor is not None and section.engine != "plain" and not _trainers(config):
        raise ConfigError(
            f'engine "{section.engine}" trains at its servers, not in workers: --jobs and --ray '
            'spread what is trained in the clear (engine "plain", trainers)'
        )
    search_current_folder(*_protocols(config))
    return fl.Federation(
        initial_model(config, data.train),
        section.servers,
        [_seeded(member, config.run.seed) for member in section.clusters],
        aggregation_rule(config.aggregation, config.privacy),
        executor=executor,
        engine=section.engine,
        root=data.root,
        reveal_policy=reveal_policy(config),
        schedule=config.schedule,
        processes=section.processes,
        insecure_seed=public_seed(config),
        int_bits=config.model.int_bits,
        deadline_s=section.deadline_s,
        allow_weaker=section.allow_weaker,
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


def _seeded(member: Member, seed: int) -> Member:
    """A member whose malicious trainers are drawn from this public seed."""
    if isinstance(member, LocalTrainers):
        return replace(member, attack_seed=seed)
    if isinstance(member, Group):
        return replace(member, members=tuple(_seeded(below, seed) for below in member.members))
    return member


def _trainers(config: Config) -> bool:
    """Whether some clients train on their own."""
    return any(isinstance(leaf, LocalTrainers) for leaf in leaves(config.federation.clusters))


def reveal_policy(config: Config) -> RevealPolicy | None:
    """What every server will refuse to open: a model at another time, or of fewer clients, than
    configured; and what a rule opens of its own, unless an option of the rule asks for it. Local
    trainers, where the topology has some, see the model in every round. There is no policy for
    engine "plain": floats in the clear hide nothing."""
    if config.federation.engine == "plain":
        return None
    section = config.reveal
    asked = any(rule.options.get("reveal_outliers") is True for rule in _rules(config))
    return RevealPolicy(
        model=Permission(section.when, min_clients=section.min_contributors),
        trainers=Permission("always" if _trainers(config) else "never"),
        other=Permission("always" if asked else "never"),
        last_round=config.schedule.rounds,
    )


def check_names(config: Config) -> None:
    """Finds what a configuration names, without reading data or starting servers.

    Raises:
        ConfigError: a protocol, a rule or its options, or a model of one's own that does not exist.
    """
    for name in _protocols(config):
        protocol(name)
    for named in _rules(config):
        named.make()
    if ":" in config.model.name:
        _imported(config.model.name, "model.name")


def _groups(members: Sequence[Member]) -> list[Group]:
    """All groups of a topology, those above first."""
    found = [member for member in members if isinstance(member, Group)]
    return found + [below for group in found for below in _groups(group.members)]


def _rules(config: Config) -> list[NamedRule]:
    """All rules of a federation, as they are named."""
    groups = _groups(config.federation.clusters)
    rules = [config.aggregation, *(group.aggregation for group in groups)]
    return [rule for rule in rules if isinstance(rule, NamedRule)]


def _protocols(config: Config) -> list[str]:
    """All protocols of a federation, as they are named."""
    section = config.federation
    spots = [section.servers, *_groups(section.clusters), *leaves(section.clusters)]
    named = (spot.protocol for spot in spots if not isinstance(spot, LocalTrainers))
    return [name for name in named if isinstance(name, str)]


def _imported(what: str, option: str) -> Callable[..., Any]:
    search_current_folder(what)
    module, _, path = what.partition(":")
    try:
        return reduce(getattr, path.split("."), import_module(module))
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{option}: {what} cannot be loaded: {error}") from error
