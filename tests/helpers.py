"""Clusters, programs and random numbers that several test files share.

Programs live here at module level so that server processes can import them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from wwfl_core import LocalCluster, MPCBackend, Session, SharedTensor
from wwfl_core.channel.frames import Frame
from wwfl_core.numbers.algebra import BITS, RING
from wwfl_core.numbers.bilinear import Mul
from wwfl_core.sharing.share import Share

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent
SECURE: dict[str, Callable[[], MPCBackend]] = {
    "2pc": Additive2PC,
    "3pc": Replicated3PC,
    "4pc": Tetrad4PC,
}
EVERY: dict[str, Callable[[], MPCBackend]] = {"plain": Plain, **SECURE}
MASK = (1 << 64) - 1
EDGES = np.array(
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


def rng() -> np.random.Generator:
    """A generator whose seed is printed (pytest shows it when the test fails); WWFL_SEED repeats a
    run."""
    seed = int(os.environ.get("WWFL_SEED", "0")) or int.from_bytes(os.urandom(4), "little")
    print(f"WWFL_SEED={seed}")
    return np.random.default_rng(seed)


def words(g: np.random.Generator, *shape: int) -> np.ndarray:
    """Uniform ring elements."""
    return g.integers(0, MASK, shape, np.uint64, endpoint=True)


def signed(ring: np.ndarray) -> np.ndarray:
    return np.asarray(ring, np.uint64).view(np.int64)


def to_ring(values: Any) -> np.ndarray:
    return np.asarray(values, np.int64).view(np.uint64)


def reals(ring: np.ndarray, frac_bits: int = 20) -> np.ndarray:
    """Floats that encode to these (small) ring elements."""
    return signed(ring).astype(np.float64) / 2.0**frac_bits


@contextmanager
def cluster(protocol: str, /, **kwargs: Any) -> Iterator[LocalCluster]:
    with LocalCluster(EVERY[protocol](), deadline_s=kwargs.pop("deadline_s", 60.0), **kwargs) as c:
        yield c


# -------------------------------------------------------------- programs (one call, at every party)


def opened(mpc: Session, x: SharedTensor) -> np.ndarray | None:
    """The ring elements behind a tensor."""
    return mpc.protocol.open(x.data, "test")


def product(mpc: Session, x: SharedTensor, y: SharedTensor) -> SharedTensor:
    return SharedTensor(
        mpc, mpc.protocol.bilinear(Mul(), x.data, y.data), x.frac_bits + y.frac_bits
    )


def apply_open(
    mpc: Session, f: Any, x: SharedTensor, y: SharedTensor, bits: int = 0
) -> np.ndarray | None:
    """Opens f(x, y)."""
    return mpc.protocol.open(mpc.protocol.bilinear(f, x.data, y.data, bits), "test")


def bits_of(mpc: Session, x: Share) -> np.ndarray | None:
    """Opens packed bits."""
    return mpc.protocol.open(x, "test")


def local_parts(mpc: Session, *shares: Share) -> list[dict[int, np.ndarray]]:
    """Copies of the components that this party holds, per share."""
    return [{c: np.array(a) for c, a in s.parts.items()} for s in shares]


def share_bits(mpc: Session, packed: np.ndarray, owner: int) -> Share:
    """Packed bits dealt by one party."""
    return mpc.protocol.deal(
        packed if mpc.me == owner else None, [owner], packed.shape, BITS, name="share"
    )


def share_words(mpc: Session, ring: np.ndarray, owner: int) -> Share:
    """Ring elements dealt by one party."""
    return mpc.protocol.deal(
        ring if mpc.me == owner else None, [owner], ring.shape, RING, name="share"
    )


def add_and_reveal(mpc: Session, x: Any, y: Any) -> Any:
    return mpc.reveal(mpc.share(x, 0) + mpc.share(y, mpc.sharing.evaluators[-1]))


def slow_program(mpc: Session, seconds: float) -> Any:
    """Exchanges a message every now and then for a while."""
    total = mpc.share(np.ones(4), 0)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        total = mpc.share(np.ones(4), 0)
        mpc.reveal(total)
        time.sleep(0.05)
    return mpc.reveal(total)


def one_party_raises(mpc: Session, who: int, error: BaseException) -> Any:
    x = mpc.share(np.ones(4), 0)
    if mpc.me == who:
        raise error
    return mpc.reveal(x * x)


# ---------------------------------------------------------------------- taps


class Wiretap:
    """Records every array on a memory network; `alter(index_of_sender, i, frame)` may replace the
    i-th of a sender."""

    def __init__(self, alter: Callable[[int, int, Frame], Frame | None] | None = None) -> None:
        self.frames: list[tuple[int, int, int, Frame]] = []
        self._alter = alter
        self._sent: dict[int, int] = {}

    def __call__(self, sender: str, receiver: str, frame: Frame) -> Frame | None:
        s, r = int(sender.rsplit("/", 1)[1]), int(receiver.rsplit("/", 1)[1])
        i = self._sent.get(s, 0)
        self._sent[s] = i + 1
        self.frames.append((s, r, i, frame))
        return frame if self._alter is None else self._alter(s, i, frame)


def flip_first(name: str, sender: int) -> Callable[[str, str, Frame], Frame | None]:
    """A tamper hook: one bit of the first message of operation `name` that a party sends."""
    done: list[bool] = []

    def tamper(frm: str, to: str, frame: Frame) -> Frame | None:
        if done or frame.tag.name != name or not frm.endswith(f"/{sender}"):
            return frame
        done.append(True)
        altered = np.array(frame.payload)
        altered.reshape(-1)[0] ^= altered.dtype.type(1)
        return replace(frame, payload=altered)

    return tamper
