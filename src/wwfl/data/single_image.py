"""One image of a user, in the form of a data set's images.

Whole data sets are read by `readers`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wwfl_core.errors import DataError

from .datasets import MEAN, STD, Dataset


def read_image(path: str | Path, like: Dataset, pool: int = 1) -> np.ndarray:
    """The image of a .npy file or a picture as float32 [1, c, h, w], as the images of `like` are.

    pool: average blocks of so many pixels a side, as was done to `like`.

    A .npy array is taken as it is, if it has their shape [c, h, w] and a real dtype. A picture
    (needs Pillow, which the extra `report` brings) is read as grey levels, resized to 28x28 where
    it has another size, padded, standardised and pooled like MNIST; light on dark, as there.

    Raises:
        DataError: no such file, one that is no image, or of another shape.
    """
    shape = like.images.shape[1:]
    if str(path).endswith(".npy"):
        array = _array(path)
        if array.shape != shape or array.dtype.kind not in "fiu":
            raise DataError(
                f"{path}: {array.dtype} {list(array.shape)}; the model wants real numbers "
                f"{list(shape)}"
            )
        return array.astype(np.float32)[None]
    if shape[0] != 1:
        raise DataError(
            f"{path}: pictures are read as grey digits; give a .npy array {list(shape)} instead"
        )
    levels = (_grey(path) / 255 - MEAN) / STD
    padded = np.pad(levels, 2, constant_values=-MEAN / STD).astype(np.float32)[None, None]
    single = Dataset(padded, np.zeros(1, np.int64), str(path), "a picture", "0" * 64)
    return single.pooled(pool).images


def _array(path: str | Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot read this array: {error}") from error


def _grey(path: str | Path) -> np.ndarray:
    """uint8 levels [28, 28]."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            f"{path}: reading pictures needs Pillow: `pip install wwfl[report]`, or give a .npy "
            "array"
        ) from error
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L").resize((28, 28)), np.float64)
    except OSError as error:
        raise DataError(f"{path}: cannot read this picture: {error}") from error
