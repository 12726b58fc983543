"""Virtual clocks: how rounds and modelled seconds are found without protocol code that counts them.

Each message carries the reading of its sender's clock, and the receiver's clock advances to it (a
Lamport clock whose ticks are network latencies). So messages that do not wait for each other share
a round, whatever the order in which they were programmed."""

from __future__ import annotations

from typing import NamedTuple

from .cost import NetworkModel, Phase


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
