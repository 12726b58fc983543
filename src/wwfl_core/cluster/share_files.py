"""Share files: what one party keeps of a set of shared tensors, on disk.

Layout: magic, header length, JSON header, component arrays, SHA-256 of everything before. Files are
written to a temporary name and renamed, so a crash never damages an existing one; they are readable
by their owner only. Each file holds the shares of ONE party and says nothing about the values."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wwfl_core.errors import DataError
from wwfl_core.files import PRIVATE, write_whole
from wwfl_core.numbers.arrays import Array, from_wire, numel, to_host, to_wire, wire_form
from wwfl_core.sharing.semantics import Security, weaker_of
from wwfl_core.sharing.share import Share
from wwfl_core.tensors import Session, SharedTensor

MAGIC = b"WWFLSHR1"
_LENGTH = 8
_DIGEST = 32


def save(mpc: Session, folder: str, name: str, tensors: dict[str, SharedTensor], stamp: str) -> str:
    """Writes this party's file `<name>.party<i>.share`; returns the SHA-256 of the file as hex.

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
    encoded = json.dumps(header).encode()
    body = [MAGIC, len(encoded).to_bytes(_LENGTH, "little"), encoded]
    for tensor in tensors.values():
        body += [to_host(to_wire(a)).tobytes() for _, a in sorted(tensor.data.parts.items())]
    return _write(path_of(folder, name, mpc.me), body)


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
                f"({stamp!r}); restore all "
                f"parties' files from the same checkpoint"
            )
    if mpc.sharing.security.malicious:
        _vouch(mpc, tensors)
    mpc.party.guarantee = weaker_of(mpc.party.guarantee, guarantee)
    return tensors, stamp


def path_of(folder: str, name: str, party: int) -> Path:
    """Where a party's share file lies."""
    return Path(folder) / f"{name}.party{party}.share"


def _write(path: Path, body: list[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in body:
        digest.update(piece)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, [*body, digest.digest()], PRIVATE)
    return digest.hexdigest()


def _read(mpc: Session, path: Path) -> tuple[dict[str, SharedTensor], str, bytes, Security]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot read this share file ({error.strerror}); give the checkpoint's folder"
        ) from error
    start = len(MAGIC) + _LENGTH
    if len(data) < start + _DIGEST or not data.startswith(MAGIC):
        raise DataError(f"{path} is not a wwfl share file (or its beginning is lost)")
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise DataError(
            f"{path} is truncated or altered: its SHA-256 does not match; restore it from a copy"
        )
    length = int.from_bytes(data[len(MAGIC) : start], "little")
    header = json.loads(body[start : start + length])
    if header["sharing"] != mpc.sharing.name or header["party"] != mpc.me:
        raise DataError(
            f"{path} belongs to party {header['party']} of a {header['sharing']} cluster, not to "
            f"party {mpc.me} of "
            f"{mpc.sharing.name}"
        )
    tensors: dict[str, SharedTensor] = {}
    at = start + length
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
            "older version; "
            f"share the data again"
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
