"""The workbench of a check: clusters of the protocol under test, reproducible values, and a tap on
the wire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from wwfl_core.channel import Frame
from wwfl_core.cluster import LocalCluster, Outcome
from wwfl_core.errors import WwflError
from wwfl_core.kernels import expand
from wwfl_core.numbers.algebra import BITS, RING
from wwfl_core.numbers.arrays import U8, U64, Array, Shape, numel
from wwfl_core.protocol.backend import MPCBackend
from wwfl_core.randomness.prg import Prg, derive_key
from wwfl_core.sharing import SharingSemantics

from .verdict import Failed, NotPromised

Factory = Callable[[], MPCBackend]
MASK = (1 << 64) - 1
EDGES: U64 = np.array(
    [
        0,
        1,
        MASK,
        1 << 62,
        (1 << 64) - (1 << 62),
        (1 << 63) - 1,
        1 << 63,
        (1 << 62) - 1,
        (1 << 63) + 1,
    ],
    np.uint64,
)
"""Ring elements where carries, signs and wraps go wrong."""


NARROW_BITS = 28
"""Products of such numbers, and sums of many products, stay 64-bit numbers in a field that does not
wrap at 2^64."""


class Samples:
    """Reproducible test values from a seed (no secrets; ChaCha20 like everything else).

    `wraps` says whether numbers are taken modulo 2^64; if not, `words` and `edges` are small enough
    to be multiplied."""

    def __init__(self, seed: str, wraps: bool = True) -> None:
        self._prg = Prg(derive_key(b"wwfl test values, not secret....", seed))
        self._count = 0
        self._wraps = wraps

    @property
    def edges(self) -> U64:
        """Elements where carries, signs and wraps go wrong."""
        if self._wraps:
            return EDGES
        top = 1 << (NARROW_BITS - 1)
        return np.array([0, 1, -1, top, -top, top - 1, 1 - top, top // 2, -7], np.int64).view(
            np.uint64
        )

    def words(self, *shape: int) -> U64:
        """Uniform words."""
        self._count += 1
        uniform = self._prg.draw(self._count, "w", RING, shape)
        return (
            uniform
            if self._wraps
            else (uniform.view(np.int64) >> np.int64(64 - NARROW_BITS)).view(np.uint64)
        )

    def integers(self, bits: int, *shape: int) -> U64:
        """Uniform signed integers in [-2^(bits-1), 2^(bits-1)), as ring elements."""
        self._count += 1
        uniform = self._prg.draw(self._count, "w", RING, shape)
        return (uniform.view(np.int64) >> np.int64(64 - bits)).view(np.uint64)

    def packed(self, *shape: int) -> U8:
        """Uniform packed bits."""
        self._count += 1
        return self._prg.draw(self._count, "b", BITS, shape)

    def below(self, n: int) -> int:
        """A number in [0, n)."""
        return int(self.words(1)[0]) % n

    def choose(self, items: list[Any], count: int) -> list[Any]:
        """`count` of the items (all if there are fewer), in their order."""
        if len(items) <= count:
            return items
        order = np.argsort(self.words(len(items)))[:count]
        return [items[i] for i in sorted(order)]


@dataclass(frozen=True)
class Bench:
    """What a check gets: the protocol under test and how hard to look."""

    factory: Factory
    thorough: bool = False
    seed: int = 0

    @cached_property
    def protocol(self) -> MPCBackend:
        return self.factory()

    @cached_property
    def sharing(self) -> SharingSemantics:
        return self.protocol.sharing

    @property
    def frac_bits(self) -> int:
        return self.protocol.format.frac_bits

    def cluster(
        self, *, name: str | None = None, insecure_seed: int | None = None, deadline_s: float = 30.0
    ) -> LocalCluster:
        """A fresh cluster of the protocol, with threads as servers and fresh keys unless
        `insecure_seed` is given."""
        return LocalCluster(
            self.factory(), name=name, insecure_seed=insecure_seed, deadline_s=deadline_s
        )

    def samples(self, label: str) -> Samples:
        """Values for one check; equal in every run with the same seed."""
        return Samples(f"{self.seed}/{label}", self.wraps)

    @property
    def wraps(self) -> bool:
        """Whether the protocol's numbers are those modulo 2^64."""
        return self.protocol.numbers == RING

    def needs_peers(self, what: str) -> None:
        """Leaves a check that needs more than one party."""
        if self.sharing.parties == 1:
            raise NotPromised(f"one party alone: {what}")

    @property
    def runtime(self) -> str:
        """The runtime in child processes that the protocol needs; "" if none, or if it cannot be
        made."""
        try:
            return self.protocol.runtime
        except Exception:
            return ""

    def not_started_often(self) -> str:
        """The body of a check that would start another runtime hundreds of times, of what is the
        framework's own."""
        raise NotPromised(
            f"would start {self.runtime} hundreds of times, for what the framework does for all "
            "protocols"
        )

    def needs_ring(self) -> None:
        """Leaves a check that looks at bits and bytes of shares."""
        if not self.wraps:
            raise NotPromised(
                "shares are field elements, whose bytes are not uniform; views/alike compares two "
                "secrets"
            )

    def needs_privacy(self) -> None:
        """Leaves a check of secrecy for a protocol that promises none."""
        self.needs_peers("it sees everything by design")
        if self.sharing.security.corruptions < 1:
            raise NotPromised("withstands no corrupt party: promises no secrecy")


class Wiretap:
    """Records every array on a memory network as (sender, receiver, index at the sender, frame), in
    order of sending.

    `alter(sender, i, frame)` may return another frame for the i-th message of a sender, or None to
    drop it. Install it with `cluster.memory.tamper = Wiretap(...)`."""

    def __init__(self, alter: Callable[[int, int, Frame], Frame | None] | None = None) -> None:
        self.frames: list[tuple[int, int, int, Frame]] = []
        self._alter = alter
        self._sent: dict[int, int] = {}

    def __call__(self, sender: str, receiver: str, frame: Frame) -> Frame | None:
        s, r = (int(address.rsplit("/", 1)[1]) for address in (sender, receiver))
        i = self._sent.get(s, 0)
        self._sent[s] = i + 1
        self.frames.append((s, r, i, frame))
        return frame if self._alter is None else self._alter(s, i, frame)


# ---------------------------------------------------------------------- comparing


def expect_equal(got: Any, want: Array, what: str) -> None:
    """Fails unless an opened array equals what NumPy computed, dtype and shape included."""
    if got is None:
        raise Failed(f"{what}: nothing was opened")
    result: Array = np.asarray(got)
    if result.shape != want.shape or result.dtype != want.dtype:
        raise Failed(
            f"{what}: got {result.dtype} {result.shape}, NumPy gives {want.dtype} {want.shape}"
        )
    wrong = int(np.count_nonzero(result != want))
    if wrong:
        at = tuple(int(i) for i in np.argwhere(result != want)[0])
        raise Failed(
            f"{what}: {wrong} of {want.size} elements are wrong, first at {at}: {result[at]}, not "
            f"{want[at]}"
        )


def expect_close(got: Any, want: Array, tolerance: float, what: str) -> float:
    """Fails unless an opened float array is within an absolute tolerance; returns the worst
    error."""
    result = np.asarray(got, np.float64)
    if result.shape != want.shape:
        raise Failed(f"{what}: got shape {result.shape}, NumPy gives {want.shape}")
    worst = float(np.max(np.abs(result - want), initial=0.0))
    if not worst <= tolerance:
        raise Failed(f"{what}: off by up to {worst:.3g}, allowed is {tolerance:.3g}")
    return worst


def unpack(packed: Any, shape: Shape) -> U64:
    """Opened bits (packed, or a word each) as 0/1 words."""
    if getattr(packed, "dtype", None) == np.uint64:
        return np.asarray(packed, np.uint64).reshape(-1)[: numel(shape)].reshape(shape)
    return expand(np.ascontiguousarray(packed, np.uint8), numel(shape)).reshape(shape)


def succeeded(outcomes: list[Outcome]) -> list[Any]:
    """What every party returned; fails if one of them raised."""
    for party, outcome in enumerate(outcomes):
        if outcome.error is not None:
            kind = "" if isinstance(outcome.error, WwflError) else "unexpected "
            raise Failed(f"{kind}{type(outcome.error).__name__} at party {party}: {outcome.error}")
    return [outcome.value for outcome in outcomes]
