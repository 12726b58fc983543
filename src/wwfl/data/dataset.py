"""What a labelled image set is: as read (`Raw`, bytes), and as models take it (`Dataset`,
floats)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wwfl_core.errors import DataError, Misuse

from .idx import idx_header

CLASSES = 10


@dataclass(frozen=True)
class Scale:
    """How pixels in 0..1 became model inputs: (pixel - mean) / std, with one mean and one std per
    channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def of(self, level: float) -> np.ndarray:
        """The input that a pixel of this level (0: black, 1: white) became: float32 [channels]."""
        return ((level - np.asarray(self.mean)) / np.asarray(self.std)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and their labels, with where they come from.

    images: float32 [n, c, h, w]. labels: int64 [n], each in 0..classes-1. sha256: identity of the
    content, see `content_sha256`. scale: how the pixels were scaled, where it is known.
    class_names: one per class, or none."""

    images: np.ndarray
    labels: np.ndarray
    name: str
    source: str
    sha256: str
    classes: int = CLASSES
    class_names: tuple[str, ...] = ()
    scale: Scale | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != np.float32 or self.images.ndim != 4:
            raise Misuse(
                f"{self.name}: images must be float32 [n, c, h, w], got {self.images.dtype} with "
                f"shape {self.images.shape}"
            )
        if self.labels.dtype != np.int64 or self.labels.ndim != 1:
            raise Misuse(
                f"{self.name}: labels must be int64 [n], got {self.labels.dtype} with shape "
                f"{self.labels.shape}"
            )
        if self.class_names and len(self.class_names) != self.classes:
            raise Misuse(
                f"{self.name}: {len(self.class_names)} class names for {self.classes} classes"
            )
        check_labels(self.labels, len(self.images), self.name, self.classes)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def take(self, indices: Any) -> Dataset:
        """The images at `indices` (integers [k], each in 0..n-1, any order, repeats allowed), as a
        copy."""
        chosen = np.asarray(indices)
        if chosen.size == 0:
            chosen = chosen.astype(np.int64)  # np.asarray([]) is float64
        if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer):
            raise Misuse(
                f"{self.name}: indices must be a 1-d integer array, got {chosen.dtype} "
                f"{chosen.shape}"
            )
        if chosen.size and not (0 <= int(chosen.min()) and int(chosen.max()) < len(self)):
            raise Misuse(
                f"{self.name}: indices must be in 0..{len(self) - 1}, got "
                f"{int(chosen.min())}..{int(chosen.max())}"
            )
        return replace(
            self,
            images=self.images[chosen],
            labels=self.labels[chosen],
            name=f"{self.name}[{chosen.size} of {len(self)}]",
            sha256=self.derived_sha256(chosen.astype("<i8").tobytes()),
        )

    def pooled(self, size: int) -> Dataset:
        """The images, averaged over blocks of `size` x `size` pixels, which must tile them: [n, c,
        h / size, w / size].

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
            sha256=self.derived_sha256(f"pooled {size}".encode()),
        )

    def __getitem__(self, part: slice) -> Dataset:
        """`dataset[a:b:step]`, the same as `take` of these indices."""
        if not isinstance(part, slice):
            raise Misuse(f"{self.name}: index with a slice such as [:100], or use take(indices)")
        return self.take(np.arange(len(self))[part])

    def describe(self) -> str:
        """One line for a run header: name, count and shape, source, start of the SHA-256."""
        shape = "x".join(str(size) for size in self.images.shape[1:])
        return (
            f"{self.name}: {len(self)} images {shape}, from {self.source}, sha256 "
            f"{self.sha256[:16]}"
        )

    def derived_sha256(self, change: bytes) -> str:
        """Identity of what `change` makes of this data set. It follows from both, and needs no pass
        over the pixels."""
        return hashlib.sha256(bytes.fromhex(self.sha256) + change).hexdigest()


@dataclass(frozen=True, eq=False)
class Raw:
    """One split as its files hold it. images: uint8 [n, c, h, w]. labels: uint8 [n], each below
    len(class_names).

    name: what it is, which only the original may be called. form: how it was stored. verified:
    whether the files are known, byte for byte (`name` then says what they are). sha256: see
    `content_sha256`."""

    images: np.ndarray
    labels: np.ndarray
    name: str
    split: str
    source: str
    form: str
    verified: bool
    class_names: tuple[str, ...]
    sha256: str

    def dataset(self, scale: Scale, *, pad: int = 0) -> Dataset:
        """Model inputs: (pixel / 255 - mean) / std per channel, with `pad` black pixels added on
        each side."""
        return Dataset(
            _scaled(self.images, scale, pad),
            self.labels.astype(np.int64),
            f"{self.name} {self.split}",
            self.source,
            self.sha256,
            len(self.class_names),
            self.class_names,
            scale,
        )


def check_labels(labels: np.ndarray, count: int, where: str, classes: int = CLASSES) -> None:
    """Raises DataError unless there are `count` labels, each in 0..classes-1; `where` names them in
    the message."""
    if len(labels) != count:
        raise DataError(
            f"{where}: {len(labels)} labels for {count} images; the two must come from one data set"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        at = int(wrong[0])
        raise DataError(
            f"{where}: label {at} is {int(labels[at])}, outside 0..{classes - 1} ({wrong.size} "
            f"such labels); use a data set with {classes} classes"
        )


def content_sha256(images: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 of the images as an IDX file followed by the labels as an IDX file (uint8 arrays, any
    dimensions).

    The content's identity, however it was stored: MNIST has the same one packed and unpacked."""
    return idx_digest(hashlib.sha256(), images, labels)


def idx_digest(state: Any, *arrays: np.ndarray) -> str:
    """Hex digest of the uint8 arrays as IDX files, one after the other, by a hash object of
    hashlib."""
    for array in arrays:
        state.update(idx_header(array))
        state.update(
            np.ascontiguousarray(array)
        )  # one byte per element: no byte order to care about
    return state.hexdigest()


def pixels(channels: int) -> Scale:
    """The scale of inputs that are left as pixels in 0..1."""
    return Scale((0.0,) * channels, (1.0,) * channels)


def _scaled(images: np.ndarray, scale: Scale, pad: int) -> np.ndarray:
    """uint8 [n, c, h, w] -> float32 [n, c, h + 2 pad, w + 2 pad]."""
    # A table of the 256 possible values, each rounded once from float64: the same bits on every
    # machine.
    levels = np.arange(256) / 255
    count, channels, height, width = images.shape
    out = np.empty((count, channels, height + 2 * pad, width + 2 * pad), np.float32)
    for channel, (mean, std) in enumerate(zip(scale.mean, scale.std, strict=True)):
        table = ((levels - mean) / std).astype(np.float32)
        out[:, channel] = table[0]
        out[:, channel, pad : pad + height, pad : pad + width] = table[images[:, channel]]
    return out
