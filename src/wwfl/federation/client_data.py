"""What the clients of one leaf hold, and what of it its servers have got.

A client shares its data once, when it is first sampled, and leaves; data that it adds later goes to
the servers at once. All of it is counted in *uploads*: the client's part of the partition, and one
for every addition."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl.data import Dataset, Partition
from wwfl.nn import Model
from wwfl_core.errors import ConfigError

Rows = tuple[Any, Any]
"""Images [n, c, h, w] and one-hot labels [n, classes], shared at a node."""


DRAWN = "drawn-"
"""Data under this name and the number of a round is a hidden sample, and no upload of a client."""


@dataclass(frozen=True)
class Upload:
    """Data of one client. `rows` are its row numbers in the training set; added rows count on from
    its end. It takes part from round `since` + 1 on."""

    key: str
    client: int
    rows: npt.NDArray[np.int64]
    since: int = 0


@dataclass
class LeafData:
    """The data of one leaf. `shares` are uploads that its servers keep, by upload, and hidden
    samples (`DRAWN`); `sources` is what the clients that added data have of it themselves."""

    parts: Sequence[npt.NDArray[np.int64]] = ()
    added: list[Upload] = field(default_factory=list)
    sources: dict[str, Dataset] = field(default_factory=dict)
    shares: dict[str, Rows] = field(default_factory=dict)
    uploaded: set[str] = field(default_factory=set)

    def uploads(self, client: int, number: int) -> list[Upload]:
        """What a client has in round `number`."""
        base = Upload(str(client), client, self.parts[client])
        return [base, *(p for p in self.added if p.client == client and p.since < number)]

    def pool(self, rounds: Iterable[tuple[int, Sequence[int]]]) -> list[Upload]:
        """D_t of Algorithm 1 for rounds as (number, participants), the oldest first; every upload
        once."""
        found: dict[str, Upload] = {}
        for number, people in rounds:
            for client in people:
                found |= {
                    p.key: p
                    for p in self.uploads(client, number)
                    if len(p.rows) and p.key not in found
                }
        return list(found.values())

    def has(self, client: int) -> bool:
        """Whether a client has shared its part of the partition before, so that it need not be
        there."""
        return str(client) in self.uploaded

    def keep_drawn(self, number: int, rows: Rows, window: int | None) -> None:
        """Keeps the data that round `number` drew, nobody knows whose, and forgets what no pool
        needs any more."""
        self.shares[f"{DRAWN}{number}"] = rows
        if window is None:
            return
        for key in [key for key in self.shares if key.startswith(DRAWN)]:
            if int(key.removeprefix(DRAWN)) <= number - window:
                del self.shares[key]

    def drawn(self, rounds: Iterable[int]) -> list[Rows]:
        """The data that these rounds drew, as far as the servers still have it."""
        found = (self.shares.get(f"{DRAWN}{number}") for number in rounds)
        return [rows for rows in found if rows is not None]

    def add(self, client: int, data: Dataset, first: int, since: int) -> Upload:
        """A new upload, with row numbers from `first` on."""
        key = f"{client}+{sum(p.client == client for p in self.added) + 1}"
        upload = Upload(key, client, np.arange(first, first + len(data)), since)
        self.added.append(upload)
        self.sources[key] = data
        return upload

    def give_again(self, client: int, data: Dataset) -> bool:
        """After a restart: takes data that a local trainer had added, which is its own and in no
        checkpoint. False if nothing of this size is missing."""
        for upload in self.added:
            known = upload.key in self.sources or upload.key in self.shares
            if not known and (upload.client, len(upload.rows)) == (client, len(data)):
                self.sources[upload.key] = data
                return True
        return False

    def lose_shares(self) -> list[str]:
        """The servers are gone: clients share again what they still have. Returns uploads that
        nobody has any more, which are dropped."""
        self.shares.clear()
        lost = [p.key for p in self.added if p.key not in self.sources]
        self.added = [p for p in self.added if p.key in self.sources]
        return lost

    def data(self, upload: Upload, train: Dataset) -> Dataset:
        """An upload in the clear, as its client has it. Raises ConfigError if nobody has it any
        more."""
        if upload.key in self.sources:
            return self.sources[upload.key]
        if any(p.key == upload.key for p in self.added):
            raise ConfigError(
                f"client {upload.client} added {len(upload.rows)} rows before this run was "
                "restored; they are its own and in no checkpoint: give them again with add_data() "
                "before fit()"
            )
        return train.take(upload.rows)


def check_partition(partition: Partition, clients: Mapping[str, int], rows: int) -> None:
    """Raises ConfigError unless a partition has every client of every leaf, with rows that exist.
    `clients` says how many a leaf has, by its name, in order."""
    if len(partition) != len(clients):
        raise ConfigError(
            f"the partition is for {len(partition)} clusters, the federation has {len(clients)}"
        )
    for parts, (name, count) in zip(partition, clients.items(), strict=True):
        if len(parts) < count:
            raise ConfigError(
                f"the partition has {len(parts)} clients for {name}, which has {count}"
            )
        for client, part in enumerate(parts):
            if len(part) and not np.issubdtype(np.asarray(part).dtype, np.integer):
                raise ConfigError(
                    f"client {client} of {name}: rows are integers, not {np.asarray(part).dtype}"
                )
            if len(part) and not (0 <= int(np.min(part)) and int(np.max(part)) < rows):
                raise ConfigError(
                    f"client {client} of {name}: rows {np.min(part)}..{np.max(part)}, the "
                    f"training set has {rows}"
                )


def check_equal_rows(partition: Partition, clients: Mapping[str, int]) -> None:
    """Raises ConfigError unless all clients of a leaf have equally many rows: whoever has more or
    fewer would be known by the size of what is selected."""
    for parts, (name, count) in zip(partition, clients.items(), strict=True):
        sizes = [len(part) for part in parts[:count]]
        if len(set(sizes)) > 1:
            few, many = int(np.argmin(sizes)), int(np.argmax(sizes))
            raise ConfigError(
                f"hidden sampling needs clients with equally many rows, but in {name} client "
                f"{few} has {sizes[few]} and client {many} has {sizes[many]}: take {min(sizes)} "
                f"rows of everybody, let clients fill up to {max(sizes)} with rows that they have "
                "already, or set sampling to 'public'"
            )


def fingerprint(train: Dataset, partition: Partition) -> str:
    """Identifies the data of a run: a resumed one must be given the same."""
    digest = hashlib.sha256(train.sha256.encode())
    for parts in partition:
        for part in parts:
            digest.update(len(part).to_bytes(8, "little") + np.asarray(part, "<i8").tobytes())
    return digest.hexdigest()


def content_key(test: Dataset) -> str:
    """Identifies a test set by what it holds: two sets can bear one name and one SHA-256.

    Raises:
        ConfigError: it holds nothing.
    """
    if not len(test):
        raise ConfigError(f"{test.name}: a test set without images says nothing")
    digest = hashlib.sha256(repr(test.images.shape).encode())
    for array in (test.images, test.labels):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def one_hot(labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float64]:
    """Labels [n] as rows of a unit matrix [n, classes]."""
    return np.eye(classes)[labels]


def count_classes(model: Model, data: Dataset) -> int:
    """How many classes a model tells apart, for data that it can classify.

    Raises:
        ConfigError: images or labels that do not fit the model.
    """
    classes = model.classes(data.images.shape[1:])
    if data.labels.max(initial=0) >= classes:
        raise ConfigError(
            f"label {data.labels.max()} needs at least {data.labels.max() + 1} outputs, the model "
            f"has {classes}"
        )
    return classes
