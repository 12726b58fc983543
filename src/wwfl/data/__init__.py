"""Labelled images: reading them, saying what they are, and deciding who holds which.

Nothing is downloaded, and no file can run anything. Data are public here: who holds a row is
simulated; how rows become shares is the federation's matter."""

from . import datasets, partition, sampling
from .dataset import CLASSES, Dataset, Scale
from .datasets import cifar10, fashion_mnist, image_folder, mnist
from .describe import describe_folder
from .idx import read_idx, write_idx
from .partition import Partition
from .readers import READERS, read
from .single_image import read_image
from .skew import label_counts, label_skew

__all__ = [
    "CLASSES",
    "READERS",
    "Dataset",
    "Partition",
    "Scale",
    "cifar10",
    "datasets",
    "describe_folder",
    "fashion_mnist",
    "image_folder",
    "label_counts",
    "label_skew",
    "mnist",
    "partition",
    "read",
    "read_idx",
    "read_image",
    "sampling",
    "write_idx",
]
