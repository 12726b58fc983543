"""Data sets by the names that configurations use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wwfl_core.errors import ConfigError
from wwfl_core.plugins import did_you_mean

from . import datasets
from .dataset import Dataset

READERS: dict[str, Callable[[str | Path], tuple[Dataset, Dataset]]] = {
    "mnist": datasets.mnist,
    "fashion-mnist": datasets.fashion_mnist,
    "cifar10": datasets.cifar10,
    "images": datasets.image_folder,
}


def read(name: str, folder: str | Path) -> tuple[Dataset, Dataset]:
    """Train and test set of this name from `folder`, scaled as is usual for it.

    Raises:
        ConfigError: an unknown name (with the nearest known one), or a folder without such data.
    """
    reader = READERS.get(name)
    if reader is None:
        hint = did_you_mean(name, READERS)
        raise ConfigError(f"no data set is called {name!r}; {hint}known are {', '.join(READERS)}")
    return reader(folder)
