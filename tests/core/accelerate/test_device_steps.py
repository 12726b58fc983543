"""One party's part of every operation, on a device and on the host: the same messages, vouched
values and results.

The party runs alone: its masks are real, what it receives is made up. So a kernel is compared with
the definition of its step, in the role and with the operands that the protocol gives it, over sizes
that end anywhere in a block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import Replicated3PC, Tetrad4PC
from cuda_devices import everywhere
from kernel_inputs import words
from wwfl_core.accelerate.device import Device, named
from wwfl_core.numbers.algebra import BITS, RING, Algebra
from wwfl_core.numbers.arrays import Array, on_host, to_host
from wwfl_core.numbers.bilinear import Mul
from wwfl_core.party.party import Op
from wwfl_core.protocol.backend import MPCBackend
from wwfl_core.protocol.derived import carry_ands, packed
from wwfl_core.randomness.prg import Prg, derive_key, subset_name
from wwfl_core.sharing.share import Share
from wwfl_core.tensors import Session

PROTOCOLS = {"3pc": Replicated3PC, "4pc": Tetrad4PC}
seeds, sizes = (
    st.integers(0, 2**32),
    st.one_of(st.integers(1, 40), st.sampled_from([64, 255, 256, 257, 1029, 4100])),
)


class LoneOp(Op):
    """An operation of a party that runs alone."""

    __slots__ = ()

    def send(self, to: int, value: Array, *_: Any) -> None:
        self.party.said.append(value)  # type: ignore[attr-defined]

    def _recv(self, frm: int, dtype: Any, shape: Any, *_: Any) -> Array:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return words(100 * self.number + frm, size).view(np.uint8)[:size].view(dtype).reshape(shape)


class LoneParty:
    """Party `index` of a protocol on a device, without the others."""

    def __init__(self, index: int, device: Device) -> None:
        self.index, self.device, self.count, self.transcript = index, device, -1, self
        self.said: list[Array] = []
        self._prgs: dict[frozenset[int], Prg] = {}

    def op(self, name: str) -> LoneOp:
        self.count += 1
        return LoneOp(self, self.count, name)  # type: ignore[arg-type]

    def prg(self, subset: frozenset[int]) -> Prg:
        return self._prgs.setdefault(subset, Prg(derive_key(bytes(32), subset_name(subset))))

    def vouch(self, peer: int, number: int, value: Array) -> None:
        self.said.append(value)

    expect = vouch


def _share(mpc: Session, algebra: Algebra, shape: tuple[int, ...], seed: int) -> Share:
    """A party's components of something."""

    def part(c: int) -> Array:
        size = algebra.nbytes(shape)
        made = (
            words(seed + c, size // 8 + 1).view(np.uint8)[:size].view(algebra.dtype).reshape(shape)
        )
        return mpc.party.device.put(made)

    return Share(algebra, shape, {c: part(c) for c in mpc.sharing.held_by(mpc.me)})


def _product(
    mpc: Session, seed: int, n: int, f: int, algebra: Algebra = RING, truncate: int = 0
) -> list[Share]:
    x, y = (_share(mpc, algebra, (n,), seed + s) for s in (0, 50))
    return [mpc.protocol.bilinear(Mul(), x, y, truncate)]


def _ands(mpc: Session, seed: int, n: int, f: int) -> list[Share]:
    return _product(mpc, seed, n, f, BITS)


def _truncated_product(mpc: Session, seed: int, n: int, f: int) -> list[Share]:
    return _product(mpc, seed, n, f, truncate=f)


def _truncation(mpc: Session, seed: int, n: int, f: int) -> list[Share]:
    return [mpc.protocol.truncate(_share(mpc, RING, (n,), seed), f)]


def _carry_inputs(mpc: Session, seed: int, n: int, f: int) -> list[Share]:
    return list(mpc.protocol.carry_inputs(_share(mpc, RING, (n,), seed), f + 2))


def _carry_level(mpc: Session, seed: int, n: int, f: int) -> list[Share]:
    """The first of a tree, one in its middle, and its root."""
    found: list[Share] = []
    for positions, taking in ((f + 1, False), (f + 1, True), (2, True)):
        rows = [
            positions,
            positions - 1,
            *([carry_ands(positions)] if taking and positions > 1 else []),
        ]
        state = [_share(mpc, BITS, (k, packed(n)), seed + 9 * i) for i, k in enumerate(rows)]
        after = mpc.protocol.carry_level(*state, *[None] * (3 - len(state)))
        found += [share for share in after if share is not None]
    return found


def _bit_to_ring(mpc: Session, seed: int, n: int, f: int) -> list[Share]:
    return [mpc.protocol.bit_to_ring(_share(mpc, BITS, (packed(n),), seed), (n,))]


def _inject(mpc: Session, seed: int, n: int, f: int) -> list[Share]:
    return [
        mpc.protocol.inject(
            _share(mpc, BITS, (packed(n),), seed), _share(mpc, RING, (n,), seed + 9)
        )
    ]


STEPS = [
    _product,
    _ands,
    _truncated_product,
    _truncation,
    _carry_inputs,
    _carry_level,
    _bit_to_ring,
    _inject,
]


@everywhere
@pytest.mark.parametrize("run", STEPS, ids=lambda run: run.__name__.strip("_"))
@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(deadline=None, max_examples=10)
@given(seed=seeds, n=sizes, f=st.integers(1, 62))
def test_a_party_alone_says_and_holds_the_same(
    protocol: str, run: Callable[..., list[Share]], where: str, seed: int, n: int, f: int
) -> None:
    for me in range(PROTOCOLS[protocol].sharing.parties):
        said, held = [], []
        for device in ("cpu", where):
            party = LoneParty(me, named(device))
            shares = run(PROTOCOLS[protocol]().at(party), seed, n, f)  # type: ignore[arg-type]
            arrays = [a for share in shares for _, a in sorted(share.parts.items())]
            assert all(on_host(a) == (device == "cpu") for a in (*party.said, *arrays)), (
                "an array left the device"
            )
            said.append([to_host(a) for a in party.said])
            held.append([to_host(a) for a in arrays])
        for mine, theirs in ((said[0], said[1]), (held[0], held[1])):
            for a, b in zip(mine, theirs, strict=True):
                np.testing.assert_array_equal(b, a, strict=True)


class ByProducts(Tetrad4PC):
    """Tetrad with the carry tree that every protocol has."""

    carry_level = MPCBackend.carry_level


@settings(deadline=None, max_examples=10)
@given(seed=seeds, n=sizes, f=st.integers(0, 62))
def test_the_levels_of_tetrads_carry_tree_are_its_products(seed: int, n: int, f: int) -> None:
    for me in range(4):
        found = []
        for protocol in (ByProducts, Tetrad4PC):
            party = LoneParty(me, named("cpu"))
            shares = _carry_level(protocol().at(party), seed, n, f)  # type: ignore[arg-type]
            found.append(
                [*(share.parts[c] for share in shares for c in sorted(share.parts)), *party.said]
            )
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(b, a, strict=True)
