"""Programs that several checks run: the operations of a protocol by name, and dealing and opening
raw ring elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from wwfl_core.kernels import expand
from wwfl_core.numbers.algebra import BITS
from wwfl_core.numbers.arrays import Array, Shape, numel, to_host
from wwfl_core.numbers.bilinear import MatMul, Mul
from wwfl_core.sharing import Share, concat
from wwfl_core.tensors import Session, SharedTensor

Operation = Callable[[Session, Share, Share], list[Share]]


def deal_words(mpc: Session, ring: Array, owner: int) -> Share:
    """Ring elements dealt by one party."""
    value = mpc.protocol.numbers.from_words(ring) if mpc.me == owner else None
    return mpc.protocol.deal(value, [owner], ring.shape, name="share")


def deal_bits(mpc: Session, packed: Array, owner: int, shape: Shape | None = None) -> Share:
    """Packed bits dealt by one party, garbage in the padding included; unpacked (and those of
    `shape` only) where the protocol's bits are."""
    value = packed
    if mpc.protocol.bits.algebra != BITS:
        size = (8 * packed.size,) if shape is None else shape
        value = mpc.protocol.bits.from_bools(
            expand(packed, 8 * packed.size)[: numel(size)].reshape(size).astype(np.bool_)
        )
    return mpc.protocol.deal(
        value if mpc.me == owner else None,
        [owner],
        value.shape,
        mpc.protocol.bits.algebra,
        name="share",
    )


def open_words(mpc: Session, share: Share) -> Array | None:
    """Opens one share: words (packed bits where bits are packed)."""
    opened = mpc.protocol.open(share, "test")
    return None if opened is None else share.algebra.to_words(opened)


def open_all(mpc: Session, shares: list[Share]) -> list[Array | None]:
    """Opens everything, one after the other."""
    return [open_words(mpc, s) for s in shares]


def open_together(mpc: Session, shares: list[Share]) -> list[Array | None]:
    """Opens everything in one opening per algebra, flat: one check point, where `open_all` has one
    per share."""
    kinds = dict.fromkeys(s.algebra for s in shares)
    return [
        open_words(mpc, concat([s.map(np.ravel) for s in shares if s.algebra == kind]))
        for kind in kinds
    ]


def open_tensors(mpc: Session, *tensors: SharedTensor) -> list[Array | None]:
    """Opens the ring elements behind tensors."""
    return open_all(mpc, [t.data for t in tensors])


def _two_steps(mpc: Session, x: Share, y: Share) -> list[Share]:
    f = mpc.format.frac_bits
    return [mpc.protocol.bilinear(Mul(), mpc.protocol.bilinear(Mul(), x, y, f), y, f)]


def _bit_to_ring(mpc: Session, x: Share, y: Share) -> list[Share]:
    s = mpc.protocol.sign(x, 9)
    return [s, mpc.protocol.bit_to_ring(s, x.shape)]


def _inject(mpc: Session, x: Share, y: Share) -> list[Share]:
    s = mpc.protocol.sign(x, 9)
    return [s, mpc.protocol.inject(s, y)]


OPERATIONS: Mapping[str, Operation] = {
    "share": lambda mpc, x, y: [
        deal_words(mpc, np.zeros(x.shape, np.uint64), p) for p in mpc.sharing.evaluators
    ],
    "product": lambda mpc, x, y: [
        mpc.protocol.bilinear(Mul(), x, y),
        mpc.protocol.bilinear(Mul(), x, x),
    ],
    "product+truncation": lambda mpc, x, y: [
        mpc.protocol.bilinear(Mul(), x, y, mpc.format.frac_bits)
    ],
    "two steps": _two_steps,
    "truncation": lambda mpc, x, y: [mpc.protocol.truncate(x, mpc.format.frac_bits)],
    "sign": lambda mpc, x, y: [mpc.protocol.sign(x, 17)],
    "is_zero": lambda mpc, x, y: [mpc.protocol.is_zero(x, 6)],
    "bit_to_ring": _bit_to_ring,
    "inject": _inject,
    "bilinear_many": lambda mpc, x, y: mpc.protocol.bilinear_many(
        [(Mul(), x, y), (Mul(), y, y)], mpc.format.frac_bits
    ),
}
"""Every operation that touches the wire, on two shares of one shape; without openings."""


def everything(mpc: Session, x: Share, y: Share) -> list[Share]:
    """All operations once; the results."""
    results = [s for operation in OPERATIONS.values() for s in operation(mpc, x, y)]
    s = mpc.protocol.sign(x)
    results += [
        s,
        mpc.protocol.bilinear(Mul(), s, s),
        mpc.protocol.sign(y, 33),
        mpc.protocol.is_zero(y),
    ]
    return results


def parts_of(shares: list[Share]) -> list[dict[int, Array]]:
    """Copies of the components that this party holds, per share."""
    return [{c: np.array(to_host(a)) for c, a in s.parts.items()} for s in shares]


def matmul(mpc: Session, x: Share, y: Share) -> list[Share]:
    """A matrix product without truncation."""
    return [mpc.protocol.bilinear(MatMul(), x, y)]


def run_operation(mpc: Session, operation: Operation, x: SharedTensor, y: SharedTensor) -> Any:
    """One operation on two tensors that are already shared; this party's parts of operands and
    results."""
    return parts_of([x.data, y.data, *operation(mpc, x.data, y.data)])


def run_share(mpc: Session, ring: Array, owner: int) -> Any:
    """One party shares; this party's parts."""
    return parts_of([deal_words(mpc, ring, owner)])
