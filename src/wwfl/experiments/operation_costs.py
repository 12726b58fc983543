"""What every operation costs in a protocol, measured on the wire.

Bits per 64-bit element, all directed links together, payload only; check points of malicious-secure
protocols (64 bytes per channel and check point) are left out, but for those that accompany a
reveal. Costs depend on shapes only. What is sent once per cluster (keys, base transfers) is apart,
as `setup_bytes`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from wwfl_core import LocalCluster, MPCBackend, Mul, Phase, Session, SharedBits, SharedTensor
from wwfl_core.party.check_point import CHECK_LABELS
from wwfl_core.tensors.ops import relu

N = 4096
N_OBJECTS = 512  # elements that are Python integers are slow
DEADLINE_S = 120.0

Operation = Callable[[Session, SharedTensor, SharedTensor, SharedBits], Any]


def product(mpc: Session, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return SharedTensor(mpc, mpc.protocol.bilinear(Mul(), x.data, y.data), 40)


def product_truncated(mpc: Session, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return x * y


def truncation(mpc: Session, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return x.truncate(20)


def sign(mpc: Session, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return x.negative()


def sign32(mpc: Session, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return x.negative(32)


def relu64(mpc: Session, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return relu(x)


def relu32(mpc: Session, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return relu(x, 32)


def bit_to_ring(mpc: Session, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return b.to_integers()


def injection(mpc: Session, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return b.times(x)


def equality(mpc: Session, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return x.equals(y)


def sharing(mpc: Session, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    return mpc.share(np.ones(x.shape), owner=mpc.sharing.evaluators[0])


def reveal(mpc: Session, x: SharedTensor, y: SharedTensor, b: SharedBits) -> Any:
    mpc.reveal(x)


OPERATIONS: Mapping[str, Operation] = {
    "share (by a party)": sharing,
    "reveal to all": reveal,
    "product": product,
    "product, exact truncation": product_truncated,
    "exact truncation": truncation,
    "sign, 64 bits": sign,
    "sign, 32 bits": sign32,
    "bit to ring": bit_to_ring,
    "injection (bit x value)": injection,
    "ReLU, 64 bits": relu64,
    "ReLU, 32 bits": relu32,
    "equality, 64 bits": equality,
}


def measure_operations(
    protocol: MPCBackend, operations: Mapping[str, Operation] = OPERATIONS
) -> list[dict[str, Any]]:
    """One row per operation, on a cluster of its own; all have its `setup_bytes`."""
    with LocalCluster(protocol, deadline_s=DEADLINE_S) as c:
        once = _set_up(c)
        return [row | {"setup_bytes": once} for row in _measure_at(c, operations)]


def _set_up(c: LocalCluster) -> int:
    """Bytes that a fresh cluster sends once: keys, and what its first products bring beyond later
    ones."""
    spent: list[int] = []
    for _ in range(2):
        x, y = c.share(np.ones(8)), c.share(np.ones(8))
        c.run(product, x, y, None)
        spent.append(c.last_cost.bytes_sent())
    return c.setup_cost.bytes_sent() + spent[0] - spent[1]


def _measure_at(
    c: LocalCluster, operations: Mapping[str, Operation] = OPERATIONS
) -> list[dict[str, Any]]:
    """One row per operation, at a cluster that is set up."""
    rows: list[dict[str, Any]] = []
    n = N_OBJECTS if np.dtype(c.protocol.numbers.dtype).hasobject else N
    values = np.linspace(-4, 4, n)
    for name, operation in operations.items():
        x, y = c.share(values), c.share(values)  # fresh: nothing that an earlier operation opened
        b = c.run(deal_bits, n)
        c.run(operation, x, y, b)
        cost = c.last_cost
        checks = sum(cost.bytes_sent(label=label) for label in CHECK_LABELS)
        rows.append(
            {
                "protocol": c.protocol.name,
                "operation": name,
                "bits_offline": cost.bytes_sent(phase=Phase.OFFLINE) * 8 / n,
                "bits_online": (cost.bytes_sent(phase=Phase.ONLINE) - checks) * 8 / n,
                "rounds": cost.rounds.get(Phase.ONLINE, 0),
            }
        )
    return rows


def deal_bits(mpc: Session, n: int) -> SharedBits:
    """Bits that one party knows, all ones."""
    dealer = mpc.sharing.evaluators[0]
    mine = mpc.protocol.bits.from_bools(np.ones(n, np.bool_)) if mpc.me == dealer else None
    return SharedBits(
        mpc,
        mpc.protocol.deal(
            mine, [dealer], mpc.protocol.bits.shape((n,)), mpc.protocol.bits.algebra, name="bits"
        ),
        (n,),
    )


def cost_cell(row: Mapping[str, Any]) -> str:
    """A row's figures: bits offline / bits online / rounds online."""
    offline, online = (
        f"{b:g}" if b < 1000 else f"{b:.0f}" for b in (row["bits_offline"], row["bits_online"])
    )
    return f"{offline} / {online} / {row['rounds']}"


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table: operations down, protocols across, `offline / online / rounds`."""
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    lines = ["| operation | " + " | ".join(protocols) + " |", "| --- |" + " --- |" * len(protocols)]
    for operation in OPERATIONS:
        cells = [
            cost_cell(row)
            for protocol in protocols
            for row in rows
            if (row["protocol"], row["operation"]) == (protocol, operation)
        ]
        lines.append(f"| {operation} | " + " | ".join(cells) + " |")
    once = {row["protocol"]: f"{row['setup_bytes']:,} bytes" for row in rows}
    lines.append("| set-up, once | " + " | ".join(once[protocol] for protocol in protocols) + " |")
    return "\n".join(lines) + "\n"
