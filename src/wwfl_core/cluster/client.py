"""Clients, who are outside of the cluster: how they share a value with its servers, and how one is
opened to them.

To share, a client sends masks as seeds and one component in full. To open, every server hands over
components, and the client combines them.

The servers learn nothing: none of them gets a component that it does not hold. Before they hand
over, all add the same fresh sharing of zero, from the key of the parties that hold components. So
the client gets a uniform sharing of the value, which says nothing about how it was computed, not
even to a client who conspires with a helper. (In the built-in sharings, the components of a server
and the value determine what that server lacks.)

In a malicious-secure sharing whose components have h holders, of which t may be corrupt, a
component is believed if more than t holders confirm it. With h > 2t (Tetrad: h = 3, t = 1) the
client always gets it: t + 1 holders send it in full and the others its digest. With fewer holders,
one sends it and a lie is detected, not corrected. In a semi-honest sharing one holder sends it, and
the client can check nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wwfl_core.accelerate import HOST, Device
from wwfl_core.channel import Link, Phase
from wwfl_core.errors import Misuse, VerificationFailed
from wwfl_core.numbers import Algebra, Array, Shape, to_host
from wwfl_core.party import DIGEST_BYTES, digest
from wwfl_core.randomness import KEY_BYTES, Prg, derive_key
from wwfl_core.sharing import Share, SharingSemantics
from wwfl_core.tensors import Session, SharedBits, SharedTensor

Piece = Array | bytes
"""A component in full, or its digest."""


@dataclass(frozen=True)
class Revealed:
    """What a client learnt, and the servers whose components were outvoted."""

    value: Any
    outvoted: tuple[str, ...] = ()


# ---------------------------------------------------------------------- a client shares


def client_shares(
    sharing: SharingSemantics, algebra: Algebra, value: Array, key: bytes
) -> tuple[list[dict[int, Array | bytes]], list[int]]:
    """What a client sends to each server to share elements of `algebra`, and its size in bytes.

    The `sharing.seeded` components are uniform and travel as the 32-byte seed that each is expanded
    from; the `sharing.computed` ones follow from them and the value."""
    size = algebra.nbytes(value.shape)
    seeds = {c: derive_key(key, "component", str(c)) for c in sharing.seeded}
    drawn = {c: expand_seed(seed, algebra, value.shape) for c, seed in seeds.items()}
    pieces = sharing.complete(algebra, value, drawn) | (drawn if size <= KEY_BYTES else {})
    messages: dict[int, Array | bytes] = {
        c: np.asarray(piece, algebra.dtype)  # arithmetic of 0-d arrays gives scalars
        for c, piece in pieces.items()
    }
    if size > KEY_BYTES:
        messages |= seeds
    parts = [{c: messages[c] for c in sharing.held_by(p)} for p in range(sharing.parties)]
    sizes = [sum(len(m) if isinstance(m, bytes) else size for m in part.values()) for part in parts]
    return parts, sizes


def expand_seed(seed: bytes, algebra: Algebra, shape: Shape, device: Device = HOST) -> Array:
    """The uniform elements that a seed stands for."""
    return device.draw(Prg(seed), 0, "seed", algebra, shape)


def accept(
    mpc: Session, parts: dict[int, Array | bytes], shape: Shape, frac_bits: int
) -> SharedTensor:
    """A server takes its components from a client; holders of one component vouch for it to each
    other.

    Raises:
        Misuse: components that are not this server's, or are not elements of this shape.
    """
    algebra, device = mpc.protocol.numbers, mpc.party.device
    _refuse_others(mpc, parts, shape)
    expanded = {
        c: expand_seed(m, algebra, shape, device)
        if isinstance(m, bytes)
        else device.put(np.asarray(m))
        for c, m in parts.items()
    }
    if mpc.sharing.security.malicious:
        op = mpc.party.op("accept")
        for component, array in expanded.items():
            for other in sorted(mpc.sharing.holders[component] - {mpc.me}):
                mpc.party.transcript.vouch(other, op.number, array)
                mpc.party.transcript.expect(other, op.number, array)
    return SharedTensor(mpc, Share(algebra, shape, expanded), frac_bits)


def _refuse_others(mpc: Session, parts: Any, shape: Shape) -> None:
    """Clients may send anything."""
    sharing, held = mpc.sharing, mpc.sharing.held_by(mpc.me)
    if not isinstance(parts, dict) or set(parts) != set(held):  # pyright: ignore[reportUnknownArgumentType]
        raise Misuse(
            f"a client sent other components than {held} to {mpc.party.addresses[mpc.me]}; "
            "nothing was shared"
        )
    for c in held:
        piece: Any = parts[c]  # pyright: ignore[reportUnknownVariableType]
        seed = isinstance(piece, bytes) and len(piece) == KEY_BYTES and c in sharing.seeded
        if not seed and not _are_elements(piece, mpc.protocol.numbers, shape):
            raise Misuse(
                f"a client sent {mpc.party.addresses[mpc.me]} as component {c} neither a seed of "
                f"{KEY_BYTES} bytes nor elements of {mpc.protocol.numbers} of shape {shape}; "
                "nothing was shared"
            )


def _are_elements(piece: Any, algebra: Algebra, shape: Shape) -> bool:
    """Whether something is an array of elements. Object arrays may hold anything."""
    if not _is_copy(piece, algebra, shape):
        return False
    array: Array = piece
    return not array.dtype.hasobject or all(
        type(v) is int and 0 <= v < algebra.modulus for v in array.ravel().tolist()
    )


# -------------------------------------------------------------------- a value is opened to a client


def zero_sharing(mpc: Session, algebra: Algebra, shape: Shape) -> Share:
    """This party's part of a uniform sharing of zero that all parties with components know.
    Free."""
    op, sharing = mpc.party.op("zero"), mpc.sharing
    held = sharing.held_by(mpc.me)
    if not held:
        return Share(algebra, shape, {})
    drawn = {c: op.random(sharing.evaluators, f"z{c}", algebra, shape) for c in sharing.seeded}
    parts = {
        **drawn,
        **sharing.complete(algebra, mpc.party.device.zeros(shape, algebra.dtype), drawn),
    }
    return Share(algebra, shape, {c: parts[c] for c in held})


def hand_over(
    mpc: Session, x: SharedTensor | SharedBits, client: str, reason: str
) -> dict[int, Piece]:
    """What this server gives to the client, after a check point. Recorded in the ledger as an
    opening to the client.

    Raises:
        Refused: by this server's guard, before anything is sent.
        VerificationFailed: see `MPCBackend.verify`.
    """
    audience = f"client {client}"
    grounds = mpc.party.admit(reason, audience, x.shape)
    mpc.verify()
    fresh = x.data + zero_sharing(mpc, x.data.algebra, x.data.shape)
    op = mpc.party.op("hand over")
    mpc.party.record_opening(op, reason, audience, x.shape, grounds)
    mine = {c: (to_host(fresh.parts[c]), full) for c, full in duties(mpc.sharing, mpc.me)}
    return {c: piece if full else digest(piece).tobytes() for c, (piece, full) in mine.items()}


def duties(sharing: SharingSemantics, party: int) -> list[tuple[int, bool]]:
    """The components that a party hands over, each in full or (False) as a digest. The load is
    spread."""
    found: list[tuple[int, bool]] = []
    for c in sharing.required:
        order = sorted(sharing.holders[c], key=lambda h: (h - c) % sharing.parties)
        if party in order:
            place = order.index(party)
            if place < _copies(sharing, c):
                found.append((c, True))
            elif sharing.security.malicious:
                found.append((c, False))
    return found


def _copies(sharing: SharingSemantics, component: int) -> int:
    """How many holders send a component in full."""
    corruptions = sharing.security.corruptions
    outvotes = sharing.security.malicious and len(sharing.holders[component]) > 2 * corruptions
    return corruptions + 1 if outvotes else 1


def combine(
    sharing: SharingSemantics, algebra: Algebra, shape: Shape, handed: Sequence[Any]
) -> tuple[Array, tuple[int, ...]]:
    """The client's part: the elements that the servers' pieces (in the order of parties) stand for,
    and who was outvoted. A piece of another form than it ought to have counts as a lie.

    Raises:
        VerificationFailed: a component that too few of its holders confirm (malicious-secure
            sharings), or that did not arrive.
    """
    liars: set[int] = set()
    parts: dict[int, Array] = {}
    for c in sharing.required:
        parts[c], wrong = _elect(sharing, algebra, shape, c, handed)
        liars |= wrong
    value = algebra.sum(
        [algebra.scale(sharing.coefficients[c], parts[c]) for c in sharing.required]
    )
    return value, tuple(sorted(liars))


def _elect(
    sharing: SharingSemantics,
    algebra: Algebra,
    shape: Shape,
    component: int,
    handed: Sequence[Any],
) -> tuple[Array, set[int]]:
    """The copy of a component that enough holders confirm, and the holders that said something
    else."""
    votes: dict[int, bytes] = {}
    copies: dict[bytes, Array] = {}
    for party in sorted(sharing.holders[component]):
        mine = dict(duties(sharing, party))
        if component not in mine:
            continue
        piece: Any = None
        if isinstance(handed[party], dict):
            piece = handed[party].get(component)
        if mine[component] and _is_copy(piece, algebra, shape):
            votes[party] = digest(piece).tobytes()
            copies[votes[party]] = piece
        elif not mine[component] and isinstance(piece, bytes) and len(piece) == DIGEST_BYTES:
            votes[party] = piece
        else:
            votes[party] = b""
    needed = sharing.security.corruptions + 1 if sharing.security.malicious else 1
    said = list(votes.values())
    for vote, copy in copies.items():
        if said.count(vote) >= needed:
            return copy, {party for party, other in votes.items() if other != vote}
    raise VerificationFailed(
        f"component {component} of a value for a client: fewer than {needed} of its holders "
        f"{sorted(votes)} agree on one copy, so one of them deviates; the client believes none. "
        "Discard this cluster"
    )


def _is_copy(piece: Any, algebra: Algebra, shape: Shape) -> bool:
    """Whether something is an array of elements."""
    form: Any = (getattr(piece, "dtype", None), getattr(piece, "shape", None))
    return isinstance(piece, np.ndarray) and form == (np.dtype(algebra.dtype), shape)


def links_to_client(
    sharing: SharingSemantics, addresses: Sequence[str], algebra: Algebra, shape: Shape
) -> dict[Link, tuple[int, int]]:
    """The traffic of the servers' messages to the client."""
    size = algebra.nbytes(shape)
    sizes = [
        sum(size if full else DIGEST_BYTES for _, full in duties(sharing, p))
        for p in range(sharing.parties)
    ]
    return {
        Link(a, "client", Phase.ONLINE, "answer"): (n, 1)
        for a, n in zip(addresses, sizes, strict=True)
        if n
    }
