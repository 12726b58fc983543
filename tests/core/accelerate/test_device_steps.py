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
from emulated_gpu.devices import everywhere
from kernel_inputs import words
from wwfl_core.accelerate import Device, named
from wwfl_core.cluster.accelerated import accelerated
from wwfl_core.numbers.algebra import BITS, RING, Algebra
from wwfl_core.numbers.arrays import Array, on_host, to_host
from wwfl_core.numbers.bilinear import Mul
from wwfl_core.party.party import Op, Party
from wwfl_core.protocol.backend import MPCBackend
from wwfl_core.protocol.bit_planes import packed
from wwfl_core.randomness.prg import Prg, derive_key, subset_name
from wwfl_core.sharing.share import Share

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

    def put(self, array: Array) -> Array:
        return Party.put(self, array)  # type: ignore[arg-type]

    def zeros(self, shape: Any, dtype: Any) -> Array:
        return self.device.zeros(shape, dtype)

    def prg(self, subset: frozenset[int]) -> Prg:
        return self._prgs.setdefault(subset, Prg(derive_key(bytes(32), subset_name(subset))))

    def vouch(self, peer: int, number: int, value: Array) -> None:
        self.said.append(value)

    expect = vouch


def _share(mpc: MPCBackend, algebra: Algebra, shape: tuple[int, ...], seed: int) -> Share:
    """A party's components of something."""

    def part(c: int) -> Array:
        size = algebra.nbytes(shape)
        made = (
            words(seed + c, size // 8 + 1).view(np.uint8)[:size].view(algebra.dtype).reshape(shape)
        )
        return mpc.party.device.put(made)

    return Share(algebra, shape, {c: part(c) for c in mpc.sharing.held_by(mpc.me)})


def _product(
    mpc: MPCBackend, seed: int, n: int, f: int, algebra: Algebra = RING, truncate: int = 0
) -> list[Share]:
    x, y = (_share(mpc, algebra, (n,), seed + s) for s in (0, 50))
    return [mpc.bilinear(Mul(), x, y, truncate)]


def _ands(mpc: MPCBackend, seed: int, n: int, f: int) -> list[Share]:
    return _product(mpc, seed, n, f, BITS)


def _truncated_product(mpc: MPCBackend, seed: int, n: int, f: int) -> list[Share]:
    return _product(mpc, seed, n, f, truncate=f)


def _truncation(mpc: MPCBackend, seed: int, n: int, f: int) -> list[Share]:
    return [mpc.truncate(_share(mpc, RING, (n,), seed), f)]


def _carry_inputs(mpc: MPCBackend, seed: int, n: int, f: int) -> list[Share]:
    return list(mpc.carry_inputs(_share(mpc, RING, (n,), seed), f + 2))


def _carry_out(mpc: MPCBackend, seed: int, n: int, f: int) -> list[Share]:
    """A tree over f positions."""
    g, p = (_share(mpc, BITS, (k, packed(n)), seed + 9 * k) for k in (f, f - 1))
    return [mpc.carry_out(g, p)]


def _bit_to_ring(mpc: MPCBackend, seed: int, n: int, f: int) -> list[Share]:
    return [mpc.bit_to_ring(_share(mpc, BITS, (packed(n),), seed), (n,))]


def _inject(mpc: MPCBackend, seed: int, n: int, f: int) -> list[Share]:
    return [mpc.inject(_share(mpc, BITS, (packed(n),), seed), _share(mpc, RING, (n,), seed + 9))]


STEPS = [
    _product,
    _ands,
    _truncated_product,
    _truncation,
    _carry_inputs,
    _carry_out,
    _bit_to_ring,
    _inject,
]


@everywhere
@pytest.mark.parametrize("run", STEPS, ids=lambda run: run.__name__.strip("_"))
@pytest.mark.parametrize("kernels", [True, False], ids=["its kernels", "as written"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(deadline=None, max_examples=6)
@given(seed=seeds, n=sizes, f=st.integers(1, 62))
def test_a_party_alone_says_and_holds_the_same(
    protocol: str,
    kernels: bool,
    run: Callable[..., list[Share]],
    where: str,
    seed: int,
    n: int,
    f: int,
) -> None:
    """With the kernels that a protocol brings, and as its file is written: so does a subclass."""
    made = PROTOCOLS[protocol]()
    for me in range(made.sharing.parties):
        said, held = [], []
        for device in ("cpu", where):
            party = LoneParty(me, named(device))
            mpc = accelerated(made, party.device) if kernels else made
            shares = run(mpc.at(party), seed, n, f)  # type: ignore[arg-type]
            arrays = [a for share in shares for _, a in sorted(share.parts.items())]
            assert all(on_host(a) == (device == "cpu") for a in (*party.said, *arrays)), (
                "an array left the device"
            )
            said.append([to_host(a) for a in party.said])
            held.append([to_host(a) for a in arrays])
        for mine, theirs in ((said[0], said[1]), (held[0], held[1])):
            for a, b in zip(mine, theirs, strict=True):
                np.testing.assert_array_equal(b, a, strict=True)
