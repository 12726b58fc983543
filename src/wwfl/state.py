"""Checkpoints of a federation: share files per party, and the coordinator's public state."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wwfl_core.cluster import Handle, LocalCluster
from wwfl_core.errors import ConfigError, DataError

from . import policy, programs

if TYPE_CHECKING:
    from .federation import Federation

STATE = "state.json"


def save(federation: Federation, folder: str) -> None:
    """Writes share files under a new stamp, then the state that names them: a crash leaves the old checkpoint whole."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    stamp = f"round-{len(federation.history)}-{secrets.token_hex(4)}"
    federation.global_servers.run(
        programs.save, str(folder), f"model.{stamp}", {"model": federation.current_model}, stamp
    )
    for k, cluster in enumerate(federation.clusters):
        tensors: dict[str, Handle] = {}
        for person, (images, labels) in federation._data[k].items():  # pyright: ignore[reportPrivateUsage]
            tensors |= {f"{person}.images": images, f"{person}.labels": labels}
        cluster.run(programs.save, str(folder), f"{cluster.name}.{stamp}", tensors, stamp)
    body = {
        "stamp": stamp,
        "configuration": configuration(federation),
        "history": [asdict(r) for r in federation.history],
    }
    _write_json(Path(folder) / STATE, body)
    for old in Path(folder).glob("*.share"):
        if stamp not in old.name:
            old.unlink(missing_ok=True)


def restore(federation: Federation, folder: str) -> None:
    """Reads a checkpoint; the federation is changed only after every file was read and checked."""
    from .federation import Round

    body = _read_json(Path(folder) / STATE)
    ours, theirs = configuration(federation), body["configuration"]
    if ours != theirs:
        different = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
        raise ConfigError(f"{folder} was written by another configuration: {', '.join(different)} differ")
    stamp = body["stamp"]
    tensors, found = federation.global_servers.run(programs.load, str(folder), f"model.{stamp}")
    _same_stamp(folder, stamp, found)
    data: list[dict[int, tuple[Handle, Handle]]] = []
    for cluster in federation.clusters:
        loaded, found = cluster.run(programs.load, str(folder), f"{cluster.name}.{stamp}")
        _same_stamp(folder, stamp, found)
        people = sorted({int(key.split(".")[0]) for key in loaded})
        data.append({p: (loaded[f"{p}.images"], loaded[f"{p}.labels"]) for p in people})
    federation._model = tensors["model"]  # pyright: ignore[reportPrivateUsage]
    federation._data = data  # pyright: ignore[reportPrivateUsage]
    federation.history = [Round(**record) for record in body["history"]]
    if federation.history:
        last, servers = federation.history[-1], [federation.global_servers, *federation.clusters]
        policy.tell(federation.reveal_policy, servers, last.number, [len(people) for people in last.participants])


def configuration(federation: Federation) -> dict[str, Any]:
    """What must be equal for a checkpoint to fit."""
    return {
        "layers": [repr(layer) for layer in federation.layers],
        "global_servers": _format(federation.global_servers),
        "clusters": [[c.name, *_format(c)] for c in federation.clusters],
        "clients": [m.clients for m in federation.members],
        "schedule": asdict(federation.schedule),
        "aggregation": repr(federation.aggregation),
    }


def _format(cluster: LocalCluster) -> list[Any]:
    """What a cluster's share files hold."""
    protocol = cluster.protocol
    return [protocol.name, protocol.sharing.name, protocol.numbers.name, protocol.fixed.frac_bits]


def _same_stamp(folder: str, expected: str, found: str) -> None:
    if expected != found:
        raise DataError(
            f"{folder}: share files of {found!r} lie beside the state of {expected!r}; restore one whole copy"
        )


def _write_json(path: Path, body: dict[str, Any]) -> None:
    text = json.dumps(body, indent=1)
    sealed = json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "state": body}, indent=1)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_text(sealed)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        sealed = json.loads(path.read_text())
        body: dict[str, Any] = sealed["state"]
        intact = sealed["sha256"] == hashlib.sha256(json.dumps(body, indent=1).encode()).hexdigest()
    except OSError as error:
        raise DataError(
            f"{path}: cannot read the checkpoint ({error.strerror}); give the folder that fit() wrote"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a checkpoint of wwfl, or corrupt: {error}") from error
    if not intact:
        raise DataError(f"{path} was altered: its SHA-256 does not match; restore it from a copy")
    return body
