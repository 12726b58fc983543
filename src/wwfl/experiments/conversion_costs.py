"""What conversion between every ordered pair of protocols costs: measured, and every value compared
exactly.

What an operation of one protocol costs is in `operation_costs`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any, Self

import numpy as np

from reshare import reshare_with_report
from wwfl_core.cluster.local import LocalCluster
from wwfl_core.errors import InsecureNotAllowed
from wwfl_core.numbers.arrays import F64
from wwfl_core.numbers.fixed_point import HEADROOM_BITS
from wwfl_core.plugins import Entry
from wwfl_core.protocol.backend import MPCBackend
from wwfl_core.protocol.bit_format import Bools
from wwfl_core.protocol.registry import Factory
from wwfl_core.tensors import Session, SharedBits

CONVERTED_NUMBERS = 1000
DEADLINE_S = 120.0  # engines that are child processes first start
SOURCE, TARGET = 0, 1
MEASURED = ("bytes", "rounds", "guarantee", "path", "shared_bytes", "shared_path")

ConversionRow = dict[str, Any]
Say = Callable[[str], None]


class Pool:
    """Two clusters of each protocol, one that converts from it and one that converts to it, made
    when first asked for.

    Engines that are child processes take seconds to start, so clusters serve many pairs; after a
    failure the two clusters of the pair are closed, so that it concerns no other pair."""

    def __init__(self, factories: Mapping[str, Factory]) -> None:
        self._factories = factories
        self._clusters: dict[tuple[str, int], LocalCluster] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name, role in list(self._clusters):
            self.drop(name, role)

    def cluster(self, name: str, role: int) -> LocalCluster:
        """The cluster of protocol `name` that is the SOURCE or the TARGET of conversions."""
        found = self._clusters.get((name, role))
        if found is None:
            found = LocalCluster(self._factories[name](), deadline_s=DEADLINE_S)
            self._clusters[name, role] = found
        return found

    def drop(self, name: str, role: int) -> None:
        """Closes a cluster; the next conversion gets a new one."""
        found = self._clusters.pop((name, role), None)
        if found is not None:
            found.close()


def measure_conversions(
    entries: Sequence[Entry], say: Say = lambda _: None
) -> tuple[list[ConversionRow], dict[str, str]]:
    """The rows, and the protocols that do not start with the reason. `say` hears what is under
    way."""
    problems = {e.name: e.error or "unknown" for e in entries if e.factory is None}
    factories = {e.name: e.factory for e in entries if e.factory is not None}
    with Pool(factories) as pool:
        for name in factories:
            say(f"starting {name}")
            try:
                for side in (SOURCE, TARGET):
                    pool.cluster(name, side)
            except (Exception, SystemExit) as error:  # whatever a plug-in does is its own matter
                problems[name] = reason(error)
        rows: list[ConversionRow] = []
        for source, target in product([n for n in factories if n not in problems], repeat=2):
            say(f"{source} -> {target}")
            rows.append(_row(pool, source, target))
    return rows, problems


def reason(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}"


def _row(pool: Pool, source: str, target: str) -> ConversionRow:
    row: ConversionRow = {
        "source": source,
        "target": target,
        "value": "",
        "domain": "",
        **dict.fromkeys(MEASURED),
    }
    try:
        return row | _measure(pool.cluster(source, SOURCE), pool.cluster(target, TARGET))
    except (Exception, SystemExit) as problem:
        pool.drop(source, SOURCE)
        pool.drop(target, TARGET)
        return row | {"error": reason(problem)}


def _measure(here: LocalCluster, there: LocalCluster) -> ConversionRow:
    """Numbers between separate hosts, numbers between clusters whose i-th servers have one host,
    and bits."""
    values = numbers_for(here.protocol, there.protocol)
    # Set-up of the target (2pc-ot's base transfers) belongs to no pair: the first conversion is not
    # measured.
    reshare_with_report(here.share(values[:1]), there, allow_weaker=True)
    moved, error = _convert(here, there, values)
    row: ConversionRow = {
        "bytes": moved.cost.bytes_sent(),
        "rounds": max(moved.cost.rounds.values()),
        "guarantee": str(moved.handle.guarantee),
        "path": moved.path,
    }
    with _together(here, there):
        try:
            together, error_together = _convert(here, there, values)
        except (
            InsecureNotAllowed
        ):  # hosts that may be corrupt in both clusters would learn the value
            row |= {"shared_bytes": None, "shared_path": "refused"}
        else:
            row |= {"shared_bytes": together.cost.bytes_sent(), "shared_path": together.path}
            error = max(error, error_together)
    # A target with fewer fractional bits rounds to its own format; all else is exact.
    mine, its = here.protocol.format.frac_bits, there.protocol.format.frac_bits
    unit = 2.0**-its if its < mine else 0.0
    problem = None if error <= unit else f"the value is wrong by up to {error:g}"
    problem = problem or _wrong_bits(here, there)
    source, target = here.protocol.numbers, there.protocol.numbers
    return row | {
        "value": "WRONG" if problem else "rounded" if error else "exact",
        "domain": "" if source == target else f"{source} -> {target}",
        "error": problem,
    }


def _convert(here: LocalCluster, there: LocalCluster, values: F64) -> tuple[Any, float]:
    """What `reshare` reports, and the largest error of the value that arrived."""
    moved = reshare_with_report(here.share(values), there, allow_weaker=True)
    return moved, float(np.max(np.abs(there.reveal(moved.handle) - values)))


def numbers_for(here: MPCBackend, there: MPCBackend) -> F64:
    """Multiples of the coarser unit, up to the largest that both protocols hold, and many small
    ones."""
    frac_bits = min(here.format.frac_bits, there.format.frac_bits)
    limit = min(
        min(2**HEADROOM_BITS, p.numbers.modulus // 4)
        / 2.0**p.format.frac_bits  # where conversion is exact
        for p in (here, there)
    )
    edge = limit - max(2.0**-frac_bits, float(np.spacing(limit)))
    small = here.format.decode(
        here.format.encode(np.linspace(-1, 1, CONVERTED_NUMBERS - 2) * min(1000.0, edge))
    )
    return np.concatenate([small, [-edge, edge]])


def _wrong_bits(here: LocalCluster, there: LocalCluster) -> str | None:
    bits = np.arange(CONVERTED_NUMBERS) ** 2 % 7 < 3
    moved = reshare_with_report(here.run(deal_bits, bits), there, allow_weaker=True)
    wrong = int(np.count_nonzero(there.reveal(moved.handle) != bits))
    return f"{wrong} of {CONVERTED_NUMBERS} bits are wrong" if wrong else None


def deal_bits(mpc: Session, bits: Bools) -> SharedBits:
    """A program: the first evaluator deals bits."""
    dealer = mpc.sharing.evaluators[0]
    mine = mpc.protocol.bits.from_bools(bits) if mpc.me == dealer else None
    dealt = mpc.protocol.deal(
        mine, [dealer], mpc.protocol.bits.shape(bits.shape), mpc.protocol.bits.algebra, name="bits"
    )
    return SharedBits(mpc, dealt, bits.shape)


@contextmanager
def _together(here: LocalCluster, there: LocalCluster) -> Generator[None]:
    """The i-th servers of both clusters have one host. Hosts decide the plan of a conversion
    only."""
    before = here.hosts, there.hosts
    for cluster in (here, there):
        cluster.hosts = tuple(f"host {i}" for i in range(cluster.sharing.parties))
    try:
        yield
    finally:
        here.hosts, there.hosts = before
