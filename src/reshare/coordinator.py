"""`reshare(x, to=cluster)`: the coordinator's side of a conversion.

It chooses a path, has its plan checked, starts the two party programs and accounts for them. It
sees no share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from wwfl_core.channel import Cost
from wwfl_core.cluster import Handle, LocalCluster, Outcome, Ref, map_tree
from wwfl_core.errors import InsecureNotAllowed, Misuse, PeerAborted
from wwfl_core.numbers import RING, RING32, Algebra
from wwfl_core.sharing import Security

from . import modulus_change as domain
from .convert import receive_shares, send_shares
from .joint_knowledge import check
from .modulus_change import Change
from .paths import PATHS, Path
from .plan import Plan, Side

_log = logging.getLogger("wwfl.reshare")


@dataclass(frozen=True)
class Reshared:
    """The result of a conversion: the new handle, what it cost between hosts, source parties whose
    messages were outvoted, the path that was taken, and the bytes that stayed inside hosts."""

    handle: Handle
    cost: Cost
    outvoted: tuple[str, ...]
    path: str
    local_bytes: int


def plan_for(
    source: LocalCluster,
    target: LocalCluster,
    value_bytes: int = 1 << 20,
    path: str | Path | None = None,
) -> Plan:
    """How a tensor of `source` with components of `value_bytes` becomes one of `target`.

    Raises:
        Misuse: when the clusters share server names, or a named path is unknown or does not apply.
        InsecureNotAllowed: when hosts that both clusters permit to be corrupt could together learn
            the value.
    """
    algebras = source.protocol.numbers, target.protocol.numbers
    return _choose(source, target, algebras, value_bytes, path)[1]


def reshare(
    x: Handle,
    to: LocalCluster,
    *,
    path: str | Path | None = None,
    allow_weaker: bool = False,
    algebra: Algebra | None = None,
) -> Handle:
    """Shares of x at its cluster become fresh shares of the same value at cluster `to`.

    One round of bytes per dealt word (two more one-byte verdicts if the source is
    malicious-secure); nobody learns x. The value is preserved exactly; only a target with fewer
    frac_bits than the source rounds it to its own format. The clusters may share hosts, in any
    order (`LocalCluster(hosts=...)`).

    Args:
        path: one of the registered paths by name ("generic", "small", "same hosts", "detect"), or a
            path of your own; by default the one that sends fewest bytes over the network.
        allow_weaker: accept that `to` protects the value less than it was protected so far.
        algebra: where the numbers are to live at `to`: `RING` or `RING32` at protocols over rings.
            By default where its protocol computes; tensors of Z_2^32 stay there if it is a ring.
            Changing the modulus is exact for numbers below a quarter of the smaller modulus, and
            costs one product at the target (`wwfl_core.protocol.modulus`).

    Raises:
        Misuse: clusters that are not connectable, a path that is unknown or does not apply; before
            anything is sent.
        InsecureNotAllowed: a weaker target without `allow_weaker`, or hosts that could together
            learn x; before anything is sent.
        VerificationFailed: a malicious source without an honest majority per component.
        ProtocolError: a party is lost; nothing is half-converted.
    """
    return reshare_with_report(x, to, path=path, allow_weaker=allow_weaker, algebra=algebra).handle


def reshare_with_report(
    x: Handle,
    to: LocalCluster,
    *,
    path: str | Path | None = None,
    allow_weaker: bool = False,
    algebra: Algebra | None = None,
) -> Reshared:
    """Like `reshare`, with cost, outvoted parties and the path that was taken."""
    source = x.cluster
    change = _change(x, to, algebra)
    chosen, plan = _choose(source, to, (change.source, change.target), change.value_bytes, path)
    if not allow_weaker:
        _refuse_downgrade(x, to)
    source.connect(to)
    run = max(source.next_run(), to.next_run())
    leaving = source.submit(send_shares, x, plan, change, run=run)
    # Integers and other deliberate scales stay as they are; a tensor in its cluster's format gets
    # the target's.
    rescale = x.ref.frac_bits == source.protocol.format.frac_bits
    arriving = to.submit(
        receive_shares, plan, change, x.ref.frac_bits, rescale, run=run, guarantee=x.guarantee
    )
    left, arrived = leaving.outcomes(), arriving.outcomes()
    failures = [_failure(side, outcomes) for side, outcomes in ((source, left), (to, arrived))]
    raised = [error for error in failures if error is not None]
    if raised:
        for (
            outcome
        ) in arrived:  # servers that had finished already must not keep what nobody can name
            map_tree(outcome.value, lambda item: to.forget(item) if isinstance(item, Ref) else None)
        raise min(raised, key=lambda error: isinstance(error, PeerAborted))
    handle, outvoted = to.settle(arrived)
    source.settle(left)
    names = tuple(
        sorted(
            {name for outcome in arrived if outcome.value for name in outcome.value[1]}
            | set(outvoted)
        )
    )
    for name in names:
        _log.warning("reshare %s -> %s: %s was outvoted", source.name, to.name, name)
    first, then = source.last_cost, to.last_cost
    cost = first + then if plan.chained else first.parallel(then)
    return Reshared(handle, cost, names, chosen.name, sum(outcome.value for outcome in left))


def is_weaker(guarantee: Security, source: Security, target: Security) -> tuple[str, ...]:
    """What a value with `guarantee` at a cluster of security `source` loses at one of security
    `target`, in words.

    A single server sees what it gets, so that moving a value to it is opening, whatever was
    promised before."""
    if source.corruptions and not target.corruptions:
        return (
            "all protection: converting to a cluster of one server opens the value to that server",
        )
    return target.lost_from(guarantee)


def _refuse_downgrade(x: Handle, to: LocalCluster) -> None:
    source, security = x.cluster, to.sharing.security
    lost = is_weaker(x.guarantee, source.sharing.security, security)
    if lost:
        raise InsecureNotAllowed(
            f"reshare {source.name} -> {to.name} is a downgrade, from {x.guarantee} (of "
            f"{source.sharing.parties}) to {security} (of {to.sharing.parties}); lost: "
            f"{', '.join(lost)}. Choose a target that protects as much, or say allow_weaker=True"
        )


def _change(x: Handle, to: LocalCluster, wanted: Algebra | None) -> Change:
    """Where the value is and where it goes."""
    protocol = to.protocol
    if x.ref.frac_bits is None:
        if wanted is not None:
            raise Misuse(
                f"algebra={wanted} is for numbers; bits live where {protocol.name} shares bits"
            )
        return domain.bits(x.ref.algebra, protocol.bits.algebra, x.shape)
    rings = (RING, RING32)
    possible = rings if protocol.numbers in rings else (protocol.numbers,)
    target = wanted or (x.ref.algebra if x.ref.algebra in possible else protocol.numbers)
    if target not in possible:
        raise Misuse(
            f"{protocol.name} cannot share numbers in {target}; it can in "
            f"{' or '.join(a.name for a in possible)}"
        )
    return domain.numbers(x.ref.algebra, target, x.shape)


def _choose(
    source: LocalCluster,
    target: LocalCluster,
    algebras: tuple[Algebra, Algebra],
    value_bytes: int,
    path: str | Path | None,
) -> tuple[Path, Plan]:
    if source is target:
        raise Misuse(f"the tensor already lives at cluster {source.name}")
    shared = set(source.addresses) & set(target.addresses)
    if shared:
        raise Misuse(
            f"two servers have the same name: {sorted(shared)}; give the clusters different names "
            "(servers that one host runs in both are told by hosts=...)"
        )
    here, there = (
        Side(c.sharing, c.addresses, c.hosts, a)
        for c, a in zip((source, target), algebras, strict=True)
    )
    chosen, plan = PATHS.choose(here, there, value_bytes, path)
    check(plan)
    return chosen, plan


def _failure(side: LocalCluster, outcomes: Sequence[Outcome]) -> BaseException | None:
    """Accounts for a side on which something failed."""
    if all(outcome.error is None for outcome in outcomes):
        return None
    try:
        side.settle(outcomes)
    except BaseException as error:  # the caller raises the first cause of both sides
        return error
    return None
