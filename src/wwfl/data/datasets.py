"""Labelled image sets by name: the small real MNIST in the package, or full sets from a folder in
standard files."""

from __future__ import annotations

from pathlib import Path

from wwfl_core.errors import DataError, Misuse

from . import cifar, folders
from .dataset import CLASSES, Dataset, Raw, Scale, content_sha256, pixels
from .mnist_files import (
    CANONICAL_MD5,
    FASHION_MD5,
    SMALL_SHA256,
    file_stems,
    find_file,
    is_canonical,
    read_folder,
    read_pair,
    read_small,
)

__all__ = [
    "CANONICAL_MD5",
    "CIFAR_SCALE",
    "CLASSES",
    "FASHION_MD5",
    "FASHION_SCALE",
    "MEAN",
    "MNIST_SCALE",
    "SMALL_SHA256",
    "STD",
    "Dataset",
    "Scale",
    "cifar10",
    "content_sha256",
    "fashion_mnist",
    "file_stems",
    "find_file",
    "image_folder",
    "is_canonical",
    "mnist",
    "read_pair",
]

MEAN, STD = 0.1307, 0.3081
"""Mean and standard deviation of all MNIST training pixels in [0, 1], the values that everybody
uses."""

MNIST_SCALE = Scale((MEAN,), (STD,))
FASHION_SCALE = Scale((0.2860,), (0.3530,))
"""Of all Fashion-MNIST training pixels."""

CIFAR_SCALE = Scale((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
"""Of all CIFAR-10 training pixels, per channel. The smaller deviations 0.2023, 0.1994, 0.2010 that
are in wide use are means over images of each image's deviation."""

SPLITS = ("train", "test")

MAX_PAD = 28
"""Most zero pixels that are added on a side; more is a slip, and would only fill the memory."""


def mnist(
    folder: str | Path | None = None, *, pad: int = 2, standardise: bool = True
) -> tuple[Dataset, Dataset]:
    """Train and test set: the small real MNIST inside the package, or the standard IDX files of a
    folder.

    folder: holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
        t10k-labels-idx1-ubyte, each plain, .gz or .xz. None: the embedded 10,000 + 2,000 digits.
    pad: zero pixels added on each side, before standardising; 2 makes 28x28 into 32x32.
    standardise: (x/255 - 0.1307) / 0.3081 if true, x/255 otherwise.

    Any data in the same files (Fashion-MNIST for instance) is read, but only the original is named
    MNIST. `sha256` is that of the unpacked images file followed by the unpacked labels file."""
    _check_pad(pad)
    loaded = [
        read_small(split) if folder is None else read_folder(Path(folder), split)
        for split in SPLITS
    ]
    return _scaled(loaded, MNIST_SCALE if standardise else pixels(1), pad)


def fashion_mnist(
    folder: str | Path, *, pad: int = 2, standardise: bool = True
) -> tuple[Dataset, Dataset]:
    """Fashion-MNIST, train and test set, from the standard IDX files of a folder (see `mnist`).

    Debian's package dataset-fashion-mnist puts them in /usr/share/datasets/fashion-mnist. Other
    data in such files is read, but only the original is named Fashion-MNIST. standardise: (x/255 -
    0.2860) / 0.3530."""
    _check_pad(pad)
    loaded = [read_folder(Path(folder), split, "Fashion-MNIST") for split in SPLITS]
    return _scaled(loaded, FASHION_SCALE if standardise else pixels(1), pad)


def cifar10(folder: str | Path, *, standardise: bool = True) -> tuple[Dataset, Dataset]:
    """CIFAR-10, train and test set, from the published binary version, or from images by class.

    folder: holds data_batch_1.bin .. data_batch_5.bin and test_batch.bin (or the folder that their
        archive unpacks to), or train/CLASS/*.png and test/CLASS/*.png (or JPEG) with the ten class
        names, which needs Pillow (`pip install 'wwfl[images]'`).
    standardise: (x/255 - mean) / std per channel, see `CIFAR_SCALE`.

    Binary files are not named CIFAR-10, since nobody publishes their digests; a JPEG copy says that
    it is JPEG.

    Raises:
        DataError: no copy, a damaged one, or the version for Python: its pickles are programs,
            which are not opened. The error names the command that converts them.
    """
    copy = cifar.found(Path(folder))
    loaded = [copy.read(split) for split in SPLITS]
    return _scaled(loaded, CIFAR_SCALE if standardise else pixels(3), 0)


def image_folder(
    folder: str | Path, *, scale: Scale | None = None, pad: int = 0
) -> tuple[Dataset, Dataset]:
    """Train and test set from train/CLASS/*.png and test/CLASS/*.png (or JPEG), grey or RGB, all of
    one size.

    Classes are numbered in the order of their names. scale: how pixels become inputs; None leaves
    them in 0..1. Needs Pillow (`pip install 'wwfl[images]'`)."""
    _check_pad(pad)
    loaded = [folders.read(Path(folder), split) for split in SPLITS]
    train, test = loaded
    if train.class_names != test.class_names or train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"{folder}: train has classes {list(train.class_names)} and images "
            f"{list(train.images.shape[1:])}, test has {list(test.class_names)} and "
            f"{list(test.images.shape[1:])}; they must agree"
        )
    return _scaled(loaded, scale or pixels(train.images.shape[1]), pad)


def _scaled(loaded: list[Raw], scale: Scale, pad: int) -> tuple[Dataset, Dataset]:
    train, test = (raw.dataset(scale, pad=pad) for raw in loaded)
    return train, test


def _check_pad(pad: int) -> None:
    if isinstance(pad, bool) or not isinstance(pad, int) or not 0 <= pad <= MAX_PAD:
        raise Misuse(f"pad must be an integer in 0..{MAX_PAD}, got {pad!r}")
