"""MNIST and sets in its files: four IDX files per folder. Which one it is, its content decides, not
its name."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

import numpy as np

from wwfl_core.errors import DataError

from .dataset import Raw, check_labels, content_sha256, idx_digest
from .idx import SUFFIXES, read_idx

CANONICAL_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""MD5 of the four unpacked files of the original MNIST. An identity, not a protection."""

FASHION_MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
"""The same of Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017), as in Debian's package
dataset-fashion-mnist."""

SMALL_SHA256 = {
    "train": "fe26afcf1a4966187722dae148673e727b875963cce30e53a703eeffd504936b",
    "test": "8ef2c5d1acd152d6870c75df3c17de60689d6574eaa9bebcdcf429d6fc907a49",
}
"""SHA-256 of the embedded set: unpacked images file followed by the unpacked labels file."""

DIGITS = tuple("0123456789")
GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_SPLITS = {"train": "train", "test": "t10k"}
_KNOWN = {"MNIST": (CANONICAL_MD5, DIGITS), "Fashion-MNIST": (FASHION_MD5, GARMENTS)}


def file_stems(split: str) -> tuple[str, str]:
    """Standard names, without ending, of the images and the labels file of `split` ("train" or
    "test")."""
    return f"{_SPLITS[split]}-images-idx3-ubyte", f"{_SPLITS[split]}-labels-idx1-ubyte"


def find_file(folder: Path, stem: str) -> Path:
    """The file of `folder` called `stem`, `stem`.gz or `stem`.xz (the first of them that
    exists)."""
    for suffix in SUFFIXES:
        if (path := folder / (stem + suffix)).is_file():
            return path
    raise DataError(
        f"{folder}: no file {stem} (also looked for .gz and .xz); name the folder that holds "
        f"{', '.join(CANONICAL_MD5)}"
    )


def read_pair(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 28, 28] and labels uint8 [n] of two IDX files, checked against each
    other."""
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
        raise DataError(
            f"{images_path}: expected uint8 images [n, 28, 28], found {images.dtype} "
            f"{list(images.shape)}; are the images and labels files exchanged?"
        )
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise DataError(
            f"{labels_path}: expected uint8 labels [n], found {labels.dtype} "
            f"{list(labels.shape)}; are the images and labels files exchanged?"
        )
    if not len(images):
        raise DataError(f"{images_path}: holds no image; use a data set with at least one")
    check_labels(labels, len(images), str(labels_path))
    return images, labels


def is_canonical(stem: str, array: np.ndarray) -> bool:
    """Whether `array` (uint8) is exactly the content of the original MNIST file `stem`."""
    return _md5(array) == CANONICAL_MD5[stem]


def read_small(split: str) -> Raw:
    """The digits inside the package, checked against their SHA-256."""
    base = resources.files("wwfl.data")
    stems = file_stems(split)
    with (
        resources.as_file(base / f"mnist_small.{stems[0]}.xz") as images_path,
        resources.as_file(base / f"mnist_small.{stems[1]}.xz") as labels_path,
    ):
        images, labels = read_pair(images_path, labels_path)
    sha256 = content_sha256(images, labels)
    if sha256 != SMALL_SHA256[split]:
        raise DataError(
            f"wwfl.data: the embedded {split} set has SHA-256 {sha256}, expected "
            f"{SMALL_SHA256[split]}; the installation is damaged, install wwfl again"
        )
    source = "the wwfl package (drawn from MNIST)"
    return Raw(images[:, None], labels, "MNIST-small", split, source, "idx", True, DIGITS, sha256)


def read_folder(folder: Path, split: str, expected: str = "MNIST") -> Raw:
    """One split of a folder of IDX files.

    `expected` ("MNIST" or "Fashion-MNIST") is what the caller asked for; other content is said not
    to be that."""
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; name the one that holds {', '.join(CANONICAL_MD5)}"
        )
    stems = file_stems(split)
    images, labels = read_pair(find_file(folder, stems[0]), find_file(folder, stems[1]))
    found = tuple(_md5(array) for array in (images, labels))
    # MNIST, Fashion-MNIST and many home-made sets use the very same file names: only the content
    # can decide.
    name, class_names = f"IDX data (not the original {expected})", DIGITS
    for known, (digests, names) in _KNOWN.items():
        if found == tuple(digests[stem] for stem in stems):
            name, class_names = known, names
    sha256 = content_sha256(images, labels)
    return Raw(
        images[:, None],
        labels,
        name,
        split,
        str(folder),
        "idx",
        name in _KNOWN,
        class_names,
        sha256,
    )


def _md5(array: np.ndarray) -> str:
    return idx_digest(hashlib.md5(usedforsecurity=False), array)
