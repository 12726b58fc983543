"""`reshare(x, to=cluster)`: the coordinator's side."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from wwfl_core.algebra import BITS, RING
from wwfl_core.arrays import numel
from wwfl_core.cluster import Handle, LocalCluster
from wwfl_core.cost import Cost
from wwfl_core.derived import packed
from wwfl_core.errors import Misuse, PeerAborted
from wwfl_core.server import Outcome

from .convert import receive_shares, send_shares
from .plan import ResharePlan

_log = logging.getLogger("wwfl.reshare")


@dataclass(frozen=True)
class Reshared:
    """The result of a conversion: the new handle, its cost, and source parties whose messages were outvoted."""

    handle: Handle
    cost: Cost
    outvoted: tuple[str, ...]


def plan_for(source: LocalCluster, target: LocalCluster) -> ResharePlan:
    """How a tensor of `source` becomes one of `target`.

    Raises:
        Misuse: when the clusters share parties or cannot reach each other.
    """
    if source is target:
        raise Misuse(f"the tensor already lives at cluster {source.name}")
    shared = set(source.addresses) & set(target.addresses)
    if shared:
        raise Misuse(
            f"clusters {source.name} and {target.name} share the parties {sorted(shared)}; give them other names"
        )
    return ResharePlan(source.sharing, target.sharing, source.addresses, target.addresses)


def reshare(x: Handle, to: LocalCluster) -> Handle:
    """Shares of x at its cluster become fresh shares of the same value at cluster `to`.

    One round of bytes per dealt word (two more one-byte verdicts if the source is malicious-secure); nobody learns x.
    The value is preserved exactly; only a target with fewer frac_bits than the source rounds it to its own format.

    Raises:
        Misuse: clusters that overlap or are not connectable, before anything is sent.
        VerificationFailed: a malicious source without an honest majority per component.
        ProtocolError: a party is lost; nothing is half-converted.
    """
    return reshare_with_report(x, to).handle


def reshare_with_report(x: Handle, to: LocalCluster) -> Reshared:
    """Like `reshare`, with cost and outvoted parties."""
    source = x.cluster
    plan = plan_for(source, to)
    source.connect(to)
    bits = x.ref.frac_bits is None
    shape = (packed(numel(x.shape)),) if bits else x.shape
    algebra = BITS if bits else RING
    run = max(source.next_run(), to.next_run())
    leaving = source.submit(send_shares, x, plan, run=run)
    # Integers and other deliberate scales stay as they are; a tensor in its cluster's format gets the target's.
    rescale = x.ref.frac_bits == source.protocol.fixed.frac_bits
    arriving = to.submit(receive_shares, shape, algebra.name, x.ref.frac_bits, x.shape, plan, rescale, run=run)
    left, arrived = leaving.outcomes(), arriving.outcomes()
    failures = [_failure(side, outcomes) for side, outcomes in ((source, left), (to, arrived))]
    raised = [error for error in failures if error is not None]
    if raised:
        raise min(raised, key=lambda error: isinstance(error, PeerAborted))
    handle, outvoted = to.settle(arrived)
    source.settle(left)
    names = tuple(sorted({name for outcome in arrived if outcome.value for name in outcome.value[1]} | set(outvoted)))
    for name in names:
        _log.warning("reshare %s -> %s: %s was outvoted", source.name, to.name, name)
    return Reshared(handle, source.last_cost.parallel(to.last_cost), names)


def _failure(side: LocalCluster, outcomes: Sequence[Outcome]) -> BaseException | None:
    """Accounts for a side on which something failed."""
    if all(outcome.error is None for outcome in outcomes):
        return None
    try:
        side.settle(outcomes)
    except BaseException as error:  # the caller raises the first cause of both sides
        return error
    return None
