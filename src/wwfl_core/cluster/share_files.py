"""Share files: what one party keeps of a set of shared tensors, on disk.

A sealed file (`wwfl_core.files`) whose body are the component arrays: a crash never damages an
existing one, and only its owner may read it. Each file holds the shares of ONE party and says
nothing about the values."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wwfl_core.errors import DataError
from wwfl_core.files import PRIVATE, read_sealed, write_sealed
from wwfl_core.numbers.arrays import Array, from_wire, numel, to_host, to_wire, wire_form
from wwfl_core.sharing import Security, Share, weaker_of
from wwfl_core.tensors import Session, SharedTensor

KIND = "share file"
_DIGEST = 32


def save(mpc: Session, folder: str, name: str, tensors: dict[str, SharedTensor], stamp: str) -> str:
    """Writes this party's file `<name>.party<i>.share`; returns the SHA-256 that seals it, as hex.

    `stamp` identifies the state (for example the round): files with different stamps are never
    combined. A malicious-secure cluster passes a check point first, so that only verified values
    are kept. The file says what the tensors are protected against: the weakest guarantee among this
    run's arguments."""
    mpc.verify()
    header: dict[str, Any] = {
        "stamp": stamp,
        "sharing": mpc.sharing.name,
        "party": mpc.me,
        "guarantee": asdict(mpc.party.guarantee),
        "tensors": [
            {"name": key, "shape": list(t.shape), "frac_bits": t.frac_bits}
            for key, t in tensors.items()
        ],
    }
    body = [
        to_host(to_wire(array)).tobytes()
        for tensor in tensors.values()
        for _, array in sorted(tensor.data.parts.items())
    ]
    return write_sealed(path_of(folder, name, mpc.me), KIND, header, body, PRIVATE)


def load(mpc: Session, folder: str, name: str) -> tuple[dict[str, SharedTensor], str]:
    """Reads this party's file and makes sure that all parties read the same state.

    The run's results get no stronger guarantee than the file states.

    Returns:
        The tensors and their stamp.

    Raises:
        DataError: a missing, truncated, altered or foreign file, or parties with files of different
            states.
    """
    path = path_of(folder, name, mpc.me)
    tensors, stamp, catalogue, guarantee = _read(mpc, path)
    op = mpc.party.op("restore")
    mine = np.frombuffer(hashlib.sha256(catalogue).digest(), np.uint8)
    others = [p for p in range(mpc.party.size) if p != mpc.me]
    for other in others:
        op.send(other, mine)
    for other in others:
        if op.recv_bytes(other, _DIGEST) != mine.tobytes():
            raise DataError(
                f"{path}: party {other} has a file of another state than party {mpc.me} "
                f"({stamp!r}); restore all parties' files from the same checkpoint"
            )
    if mpc.sharing.security.malicious:
        _vouch(mpc, tensors)
    mpc.party.guarantee = weaker_of(mpc.party.guarantee, guarantee)
    return tensors, stamp


def path_of(folder: str, name: str, party: int) -> Path:
    """Where a party's share file lies."""
    return Path(folder) / f"{name}.party{party}.share"


def _read(mpc: Session, path: Path) -> tuple[dict[str, SharedTensor], str, bytes, Security]:
    header, body = read_sealed(path, KIND)
    if header["sharing"] != mpc.sharing.name or header["party"] != mpc.me:
        raise DataError(
            f"{path} belongs to party {header['party']} of a {header['sharing']} cluster, not to "
            f"party {mpc.me} of {mpc.sharing.name}"
        )
    tensors: dict[str, SharedTensor] = {}
    at = 0
    for entry in header["tensors"]:
        shape = tuple(entry["shape"])
        parts: dict[int, Array] = {}
        dtype, wire_shape = wire_form(mpc.protocol.numbers.dtype, shape)
        for component in mpc.sharing.held_by(mpc.me):
            words = np.frombuffer(body, dtype, numel(wire_shape), at).reshape(wire_shape)
            parts[component] = mpc.party.device.put(from_wire(words, mpc.protocol.numbers.dtype))
            at += words.nbytes
        tensors[entry["name"]] = SharedTensor(
            mpc, Share(mpc.protocol.numbers, shape, parts), entry["frac_bits"]
        )
    header.pop("party")
    return (
        tensors,
        header["stamp"],
        json.dumps(header, sort_keys=True).encode(),
        _guarantee(path, header),
    )


def _guarantee(path: Path, header: dict[str, Any]) -> Security:
    try:
        fields = header["guarantee"]
        return Security(
            bool(fields["malicious"]),
            int(fields["corruptions"]),
            tuple(map(str, fields["caveats"])),
        )
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"{path} does not say what its values are protected against: it was written by an "
            "older version; share the data again"
        ) from None


def _vouch(mpc: Session, tensors: dict[str, SharedTensor]) -> None:
    """Holders vouch for restored components to each other, since a corrupt party may bring any
    file."""
    op = mpc.party.op("restore")
    for tensor in tensors.values():
        for component, array in sorted(tensor.data.parts.items()):
            for other in sorted(mpc.sharing.holders[component] - {mpc.me}):
                mpc.party.transcript.vouch(other, op.number, array)
                mpc.party.transcript.expect(other, op.number, array)
