"""Checkpoints of float nodes: an npz archive behind its stamp and its SHA-256."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import DataError
from wwfl_core.files import write_whole


def save(folder: str, name: str, tensors: dict[str, npt.NDArray[Any]], stamp: str) -> str:
    """One file per node: an npz archive and its SHA-256."""
    buffer = io.BytesIO()
    np.savez(
        buffer, allow_pickle=False, **{f"tensor {key}": value for key, value in tensors.items()}
    )
    body = stamp.encode().ljust(_STAMP, b"\0") + buffer.getvalue()
    digest = hashlib.sha256(body)
    write_whole(_path(folder, name), [digest.digest(), body])
    return digest.hexdigest()


def load(folder: str, name: str) -> tuple[dict[str, npt.NDArray[Any]], str]:
    """The tensors of a file and its stamp; DataError for a file that is missing, altered or
    something else."""
    path = _path(folder, name)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot read this file ({error.strerror}); give the checkpoint's folder"
        ) from error
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        raise DataError(
            f"{path} is truncated or altered: its SHA-256 does not match; restore it from a copy"
        )
    try:
        with np.load(io.BytesIO(data[32 + _STAMP :]), allow_pickle=False) as archive:
            tensors = {key.removeprefix("tensor "): archive[key] for key in archive.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a checkpoint of wwfl: {error}") from error
    return tensors, data[32 : 32 + _STAMP].rstrip(b"\0").decode()


_STAMP = 64


def _path(folder: str, name: str) -> Path:
    return Path(folder) / f"{name}.float.share"
