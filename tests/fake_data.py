"""Files in the formats of data sets, with random contents."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wwfl.data import datasets
from wwfl.data.idx import write_idx


def fake_folder(folder: Path, suffix: str = ".gz", train: int = 30, test: int = 20) -> Path:
    """Random pixels under the standard names: for the reader only, and never to be called MNIST."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        images, labels = datasets.file_stems(split)
        write_idx(folder / (images + suffix), generator.integers(0, 256, (count, 28, 28), np.uint8))
        write_idx(folder / (labels + suffix), generator.integers(0, 10, count, np.uint8))
    return folder
