"""Correlated randomness from a helper who sees no input ("dealer").

Roles: X and Y compute, H helps. X shares one PRG key with H, Y another. All independent values come
from these keys; H recomputes both sides and sends Y one correction per dependent element, in
program order and without being asked. Semi-honest, H does not collude with X or Y. The same gadgets
serve 2PC with a helper and 3PC, where the third party is the helper of the other two."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

from wwfl_core import kernels
from wwfl_core.numbers import BITS, U8, U64, Shape, numel
from wwfl_core.party import OFFLINE, Op
from wwfl_core.protocol import packed

from . import pair


class Roles(NamedTuple):
    """Which party plays which role."""

    x: int
    y: int
    h: int


Wire = tuple[str, int]
Monomial = tuple[Wire, ...]


def _products(monomials: list[Monomial]) -> list[Monomial]:
    """All products of at least two masks that these monomials need."""
    subsets = {
        s for m in monomials for size in range(2, len(m) + 1) for s in combinations(sorted(m), size)
    }
    return sorted(subsets, key=lambda s: (len(s), s))


class DealtGate:
    """Multi-input ANDs: XORs of monomials over wires that are masked and opened once.

    A wire w is opened as d_w = w ^ m_w. A monomial is the XOR over subsets S of its wires of
    (product of d outside S) * (product of m in S), so one round evaluates it whatever its degree. H
    deals one bit per product of at least two masks. `masks` are this party's shares of the wire
    masks (at H: the masks themselves)."""

    def __init__(
        self, op: Op, roles: Roles, masks: dict[Wire, U8], monomials: list[Monomial]
    ) -> None:
        self._first = op.party.index == roles.x
        products = _products(monomials)
        shape = next(iter(masks.values())).shape
        size = (len(products), *shape)
        self._terms: dict[Monomial, U8] = {(wire,): mask for wire, mask in masks.items()}
        if not products:
            return
        if op.party.index == roles.y:
            dealt = op.recv(roles.h, np.uint8, size, OFFLINE)
        else:
            dealt = op.random((roles.x, roles.h), "prod", BITS, size)
        if op.party.index == roles.h:
            full = op.party.device.zeros(size, np.uint8)
            for i, product in enumerate(products):
                known = self._terms[product[:-1]]
                np.bitwise_and(known, masks[product[-1]], out=full[i])
                self._terms[product] = full[i]
            op.send(roles.y, full ^ dealt, OFFLINE)
        else:
            self._terms.update({product: dealt[i] for i, product in enumerate(products)})

    def evaluate(self, monomials: list[Monomial], opened: dict[Wire, U8]) -> U8:
        """This party's XOR share of the sum of the monomials."""
        total: U8 | None = None
        for monomial in monomials:
            value = self._expand(tuple(sorted(monomial)), (), opened)
            assert value is not None
            total = value if total is None else total ^ value
        assert total is not None
        return total

    def _expand(self, rest: Monomial, masked: Monomial, opened: dict[Wire, U8]) -> U8 | None:
        """XOR over the ways to take each wire of `rest` opened or masked; None stands for zero."""
        if not rest:
            return self._terms[masked] if masked else None
        wire, later = rest[0], rest[1:]
        with_mask = self._expand(later, (*masked, wire), opened)
        if not later and not masked:  # the product of all opened wires is public: X adds it
            return with_mask if not self._first else _xor(with_mask, opened[wire])
        clear = self._expand(later, masked, opened)
        return _xor(with_mask, None if clear is None else opened[wire] & clear)


def _xor(a: U8 | None, b: U8 | None) -> U8 | None:
    if a is None or b is None:
        return a if b is None else b
    return a ^ b


def _monomials(width: int) -> tuple[list[Monomial], Monomial]:
    """Carry merge of `width` neighbours: G = XOR_j p_{width-1} ... p_{j+1} g_j (without j =
    width-1), P = all p."""
    tops = [tuple(("p", k) for k in range(j + 1, width)) for j in range(width)]
    return [(*tops[j], ("g", j)) for j in range(width - 1)], tuple(("p", k) for k in range(width))


RADIX = 4


def carry_out(
    op0: Op, roles: Roles, word: U64 | None, positions: int, shape: Shape, op_next: list[Op]
) -> U8 | None:
    """XOR shares at X and Y of the carry out of the low `positions` bits of A + B, A at X and B at
    Y.

    The inputs are opened once, masked, and the whole first radix-4 level is evaluated from that
    opening: with wires a_i, b_i and p_i = a_i ^ b_i, G = a3 b3 ^ p3 a2 b2 ^ p3 p2 a1 b1 ^ p3 p2 p1
    a0 b0. Further radix-4 levels open their wires. At 63 positions: offline 871 bits, online 194
    bits, 3 rounds per element."""
    me, nb = op0.party.index, packed(numel(shape))
    nodes = -(-positions // RADIX)
    pad = nodes * RADIX - positions
    planes = None if word is None else kernels.to_planes(word, 0, positions)

    def padded(value: U8) -> U8:
        return np.concatenate([np.zeros_like(value, shape=(pad, nb)), value]) if pad else value

    mask_a: U8 | None = (
        op0.random((roles.x, roles.h), "a", BITS, (positions, nb)) if me != roles.y else None
    )
    mask_b: U8 | None = (
        op0.random((roles.y, roles.h), "b", BITS, (positions, nb)) if me != roles.x else None
    )
    none: U8 = op0.party.device.zeros((nodes * RADIX, nb), np.uint8)
    side_a = none if mask_a is None else padded(mask_a)
    side_b = none if mask_b is None else padded(mask_b)
    opened: dict[Wire, U8] = {}
    if planes is not None:
        own = mask_a if me == roles.x else mask_b
        assert own is not None
        mine = planes ^ own
        theirs = padded(pair.exchange(op0, (roles.x, roles.y), mine))
        da, db = (padded(mine), theirs) if me == roles.x else (theirs, padded(mine))
        for i in range(RADIX):
            opened |= {
                ("a", i): da[i::RADIX],
                ("b", i): db[i::RADIX],
                ("p", i): (da ^ db)[i::RADIX],
            }
    masks: dict[Wire, U8] = {}
    for i in range(RADIX):
        masks |= {
            ("a", i): side_a[i::RADIX],
            ("b", i): side_b[i::RADIX],
            ("p", i): (side_a ^ side_b)[i::RADIX],
        }
    tops = [tuple(("p", k) for k in range(j + 1, RADIX)) for j in range(RADIX)]
    generate: list[Monomial] = [(("a", j), ("b", j), *tops[j]) for j in range(RADIX)]
    propagate: Monomial = tuple(("p", k) for k in range(RADIX))
    last = nodes == 1
    gate = DealtGate(op0, roles, masks, generate + ([] if last else [propagate]))
    g = p = None
    if planes is not None:
        g = gate.evaluate(generate, opened)
        p = None if last else gate.evaluate([propagate], opened)
    for op in op_next:
        g, p, nodes = _merge(op, roles, g, p, nodes, nb)
    return None if g is None else g[0]


def merge_levels(positions: int) -> int:
    """How many levels follow the first one."""
    nodes, levels = -(-positions // RADIX), 0
    while nodes > 1:
        nodes, levels = -(-nodes // RADIX), levels + 1
    return levels


def _merge(
    op: Op, roles: Roles, g: U8 | None, p: U8 | None, nodes: int, nb: int
) -> tuple[U8 | None, U8 | None, int]:
    """One radix-4 level over shared (g, p) nodes."""
    me = op.party.index
    width = min(RADIX, nodes)
    groups = -(-nodes // width)
    pad = groups * width - nodes
    last = groups == 1
    g_terms, p_term = _monomials(width)
    # g of the top node is linear; p of the lowest node only serves P, which the last level does not
    # need.
    wires = [("g", i) for i in range(width - 1)] + [
        ("p", i) for i in range(1 if last else 0, width)
    ]
    size = (len(wires), groups, nb)
    known = [roles.x] * (me != roles.y) + [roles.y] * (me != roles.x)
    mask = BITS.sum([op.random((other, roles.h), "w", BITS, size) for other in known])
    masks = {wire: mask[i] for i, wire in enumerate(wires)}
    gate = DealtGate(op, roles, masks, g_terms + ([] if last else [p_term]))
    if g is None or p is None:
        return None, None, groups
    values = {"g": g, "p": p}
    if pad:
        values = {
            k: np.concatenate([np.zeros_like(v, shape=(pad, nb)), v]) for k, v in values.items()
        }
    shares = np.stack([values[kind][i::width] for kind, i in wires]) ^ mask
    public = shares ^ pair.exchange(op, (roles.x, roles.y), shares)
    opened = {wire: public[i] for i, wire in enumerate(wires)}
    merged = values["g"][width - 1 :: width] ^ gate.evaluate(g_terms, opened)
    return merged, (merged if last else gate.evaluate([p_term], opened)), groups
