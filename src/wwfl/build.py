"""From a configuration to objects: data, partition, attack, model, rule, federation. Only this knows both sides."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from wwfl_core.backend import MPCBackend
from wwfl_core.cost import NetworkModel
from wwfl_core.errors import ConfigError
from wwfl_core.registry import resolve

from . import federation as fl
from . import sampling
from .aggregation import Aggregation, FedAvg, TrimmedMean
from .config import sections
from .config.sections import Config, nearest
from .data import datasets
from .data.datasets import Dataset
from .data.partition import iid
from .nn import models
from .nn.train import SGD

WITH_SURROGATE = ("dlf",)
"""Attacks that train a model of the architecture under attack, from a seed of their own."""


@dataclass(frozen=True)
class Setting:
    """Everything that a run needs but the servers. `malicious[k]` are the malicious clients of leaf k; `root` is the
    servers' own data, if they have any."""

    train: Dataset
    test: Dataset
    root: Dataset | None
    partition: list[list[np.ndarray]]
    malicious: list[list[int]]


Sets = tuple[Dataset, Dataset]
"""Training and test set, as `data` reads them."""


def setting(config: Config, sets: Sets | None = None) -> Setting:
    """Data, who holds what, and what the malicious ones made of it. `sets` saves reading the data again.

    Raises:
        ConfigError: data that does not exist or does not suffice, an attack that does not exist or does not fit.
    """
    train, test = data(config.data) if sets is None else sets
    train, root = _split_root(train, config.data.root)
    sizes = [m.clients for m in sections.trainers_and_clusters(config.federation.clusters)]
    who = partition(config, train, sizes)
    if config.attack.name is None:
        return Setting(train, test, root, who, [[] for _ in who])
    poisoned = _poison(config, train, who)
    return Setting(poisoned.train, test, root, who, poisoned.malicious)


def _split_root(train: Dataset, count: int | None) -> tuple[Dataset, Dataset | None]:
    """What clients may hold, and the root set, which they may not."""
    if count is None:
        return train, None
    if count >= len(train):
        raise ConfigError(f"data.root is {count}, but the training set has {len(train)} images, which clients need")
    return train[:-count], train[-count:]


# ---------------------------------------------------------------------- data


def data(section: sections.Data) -> Sets:
    """Training and test set, cut and pooled as configured."""
    sets = []
    for name, whole, count in zip(("train", "test"), _read(section), (section.train, section.test), strict=True):
        if count is not None and count > len(whole):
            raise ConfigError(f"data.{name} is {count}, but {section.name} has {len(whole)} images there")
        sets.append((whole if count is None else whole[:count]).pooled(section.pool))
    return sets[0], sets[1]


def _read(section: sections.Data) -> Sets:
    reader = _known(datasets, section.name)
    if section.name == "mnist":
        return reader(section.folder)
    if section.folder is None:
        raise ConfigError(f"data.folder is missing: {section.name} is not part of the package")
    return reader(section.folder)


def partition(config: Config, train: Dataset, sizes: list[int]) -> list[list[np.ndarray]]:
    """Who holds which images: partition[cluster][client]; cluster k has sizes[k] clients."""
    section = config.partition
    seed = config.run.seed if section.seed is None else section.seed
    args = (train, len(sizes), max(sizes), config.schedule.samples_per_client)
    if section.kind == "iid":
        made = iid(*args, seed)
    else:
        module = room("wwfl.data", "partition")
        shape: dict[str, Any] = {"alpha": section.alpha}
        shape = {"paper": {}, "shards": {"shards_per_client": section.shards_per_client}}.get(section.kind, shape)
        made = _known(module, section.kind)(*args, seed=seed, **shape)
    return [clients[:size] for clients, size in zip(made, sizes, strict=True)]


def _poison(config: Config, train: Dataset, who: list[list[np.ndarray]]) -> Any:
    section = config.attack
    attacks = room("wwfl", "attacks")
    seed = config.run.seed if section.seed is None else section.seed
    options: dict[str, Any] = dict(section.options)
    if section.name in WITH_SURROGATE:
        options.setdefault("model", lambda fresh: _model(config.model, train, fresh))
    made = attacks.attack(section.name, **options)
    return attacks.poison(train, who, made, rate=section.rate, placement=section.placement, seed=seed)


# ---------------------------------------------------------------------- model and rule


def model(config: Config, train: Dataset) -> nn.Module:
    """The initial model for images like these."""
    section = config.model
    return _model(section, train, config.run.seed if section.seed is None else section.seed)


def _model(section: sections.Model, train: Dataset, seed: int) -> nn.Module:
    inputs = int(np.prod(train.images.shape[1:]))
    classes = int(train.labels.max()) + 1
    known: dict[str, Callable[[], nn.Module]] = {
        "lenet5": lambda: models.lenet5(seed),
        "mlp": lambda: models.mlp(inputs, section.hidden, classes, seed),
        "logistic_regression": lambda: models.logistic_regression(inputs, classes, seed),
        "resnet9": lambda: _resnet9(section.norm, seed),
    }
    if ":" in section.name:
        return _imported(section.name, "model.name")(seed)
    if section.name not in known:
        raise ConfigError(
            f"model.name {section.name!r} is unknown{nearest(section.name, known)} Known are {', '.join(known)} and "
            f"package.module:function"
        )
    return known[section.name]()


def _resnet9(norm: str, seed: int) -> nn.Module:
    if not hasattr(models, "resnet9"):
        raise ConfigError("this version of wwfl has no resnet9")
    return models.resnet9(norm=norm, seed=seed)


def rule(section: sections.Aggregation, privacy: sections.Privacy | None = None) -> Aggregation:
    """The aggregation rule of a section, with differential privacy around it if `privacy` clips."""
    made = _rule(section.rule, section.options)
    if privacy is None or privacy.clip is None:
        return made
    dp = room("wwfl", "privacy")
    budget = None if privacy.epsilon is None else dp.Budget(privacy.epsilon, privacy.delta)
    return dp.Private(made, clip=privacy.clip, noise_multiplier=privacy.noise_multiplier, budget=budget)


def _rule(name: str, options: dict[str, Any]) -> Aggregation:
    if find_spec("wwfl.aggregation.registry") is not None:
        return import_module("wwfl.aggregation.registry").rule(name, **options)
    known = {"fedavg": FedAvg, "trimmed-mean": TrimmedMean}
    if name not in known:
        raise ConfigError(f"aggregation.rule {name!r} is unknown{nearest(name, known)} Known are {', '.join(known)}")
    return _call(known[name], **options)


def protocol(name: str) -> MPCBackend:
    """The protocol of a registered name or `package.module:Class`; the current folder is searched, too."""
    _here(name)
    return resolve(name)()


# ---------------------------------------------------------------------- the federation


def federation(config: Config, setting: Setting) -> fl.Federation:
    """The servers of a run, started.

    Raises:
        ConfigError: protocols, rules or layers that do not exist, do not fit, or protect the model less than before.
    """
    section = config.federation
    options: dict[str, Any] = {
        "schedule": schedule(config.schedule),
        "processes": section.processes,
        "insecure_seed": public_seed(config),
        "global_network": network(section.servers.network),
        "int_bits": config.model.int_bits,
        "deadline_s": section.deadline_s,
        "global_hosts": section.servers.hosts,
        "allow_weaker": section.allow_weaker,
    }
    if section.engine != "mpc":
        options["engine"] = section.engine
    if setting.root is not None:
        options["root"] = setting.root
    if find_spec("wwfl.policy") is not None and section.engine == "mpc":
        options["reveal_policy"] = _reveal_policy(config)
    return _call(
        fl.Federation,
        model(config, setting.train),
        protocol(section.servers.protocol),
        [made for member in section.clusters for made in _members(member, config.run.seed)],
        rule(config.aggregation, config.privacy),
        **options,
    )


def public_seed(config: Config) -> int | None:
    """What all randomness of a run is derived from; None for fresh keys. Engines without secrets need none."""
    section = config.federation
    return config.run.seed if section.insecure_seed is None and section.engine != "mpc" else section.insecure_seed


def fit_options(config: Config, setting: Setting) -> dict[str, Any]:
    """What `Federation.fit` needs beside the data and the rounds."""
    if "partition" in inspect.signature(fl.Federation.fit).parameters:
        return {"partition": setting.partition}
    if config.partition.kind != "iid" or config.attack.name is not None:
        raise ConfigError("this version of wwfl partitions data iid only, without attacks")
    return {"partition_seed": config.run.seed if config.partition.seed is None else config.partition.seed}


def schedule(section: sections.Schedule) -> fl.Schedule:
    """The schedule of a section."""
    sgd = {"lr": section.lr, "momentum": section.momentum}
    if section.prox:
        sgd["prox"] = section.prox
    later = {
        key: getattr(section, key)
        for key in ("data_policy", "cluster_deadline_s", "min_clusters")
        if getattr(section, key) != sections.Schedule.model_fields[key].default
    }
    same = {key: getattr(section, key) for key in ("samples_per_client", "clients_per_round", "epochs", "batch")}
    return _call(fl.Schedule, sgd=_call(SGD, **sgd), **same, **later)


def network(section: sections.Network) -> NetworkModel:
    """The modelled network of a section."""
    return NetworkModel(section.latency_s, section.bandwidth_mbps * 1e6)


def _members(section: sections.Cluster | sections.Group | sections.Trainers, seed: int) -> list[Any]:
    """`count` members alike; a name that is given gets a number behind it where there are several."""
    names = [section.name] * section.count
    if section.name is not None and section.count > 1:
        names = [f"{section.name}-{i + 1}" for i in range(section.count)]
    return [_member(section, name, seed) for name in names]


def _member(section: sections.Cluster | sections.Group | sections.Trainers, name: str | None, seed: int) -> Any:
    if isinstance(section, sections.Trainers):
        return _trainers(section, name, seed)
    where = {
        "name": name,
        "network": network(section.network),
        "hosts": None if section.hosts is None else tuple(section.hosts),
    }
    if isinstance(section, sections.Group):
        members = [made for member in section.members for made in _members(member, seed)]
        return _known(fl, "Group")(protocol(section.protocol), members, rule(section.aggregation), **where)
    return fl.Cluster(protocol(section.protocol), clients=section.clients, **where)


def _trainers(section: sections.Trainers, name: str | None, seed: int) -> Any:
    """Clients who train; which of them are malicious is drawn from the public seed."""
    options: dict[str, Any] = {}
    if section.attack is not None:
        count = round(section.rate * section.clients)
        if count:
            key = hashlib.sha256(f"malicious trainers {seed} {name}".encode()).digest()
            options["malicious"] = tuple(sampling.choose(key, section.clients, count, "malicious"))
        options["attack"] = room("wwfl", "attacks").model_attack(section.attack, **section.options)
    return _known(fl, "LocalTrainers")(clients=section.clients, name=name, **options)


def _reveal_policy(config: Config) -> Any:
    """What every server will refuse to open: a model at another time, or of fewer clients, than configured."""
    policy = room("wwfl", "policy")
    permission = policy.Permission(config.reveal.when, min_clients=config.reveal.min_contributors)
    return policy.RevealPolicy(model=permission, last_round=config.schedule.rounds)


# ---------------------------------------------------------------------- what this version has


def room(package: str, name: str) -> Any:
    """A module of wwfl, or a ConfigError that this version lacks it."""
    if find_spec(f"{package}.{name}") is None:
        raise ConfigError(f"this version of wwfl has no {package}.{name}, which the configuration needs")
    return import_module(f"{package}.{name}")


def _known(module: Any, name: str) -> Any:
    if not hasattr(module, name):
        raise ConfigError(f"this version of wwfl has no {module.__name__}.{name}, which the configuration needs")
    return getattr(module, name)


def _call(what: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Calls it; an option that this version does not know becomes a ConfigError."""
    unknown = [key for key in options if key not in inspect.signature(what).parameters]
    if unknown:
        raise ConfigError(f"this version of wwfl has no {getattr(what, '__name__', what)}({', '.join(unknown)}=...)")
    return what(*args, **options)


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
