"""What checks of conversion work on: pairs of clusters, every one of whose messages and outcomes is
seen.

No check is here; `values.py` has those of what arrives, `faults.py` those of parties that lie or
are lost."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from wwfl_core.channel import Frame
from wwfl_core.cluster import Handle, LocalCluster, Pending
from wwfl_core.numbers.arrays import Array
from wwfl_core.tensors import Session, SharedTensor
from wwfl_core.testing import Bench, Factory, NotPromised, programs

Convert = Callable[[Handle, LocalCluster], Handle]
"""A converter that the kit judges: (tensor, target cluster) -> the same numbers there."""


class Watched(LocalCluster):
    """A cluster that keeps what every party reported, also when the coordinator's call raised."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.pending: list[Pending] = []
        super().__init__(*args, **options)

    def submit(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Pending:
        self.pending.append(super().submit(fn, *args, **options))
        return self.pending[-1]


@dataclass(frozen=True)
class Pair:
    """One direction of conversion."""

    source: Factory
    target: Factory
    name: str

    @contextmanager
    def clusters(
        self, *, insecure_seed: int | None = None, deadline_s: float = 30.0
    ) -> Generator[tuple[Watched, Watched]]:
        """Fresh clusters `source` and `target`, connected."""
        options: dict[str, Any] = {"insecure_seed": insecure_seed, "deadline_s": deadline_s}
        with (
            Watched(self.source(), name="source", **options) as a,
            Watched(self.target(), name="target", **options) as b,
        ):
            a.connect(b)
            yield a, b


@dataclass(frozen=True)
class Pairs:
    """What a check of conversion gets: the protocol under test, the others, and the converter."""

    bench: Bench
    others: Mapping[str, Factory]
    convert: Convert

    @cached_property
    def problems(self) -> dict[str, str]:
        """Others that do not start, with the reason. They say nothing about the protocol under
        test."""
        found: dict[str, str] = {}
        for name, factory in self.others.items():
            try:
                LocalCluster(factory(), deadline_s=30.0).close()
            except (Exception, SystemExit) as error:
                found[name] = f"{type(error).__name__}: {error}"
        return found

    def __iter__(self) -> Iterator[Pair]:
        mine, own = self.bench.factory, self.bench.protocol.name
        working = {name: make for name, make in self.others.items() if name not in self.problems}
        if not working:
            raise NotPromised("no other protocol was given to convert to")
        for name, make in working.items():
            yield Pair(mine, make, f"{own} -> {name}")
            if make is not mine:
                yield Pair(make, mine, f"{name} -> {own}")


class Tap:
    """A wiretap on both clusters of a pair, whose parties are numbered through: the source's, then
    the target's.

    `alter` as in `wwfl_core.testing.Wiretap`. `index[address]` is a party's number, `addresses` the
    reverse."""

    def __init__(
        self,
        a: LocalCluster,
        b: LocalCluster,
        alter: Callable[[int, int, Frame], Frame | None] | None = None,
    ) -> None:
        self.addresses = (*a.addresses, *b.addresses)
        self.index = {address: i for i, address in enumerate(self.addresses)}
        self.frames: list[tuple[int, int, int, Frame]] = []
        self._alter = alter
        self._sent = dict.fromkeys(self.index.values(), 0)
        a.memory.tamper = b.memory.tamper = self

    def __call__(self, sender: str, receiver: str, frame: Frame) -> Frame | None:
        s, r = self.index[sender], self.index[receiver]
        i = self._sent[s]
        self._sent[s] = i + 1
        self.frames.append((s, r, i, frame))
        return frame if self._alter is None else self._alter(s, i, frame)


def open_ring(mpc: Session, x: SharedTensor) -> Array | None:
    """Opens the ring elements behind a tensor."""
    return programs.open_words(mpc, x.data)
