"""OT extension: from 128 base OTs to any number of correlated rows (SoftSpokenOT, Roy, CRYPTO'22;
semi-honest).

The extension's receiver has choice bits r_j, its sender a secret delta of 128 bits. They end with
rows of 128 bits,

    q_j = t_j ^ r_j delta      (q_j at the sender, t_j at the receiver).

The bits of delta are cut into blocks of K. For every block the receiver holds the 2^K leaf seeds of
a GGM tree, the sender all of them but leaf delta_b. With leaves G(x) expanded to n bits, u = XOR of
all G(x) and d = u ^ r sent,

    t[bit j] = XOR_x x_j G(x),     q[bit j] = XOR_x (x ^ delta_b)_j G(x)  ^  delta_b,j d,

where the missing leaf has coefficient 0. One message of 128 / K bits per row, from the receiver. K
= 1 is IKNP (CRYPTO'03). Leaves are keys of `Prg`, expanded under the operation number, so that no
expansion is used twice.

The base OTs run in the other direction: the extension's sender chooses, at level l of block b, the
complement of the bit of delta_b; per level it gets the XOR of all left or all right children under
that key, and recomputes its part of the tree (punctured GGM; Boyle et al., CCS'19)."""

from __future__ import annotations

import hashlib

import numpy as np

from wwfl_core import kernels
from wwfl_core.numbers import BITS, U8, U64
from wwfl_core.party import OFFLINE, Op
from wwfl_core.protocol import packed
from wwfl_core.randomness import Prg

from .base_ot import COUNT, KEY_BYTES

K = 4
"""Bits of delta per block: 128 / K bits on the wire per row, 2^K / K bits of PRG per bit of a
row."""
BLOCKS = COUNT // K
LEAVES = 1 << K
ROW_WORDS = COUNT // 64
SUMS_SHAPE = (COUNT, 2, KEY_BYTES)
Seed = bytes


def levels(delta: U8) -> U8:
    """The bits of delta by block and level, most significant first: [BLOCKS, K] of 0/1 from COUNT
    0/1 bytes."""
    return delta.reshape(BLOCKS, K)[:, ::-1]


def base_choices(delta: U8) -> U8:
    """What the extension's sender chooses in the base OTs: at every level the child that is not on
    the path."""
    return (1 - levels(delta)).reshape(COUNT)


class Receiver:
    """The end that has choice bits: all leaf seeds of all blocks."""

    def __init__(self, leaves: list[list[Seed]]) -> None:
        self._leaves = [[Prg(seed) for seed in block] for block in leaves]

    @staticmethod
    def plant(roots: U8, keys: U8) -> tuple[Receiver, U8]:
        """Grows the trees from BLOCKS roots; returns the sums of children, each under its base OT
        key."""
        sums = np.array(keys)
        leaves: list[list[Seed]] = []
        for b, root in enumerate(roots):
            seeds = [root.tobytes()]
            for level in range(K):
                seeds = _children(seeds)
                for side in (0, 1):
                    sums[b * K + level, side] ^= _xor(seeds[side::2])
            leaves.append(seeds)
        return Receiver(leaves), sums

    def extend(self, op: Op, peer: int, choices: U8, n: int) -> U64:
        """Sends the corrections for n packed choice bits; returns t as [n, 2] words."""
        planes = np.empty((COUNT, choices.size), np.uint8)
        corrections = np.empty((BLOCKS, choices.size), np.uint8)
        for b, block in enumerate(self._leaves):
            leaves = np.stack([prg.draw(op.number, "ext", BITS, choices.shape) for prg in block])
            planes[b * K : (b + 1) * K], total = _fold(leaves)
            np.bitwise_xor(total, choices, out=corrections[b])
        op.send(peer, corrections, OFFLINE)
        return _rows(planes, n)


class Sender:
    """The end that has delta: all leaf seeds but one per block."""

    def __init__(self, delta: U8, leaves: list[dict[int, Seed]]) -> None:
        self.delta: U64 = kernels.pack(delta.astype(np.uint64)).view(np.uint64)
        self._bits = delta.astype(bool)
        self._paths = [_number(path) for path in levels(delta)]
        self._leaves = [{x: Prg(seed) for x, seed in block.items()} for block in leaves]

    @staticmethod
    def harvest(delta: U8, keys: U8, sums: U8) -> Sender:
        """Recomputes the trees around the missing leaves from the chosen keys and the masked
        sums."""
        choices = base_choices(delta)
        opened = sums[np.arange(COUNT), choices] ^ keys
        leaves: list[dict[int, Seed]] = []
        for b, path in enumerate(levels(delta)):
            known: dict[int, Seed] = {}
            hole = 0  # the node on the path, whose seed is missing
            for level in range(K):
                grown = {
                    2 * i + side: _child(seed, side) for i, seed in known.items() for side in (0, 1)
                }
                side = 1 - int(path[level])
                same = [seed for i, seed in grown.items() if i % 2 == side]
                grown[2 * hole + side] = (opened[b * K + level] ^ _xor(same)).tobytes()
                hole = 2 * hole + int(path[level])
                known = grown
            leaves.append(known)
        return Sender(delta, leaves)

    def extend(self, op: Op, peer: int, n: int) -> U64:
        """Receives the corrections for n rows; returns q as [n, 2] words."""
        size = packed(n)
        planes = np.empty((COUNT, size), np.uint8)
        for b, (path, block) in enumerate(zip(self._paths, self._leaves, strict=True)):
            leaves = np.zeros(
                (LEAVES, size), np.uint8
            )  # by x ^ delta_b; number 0 is the missing one
            for x, prg in block.items():
                leaves[x ^ path] = prg.draw(op.number, "ext", BITS, (size,))
            planes[b * K : (b + 1) * K], _ = _fold(leaves)
        corrections = op.recv(peer, np.uint8, (BLOCKS, size), OFFLINE)
        for i in np.flatnonzero(self._bits):
            planes[i] ^= corrections[i // K]
        return _rows(planes, n)


def _child(seed: Seed, side: int) -> Seed:
    return hashlib.sha256(b"wwfl GGM|%d|" % side + seed).digest()


def _children(seeds: list[Seed]) -> list[Seed]:
    return [_child(seed, side) for seed in seeds for side in (0, 1)]


def _xor(seeds: list[Seed]) -> U8:
    total = np.zeros(KEY_BYTES, np.uint8)
    for seed in seeds:
        total ^= np.frombuffer(seed, np.uint8)
    return total


def _number(bits: U8) -> int:
    return int("".join(map(str, bits)), 2)


def _fold(leaves: U8) -> tuple[U8, U8]:
    """(XOR_x x_j G(x) for every bit j [K, n], XOR_x G(x) [n]): the top half of the leaves holds the
    top bit."""
    planes = np.empty((K, leaves.shape[1]), np.uint8)
    for j in reversed(range(K)):
        low, high = leaves[: 1 << j], leaves[1 << j :]
        np.bitwise_xor.reduce(high, axis=0, out=planes[j])
        leaves = low ^ high
    return planes, leaves[0]


def _rows(planes: U8, n: int) -> U64:
    """COUNT bit planes as n rows of COUNT bits."""
    return np.stack(
        [kernels.from_planes(planes[64 * i : 64 * (i + 1)], n) for i in range(ROW_WORDS)], axis=1
    )
