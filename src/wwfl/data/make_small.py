"""Draw the small MNIST that ships with the package.

    python -m wwfl.data.make_small MNIST_FOLDER [OUTPUT_FOLDER]

10,000 of the 60,000 training digits and 2,000 of the 10,000 test digits, each digit as likely as
any other, so the classes stay as balanced as chance draws them. Nothing but the original files
enters: the result is the same bytes on every machine (given the same liblzma for the packed files).
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from wwfl_core.errors import DataError, WwflError

from .datasets import content_sha256, file_stems, find_file, is_canonical, read_pair
from .idx import write_idx

COUNTS = {"train": 10_000, "test": 2_000}
SEED = "wwfl mnist_small v1"


def chosen(split: str, available: int) -> np.ndarray:
    """Which digits of the full `split` are taken, in which order: int64 [COUNTS[split]]."""
    # Ranking by SHA-256 instead of a library's generator: no library version can change the draw.
    # Public.
    rank = [hashlib.sha256(f"{SEED}|{split}|{i}".encode()).digest() for i in range(available)]
    return np.array(sorted(range(available), key=rank.__getitem__)[: COUNTS[split]], np.int64)


def draw(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 28, 28] and labels uint8 [n] of the small `split`, out of the MNIST in
    `folder`."""
    paths = [find_file(folder, stem) for stem in file_stems(split)]
    images, labels = read_pair(*paths)
    for path, stem, array in zip(paths, file_stems(split), (images, labels), strict=True):
        if not is_canonical(stem, array):
            raise DataError(
                f"{path}: not the original MNIST file (its unpacked MD5 differs); nothing else "
                "may be called MNIST"
            )
    indices = chosen(split, len(labels))
    return images[indices], labels[indices]


def make(folder: Path, output: Path, split: str) -> list[Path]:
    """Write the two files of `split` into `output`; returns their paths, images first."""
    images, labels = draw(folder, split)
    paths = [output / f"mnist_small.{stem}.xz" for stem in file_stems(split)]
    for path, array in zip(paths, (images, labels), strict=True):
        write_idx(path, array)
    return paths


def main(arguments: list[str]) -> int:
    """Command line: MNIST_FOLDER [OUTPUT_FOLDER]; without the second, the package's own folder is
    written."""
    if len(arguments) not in (1, 2):
        print("usage: python -m wwfl.data.make_small MNIST_FOLDER [OUTPUT_FOLDER]", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    output = Path(arguments[1]) if len(arguments) == 2 else Path(__file__).parent
    try:
        for split in COUNTS:
            paths = make(folder, output, split)
            for path in paths:
                packed = path.read_bytes()
                print(f"{hashlib.sha256(packed).hexdigest()}  {path.name} ({len(packed)} bytes)")
            print(f"{content_sha256(*read_pair(*paths))}  {split}: unpacked images, then labels")
    except WwflError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
