"""How different the clients of a partition are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .dataset import Dataset


def label_counts(partition: Sequence[Sequence[np.ndarray]], dataset: Dataset) -> np.ndarray:
    """How many samples of each class every client holds: int64 [clients, classes], cluster after
    cluster."""
    return np.array(
        [
            np.bincount(dataset.labels[client], minlength=dataset.classes)
            for cluster in partition
            for client in cluster
        ],
        np.int64,
    ).reshape(-1, dataset.classes)


def label_skew(counts: np.ndarray) -> float:
    """Mean total variation distance (0 to 1) between each holder's label distribution and that of
    all together.

    counts: integers [holders, classes], each holder with at least one sample. 0: all alike; close
    to 1: every holder has classes of its own."""
    shares = counts / counts.sum(1, keepdims=True)
    overall = counts.sum(0) / counts.sum()
    return float(np.abs(shares - overall).sum(1).mean() / 2)
