"""Exact cost: what a protocol declares that an operation sends is what it sends, to the bit, on
every secret."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from wwfl_core.channel import Cost, Phase
from wwfl_core.numbers import U64, Array
from wwfl_core.party import CHECK_LABELS
from wwfl_core.protocol import DeclaredCost, Sizes, bits_of
from wwfl_core.tensors import Session, SharedTensor

from . import programs
from .bench import Bench
from .verdict import Failed, NotPromised


class Measured(NamedTuple):
    """What an operation was seen to cost, in bits and online rounds, and per directed link."""

    offline: float
    online: float
    rounds: int
    links: dict[tuple[int, int], float]

    def per_element(self, n: int) -> str:
        """`offline / online / rounds` with bits per element."""
        return f"{self.offline / n:g} / {self.online / n:g} bits per element, {self.rounds} rounds"


def measured(cost: Cost) -> Measured:
    """The payload of a run without its check points, whose number does not depend on the
    operation."""
    apart = sum(cost.bytes_sent(label=label) for label in CHECK_LABELS)
    links: dict[tuple[int, int], float] = {}
    for link, (size, _) in cost.links.items():
        if link.label not in CHECK_LABELS:
            pair = int(link.sender.rsplit("/", 1)[1]), int(link.receiver.rsplit("/", 1)[1])
            links[pair] = links.get(pair, 0) + 8 * size
    offline = cost.bytes_sent(phase=Phase.OFFLINE) * 8
    online = (cost.bytes_sent(phase=Phase.ONLINE) - apart) * 8
    return Measured(offline, online, cost.rounds[Phase.ONLINE], links)


# ---------------------------------------------------------------------- the operations


def _raw(operation: programs.Operation) -> Callable[[Session, SharedTensor, SharedTensor], Any]:
    def program(mpc: Session, x: SharedTensor, y: SharedTensor) -> None:
        operation(mpc, x.data, y.data)

    return program


def _share(mpc: Session, x: SharedTensor, y: SharedTensor) -> None:
    programs.deal_words(mpc, np.zeros(x.shape, np.uint64), mpc.sharing.evaluators[0])


def _reveal(mpc: Session, x: SharedTensor, y: SharedTensor) -> None:
    """Opens without the check point, whose two rounds are counted apart."""
    mpc.protocol.verify = lambda: None
    try:
        mpc.protocol.open(x.data, "test")
    finally:
        del mpc.protocol.verify


def _relu(mpc: Session, x: SharedTensor, y: SharedTensor) -> None:
    (~x.negative()).times(x)


def _bit(mpc: Session, x: SharedTensor) -> Any:
    return x.negative()


def _to_ring(mpc: Session, b: Any, x: SharedTensor) -> None:
    b.to_integers()


def _inject(mpc: Session, b: Any, x: SharedTensor) -> None:
    b.times(x)


PLAIN_PROGRAMS: dict[str, Callable[..., Any]] = {
    "share": _share,
    "reveal": _reveal,
    "product": _raw(lambda mpc, x, y: [mpc.protocol.bilinear(programs.Mul(), x, y)]),
    "product+truncation": _raw(programs.OPERATIONS["product+truncation"]),
    "matmul": _raw(programs.matmul),
    "truncation": _raw(programs.OPERATIONS["truncation"]),
    "sign": _raw(lambda mpc, x, y: [mpc.protocol.sign(x, 64)]),
    "sign32": _raw(lambda mpc, x, y: [mpc.protocol.sign(x, 32)]),
    "relu": _relu,
}
BIT_PROGRAMS: dict[str, Callable[..., Any]] = {"bit_to_ring": _to_ring, "inject": _inject}
OPERATIONS = (*PLAIN_PROGRAMS, *BIT_PROGRAMS)
"""Names that `declared_costs` may have."""


def measure(bench: Bench, operation: str, x: U64, y: U64) -> Measured:
    """Runs one operation on two operands that a client shared, and returns what it sent."""
    with bench.cluster() as c:
        a, b = (c.share_ring(v, bench.frac_bits) for v in (x, y))
        if operation in BIT_PROGRAMS:
            bit = c.run(_bit, a)
            c.run(BIT_PROGRAMS[operation], bit, a)
        else:
            c.run(PLAIN_PROGRAMS[operation], a, b)
        return measured(c.last_cost)


def _operands(bench: Bench, operation: str, n: int, secret: int) -> tuple[Array, Array, Sizes]:
    g = bench.samples(f"cost/{secret}")
    sx, sy = ((n // 16, 7), (7, 16)) if operation == "matmul" else ((n,), (n,))
    if not secret:
        x, y = np.zeros(sx, np.uint64), np.zeros(sy, np.uint64)
    else:
        x, y = g.integers(30, *sx), g.integers(30, *sy)
    two = operation in ("product", "product+truncation", "matmul")
    bits = 32 if operation == "sign32" else 64
    return x, y, Sizes(n, x.size + y.size if two else n, bench.frac_bits, bits)


def declared(bench: Bench) -> Mapping[str, DeclaredCost]:
    """What the protocol declares, empty if it declares nothing."""
    return bench.protocol.declared_costs


def check(bench: Bench, operation: str) -> str:
    """Measured bits and rounds equal the declared formula, at several sizes and for different
    secrets."""
    wanted = declared(bench).get(operation)
    given: Any = wanted  # by an author who may have had another type in mind
    if not isinstance(given, DeclaredCost | None):
        raise Failed(
            f"declared_costs[{operation!r}] is {given!r}, not a DeclaredCost(offline=, online=, "
            "rounds=)"
        )
    seen: list[Measured] = []
    sizes = [256, 4096] if bench.thorough else [256, 1024]
    for n in sizes:
        x, y, shape = _operands(bench, operation, n, 0)
        got = measure(bench, operation, x, y)
        other = measure(bench, operation, *_operands(bench, operation, n, 1)[:2])
        if got != other:
            raise Failed(
                f"the traffic of {n} elements depends on the secrets: {got} for zeros, {other} else"
            )
        seen.append(got)
        if wanted is None:
            continue
        offline, online, rounds = wanted.at(shape)
        if (got.offline, got.online, got.rounds) != (offline, online, rounds):
            raise Failed(
                f"{n} elements cost {got.offline:g} / {got.online:g} bits in {got.rounds} rounds; "
                f"declared are {offline:g} / {online:g} bits in {rounds} rounds"
            )
        if wanted.links is not None:
            links = {
                pair: bits
                for pair, formula in wanted.links.items()
                if (bits := bits_of(formula, shape))
            }
            if links != {pair: bits for pair, bits in got.links.items() if bits}:
                raise Failed(f"{n} elements send {got.links} bits per link, declared are {links}")
    summary = seen[-1].per_element(sizes[-1])
    if wanted is None:
        raise NotPromised(f"declares no costs for {operation}; measured {summary}")
    return summary


def declared_names(bench: Bench) -> str:
    """Every declared cost is that of an operation that the kit measures."""
    costs = declared(bench)
    unknown = sorted(set(costs) - set(OPERATIONS))
    if unknown:
        raise Failed(
            f"declared_costs has {unknown}, which are not measured; known names are "
            f"{', '.join(OPERATIONS)}"
        )
    if not costs:
        raise NotPromised(
            f"declares no costs; give the class `declared_costs` for any of {', '.join(OPERATIONS)}"
        )
    return f"{len(costs)} of {len(OPERATIONS)} operations declared"
