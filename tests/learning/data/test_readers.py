"""Fashion-MNIST, CIFAR-10 and folders of images: read from small files in the real formats."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_data import fake_folder
from helpers import rng
from wwfl.data import cifar, datasets, describe_folder, folders, mnist_files, readers
from wwfl.data.dataset import Dataset, Scale, idx_digest
from wwfl.data.idx import read_idx, write_idx
from wwfl_core.errors import ConfigError, DataError, Misuse

FASHION = Path(os.environ.get("WWFL_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
CIFAR = Path(os.environ.get("WWFL_CIFAR10", "WWFL_CIFAR10-is-not-set"))
PER_FILE = 7


# ---- Fashion-MNIST


def test_sets_in_idx_files_are_named_by_their_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_folder(tmp_path)
    train, _ = datasets.fashion_mnist(tmp_path)
    assert train.name == "IDX data (not the original Fashion-MNIST) train"
    digests = {
        stem: idx_digest(hashlib.md5(usedforsecurity=False), read_idx(tmp_path / f"{stem}.gz"))
        for stem in mnist_files.FASHION_MD5
    }
    for stem, digest in digests.items():
        monkeypatch.setitem(mnist_files.FASHION_MD5, stem, digest)
    for reader in (datasets.fashion_mnist, datasets.mnist):
        train, test = reader(tmp_path)
        assert (train.name, test.name) == ("Fashion-MNIST train", "Fashion-MNIST test")
        assert train.class_names[9] == "Ankle boot"
    assert [row["verified"] for row in describe_folder(tmp_path)] == [True, True]
    monkeypatch.setitem(mnist_files.FASHION_MD5, "t10k-labels-idx1-ubyte", "0" * 32)
    assert (
        datasets.fashion_mnist(tmp_path)[1].name == "IDX data (not the original Fashion-MNIST) test"
    )


def test_fashion_mnist_has_its_own_scale(tmp_path: Path) -> None:
    images = read_idx(fake_folder(tmp_path) / "train-images-idx3-ubyte.gz")
    train, _ = datasets.fashion_mnist(tmp_path, pad=1)
    np.testing.assert_allclose(
        train.images[:, 0, 1:-1, 1:-1], (images / 255 - 0.2860) / 0.3530, rtol=1e-5, atol=1e-6
    )
    assert train.scale is not None and train.images.min() >= train.scale.of(0.0)[0]
    assert (train.images[:, :, 0] == train.scale.of(0.0)[0]).all()
    assert datasets.fashion_mnist(tmp_path, standardise=False)[0].scale == Scale((0.0,), (1.0,))


@pytest.mark.skipif(
    not FASHION.is_dir(), reason="Fashion-MNIST absent: set WWFL_FASHION_MNIST to its folder"
)
@pytest.mark.slow
def test_real_fashion_mnist() -> None:
    rows = describe_folder(FASHION)
    assert [(row["name"], row["images"], row["verified"]) for row in rows] == [
        ("Fashion-MNIST", 60_000, True),
        ("Fashion-MNIST", 10_000, True),
    ]
    assert rows[0]["labels"] == [6_000] * 10
    np.testing.assert_allclose(rows[0]["mean"], datasets.FASHION_SCALE.mean, atol=5e-5)
    np.testing.assert_allclose(rows[0]["std"], datasets.FASHION_SCALE.std, atol=5e-5)


# ---- CIFAR-10


def content(g: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Random pixels for all six files of the layout: for the reader only."""
    return {
        name: (
            g.integers(0, 256, (PER_FILE, 3072), np.uint8),
            g.integers(0, 10, PER_FILE).astype(np.uint8),
        )
        for names in cifar.FILES.values()
        for name in names
    }


def python2_pickle(images: np.ndarray, labels: np.ndarray) -> bytes:
    """The bytes that Python 2 and its numpy wrote, opcode by opcode: the format of the published
    files."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    raw = images.tobytes()
    dtype = (
        b"cnumpy\ndtype\n("
        + text(b"u1")
        + b"K\x00K\x01tR(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
    )
    array = (
        (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR")
        + b"(K\x01(" + struct.pack("<cH", b"M", len(images)) + b"M\x00\x0ct" + dtype
        + b"K\x00tb\x89T" + struct.pack("<I", len(raw)) + raw + b"tb"
    )  # fmt: skip
    numbers = b"".join(b"K" + bytes([label]) for label in labels.tolist())
    return (
        b"\x80\x02}(" + text(b"data") + array + text(b"labels") + b"](" + numbers + b"e"
        + text(b"batch_label") + text(b"training batch 1 of 5")
        + text(b"filenames") + b"](" + text(b"a.png") + b"eu."
    )  # fmt: skip


def write_pickles(folder: Path, files: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    folder.mkdir(parents=True)
    for name, (images, labels) in files.items():
        (folder / name).write_bytes(python2_pickle(images, labels))
    return folder


def write_binaries(folder: Path, files: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    folder.mkdir(parents=True)
    for name, (images, labels) in files.items():
        (folder / f"{name}.bin").write_bytes(np.concatenate([labels[:, None], images], 1).tobytes())
    return folder


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-bin", "cifar-10-batches-py"])
def test_the_binary_version_of_cifar10_is_read(tmp_path: Path, inside: str) -> None:
    files = content(rng())
    write_binaries(tmp_path / "b" / inside, files)
    for split, found in zip(("train", "test"), datasets.cifar10(tmp_path / "b"), strict=True):
        images = np.concatenate([files[name][0] for name in cifar.FILES[split]]).reshape(
            -1, 3, 32, 32
        )
        labels = np.concatenate([files[name][1] for name in cifar.FILES[split]])
        np.testing.assert_array_equal(found.labels, labels)
        mean, std = (
            np.reshape(v, (1, 3, 1, 1))
            for v in (datasets.CIFAR_SCALE.mean, datasets.CIFAR_SCALE.std)
        )
        np.testing.assert_allclose(found.images, (images / 255 - mean) / std, rtol=1e-5, atol=1e-6)
        assert found.name == f"data in CIFAR-10's binary files (not verified) {split}"
        assert found.class_names == cifar.CLASS_NAMES and found.classes == 10


def test_cifar10_errors(tmp_path: Path) -> None:
    files = content(rng())
    with pytest.raises(DataError, match="no copy of CIFAR-10"):
        datasets.cifar10(tmp_path)
    folder = write_binaries(tmp_path / "b", files)
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"no file data_batch_3\.bin; the train set needs all of"):
        datasets.cifar10(folder)
    record = bytes([3]) + bytes(3072)
    for body, message in [
        (b"", "holds no image"),
        (record + b"x", "are not up to"),
        (record + bytes([10]) + bytes(3072), r"label 1 is 10, outside 0\.\.9"),
    ]:
        (folder / "data_batch_3.bin").write_bytes(body)
        with pytest.raises(DataError, match=message) as info:
            datasets.cifar10(folder)
        assert str(folder / "data_batch_3.bin") in str(info.value)


# ---- CIFAR-10's version for Python is refused, and can be converted


def command_of(error: BaseException) -> str:
    """The command that a refusal names."""
    return str(error).partition("\n\n")[2]


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-py"])
def test_pickles_are_refused_with_the_command_that_converts_them(
    tmp_path: Path, inside: str
) -> None:
    files = content(rng())
    folder = tmp_path / "it's here"
    write_pickles(folder / inside, files)
    for read in (datasets.cifar10, describe_folder):
        with pytest.raises(DataError, match="A pickle is a program") as caught:
            read(folder)
    run_here(command_of(caught.value), tmp_path)
    write_binaries(tmp_path / "b", files)
    for converted, binary in zip(
        datasets.cifar10(folder), datasets.cifar10(tmp_path / "b"), strict=True
    ):
        assert converted.sha256 == binary.sha256
    assert [row["form"] for row in describe_folder(folder)] == ["binary", "binary"]


def test_the_packed_version_is_refused_with_the_command_that_unpacks_and_converts_it(
    tmp_path: Path,
) -> None:
    files = content(rng())
    inside = write_pickles(tmp_path / cifar.PICKLE_FOLDER, files)
    folder = tmp_path / "packed"
    folder.mkdir()
    with tarfile.open(folder / cifar.ARCHIVE, "w:gz") as archive:
        archive.add(inside, cifar.PICKLE_FOLDER)
    with pytest.raises(DataError, match="version for Python") as caught:
        datasets.cifar10(folder)
    run_here(command_of(caught.value), tmp_path)
    assert len(datasets.cifar10(folder)[0]) == 5 * PER_FILE


def run_here(command: str, folder: Path) -> None:
    """Runs a command with this Python as `python3`."""
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").symlink_to(sys.executable)
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    libraries = os.pathsep.join(filter(None, sys.path))  # a link is not in the virtual environment
    environment = {**os.environ, "PATH": path, "PYTHONPATH": libraries}
    subprocess.run(command, shell=True, check=True, env=environment, timeout=60)


class TouchesAFile:
    """An object whose pickle runs a command."""

    def __reduce__(self) -> Any:
        return os.system, ("touch WWFL_WAS_HERE",)


# The second is small, and fills the memory of whoever opens it.
HOSTILE = (pickle.dumps(TouchesAFile(), 2), b"\x80\x02Nr" + struct.pack("<I", (1 << 31) - 1) + b".")


@pytest.mark.parametrize("hostile", HOSTILE, ids=["runs a command", "fills the memory"])
def test_no_pickle_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hostile: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(hostile)
    (tmp_path / "data_batch_1").chmod(0)  # so that opening it would be an error of its own
    began = time.monotonic()
    with pytest.raises(DataError, match="A pickle is a program"):
        datasets.cifar10(tmp_path)
    assert time.monotonic() - began < 5
    assert [path.name for path in tmp_path.iterdir()] == ["data_batch_1"]


def test_the_hostile_pickle_does_run_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the test above says something."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(HOSTILE[0])
    assert (tmp_path / "WWFL_WAS_HERE").exists()


# ---- images by class


def write_images(
    folder: Path,
    g: np.random.Generator,
    names: tuple[str, ...],
    ending: str = "png",
    shape: tuple[int, ...] = (32, 32, 3),
) -> dict[str, np.ndarray]:
    """Two random images per class and split; returns the pixels by relative path."""
    image = pytest.importorskip("PIL.Image")
    written = {}
    for split in ("train", "test"):
        for name in names:
            (folder / split / name).mkdir(parents=True)
            for at in range(2):
                pixels = g.integers(0, 256, shape, np.uint8)
                path = folder / split / name / f"{at:04}.{ending}"
                image.fromarray(pixels).save(path)
                written[path.relative_to(folder).as_posix()] = pixels
    return written


def test_a_folder_of_png_gives_exact_pixels(tmp_path: Path) -> None:
    pixels = write_images(tmp_path, rng(), ("dog", "cat", "bee"), shape=(5, 4, 3))
    train, test = datasets.image_folder(tmp_path)
    assert train.class_names == ("bee", "cat", "dog") and train.classes == 3
    assert train.images.shape == (6, 3, 5, 4) and test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(
        train.images[5], (pixels["train/dog/0001.png"].transpose(2, 0, 1) / 255).astype(np.float32)
    )
    assert "PNG images of" in train.name and "CIFAR" not in train.name
    grey = tmp_path / "grey"
    write_images(grey, rng(), ("a", "b"), shape=(4, 4))
    assert datasets.image_folder(grey, pad=1)[0].images.shape == (4, 1, 6, 6)


def test_cifar10_as_images_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, rng(), cifar.CLASS_NAMES, "jpg")
    seen: list[str] = []
    sha256 = hashlib.sha256

    class Spy:
        def __init__(self, data: bytes = b"") -> None:
            self.inner = sha256(data)

        def update(self, data: Any) -> None:
            self.inner.update(data)

        def hexdigest(self) -> str:
            seen.append(self.inner.hexdigest())
            return seen[-1]

    train, test = datasets.cifar10(tmp_path)
    assert (len(train), len(test)) == (20, 20) and train.class_names == cifar.CLASS_NAMES
    assert train.name.startswith("JPEG images of ") and "CIFAR" not in train.name
    monkeypatch.setattr(folders.hashlib, "sha256", Spy)
    folders.read(tmp_path, "train")
    monkeypatch.undo()
    monkeypatch.setitem(folders.KNOWN_SHA256, seen[0], "CIFAR-10 (JPEG copy, quality 75)")
    train, test = datasets.cifar10(tmp_path)
    assert "CIFAR-10 (JPEG copy, quality 75) train" in train.describe()
    assert test.name.startswith("JPEG images of ")
    (tmp_path / "train" / "cat").rename(tmp_path / "train" / "lynx")
    with pytest.raises(DataError, match=r"read other images with datasets\.image_folder"):
        datasets.cifar10(tmp_path)
    with pytest.raises(DataError, match="they must agree"):
        datasets.image_folder(tmp_path)


def test_image_folder_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image")
    with pytest.raises(DataError, match="no images train/CLASS"):
        datasets.image_folder(tmp_path)
    write_images(tmp_path, rng(), ("a", "b"), shape=(4, 4, 3))
    odd = tmp_path / "train" / "b" / "9.png"
    for make, message in [
        (lambda: odd.write_bytes(b"GIF89a"), "9.png: cannot be read as PNG or JPEG"),
        (
            lambda: image.new("RGB", (5, 4)).save(odd),
            r"9.png: \[3, 4, 5\], the first image has \[3, 4, 4\]",
        ),
        (lambda: image.new("RGBA", (4, 4)).save(odd), "mode RGBA; convert it"),
        (lambda: image.new("RGB", (4, 4)).save(odd, format="GIF"), "cannot be read as PNG or JPEG"),
    ]:
        make()
        with pytest.raises(DataError, match=message):
            datasets.image_folder(tmp_path)
    odd.unlink()
    monkeypatch.setattr(folders, "MAX_BYTES", 4 * 48 - 1)
    with pytest.raises(DataError, match=r"0000\.png: .* exceed 191 bytes"):
        datasets.image_folder(tmp_path)
    monkeypatch.undo()
    odd.write_bytes(b"")
    odd.rename(odd.with_suffix(".txt"))
    with pytest.raises(DataError, match=r"9\.txt: not a \.png"):
        datasets.image_folder(tmp_path)
    odd.with_suffix(".txt").unlink()
    (tmp_path / "train" / "c").mkdir()
    with pytest.raises(DataError, match="an empty class"):
        datasets.image_folder(tmp_path)
    (tmp_path / "train" / "c").rmdir()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match=r"pip install 'wwfl\[images\]'"):
        datasets.image_folder(tmp_path)


@pytest.mark.skipif(
    not CIFAR.is_dir(), reason="CIFAR-10 absent: set WWFL_CIFAR10 to a folder with a copy"
)
@pytest.mark.slow
def test_real_cifar10() -> None:
    rows = describe_folder(CIFAR)
    assert [(row["images"], row["labels"]) for row in rows] == [
        (50_000, [5_000] * 10),
        (10_000, [1_000] * 10),
    ]
    assert all("CIFAR-10" in row["name"] for row in rows)
    np.testing.assert_allclose(rows[0]["mean"], datasets.CIFAR_SCALE.mean, atol=5e-4)
    np.testing.assert_allclose(
        rows[0]["std"], datasets.CIFAR_SCALE.std, atol=2e-3
    )  # JPEG smooths a little


# ---- by name, and described


def test_readers_by_name(tmp_path: Path) -> None:
    fake_folder(tmp_path)
    assert readers.read("fashion-mnist", tmp_path)[0].scale == datasets.FASHION_SCALE
    with pytest.raises(ConfigError, match="did you mean 'fashion-mnist'"):
        readers.read("fashion_mnist", tmp_path)


def test_a_described_folder_says_what_it_holds(tmp_path: Path) -> None:
    files = content(rng())
    rows = describe_folder(write_binaries(tmp_path / "b", files))
    assert [row["split"] for row in rows] == ["train", "test"]
    images, labels = files["test_batch"]
    row = rows[1]
    assert (row["form"], row["images"], row["shape"], row["verified"]) == (
        "binary",
        PER_FILE,
        [3, 32, 32],
        False,
    )
    assert row["labels"] == np.bincount(labels, minlength=10).tolist() and row["classes"] == list(
        cifar.CLASS_NAMES
    )
    pixels = images.reshape(-1, 3, 1024) / 255
    np.testing.assert_allclose(row["mean"], pixels.mean((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(row["std"], pixels.std((0, 2)), rtol=1e-9)
    assert row["sha256"] == datasets.cifar10(tmp_path / "b")[1].sha256
    fake_folder(tmp_path)
    rows = describe_folder(tmp_path)
    assert [(row["form"], row["images"], row["split"]) for row in rows] == [
        ("idx", 30, "train"),
        ("idx", 20, "test"),
    ]
    for stem in datasets.file_stems("train"):
        (tmp_path / f"{stem}.gz").unlink()
    assert [row["split"] for row in describe_folder(tmp_path)] == ["test"]
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no file t10k-labels"):
        describe_folder(tmp_path)
    with pytest.raises(DataError, match="nothing that wwfl reads"):
        describe_folder(empty)
    with pytest.raises(DataError, match="no such folder"):
        describe_folder(tmp_path / "none")


def test_a_data_set_keeps_its_classes_and_scale() -> None:
    whole = Dataset(
        np.zeros((4, 1, 4, 4), np.float32),
        np.array([0, 1, 2, 2]),
        "x",
        "y",
        "00",
        3,
        ("a", "b", "c"),
        Scale((0.5,), (0.25,)),
    )
    for part in (whole.take([1, 2]), whole[:2], whole.pooled(2)):
        assert (part.classes, part.class_names, part.scale) == (
            3,
            ("a", "b", "c"),
            Scale((0.5,), (0.25,)),
        )
    assert whole.scale is not None and whole.scale.of(1.0).tolist() == [2.0]
    with pytest.raises(Misuse, match="2 class names for 3 classes"):
        Dataset(whole.images, whole.labels, "x", "y", "00", 3, ("a", "b"))
    with pytest.raises(DataError, match=r"label 2 is 2, outside 0\.\.1"):
        Dataset(whole.images, whole.labels, "x", "y", "00", 2)


def test_idx_files_of_other_sizes_stay_refused(tmp_path: Path) -> None:
    fake_folder(tmp_path)
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", np.zeros((20, 27, 28), np.uint8))
    with pytest.raises(DataError, match="expected uint8 images"):
        datasets.fashion_mnist(tmp_path)
