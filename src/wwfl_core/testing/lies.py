"""Lies: a corrupt party that computes with wrong copies, so that its messages and its digests fit
each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wwfl_core.numbers.arrays import Array
from wwfl_core.numbers.bilinear import Mul
from wwfl_core.sharing import Share
from wwfl_core.tensors import Session

from . import programs
from .bench import Bench, succeeded
from .tamper import SEED, SLOWEST_S, Attack, accepted_wrong, operands, promised

Gate = Callable[[Session, Share, Share, Share], list[Share]]
GATES: Mapping[str, Gate] = {
    "opening": lambda mpc, a, b, s: [a],
    "product": lambda mpc, a, b, s: [mpc.protocol.bilinear(Mul(), a, b)],
    "truncated product": lambda mpc, a, b, s: [
        mpc.protocol.bilinear(Mul(), a, b, mpc.format.frac_bits)
    ],
    "truncation": lambda mpc, a, b, s: [mpc.protocol.truncate(a, 5)],
    "comparison": lambda mpc, a, b, s: [mpc.protocol.sign(a, 26)],
    "and": lambda mpc, a, b, s: [mpc.protocol.bilinear(Mul(), s, mpc.protocol.sign(b, 27))],
    "bit to ring": lambda mpc, a, b, s: [mpc.protocol.bit_to_ring(s, a.shape)],
    "injection": lambda mpc, a, b, s: [mpc.protocol.inject(s, a)],
}


def _lie(share: Share, component: int) -> Share:
    held = share.parts[component]
    wrong = held ^ held.dtype.type(0x5BD1E995A7C3F061 % (1 << 8 * held.itemsize))
    return Share(share.algebra, share.shape, {**share.parts, component: wrong})


def _liar(
    mpc: Session, x: Array, y: Array, gate: str, liar: int, component: int
) -> list[Array | None]:
    """One gate; from its start, `liar` computes with wrong copies of one component of the
    operands."""
    a, b = operands(mpc, x, y)
    s = mpc.protocol.sign(b, 30)
    mpc.verify()
    if mpc.me == liar:
        a, s = _lie(a, component), _lie(s, component)
    return programs.open_all(mpc, GATES[gate](mpc, a, b, s))


def wrong_copy(bench: Bench) -> str:
    """A party that computes with a wrong copy, its messages and digests fitting each other,
    convinces no honest one."""
    promised(bench)
    g = bench.samples("tamper/wrong-copy")
    secrets = g.integers(24, 4), g.integers(24, 4)
    runs = aborted = 0
    for gate in GATES:
        with bench.cluster(name="tampered", insecure_seed=SEED, deadline_s=SLOWEST_S) as c:
            reference = succeeded(c.submit(_liar, *secrets, gate, -1, 0).outcomes())
        for liar in range(bench.sharing.parties):
            for component in bench.sharing.held_by(liar):
                with bench.cluster(name="tampered", insecure_seed=SEED, deadline_s=SLOWEST_S) as c:
                    outcomes = c.submit(_liar, *secrets, gate, liar, component).outcomes()
                attack = Attack(
                    liar,
                    -1,
                    f"wrong copy of component {component} in {gate}",
                    lambda payload, earlier: payload,
                )
                aborted += accepted_wrong(attack, outcomes, reference)
                runs += 1
    return f"{runs} lies, {aborted} aborted, none accepted"
