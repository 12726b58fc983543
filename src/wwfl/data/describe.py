"""What a folder of data holds: which set, in which form, how much of it, and whether it is the
published one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wwfl_core.errors import DataError

from . import cifar, folders, mnist_files
from .dataset import Raw
from .idx import SUFFIXES

SPLITS = ("train", "test")


def describe_folder(path: str | Path) -> list[dict[str, Any]]:
    """Reads and checks the data set in `path`, in any form that wwfl reads, and tells of each split
    what it is.

    One dictionary per split that is there, of JSON types only: `name` (which only the published
    content gets), `split`, `form` ("idx", "binary", "PNG", "JPEG"), `images` (how many),
    `shape` [c, h, w], `classes` (their names), `labels` (how many images of each class), `mean` and
    `std` of the pixels in 0..1 per channel, `sha256` of the content, `verified` (whether the files
    are known, byte for byte), `source` (the folder).

    Raises:
        DataError: nothing that can be read, or a file of a set that is damaged or missing.
        ConfigError: images by class, and Pillow is not installed.
    """
    place = Path(path)
    if not place.is_dir():
        raise DataError(f"{place}: no such folder; name one that holds a data set")
    idx = [split for split in SPLITS if _any_file(place, mnist_files.file_stems(split), SUFFIXES)]
    if idx:
        return [_row(mnist_files.read_folder(place, split)) for split in idx]
    copy = cifar.locate(place)
    if copy is None:
        raise DataError(
            f"{place}: nothing that wwfl reads: no IDX files such as train-images-idx3-ubyte, no "
            "data_batch_1.bin, no train/CLASS/*.png"
        )
    if copy.form == "images":
        return [_row(folders.read(place, split)) for split in SPLITS if (place / split).is_dir()]
    return [
        _row(copy.read(split))
        for split in SPLITS
        if _any_file(copy.folder, cifar.FILES[split], (".bin",))
    ]


def _any_file(place: Path, names: tuple[str, ...], endings: tuple[str, ...]) -> bool:
    return any((place / (name + ending)).is_file() for name in names for ending in endings)


def _row(raw: Raw) -> dict[str, Any]:
    moments = [_moments(raw.images[:, channel]) for channel in range(raw.images.shape[1])]
    return {
        "name": raw.name,
        "split": raw.split,
        "form": raw.form,
        "images": len(raw.labels),
        "shape": list(raw.images.shape[1:]),
        "classes": list(raw.class_names),
        "labels": np.bincount(raw.labels, minlength=len(raw.class_names)).tolist(),
        "mean": [mean for mean, _ in moments],
        "std": [std for _, std in moments],
        "sha256": raw.sha256,
        "verified": raw.verified,
        "source": raw.source,
    }


def _moments(pixels: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of uint8 pixels, as 0..1, from their histogram: exact sums, no
    float copy."""
    counts = np.bincount(pixels.reshape(-1), minlength=256)
    levels = np.arange(256)
    total = int(counts.sum())
    mean = int(counts @ levels) / total
    variance = int(counts @ levels**2) / total - mean**2
    return mean / 255, max(variance, 0.0) ** 0.5 / 255
