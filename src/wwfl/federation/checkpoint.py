"""Checkpoints: share files per party, and the coordinator's public state.

Here belongs what lies in a checkpoint's folder and in which order it is written. A checkpoint knows
a `Snapshot` of a federation and its `Context` (whose servers write and read their own files), and
not the federation itself.

What changes is written anew after every round (the model, what rules keep); a client's data is
written once, with the first checkpoint after it was shared. `federation.state` names all files that
belong together, and is replaced last."""

from __future__ import annotations

import logging
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wwfl_core.errors import ConfigError, DataError, ProtocolError
from wwfl_core.files import read_sealed, write_sealed

from . import server_programs as programs
from .client_data import Rows, Upload
from .context import Context
from .schedule import Round
from .topology import Group, LocalTrainers, Place

STATE = "federation.state"
KIND = "checkpoint of a federation"

Configuration = dict[str, Any]
"""What must be equal for a checkpoint to fit, as JSON has it."""

_PARTS = ("images", "labels")

_log = logging.getLogger("wwfl.federation.federation")


@dataclass
class Snapshot:
    """The state of a federation between two rounds, but for what lies in its `Context` (clients'
    data, what rules keep): what a checkpoint is written from, and what it gives back.

    `model` is the handle of the global model. `fingerprint` identifies the training set and the
    partition, None before there is one; `next_row` is the number of the next row that a client
    adds."""

    model: Any
    history: list[Round]
    fingerprint: str | None
    next_row: int


class Checkpoints:
    """Writes and reads the checkpoints of one federation; it remembers which client data lies in
    which folder already.

    `configuration` identifies the federation (`configuration_of`)."""

    def __init__(self, context: Context, configuration: Configuration) -> None:
        self.context = context
        self.configuration = configuration
        # Folder -> file (without its party) -> uploads that it holds.
        self._written: dict[str, dict[str, list[str]]] = {}

    # ------------------------------------------------------------------ writing

    def save(self, folder: str, snapshot: Snapshot) -> None:
        """Writes share files under a new stamp, then the state that names them: a crash leaves the
        old checkpoint whole.

        Servers below the global ones that cannot go on write nothing: they will be replaced, and
        what they kept with them.

        Raises:
            ProtocolError: the global servers cannot write.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        stamp = f"round-{len(snapshot.history)}-{secrets.token_hex(4)}"
        context = self.context
        files = self._save_models(folder, snapshot, stamp)
        data = self._save_data(folder, stamp)
        body = {
            "stamp": stamp,
            "configuration": self.configuration,
            "files": files,
            "data": data,
            "generations": {
                place.name: place.generation for place in context.places if place.generation
            },
            "fingerprint": snapshot.fingerprint,
            "next_row": snapshot.next_row,
            "added": [
                [[p.key, p.client, int(p.rows[0]), len(p.rows), p.since] for p in leaf.added]
                for leaf in context.leaf_data
            ],
            "uploaded": [sorted(leaf.uploaded) for leaf in context.leaf_data],
            "history": [record.to_json() for record in snapshot.history],
        }
        write_sealed(Path(folder) / STATE, KIND, body)

        current = {*files.values(), *data}
        for old in [*Path(folder).glob("*.share"), *Path(folder).glob(".*.tmp")]:
            if old.name.rsplit(".", 2)[0] not in current:
                old.unlink(missing_ok=True)

    def _save_models(self, folder: str, snapshot: Snapshot, stamp: str) -> dict[str, str]:
        """What servers that aggregate have: the model, and what their rules keep. The files, by
        place."""
        files = {}
        for place in self.context.places:
            if not isinstance(place.spec, Group):
                continue
            tensors = {f"memory.{key}": value for key, value in place.memory.items()}
            top = place is self.context.tree
            if top:
                tensors["model"] = snapshot.model
            name = f"{'model' if top else place.name}.{stamp}"
            if tensors and self._wrote(place, folder, name, tensors, stamp):
                files[place.name] = name
        return files

    def _save_data(self, folder: str, stamp: str) -> dict[str, list[str]]:
        """Writes the clients' data that this folder does not have yet; returns all files with their
        uploads."""
        context = self.context
        known, written = self._written.get(_key(folder), {}), {}
        for place in context.leaves:
            if place.leaf is None or isinstance(place.spec, LocalTrainers):
                continue
            shares, prefix = context.leaf_data[place.leaf].shares, f"{_files_of(place)}.round-"
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
                if self._wrote(place, folder, name, tensors, stamp):
                    mine[name] = list(new)
            written |= mine
        self._written[_key(folder)] = written
        return written

    def _wrote(
        self, place: Place, folder: str, name: str, tensors: dict[str, Any], stamp: str
    ) -> bool:
        """Whether the servers of a place wrote their shares."""
        try:
            place.node.run(programs.save, str(folder), name, tensors, stamp)
        except ProtocolError as error:
            if place is self.context.tree:
                raise
            _log.warning("the checkpoint goes without %s: %s", place.name, error)
            return False
        return True

    # ------------------------------------------------------------------ reading

    def restore(self, folder: str, fingerprint: str | None) -> Snapshot:
        """Reads a checkpoint into the context; its data and memories change only after every file
        was read and checked. `fingerprint` is that of the data that the federation has, if any.

        Raises:
            DataError: a missing, corrupt or foreign file.
            ConfigError: a checkpoint of another configuration, or of other data.
        """
        body = read_sealed(Path(folder) / STATE, KIND).header
        self._check(folder, body, fingerprint)
        context, rounds = self.context, len(body["history"])
        for place in context.places:
            wanted = body["generations"].get(place.name, 0)
            if place.generation != wanted:
                place.generation = wanted - 1
                context.rebuild(place, rounds)

        found: dict[str, dict[str, Any]] = {}
        for place in context.places:
            if place.name in body["files"]:
                name = body["files"][place.name]
                found[place.name], stamp = place.node.run(programs.load, str(folder), name)
                _same_stamp(folder, body["stamp"], stamp)
            else:
                context.remind(place, rounds)
        shares = [_load_data(place, folder, body["data"]) for place in context.leaves]
        history = [Round.from_json(record) for record in body["history"]]

        model = found[context.tree.name].pop("model")
        for place in context.places:
            kept = found.get(place.name, {}).items()
            place.memory = {key.removeprefix("memory."): value for key, value in kept}
        for leaf, mine, added, uploaded in zip(
            context.leaf_data, shares, body["added"], body["uploaded"], strict=True
        ):
            leaf.shares, leaf.uploaded = mine, set(uploaded)
            leaf.added = [
                Upload(key, client, np.arange(at, at + n), since)
                for key, client, at, n, since in added
            ]
        self._written[_key(folder)] = body["data"]
        return Snapshot(model, history, body["fingerprint"], body["next_row"])

    def _check(self, folder: str, body: dict[str, Any], fingerprint: str | None) -> None:
        ours, theirs = self.configuration, body["configuration"]
        if ours != theirs:
            keys = ours.keys() | theirs.keys()
            different = sorted(k for k in keys if ours.get(k) != theirs.get(k))
            raise ConfigError(
                f"{folder} was written by another configuration: {', '.join(different)} differ"
            )
        if fingerprint is not None and body["fingerprint"] not in (None, fingerprint):
            raise ConfigError(
                f"{folder} was written by a run with another training set or partition"
            )


def configuration_of(context: Context, engine: str, root: str | None) -> Configuration:
    """What must be equal for a checkpoint to fit a federation; `root` is the SHA-256 of its root
    set."""
    places = list(context.tree.walk())
    return {
        "engine": engine,
        "layers": [repr(layer) for layer in context.model.layers],
        "global_servers": _format(context.tree),
        "clusters": [[p.name, [c.name for c in p.children], *_format(p)] for p in places[1:]],
        "clients": [p.spec.clients for p in places if not isinstance(p.spec, Group)],
        "schedule": asdict(replace(context.schedule, rounds=1)),  # more rounds may follow
        "aggregation": [repr(p.spec.aggregation) for p in places if isinstance(p.spec, Group)],
        "root": root,
    }


def _format(place: Place) -> list[Any]:
    """What a place's share files hold."""
    if isinstance(place.spec, LocalTrainers):
        return ["local trainers"]
    protocol = place.spec.backend
    return [protocol.name, protocol.sharing.name, protocol.numbers.name, protocol.format.frac_bits]


def _files_of(place: Place) -> str:
    """How a place's data files begin. Servers that were replaced have other files."""
    return f"{place.name}.{place.generation + 1}" if place.generation else place.name


def _load_data(place: Place, folder: str, files: dict[str, list[str]]) -> dict[str, Rows]:
    shares: dict[str, Any] = {}
    for name, keys in files.items():
        if place.node is None or not name.startswith(f"{_files_of(place)}.round-"):
            continue
        loaded, stamp = place.node.run(programs.load, str(folder), name)
        _same_stamp(folder, name.removeprefix(f"{_files_of(place)}."), stamp)
        shares |= {key: tuple(loaded[f"{key}.{part}"] for part in _PARTS) for key in keys}
    return shares


def _key(folder: str) -> str:
    return str(Path(folder).resolve())


def _same_stamp(folder: str, expected: str, found: str) -> None:
    if expected != found:
        raise DataError(
            f"{folder}: share files of {found!r} lie beside the state of {expected!r}; restore "
            "one whole copy"
        )
