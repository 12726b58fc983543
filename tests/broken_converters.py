"""Deliberately broken conversions, one for every check of `reshare.testing`; `BROKEN` says
which check must fail it.

Where the defect is in what servers do, it is a path of its own (`reshare.Path`), as somebody would
add one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from backends import Additive2PC, Replicated3PC, Tetrad4PC
from reshare import reshare
from reshare.convert import Dealing
from reshare.modulus_change import Change
from reshare.paths import Path
from reshare.plan import Form, Plan, Side
from reshare.testing.pairs import open_ring
from wwfl_core import LocalCluster, MPCBackend, Session, SharedTensor
from wwfl_core.cluster.local import Handle
from wwfl_core.errors import ProtocolError
from wwfl_core.sharing.share import Share

Convert = Callable[[Handle, LocalCluster], Handle]


class Everywhere(Path):
    """A path that claims to apply always."""

    name = "broken"
    when = "always"

    def applies(self, source: Side, target: Side, value_bytes: int) -> bool:
        return True


def along(path: Path) -> Convert:
    """The converter that takes a path."""

    def convert(x: Handle, to: LocalCluster) -> Handle:
        return reshare(x, to, path=path, allow_weaker=True)

    return convert


# ---------------------------------------------------------------------- reshare/value


class AllPositive(Dealing):
    """Takes all coefficients of the source for +1 (the paper's Section 3.6.2 has the sign of
    Tetrad's lambda wrong)."""

    def send(self, mpc: Session, x: Share, change: Change) -> int:
        signs = self.source.coefficients
        parts = {c: a if signs[c] == 1 else x.algebra.neg(a) for c, a in x.parts.items()}
        return super().send(mpc, Share(x.algebra, x.shape, parts), change)


class ForgetsTheSigns(Everywhere):
    """m + l1 + l2 + l3."""

    def plan(self, source: Side, target: Side) -> Plan:
        return AllPositive(source, target, 3 if source.sharing.security.malicious else 1)


# ---------------------------------------------------------------------- reshare/linear


def _as_integers(mpc: Session, x: SharedTensor) -> SharedTensor:
    return SharedTensor(mpc, x.data, 0)


def _in_own_format(mpc: Session, x: SharedTensor) -> SharedTensor:
    return SharedTensor(mpc, x.data, mpc.format.frac_bits)


def forgets_the_format(x: Handle, to: LocalCluster) -> Handle:
    """Ring elements arrive as they were, but the target reads them with its own number of
    fractional bits."""
    if x.ref.frac_bits != x.cluster.protocol.format.frac_bits:
        return reshare(x, to, allow_weaker=True)
    return to.run(_in_own_format, reshare(x.cluster.run(_as_integers, x), to, allow_weaker=True))


# ---------------------------------------------------------------------- reshare/fresh


def forgets_the_mask(x: Handle, to: LocalCluster) -> Handle:
    """Opens the value and shares it again with constant masks."""
    bits = x.ref.frac_bits
    if bits is None:
        return reshare(x, to, allow_weaker=True)
    ring = x.cluster.run(open_ring, x)
    original = LocalCluster._client_key
    to._client_key = lambda: b"k" * 32  # type: ignore[method-assign]
    try:
        return to.share_ring(ring, bits)
    finally:
        to._client_key = original.__get__(to)  # type: ignore[method-assign]


# ---------------------------------------------------------------------- reshare/views


class AllSeeds(Dealing):
    """Sends every receiver the seeds of all masks; one that also gets the computed component has
    the whole word.

    `learned` says what the right plan would show, so the check of plans
    (`reshare/joint_knowledge.py`) sees nothing."""

    def masks_for(self, receiver: int) -> tuple[int, ...]:
        return self.masks

    def learned(self) -> dict[str, tuple[Form, ...]]:
        return Dealing(self.here, self.there, self.vouchers).learned()

    def receive(self, mpc: Session, change: Change) -> tuple[Share, tuple[str, ...]]:
        share, outvoted = super().receive(mpc, change)
        held = mpc.sharing.held_by(mpc.me)
        return Share(share.algebra, share.shape, {c: share.parts[c] for c in held}), outvoted


class SeedsForEverybody(Everywhere):
    """One broadcast instead of a message per receiver."""

    def plan(self, source: Side, target: Side) -> Plan:
        return AllSeeds(source, target, 3 if source.sharing.security.malicious else 1)


# ---------------------------------------------------------------------- reshare/tamper


class IgnoresVotes(Everywhere):
    """One dealer for every word, also where a dealer may lie: nobody can outvote it."""

    def plan(self, source: Side, target: Side) -> Plan:
        return Dealing(source, target, 1)


# ---------------------------------------------------------------------- reshare/lost-party


def goes_on_without(x: Handle, to: LocalCluster) -> Handle:
    """A conversion that failed is replaced by zeros: "best effort", as federated averaging drops a
    client."""
    try:
        return reshare(x, to, allow_weaker=True)
    except ProtocolError:
        return to.share_ring(np.zeros(x.shape, np.uint64), x.ref.frac_bits or 0)


# ---------------------------------------------------------------------- the table


class Case(NamedTuple):
    """A broken converter, the protocol under test, and the other one; with `reshare` instead, the
    check passes."""

    convert: Convert
    protocol: Callable[[], MPCBackend]
    others: Mapping[str, Callable[[], MPCBackend]]


def _coarse() -> Any:
    return Replicated3PC(frac_bits=13)


BROKEN: dict[str, Case] = {
    "reshare/value": Case(along(ForgetsTheSigns()), Tetrad4PC, {"2pc": Additive2PC}),
    "reshare/linear": Case(forgets_the_format, Replicated3PC, {"coarse": _coarse}),
    "reshare/fresh": Case(forgets_the_mask, Replicated3PC, {"2pc": Additive2PC}),
    "reshare/views": Case(along(SeedsForEverybody()), Additive2PC, {"3pc": Replicated3PC}),
    "reshare/tamper": Case(along(IgnoresVotes()), Tetrad4PC, {"3pc": Replicated3PC}),
    "reshare/lost-party": Case(goes_on_without, Replicated3PC, {"2pc": Additive2PC}),
}
