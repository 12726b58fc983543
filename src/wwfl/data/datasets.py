"""Labelled image sets: the small real MNIST in the package, or full sets from standard IDX files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from wwfl.data.idx import SUFFIXES, idx_header, read_idx
from wwfl_core.errors import DataError, Misuse

CLASSES = 10
MEAN, STD = 0.1307, 0.3081
"""Mean and standard deviation of all MNIST training pixels in [0, 1], the values that everybody uses."""

MAX_PAD = 28
"""Most zero pixels that `mnist` adds on a side; more is a slip, and would only fill the memory."""

CANONICAL_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""MD5 of the four unpacked files of the original MNIST. An identity, not a protection."""

SMALL_SHA256 = {
    "train": "fe26afcf1a4966187722dae148673e727b875963cce30e53a703eeffd504936b",
    "test": "8ef2c5d1acd152d6870c75df3c17de60689d6574eaa9bebcdcf429d6fc907a49",
}
"""SHA-256 of the embedded set: unpacked images file followed by the unpacked labels file."""

_SPLITS = {"train": "train", "test": "t10k"}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and their labels, with where they come from.

    images: float32 [n, c, h, w]. labels: int64 [n], each in 0..9. sha256: identity of the content, see
    `mnist`.
    """

    images: np.ndarray
    labels: np.ndarray
    name: str
    source: str
    sha256: str

    def __post_init__(self) -> None:
        if self.images.dtype != np.float32 or self.images.ndim != 4:
            raise Misuse(
                f"{self.name}: images must be float32 [n, c, h, w], "
                f"got {self.images.dtype} with shape {self.images.shape}"
            )
        if self.labels.dtype != np.int64 or self.labels.ndim != 1:
            raise Misuse(
                f"{self.name}: labels must be int64 [n], got {self.labels.dtype} with shape {self.labels.shape}"
            )
        _check_labels(self.labels, len(self.images), self.name)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def take(self, indices: Any) -> Dataset:
        """The images at `indices` (integers [k], each in 0..n-1, any order, repeats allowed), as a copy."""
        chosen = np.asarray(indices)
        if chosen.size == 0:
            chosen = chosen.astype(np.int64)  # np.asarray([]) is float64
        if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer):
            raise Misuse(f"{self.name}: indices must be a 1-d integer array, got {chosen.dtype} {chosen.shape}")
        if chosen.size and not (0 <= int(chosen.min()) and int(chosen.max()) < len(self)):
            raise Misuse(
                f"{self.name}: indices must be in 0..{len(self) - 1}, got {int(chosen.min())}..{int(chosen.max())}"
            )
        # The subset's identity follows from the parent's and the indices, so it needs no pass over the
        # pixels.
        digest = hashlib.sha256(bytes.fromhex(self.sha256) + chosen.astype("<i8").tobytes())
        return replace(
            self,
            images=self.images[chosen],
            labels=self.labels[chosen],
            name=f"{self.name}[{chosen.size} of {len(self)}]",
            sha256=digest.hexdigest(),
        )

    def pooled(self, size: int) -> Dataset:
        """The images, averaged over blocks of `size` x `size` pixels, which must tile them: [n, c, h / size, w / size].

        For models that slow protocols can train.
        """
        n, c, h, w = self.images.shape
        if isinstance(size, bool) or not isinstance(size, int) or size < 1 or h % size or w % size:
            raise Misuse(f"{self.name}: blocks of {size!r} pixels do not tile images of {h}x{w}")
        if size == 1:
            return self
        blocks = self.images.reshape(n, c, h // size, size, w // size, size)
        return replace(
            self,
            images=blocks.mean((3, 5), dtype=np.float64).astype(np.float32),
            name=f"{self.name}, pooled {size}x{size}",
            sha256=hashlib.sha256(bytes.fromhex(self.sha256) + f"pooled {size}".encode()).hexdigest(),
        )

    def __getitem__(self, part: slice) -> Dataset:
        """`dataset[a:b:step]`, the same as `take` of these indices."""
        if not isinstance(part, slice):
            raise Misuse(f"{self.name}: index with a slice such as [:100], or use take(indices)")
        return self.take(np.arange(len(self))[part])

    def describe(self) -> str:
        """One line for a run header: name, count and shape, source, start of the SHA-256."""
        shape = "x".join(str(size) for size in self.images.shape[1:])
        return f"{self.name}: {len(self)} images {shape}, from {self.source}, sha256 {self.sha256[:16]}"


def mnist(folder: str | Path | None = None, *, pad: int = 2, standardise: bool = True) -> tuple[Dataset, Dataset]:
    """Train and test set: the small real MNIST inside the package, or the standard IDX files of a folder.

    folder: holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
        t10k-labels-idx1-ubyte, each plain, .gz or .xz. None: the embedded 10,000 + 2,000 digits.
    pad: zero pixels added on each side, before standardising; 2 makes 28x28 into 32x32.
    standardise: (x/255 - 0.1307) / 0.3081 if true, x/255 otherwise.

    Any data in the same files (Fashion-MNIST for instance) is read, but only the original is named MNIST.
    `sha256` is that of the unpacked images file followed by the unpacked labels file.
    """
    if isinstance(pad, bool) or not isinstance(pad, int) or not 0 <= pad <= MAX_PAD:
        raise Misuse(f"pad must be an integer in 0..{MAX_PAD}, got {pad!r}")
    loaded = [_small(split) if folder is None else _full(Path(folder), split) for split in _SPLITS]
    train, test = (
        Dataset(_convert(images, pad, standardise), labels.astype(np.int64), name, source, sha256)
        for images, labels, name, source, sha256 in loaded
    )
    return train, test


def file_stems(split: str) -> tuple[str, str]:
    """Standard names, without ending, of the images and the labels file of `split` ("train" or "test")."""
    return f"{_SPLITS[split]}-images-idx3-ubyte", f"{_SPLITS[split]}-labels-idx1-ubyte"


def find_file(folder: Path, stem: str) -> Path:
    """The file of `folder` called `stem`, `stem`.gz or `stem`.xz (the first of them that exists)."""
    for suffix in SUFFIXES:
        if (path := folder / (stem + suffix)).is_file():
            return path
    raise DataError(
        f"{folder}: no file {stem} (also looked for .gz and .xz); name the folder that holds {', '.join(CANONICAL_MD5)}"
    )


def read_pair(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 28, 28] and labels uint8 [n] of two IDX files, checked against each other."""
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
        raise DataError(
            f"{images_path}: expected uint8 images [n, 28, 28], found {images.dtype} {list(images.shape)}; "
            "are the images and labels files exchanged?"
        )
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise DataError(
            f"{labels_path}: expected uint8 labels [n], found {labels.dtype} {list(labels.shape)}; "
            "are the images and labels files exchanged?"
        )
    if not len(images):
        raise DataError(f"{images_path}: holds no image; use a data set with at least one")
    _check_labels(labels, len(images), str(labels_path))
    return images, labels


def content_sha256(images: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 of the unpacked images IDX file followed by the unpacked labels IDX file (uint8 arrays)."""
    return _digest(hashlib.sha256(), images, labels)


def is_canonical(stem: str, array: np.ndarray) -> bool:
    """Whether `array` (uint8) is exactly the content of the original MNIST file `stem`."""
    return _digest(hashlib.md5(usedforsecurity=False), array) == CANONICAL_MD5[stem]


def _digest(state: Any, *arrays: np.ndarray) -> str:
    for array in arrays:
        state.update(idx_header(array))
        state.update(np.ascontiguousarray(array))  # one byte per element: no byte order to care about
    return state.hexdigest()


def _check_labels(labels: np.ndarray, count: int, where: str) -> None:
    if len(labels) != count:
        raise DataError(f"{where}: {len(labels)} labels for {count} images; the two must come from one data set")
    wrong = np.flatnonzero((labels < 0) | (labels >= CLASSES))
    if wrong.size:
        at = int(wrong[0])
        raise DataError(
            f"{where}: label {at} is {int(labels[at])}, outside 0..{CLASSES - 1} "
            f"({wrong.size} such labels); use a data set with {CLASSES} classes"
        )


def _small(split: str) -> tuple[np.ndarray, np.ndarray, str, str, str]:
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
            f"wwfl.data: the embedded {split} set has SHA-256 {sha256}, expected {SMALL_SHA256[split]}; "
            "the installation is damaged, install wwfl again"
        )
    return images, labels, f"MNIST-small {split}", "the wwfl package (drawn from MNIST)", sha256


def _full(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray, str, str, str]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one that holds {', '.join(CANONICAL_MD5)}")
    stems = file_stems(split)
    images, labels = read_pair(find_file(folder, stems[0]), find_file(folder, stems[1]))
    # Fashion-MNIST and many home-made sets use the very same file names, so the name cannot decide this.
    genuine = is_canonical(stems[0], images) and is_canonical(stems[1], labels)
    name = f"MNIST {split}" if genuine else f"IDX data (not the original MNIST) {split}"
    return images, labels, name, str(folder), content_sha256(images, labels)


def _convert(images: np.ndarray, pad: int, standardise: bool) -> np.ndarray:
    """uint8 [n, h, w] -> float32 [n, 1, h + 2 pad, w + 2 pad]."""
    # A table of the 256 possible values, each rounded once from float64: the same bits on every machine.
    levels = np.arange(256) / 255
    table = ((levels - MEAN) / STD if standardise else levels).astype(np.float32)
    count, height, width = images.shape
    out = np.full((count, 1, height + 2 * pad, width + 2 * pad), table[0], np.float32)
    out[:, 0, pad : pad + height, pad : pad + width] = table[images]
    return out
