"""The ledger: every party records exactly the openings that the program asks for, and the wire
shows no other."""

from __future__ import annotations

from typing import Any

import numpy as np

from wwfl_core.protocol import MPCBackend
from wwfl_core.tensors import Session, SharedTensor

from . import programs
from .bench import Bench, Wiretap, succeeded
from .verdict import Failed


def _declared(protocol: MPCBackend, n: int) -> list[tuple[str, str, tuple[int, ...]]]:
    one = str(protocol.sharing.evaluators[0])
    return [
        ("first", "all", (n,)),
        ("second", one, (n,)),
        ("bits", "all", protocol.bits.shape((n,))),
    ]


def _program(mpc: Session, x: SharedTensor, y: SharedTensor) -> Any:
    """Every operation, with three openings."""
    results = programs.everything(mpc, x.data, y.data)
    f = mpc.format.frac_bits
    first = mpc.reveal(SharedTensor(mpc, results[len(mpc.sharing.evaluators)], 2 * f), "first")
    relu = x.relu()
    mpc.reveal(relu, "second", to=[mpc.sharing.evaluators[0]])
    s = x.negative(40)
    mpc.reveal(s, "bits")
    mine = [(o.reason, o.to, o.shape) for o in mpc.party.ledger if o.run == mpc.party.run]
    return mine, first


def openings(bench: Bench) -> str:
    """A program with three openings leaves exactly those three in the ledger of every party, in
    order."""
    n = 19
    g = bench.samples("ledger")
    x, y = g.integers(30, n), g.integers(30, n)
    with bench.cluster() as c:
        c.memory.tamper = tap = Wiretap()
        outcomes = c.submit(
            _program, c.share_ring(x, bench.frac_bits), c.share_ring(y, bench.frac_bits)
        ).outcomes()
        values = succeeded(outcomes)
        want = _declared(c.protocol, n)
        for party, (seen, _) in enumerate(values):
            extra = [entry for entry in seen if entry not in want]
            if extra:
                count = f", {len(extra)} in all" if len(extra) > 1 else ""
                raise Failed(
                    f"party {party} opened what the program did not ask for: (reason, to whom, "
                    f"shape) {extra[0]}{count}"
                )
            if seen != want:
                raise Failed(f"the ledger of party {party} is {seen}, the program opens {want}")
        messages = {frame.tag.op for _, _, _, frame in tap.frames if frame.tag.name == "open"}
        if messages and len(messages) != len(want):
            raise Failed(
                f"{len(messages)} operations named 'open' were on the wire, the program opens "
                f"{len(want)} times"
            )
        first = values[c.sharing.evaluators[0]][1]
        if not np.allclose(first, (x * y).view(np.int64) / 2.0 ** (2 * bench.frac_bits)):
            raise Failed("the opened product is wrong")
    return f"{len(want)} openings, recorded alike by {len(values)} parties"
