"""Checkpoints of float nodes: sealed files whose body is an npz archive."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import DataError
from wwfl_core.files import read_sealed, write_sealed

KIND = "checkpoint of floats"


def save(folder: str, name: str, tensors: dict[str, npt.NDArray[Any]], stamp: str) -> str:
    """Writes one file per node; returns the SHA-256 that seals it, as hex."""
    archive = io.BytesIO()
    named = {f"tensor {key}": value for key, value in tensors.items()}
    np.savez(archive, allow_pickle=False, **named)
    return write_sealed(_path(folder, name), KIND, {"stamp": stamp}, [archive.getvalue()])


def load(folder: str, name: str) -> tuple[dict[str, npt.NDArray[Any]], str]:
    """The tensors of a file and its stamp.

    Raises:
        DataError: a file that is missing, altered or something else.
    """
    path = _path(folder, name)
    header, body = read_sealed(path, KIND)
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            tensors = {key.removeprefix("tensor "): archive[key] for key in archive.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a {KIND} of wwfl: {error}") from error
    return tensors, str(header["stamp"])


def _path(folder: str, name: str) -> Path:
    return Path(folder) / f"{name}.float.share"
