"""Files that are there whole or not at all, and files that say when they were altered.

Every binary file of wwfl is a sealed file: share files, checkpoints of floats, the state of a
federation. What lies in one is its writer's matter; here is only the container:

    magic, 8 bytes | length of the header, 8 bytes | header, JSON | body | SHA-256 of all before

The digest finds accidents and careless edits. It is no signature: who may write the file may seal
it again."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .errors import DataError

PRIVATE = 0o600
"""Permissions of files with shares."""

MAGIC = b"WWFLSEA1"
_LENGTH = 8
_DIGEST = 32
_START = len(MAGIC) + _LENGTH


def write_whole(path: Path, body: Iterable[bytes], mode: int = 0o666) -> None:
    """Writes beside `path`, to the disk, then renames: a crash leaves the old file or the new one.
    `mode` are the permissions of a new file, before the umask.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.writelines(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Sealed(NamedTuple):
    """What a sealed file holds: its header, and its body as bytes that cannot be changed."""

    header: dict[str, Any]
    body: memoryview


def write_sealed(
    path: Path,
    kind: str,
    header: Mapping[str, Any],
    body: Iterable[bytes] = (),
    mode: int = 0o666,
) -> str:
    """Writes a sealed file, whole or not at all; folders that are missing are made.

    `kind` says what the file is, in words that an error can repeat ("share file"); only
    `read_sealed` with the same kind reads it. `header` is anything that `json.dumps` accepts.

    Returns:
        The SHA-256 that seals the file, as hex.

    Raises:
        OSError: it cannot be written; the old file is as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     seal = write_sealed(Path(folder) / "x", "note", {"round": 3}, [b"ab", b"c"])
    ...     header, body = read_sealed(Path(folder) / "x", "note")
    >>> header, bytes(body), len(seal)
    ({'round': 3}, b'abc', 64)
    """
    encoded = json.dumps({"kind": kind, "header": dict(header)}).encode()
    pieces = [MAGIC, len(encoded).to_bytes(_LENGTH, "little"), encoded, *body]
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, [*pieces, digest.digest()], mode)
    return digest.hexdigest()


def read_sealed(path: Path, kind: str) -> Sealed:
    """What `write_sealed` wrote.

    Raises:
        DataError: the file is missing, truncated, altered, of another kind or no sealed file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot read this {kind} ({error.strerror or error}); check the path"
        ) from error
    if len(data) < _START + _DIGEST or not data.startswith(MAGIC):
        raise DataError(
            f"{path} is not a {kind} of this version of wwfl, or its beginning is lost: restore "
            "it from a copy, or start anew"
        )
    content = memoryview(data)[:-_DIGEST]
    if hashlib.sha256(content).digest() != data[-_DIGEST:]:
        raise DataError(
            f"{path} is truncated or altered: its SHA-256 does not match; restore it from a copy"
        )
    end = _START + int.from_bytes(data[len(MAGIC) : _START], "little")
    try:
        envelope = json.loads(bytes(content[_START:end]))
        found, header = envelope["kind"], dict(envelope["header"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a {kind} of wwfl: {error}") from error
    if found != kind:
        raise DataError(f"{path} is a {found}, not a {kind}; name another file")
    return Sealed(header, content[end:])
