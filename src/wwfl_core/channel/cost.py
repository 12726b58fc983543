"""What a run cost: bytes and messages per link, communication rounds, and seconds on a modelled
network.

Rounds and seconds are not counted by protocol code. Each message carries the reading of its
sender's virtual clock and the receiver's clock advances to it (a Lamport clock whose ticks are
network latencies), so messages that do not wait for each other share a round, whatever the order in
which they were programmed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from wwfl_core.errors import Misuse


class Phase(StrEnum):
    """When a message can be sent: before the inputs are known (offline) or only after (online)."""

    OFFLINE = "offline"
    ONLINE = "online"

    __hash__ = (
        str.__hash__
    )  # an Enum's is a function in Python, and every message looks up its phase several times


@dataclass(frozen=True)
class NetworkModel:
    """A uniform network: one-way latency, and the bandwidth of each sender's uplink in bits per
    second."""

    latency_s: float
    """one-way latency"""
    bandwidth_bps: float = math.inf
    """uplink of each server"""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.latency_s) and self.latency_s >= 0):
            raise Misuse(
                f"NetworkModel: latency_s is {self.latency_s}; give a finite number of seconds >= 0"
            )
        if not self.bandwidth_bps > 0:
            raise Misuse(
                f"NetworkModel: bandwidth_bps is {self.bandwidth_bps}; give bits per second > 0, "
                "or math.inf"
            )


class Link(NamedTuple):
    """What traffic is accounted under: the directed pair of addresses, the phase and the caller's
    label."""

    sender: str
    receiver: str
    phase: Phase
    label: str


class Stamp(NamedTuple):
    """When a message arrives, on the virtual clocks of its phase."""

    round: int
    seconds: float


ORIGIN = Stamp(0, 0.0)
"""The stamp that advances no clock; unmetered control messages carry it."""


class Clock:
    """The virtual clocks of one endpoint in one run; the phases have independent clocks.

    The round clock is a network of latency 1 and infinite bandwidth. The seconds clock follows a
    NetworkModel (without one it stays at 0). Computation takes no time on either.
    """

    def __init__(self, network: NetworkModel | None = None) -> None:
        self._network = network
        self._now = {phase: ORIGIN for phase in Phase}
        # One uplink per sender, shared by all its receivers: messages queue behind each other on
        # it.
        self._uplink_free = {phase: 0.0 for phase in Phase}

    def send(self, phase: Phase, nbytes: int) -> Stamp:
        """The arrival stamp of a message of `nbytes` that is sent now. Sending advances no
        clock."""
        now = self._now[phase]
        if self._network is None:
            return Stamp(now.round + 1, 0.0)
        start = max(now.seconds, self._uplink_free[phase])
        sent = start + nbytes * 8 / self._network.bandwidth_bps
        self._uplink_free[phase] = sent
        return Stamp(now.round + 1, sent + self._network.latency_s)

    def receive(self, phase: Phase, stamp: Stamp) -> None:
        """Advance the clocks of `phase` to the arrival of a message, unless they are later
        already."""
        now = self._now[phase]
        self._now[phase] = Stamp(max(now.round, stamp.round), max(now.seconds, stamp.seconds))

    def now(self, phase: Phase) -> Stamp:
        """The current readings of the two clocks of `phase`."""
        return self._now[phase]


def _no_rounds() -> dict[Phase, int]:
    return {phase: 0 for phase in Phase}


def _no_seconds() -> dict[Phase, float]:
    return {phase: 0.0 for phase in Phase}


def _no_links() -> dict[Link, tuple[int, int]]:
    return {}


@dataclass
class Cost:
    """Traffic per link as (bytes, messages), and per phase the rounds and the modelled seconds.

    `a + b` is "first a, then b"; `a.parallel(b)` is "a and b at the same time", which is also how
    the costs that the parties of one run measured (each counts what it sent) combine into the cost
    of the run."""

    links: dict[Link, tuple[int, int]] = field(default_factory=_no_links)
    rounds: dict[Phase, int] = field(default_factory=_no_rounds)
    modelled_s: dict[Phase, float] = field(default_factory=_no_seconds)

    def bytes_sent(
        self,
        *,
        phase: Phase | None = None,
        sender: str | None = None,
        receiver: str | None = None,
        label: str | None = None,
    ) -> int:
        """Payload bytes over all links that match what is given."""
        return sum(self.links[link][0] for link in self._matching(phase, sender, receiver, label))

    def messages(
        self,
        *,
        phase: Phase | None = None,
        sender: str | None = None,
        receiver: str | None = None,
        label: str | None = None,
    ) -> int:
        """Messages over all links that match what is given."""
        return sum(self.links[link][1] for link in self._matching(phase, sender, receiver, label))

    def record(self, link: Link, nbytes: int) -> None:
        """Count one message of `nbytes` payload bytes on `link`, in place."""
        old_bytes, old_messages = self.links.get(link, (0, 0))
        self.links[link] = (old_bytes + nbytes, old_messages + 1)

    def __add__(self, other: Cost) -> Cost:
        """Sequential composition: everything adds up."""
        return Cost(
            self._summed_links(other),
            {phase: self.rounds.get(phase, 0) + other.rounds.get(phase, 0) for phase in Phase},
            {
                phase: self.modelled_s.get(phase, 0.0) + other.modelled_s.get(phase, 0.0)
                for phase in Phase
            },
        )

    def parallel(self, other: Cost) -> Cost:
        """Parallel composition: traffic adds up, rounds and seconds are those of the slower one."""
        mine, theirs = self.modelled_s, other.modelled_s
        rounds = {
            phase: max(self.rounds.get(phase, 0), other.rounds.get(phase, 0)) for phase in Phase
        }
        seconds = {phase: max(mine.get(phase, 0.0), theirs.get(phase, 0.0)) for phase in Phase}
        return Cost(self._summed_links(other), rounds, seconds)

    @classmethod
    def merge(cls, costs: Iterable[Cost]) -> Cost:
        """The cost of one run from what each of its parties measured: `parallel` over all of
        them."""
        total = cls()
        for cost in costs:
            total = total.parallel(cost)
        return total

    def to_json(self) -> dict[str, Any]:
        """A plain dict that `json.dumps` accepts."""
        return {
            "links": [
                {**link._asdict(), "phase": link.phase.value, "bytes": nbytes, "messages": count}
                for link, (nbytes, count) in sorted(self.links.items())
            ],
            "rounds": {phase.value: self.rounds.get(phase, 0) for phase in Phase},
            "modelled_s": {phase.value: self.modelled_s.get(phase, 0.0) for phase in Phase},
        }

    def __str__(self) -> str:
        rows = [("phase", "label", "bytes", "messages")]
        for phase, label in sorted({(link.phase, link.label) for link in self.links}):
            sent = self.bytes_sent(phase=phase, label=label)
            rows.append(
                (phase.value, label, f"{sent:,}", f"{self.messages(phase=phase, label=label):,}")
            )
        rows.append(("total", "", f"{self.bytes_sent():,}", f"{self.messages():,}"))
        width = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            (
                f"{row[0]:<{width[0]}}  {row[1]:<{width[1]}}  {row[2]:>{width[2]}}  "
                f"{row[3]:>{width[3]}}"
            )
            for row in rows
        ]
        lines.append(
            "rounds: " + ", ".join(f"{phase} {self.rounds.get(phase, 0)}" for phase in Phase)
        )
        if any(self.modelled_s.values()):
            seconds = (f"{phase} {self.modelled_s.get(phase, 0.0):.6g} s" for phase in Phase)
            lines.append("modelled time: " + ", ".join(seconds))
        return "\n".join(lines)

    def _matching(
        self, phase: Phase | None, sender: str | None, receiver: str | None, label: str | None
    ) -> list[Link]:
        wanted = (sender, receiver, phase, label)
        return [
            link
            for link in self.links
            if all(want is None or want == have for want, have in zip(wanted, link, strict=True))
        ]

    def _summed_links(self, other: Cost) -> dict[Link, tuple[int, int]]:
        links = dict(self.links)
        for link, (nbytes, count) in other.links.items():
            old_bytes, old_messages = links.get(link, (0, 0))
            links[link] = (old_bytes + nbytes, old_messages + count)
        return links
