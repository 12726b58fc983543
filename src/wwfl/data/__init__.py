"""Labelled images: reading them, saying what they are, and deciding who holds which.

Nothing is downloaded, and no file can run anything. Data are public here: who holds a row is
simulated; how rows become shares is the federation's matter."""

from .dataset import CLASSES, Dataset, Scale
from .datasets import cifar10, fashion_mnist, image_folder, mnist
from .describe import describe_folder
from .idx import read_idx, write_idx
from .partition import PARTITIONS, Partition, iid
from .readers import READERS, read
from .sampling import batches, choose, distinct
from .single_image import read_image
from .skew import label_counts, label_skew

__all__ = [
    "CLASSES",
    "PARTITIONS",
    "READERS",
    "Dataset",
    "Partition",
    "Scale",
    "batches",
    "choose",
    "cifar10",
    "describe_folder",
    "distinct",
    "fashion_mnist",
    "iid",
    "image_folder",
    "label_counts",
    "label_skew",
    "mnist",
    "read",
    "read_idx",
    "read_image",
    "write_idx",
]
