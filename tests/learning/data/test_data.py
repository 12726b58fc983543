"""IDX files, the embedded and the full MNIST, and who holds which sample."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from fake_data import fake_folder
from wwfl.data import datasets, make_small
from wwfl.data.datasets import Dataset, mnist
from wwfl.data.idx import encode_idx, read_idx, write_idx
from wwfl.data.partition import iid, sgd_schedule
from wwfl_core.errors import ConfigError, DataError, Misuse

FULL = Path(os.environ.get("WWFL_MNIST", "WWFL_MNIST-is-not-set"))
needs_full = pytest.mark.skipif(
    not FULL.is_dir(),
    reason="full MNIST absent: set WWFL_MNIST to a folder with its four IDX files",
)
PACKED = [f"mnist_small.{stem}.xz" for stem in datasets.CANONICAL_MD5]


@pytest.fixture(scope="module")
def small() -> tuple[Dataset, Dataset]:
    return mnist()


# ---- IDX


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
def test_idx_round_trip(tmp_path: Path, suffix: str, dtype: str) -> None:
    array = (np.arange(24).reshape(2, 3, 4) * 5 - 50).astype(dtype)
    path = tmp_path / f"a-idx3{suffix}"
    write_idx(path, array[:, ::-1])  # not contiguous
    back = read_idx(path)
    assert back.dtype == array.dtype and back.dtype.isnative and back.flags.writeable
    np.testing.assert_array_equal(back, array[:, ::-1])
    first = path.read_bytes()
    write_idx(path, array[:, ::-1])
    assert path.read_bytes() == first
    assert [entry.name for entry in tmp_path.iterdir()] == [
        path.name
    ]  # no temporary file stays behind


def test_idx_header_is_the_standard_one() -> None:
    assert encode_idx(np.array([[1, 2]], np.int16)) == bytes.fromhex(
        "00000b02 00000001 00000002 0001 0002"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated: only 0 bytes"),
        (b"\0\0\x08", "truncated: only 3 bytes"),
        (bytes.fromhex("01000801") + b"\0\0\0\0", "byte 0: bad magic 01000801"),
        (gzip.compress(b"x", mtime=0), "looks like gzip data: give the file its .gz ending"),
        (lzma.compress(b"x"), "looks like xz data: give the file its .xz ending"),
        (bytes.fromhex("00000a01 00000000"), "byte 2: unknown IDX dtype code 0x0a"),
        (bytes.fromhex("00000800"), "byte 3: zero dimensions"),
        (
            bytes.fromhex("00000802 00000001 0000"),
            "byte 10: truncated header, 2 dimensions need 12",
        ),
        (
            bytes.fromhex("00000801 00000003 0102"),
            r"byte 10: truncated: shape \(3,\) needs 3 bytes.*found 2",
        ),
        (bytes.fromhex("00000801 00000001 0102"), "byte 9: more data"),
        (bytes.fromhex("00000803") + b"\xff" * 12, "the limit is"),
        (
            bytes.fromhex("00000801 f0000000 01"),
            "byte 9: truncated",
        ),  # claims 4 GB, allocates 1 byte
    ],
)
def test_idx_refuses_malformed_content(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad-idx1-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as info:
        read_idx(path)
    assert str(path) in str(info.value)


@pytest.mark.parametrize(("suffix", "kind"), [(".gz", "gzip"), (".xz", "xz")])
def test_idx_refuses_damaged_archives(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_idx(path, np.random.default_rng(0).integers(0, 256, 5000, np.uint8))
    whole = path.read_bytes()
    for cut in (0, 1, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=re.escape(str(path))):
            read_idx(path)
    for at in (0, len(whole) // 2, len(whole) - 5):  # magic, data (checksum), trailer
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with pytest.raises(DataError, match=re.escape(str(path))):
            read_idx(path)
    path.write_bytes(whole + b"tail")
    with pytest.raises(DataError, match=re.escape(str(path))):
        read_idx(path)
    path.write_bytes(encode_idx(np.zeros(100, np.uint8)))  # named as packed, but plain
    with pytest.raises(DataError, match=f"not a valid {kind} file"):
        read_idx(path)


def test_idx_missing_files_and_wrong_requests(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_idx(tmp_path / "none.gz")
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path)
    with pytest.raises(DataError, match="cannot be written"):
        write_idx(tmp_path / "no_folder" / "a", np.zeros(3, np.uint8))
    with pytest.raises(Misuse, match="int64"):
        write_idx(tmp_path / "a", np.zeros(3, np.int64))
    with pytest.raises(Misuse, match="1 to 255 dimensions"):
        write_idx(tmp_path / "a", np.array(3, np.uint8))
    assert not list(tmp_path.iterdir())


# ---- data sets


def test_embedded_mnist(small: tuple[Dataset, Dataset]) -> None:
    train, test = small
    assert train.images.shape == (10_000, 1, 32, 32) and test.images.shape == (2_000, 1, 32, 32)
    for part in small:
        assert part.images.dtype == np.float32 and part.labels.dtype == np.int64
        counts = np.bincount(part.labels, minlength=10) / len(part)
        assert counts.min() > 0.08 and counts.max() < 0.125
        zero = np.float32((0 - 0.1307) / 0.3081)
        assert (
            part.images[:, :, [0, 1, 30, 31], :] == zero
        ).all()  # padded in raw space, then standardised
        assert (part.images[:, :, :, [0, 1, 30, 31]] == zero).all()
    assert abs(float(train.images[:, 0, 2:30, 2:30].mean())) < 0.01
    assert abs(float(train.images[:, 0, 2:30, 2:30].std()) - 1) < 0.01
    line = train.describe()
    assert (
        "\n" not in line
        and "MNIST-small train: 10000 images 1x32x32" in line
        and train.sha256[:16] in line
    )


def test_embedded_mnist_has_no_digit_twice(small: tuple[Dataset, Dataset]) -> None:
    keys = [image.tobytes() for part in small for image in part.images]
    assert len(set(keys)) == len(keys)


def test_padding_and_scaling_options() -> None:
    _, raw = mnist(pad=0, standardise=False)
    assert raw.images.shape == (2_000, 1, 28, 28)
    assert raw.images.min() == 0 and raw.images.max() == 1
    _, standard = mnist(pad=1)
    inner = standard.images[:, :, 1:-1, 1:-1]
    np.testing.assert_allclose(
        inner, (raw.images.astype(np.float64) - 0.1307) / 0.3081, rtol=1e-6, atol=1e-7
    )
    for pad in (-1, 2.0, True, 1000):
        with pytest.raises(Misuse, match="pad must be"):
            mnist(pad=pad)  # type: ignore[arg-type]


def test_take_and_slices(small: tuple[Dataset, Dataset]) -> None:
    _, test = small
    part = test.take([5, 3, 3])
    assert len(part) == 3
    np.testing.assert_array_equal(part.images, test.images[[5, 3, 3]])
    np.testing.assert_array_equal(part.labels, test.labels[[5, 3, 3]])
    assert (
        part.sha256
        == test.take(np.array([5, 3, 3], np.int32)).sha256
        != test.take([3, 5, 3]).sha256
    )
    np.testing.assert_array_equal(test[:1000:2].labels, test.labels[:1000:2])
    assert len(test[:0]) == len(test.take([])) == 0
    part.images[0] = 0
    assert test.images[5].any()  # a copy
    for wrong in ([2000], [-1], [0.5], [[1]], np.ones(2000, bool)):
        with pytest.raises(Misuse, match="indices must be"):
            test.take(wrong)
    with pytest.raises(Misuse, match="slice"):
        test[3]  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((2, 1, 4, 4))}, "float32"),
        ({"images": np.zeros((2, 4, 4), np.float32)}, "float32"),
        ({"labels": np.zeros(2, np.uint8)}, "int64"),
        ({"labels": np.zeros(3, np.int64)}, "3 labels for 2 images"),
        ({"labels": np.array([0, 10])}, "label 1 is 10"),
        ({"labels": np.array([-1, 0])}, "label 0 is -1"),
    ],
)
def test_dataset_checks_its_arrays(change: dict[str, np.ndarray], message: str) -> None:
    arrays = {
        "images": np.zeros((2, 1, 4, 4), np.float32),
        "labels": np.zeros(2, np.int64),
    } | change
    with pytest.raises(Misuse, match=message):
        Dataset(**arrays, name="x", source="y", sha256="00")


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_folder_of_other_data_is_not_called_mnist(tmp_path: Path, suffix: str) -> None:
    train, test = mnist(fake_folder(tmp_path, suffix))
    assert (len(train), len(test)) == (30, 20)
    assert train.name == "IDX data (not the original MNIST) train" and train.source == str(tmp_path)
    images, labels = (read_idx(tmp_path / (stem + suffix)) for stem in datasets.file_stems("train"))
    assert train.sha256 == hashlib.sha256(encode_idx(images) + encode_idx(labels)).hexdigest()


def test_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        mnist(tmp_path / "none")
    with pytest.raises(DataError, match="no file train-images-idx3-ubyte"):
        mnist(tmp_path)
    fake_folder(tmp_path)
    images, labels = (tmp_path / f"{stem}.gz" for stem in datasets.file_stems("test"))
    good = labels.read_bytes()

    write_idx(labels, np.zeros(19, np.uint8))
    with pytest.raises(DataError, match=r"t10k-labels.*19 labels for 20 images"):
        mnist(tmp_path)
    write_idx(labels, np.full(20, 10, np.uint8))
    with pytest.raises(DataError, match=r"t10k-labels.*label 0 is 10, outside 0\.\.9"):
        mnist(tmp_path)
    write_idx(labels, np.zeros(20, np.int32))
    with pytest.raises(DataError, match=r"t10k-labels.*found int32"):
        mnist(tmp_path)
    labels.write_bytes(images.read_bytes())
    with pytest.raises(DataError, match=r"t10k-labels.*exchanged"):
        mnist(tmp_path)
    labels.write_bytes(good)

    for wrong in (
        np.zeros((20, 32, 32), np.uint8),
        np.zeros((20, 28, 28), np.float32),
        np.zeros(20, np.uint8),
    ):
        write_idx(images, wrong)
        with pytest.raises(DataError, match=r"t10k-images.*expected uint8 images"):
            mnist(tmp_path)
    write_idx(images, np.zeros((0, 28, 28), np.uint8))
    with pytest.raises(DataError, match=r"t10k-images.*no image"):
        mnist(tmp_path)


def test_damaged_installation_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(datasets.SMALL_SHA256, "train", "0" * 64)
    with pytest.raises(DataError, match="install wwfl again"):
        mnist()


def test_notice_matches_the_shipped_files() -> None:
    folder = resources.files("wwfl.data")
    notice = (folder / "NOTICE.md").read_text()
    for name in PACKED:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert f"| `{name}` | `{digest}` |" in notice
    for value in (
        *datasets.CANONICAL_MD5.values(),
        *datasets.SMALL_SHA256.values(),
        make_small.SEED,
    ):
        assert value in notice
    for word in ("LeCun", "Cortes", "Burges", "CC BY-SA 3.0"):
        assert word in notice
    assert sum((folder / name).stat().st_size for name in PACKED) < 1_700_000  # type: ignore[attr-defined]


# ---- the full set, and how the small one was made


@needs_full
def test_full_mnist_and_the_small_one_drawn_from_it(small: tuple[Dataset, Dataset]) -> None:
    full = mnist(FULL, pad=2)
    assert [part.name for part in full] == ["MNIST train", "MNIST test"]
    assert [len(part) for part in full] == [60_000, 10_000]
    for split, whole, part in zip(("train", "test"), full, small, strict=True):
        indices = make_small.chosen(split, len(whole))
        assert len(np.unique(indices)) == make_small.COUNTS[split]
        np.testing.assert_array_equal(whole.images[indices], part.images)
        np.testing.assert_array_equal(whole.labels[indices], part.labels)


@needs_full
@pytest.mark.parametrize("split", ["test", pytest.param("train", marks=pytest.mark.slow)])
def test_make_small_is_reproducible(tmp_path: Path, split: str) -> None:
    shipped = resources.files("wwfl.data")
    for path in make_small.make(FULL, tmp_path, split):
        np.testing.assert_array_equal(read_idx(path), read_idx(Path(str(shipped / path.name))))
        # Equal packed bytes are liblzma's promise only for one version, so packing is compared with
        # packing.
        again = lzma.compress(encode_idx(read_idx(path)), preset=9 | lzma.PRESET_EXTREME)
        assert path.read_bytes() == again
        if path.read_bytes() != (shipped / path.name).read_bytes():
            pytest.skip(f"{path.name}: same content, but this liblzma packs it differently")


def test_make_small_refuses_anything_but_mnist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    fake_folder(tmp_path / "in", ".gz")
    assert make_small.main([str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    assert "not the original MNIST" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())
    assert make_small.main([]) == 2


# ---- partition


def test_iid_partition() -> None:
    parts = iid(range(1000), 3, 4, 50, seed=7)
    assert [len(cluster) for cluster in parts] == [4, 4, 4]
    flat = np.concatenate([client for cluster in parts for client in cluster])
    assert flat.dtype == np.int64 and len(np.unique(flat)) == len(flat) == 600
    assert flat.min() >= 0 and flat.max() < 1000
    again = iid(range(1000), 3, 4, 50, seed=7)
    np.testing.assert_array_equal(
        flat, np.concatenate([client for cluster in again for client in cluster])
    )
    other = iid(range(1000), 3, 4, 50, seed=8)
    assert (other[0][0] != parts[0][0]).any()
    assert len(iid(range(600), 3, 4, 50, seed=0)) == 3  # exactly enough


def test_iid_errors() -> None:
    with pytest.raises(ConfigError, match="need 600 samples, the data set has 599"):
        iid(range(599), 3, 4, 50, seed=0)
    for arguments in ((0, 4, 50), (3, -1, 50), (3, 4, 0), (3, 4, 2.5), (True, 4, 5)):
        with pytest.raises(Misuse, match="integer of at least 1"):
            iid(range(1000), *arguments, seed=0)  # type: ignore[arg-type]
    for seed in (None, -1, 1.5):
        with pytest.raises(Misuse, match="seed"):
            iid(range(1000), 1, 1, 1, seed=seed)  # type: ignore[arg-type]


def test_sgd_schedule() -> None:
    parts = iid(range(1000), 3, 4, 25, seed=1)
    options = {"rounds": 6, "clients_per_round": 2, "epochs": 3, "batch": 20, "seed": 5}
    plan = sgd_schedule(parts, **options)
    assert len(plan) == 6 and all(len(clusters) == 3 for clusters in plan)
    seen: set[frozenset[int]] = set()
    for clusters in plan:
        for cluster, batches in zip(parts, clusters, strict=True):
            assert [len(batch) for batch in batches] == [20, 20, 10] * 3
            epochs = [np.concatenate(batches[start : start + 3]) for start in (0, 3, 6)]
            pools = {frozenset(epoch.tolist()) for epoch in epochs}
            assert len(pools) == 1 and (epochs[0] != epochs[1]).any()
            holders = [client for client in cluster if set(client.tolist()) <= next(iter(pools))]
            assert len(holders) == 2
            seen |= pools
    assert len(seen) > 6  # other clients in other rounds
    np.testing.assert_array_equal(plan[5][2][8], sgd_schedule(parts, **options)[5][2][8])
    with pytest.raises(ConfigError, match="cluster 0 has 4 clients, cannot sample 5"):
        sgd_schedule(parts, **(options | {"clients_per_round": 5}))
    with pytest.raises(Misuse, match="batch must be"):
        sgd_schedule(parts, **(options | {"batch": 0}))
