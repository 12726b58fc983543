"""Checkpoints of a federation: share files per party, and the coordinator's public state.

What changes is written anew after every round (the model, what rules keep); a client's data is
written once, with the first checkpoint after it was shared. `federation.state` names all files that
belong together, and is replaced last."""

from __future__ import annotations

import logging
import secrets
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wwfl_core.errors import ConfigError, DataError, ProtocolError
from wwfl_core.files import read_sealed, write_sealed

from . import server_programs as programs
from .client_data import Upload
from .schedule import Round
from .topology import Group, LocalTrainers, Place

if TYPE_CHECKING:
    from .federation import Federation

# pyright: reportPrivateUsage=false

STATE = "federation.state"
KIND = "checkpoint of a federation"

_log = logging.getLogger("wwfl.federation.federation")

Written = dict[str, dict[str, list[str]]]
"""Folder -> file (without its party) -> uploads that it holds, for clients' data that lies there
already."""


def save(federation: Federation, folder: str) -> None:
    """Writes share files under a new stamp, then the state that names them: a crash leaves the old
    checkpoint whole.

    Servers below the global ones that cannot go on write nothing: they will be replaced, and what
    they kept with them.

    Raises:
        ProtocolError: the global servers cannot write.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    stamp = f"round-{len(federation.history)}-{secrets.token_hex(4)}"
    setting, files = federation._setting, {}
    for place in setting.places:
        if not isinstance(place.spec, Group):
            continue
        tensors = {f"memory.{key}": value for key, value in place.memory.items()}
        if place is setting.tree:
            tensors["model"] = federation.current_model
        name = f"{'model' if place is setting.tree else place.name}.{stamp}"
        if tensors and _wrote(federation, place, folder, name, tensors, stamp):
            files[place.name] = name
    written = _save_data(federation, folder, stamp)
    leaf_data = setting.leaf_data
    body = {
        "stamp": stamp,
        "configuration": configuration(federation),
        "files": files,
        "data": written,
        "generations": {
            place.name: place.generation for place in setting.places if place.generation
        },
        "fingerprint": federation._fingerprint,
        "next_row": federation._next_row,
        "added": [
            [[p.key, p.client, int(p.rows[0]), len(p.rows), p.since] for p in s.added]
            for s in leaf_data
        ],
        "uploaded": [sorted(s.uploaded) for s in leaf_data],
        "history": [r.to_json() for r in federation.history],
    }
    write_sealed(Path(folder) / STATE, KIND, body)
    current = {*files.values(), *written}
    for old in [*Path(folder).glob("*.share"), *Path(folder).glob(".*.tmp")]:
        if old.name.rsplit(".", 2)[0] not in current:
            old.unlink(missing_ok=True)


def _save_data(federation: Federation, folder: str, stamp: str) -> dict[str, list[str]]:
    """Writes the clients' data that this folder does not have yet; returns all files with their
    uploads."""
    setting = federation._setting
    known, written = federation._written.get(str(Path(folder).resolve()), {}), {}
    for place in setting.leaves:
        if place.leaf is None or isinstance(place.spec, LocalTrainers):
            continue
        shares, prefix = setting.leaf_data[place.leaf].shares, f"{_files_of(place)}.round-"
        mine = {
            name: keys
            for name, keys in known.items()
            if name.startswith(prefix) and shares.keys() >= {*keys}
        }
        there = {key for keys in mine.values() for key in keys}
        new = {key: rows for key, rows in shares.items() if key not in there}
        if new:
            tensors = {
                f"{key}.{part}": x
                for key, rows in new.items()
                for part, x in zip(_PARTS, rows, strict=True)
            }
            name = f"{_files_of(place)}.{stamp}"
            if _wrote(federation, place, folder, name, tensors, stamp):
                mine[name] = list(new)
        written |= mine
    federation._written[str(Path(folder).resolve())] = written
    return written


def _wrote(
    federation: Federation,
    place: Place,
    folder: str,
    name: str,
    tensors: dict[str, Any],
    stamp: str,
) -> bool:
    """Whether the servers of a place wrote their shares."""
    try:
        place.node.run(programs.save, str(folder), name, tensors, stamp)
    except ProtocolError as error:
        if place is federation._setting.tree:
            raise
        _log.warning("the checkpoint goes without %s: %s", place.name, error)
        return False
    return True


_PARTS = ("images", "labels")


def _files_of(place: Place) -> str:
    """How a place's data files begin. Servers that were replaced have other files."""
    return f"{place.name}.{place.generation + 1}" if place.generation else place.name


def restore(federation: Federation, folder: str) -> None:
    """Reads a checkpoint; the federation is changed only after every file was read and checked."""
    body = read_sealed(Path(folder) / STATE, KIND).header
    ours, theirs = configuration(federation), body["configuration"]
    if ours != theirs:
        different = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
        raise ConfigError(
            f"{folder} was written by another configuration: {', '.join(different)} differ"
        )
    if federation._fingerprint is not None and body["fingerprint"] not in (
        None,
        federation._fingerprint,
    ):
        raise ConfigError(f"{folder} was written by a run with another training set or partition")
    setting = federation._setting
    for place in setting.places:
        wanted = body["generations"].get(place.name, 0)
        if place.generation != wanted:
            place.generation = wanted - 1
            setting.rebuild(place, len(body["history"]))
    found: dict[str, dict[str, Any]] = {}
    for place in setting.places:
        if place.name in body["files"]:
            name = body["files"][place.name]
            found[place.name], stamp = place.node.run(programs.load, str(folder), name)
            _same_stamp(folder, body["stamp"], stamp)
        else:
            setting.remind(place, len(body["history"]))
    shares: list[dict[str, Any]] = [
        _load_data(place, folder, body["data"]) for place in setting.leaves
    ]
    history = [Round.from_json(record) for record in body["history"]]
    federation._model = found[setting.tree.name].pop("model")
    for place in setting.places:
        place.memory = {
            key.removeprefix("memory."): value for key, value in found.get(place.name, {}).items()
        }
    for leaf_data, mine, added, uploaded in zip(
        setting.leaf_data, shares, body["added"], body["uploaded"], strict=True
    ):
        leaf_data.shares, leaf_data.uploaded = mine, set(uploaded)
        leaf_data.added = [
            Upload(k, client, np.arange(at, at + n), since) for k, client, at, n, since in added
        ]
    federation._written[str(Path(folder).resolve())] = body["data"]
    federation._fingerprint, federation._next_row = body["fingerprint"], body["next_row"]
    federation.history = history
    if history:
        setting.tell(history[-1])
    if federation._train is not None:
        for record in history:
            record.drawn_by(federation._batches)


def _load_data(place: Place, folder: str, files: dict[str, list[str]]) -> dict[str, Any]:
    shares: dict[str, Any] = {}
    for name, keys in files.items():
        if place.node is None or not name.startswith(f"{_files_of(place)}.round-"):
            continue
        loaded, stamp = place.node.run(programs.load, str(folder), name)
        _same_stamp(folder, name.removeprefix(f"{_files_of(place)}."), stamp)
        shares |= {key: tuple(loaded[f"{key}.{part}"] for part in _PARTS) for key in keys}
    return shares


def configuration(federation: Federation) -> dict[str, Any]:
    """What must be equal for a checkpoint to fit."""
    places = list(federation.tree.walk())
    return {
        "engine": federation.engine,
        "layers": [repr(layer) for layer in federation.layers],
        "global_servers": _format(federation.tree),
        "clusters": [[p.name, [c.name for c in p.children], *_format(p)] for p in places[1:]],
        "clients": [p.spec.clients for p in places if not isinstance(p.spec, Group)],
        "schedule": asdict(replace(federation.schedule, rounds=1)),  # more rounds may follow
        "aggregation": [repr(p.spec.aggregation) for p in places if isinstance(p.spec, Group)],
        "root": None if federation.root is None else federation.root.sha256,
    }


def _format(place: Place) -> list[Any]:
    """What a place's share files hold."""
    if isinstance(place.spec, LocalTrainers):
        return ["local trainers"]
    protocol = place.spec.backend
    return [protocol.name, protocol.sharing.name, protocol.numbers.name, protocol.format.frac_bits]


def _same_stamp(folder: str, expected: str, found: str) -> None:
    if expected != found:
        raise DataError(
            f"{folder}: share files of {found!r} lie beside the state of {expected!r}; restore "
            "one whole copy"
        )
