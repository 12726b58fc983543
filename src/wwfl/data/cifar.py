"""CIFAR-10 (Krizhevsky, 2009) from its published files: Python pickles, the binary version, or
images by class."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wwfl_core.errors import DataError

from . import folders, unpickle
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

PICKLE_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
"""MD5 of the published pickles. An identity, not a protection."""

FILES = {"train": tuple(PICKLE_MD5)[:5], "test": ("test_batch",)}


@dataclass(frozen=True)
class Place:
    """Where a copy of CIFAR-10 lies, and how it is read."""

    folder: Path
    form: str
    read: Callable[[str], Raw]


def locate(folder: Path) -> Place:
    """The copy in `folder`, or in the folder inside it that the published archives unpack to;
    pickles come first.

    Raises:
        DataError: when there is none.
    """
    for inside in (folder, folder / "cifar-10-batches-py"):
        if any((inside / name).is_file() for name in PICKLE_MD5):
            return Place(inside, "pickle", partial(_read, inside, "pickle", "", _pickle))
    for inside in (folder, folder / "cifar-10-batches-bin"):
        if any((inside / f"{name}.bin").is_file() for name in PICKLE_MD5):
            return Place(inside, "binary", partial(_read, inside, "binary", ".bin", _binary))
    if folders.looks_like(folder):
        return Place(folder, "images", partial(_images, folder))
    raise DataError(
        f"{folder}: no copy of CIFAR-10; name the folder that holds data_batch_1 (or "
        "data_batch_1.bin), "
        "or train/CLASS/*.png and test/CLASS/*.png"
    )


def _read(
    folder: Path,
    form: str,
    ending: str,
    parse: Callable[[Path], tuple[np.ndarray, np.ndarray]],
    split: str,
) -> Raw:
    parts, known = [], form == "pickle"
    for name in FILES[split]:
        path = folder / (name + ending)
        if not path.is_file():
            raise DataError(
                f"{folder}: no file {path.name}; the {split} set needs all of "
                f"{', '.join(FILES[split])}"
            )
        images, labels = parse(path)
        if not len(images):
            raise DataError(f"{path}: holds no image; use a data set with at least one")
        check_labels(labels, len(images), str(path), len(CLASS_NAMES))
        parts.append((images, labels))
        known = (
            known
            and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            == PICKLE_MD5[name]
        )
    images = np.concatenate([part[0] for part in parts]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([part[1] for part in parts])
    # Nobody publishes digests of the single binary files, so these can only be said to have the
    # right layout.
    name = "CIFAR-10" if known else f"data in CIFAR-10's {form} files (not verified)"
    return Raw(
        images,
        labels,
        name,
        split,
        str(folder),
        form,
        known,
        CLASS_NAMES,
        content_sha256(images, labels),
    )


def _pickle(path: Path) -> tuple[np.ndarray, np.ndarray]:
    batch = unpickle.load(path)
    data, labels = (_entry(batch, key) for key in ("data", "labels"))
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != PIXELS:
        shape = list(data.shape) if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(
            f"{path}: expected data uint8 [n, {PIXELS}], found {shape}; is this a batch of "
            "CIFAR-10?"
        )
    if not isinstance(labels, list) or not all(
        type(label) is int and 0 <= label < 256 for label in labels
    ):
        raise DataError(f"{path}: expected a list of labels in 0..9; is this a batch of CIFAR-10?")
    return data, np.array(labels, np.uint8)


def _entry(batch: Any, key: str) -> Any:
    return batch.get(key.encode(), batch.get(key)) if isinstance(batch, dict) else None


def _binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Records of one label byte and 3072 pixels, channel by channel."""
    size = path.stat().st_size
    if size % (1 + PIXELS) or size > MAX_RECORDS * (1 + PIXELS):
        raise DataError(
            f"{path}: {size} bytes are not up to {MAX_RECORDS} records of {1 + PIXELS}; fetch the "
            "file again "
            "(CIFAR-100, with two labels per record, is not read)"
        )
    records = np.fromfile(path, np.uint8).reshape(-1, 1 + PIXELS)
    return records[:, 1:], records[:, 0].copy()


def _images(folder: Path, split: str) -> Raw:
    raw = folders.read(folder, split)
    if raw.class_names != CLASS_NAMES or raw.images.shape[1:] != (3, 32, 32):
        raise DataError(
            f"{folder / split}: {list(raw.images.shape[1:])} images of classes "
            f"{list(raw.class_names)}, expected "
            f"[3, 32, 32] and {list(CLASS_NAMES)}; read other images with datasets.image_folder"
        )
    return raw
