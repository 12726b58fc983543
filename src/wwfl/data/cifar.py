"""CIFAR-10 (Krizhevsky, 2009) from its published binary version, or from images by class.

The version for Python is not read: a pickle is a program, and opening one runs it. Whoever trusts a
copy converts it with the command that the refusal names."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from wwfl_core.errors import DataError

from . import folders
from .dataset import Raw, check_labels, content_sha256

CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
PIXELS = 3 * 32 * 32
MAX_RECORDS = 60_000
"""Most images that one file may hold: as many as there are."""

FILES = {
    "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test": ("test_batch",),
}
"""The files of each split, without their ending."""

ARCHIVE = "cifar-10-python.tar.gz"
PICKLE_FOLDER = "cifar-10-batches-py"
"""What the archive of the version for Python unpacks to."""

CONVERT = """\
import pickle, sys, numpy as np
for name in sys.argv[1:]:
    batch = pickle.load(open(name, "rb"), encoding="bytes")
    labels = np.array(batch[b"labels"], np.uint8)
    np.column_stack([labels, batch[b"data"]]).tofile(name + ".bin")
"""
"""Turns pickles into binary files beside them. wwfl never runs it; the refusal prints it."""


@dataclass(frozen=True)
class Copy:
    """Where a copy of CIFAR-10 lies, and how it is read."""

    folder: Path
    form: str
    read: Callable[[str], Raw]


def locate(folder: Path) -> Copy | None:
    """The copy in `folder`, or in the folder inside it that the published archive unpacks to; None
    if there is none.

    Raises:
        DataError: there is the version for Python only; with the command that converts it.
    """
    for inside in (folder, folder / "cifar-10-batches-bin", folder / PICKLE_FOLDER):
        if any((inside / f"{name}.bin").is_file() for name in _names()):
            return Copy(inside, "binary", partial(_read, inside))
    if folders.looks_like(folder):
        return Copy(folder, "images", partial(_images, folder))
    _refuse_pickles(folder)
    return None


def found(folder: Path) -> Copy:
    """As `locate`.

    Raises:
        DataError: there is no copy, or one that is not read.
    """
    copy = locate(folder)
    if copy is None:
        raise DataError(
            f"{folder}: no copy of CIFAR-10; name the folder that holds data_batch_1.bin, or "
            "train/CLASS/*.png and test/CLASS/*.png"
        )
    return copy


def _names() -> list[str]:
    return [name for names in FILES.values() for name in names]


def _refuse_pickles(folder: Path) -> None:
    """Raises DataError for the version for Python, unpacked or not. No file of it is opened."""
    for inside in (folder, folder / PICKLE_FOLDER):
        pickles = [inside / name for name in _names() if (inside / name).is_file()]
        if pickles:
            raise _refusal(pickles[0], "", pickles)
    archive = folder / ARCHIVE
    if archive.is_file():
        unpack = f"tar -xzf {shlex.quote(str(archive))} -C {shlex.quote(str(folder))} && "
        raise _refusal(archive, unpack, [folder / PICKLE_FOLDER / name for name in _names()])


def _refusal(path: Path, first: str, pickles: list[Path]) -> DataError:
    names = " ".join(shlex.quote(str(pickle)) for pickle in pickles)
    return DataError(
        f"{path} is CIFAR-10's version for Python. A pickle is a program, and opening one runs "
        "it, so it is not read. Use the binary version (data_batch_1.bin, ...); or, if you trust "
        "this copy, write binary files beside it and come again:\n"
        "\n"
        f"{first}python3 -c {shlex.quote(CONVERT)} {names}"
    )


def _read(folder: Path, split: str) -> Raw:
    parts = []
    for name in FILES[split]:
        path = folder / f"{name}.bin"
        if not path.is_file():
            needed = ", ".join(f"{each}.bin" for each in FILES[split])
            raise DataError(f"{folder}: no file {path.name}; the {split} set needs all of {needed}")
        images, labels = _binary(path)
        if not len(images):
            raise DataError(f"{path}: holds no image; use a data set with at least one")
        check_labels(labels, len(images), str(path), len(CLASS_NAMES))
        parts.append((images, labels))
    images = np.concatenate([part[0] for part in parts]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([part[1] for part in parts])
    # Nobody publishes digests of the single binary files, so these can only be said to have the
    # right layout.
    name = "data in CIFAR-10's binary files (not verified)"
    return Raw(
        images,
        labels,
        name,
        split,
        str(folder),
        "binary",
        False,
        CLASS_NAMES,
        content_sha256(images, labels),
    )


def _binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Records of one label byte and 3072 pixels, channel by channel."""
    size = path.stat().st_size
    if size % (1 + PIXELS) or size > MAX_RECORDS * (1 + PIXELS):
        raise DataError(
            f"{path}: {size} bytes are not up to {MAX_RECORDS} records of {1 + PIXELS}; fetch the "
            "file again (CIFAR-100, with two labels per record, is not read)"
        )
    records = np.fromfile(path, np.uint8).reshape(-1, 1 + PIXELS)
    return records[:, 1:], records[:, 0].copy()


def _images(folder: Path, split: str) -> Raw:
    raw = folders.read(folder, split)
    if raw.class_names != CLASS_NAMES or raw.images.shape[1:] != (3, 32, 32):
        raise DataError(
            f"{folder / split}: {list(raw.images.shape[1:])} images of classes "
            f"{list(raw.class_names)}, expected [3, 32, 32] and {list(CLASS_NAMES)}; read other "
            "images with datasets.image_folder"
        )
    return raw
