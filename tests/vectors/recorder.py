"""What a run did, as data that can be compared: messages, shares, costs, rounds, openings.

Nothing here differs between two runs with one seed, so there are no measured times. Of every
message the record has its number, its round, what it is (label, phase, dtype and shape) and the
start of the payload's SHA-256, so that a comparison can name the first message that differs; the
digest of a link covers all of its messages in full.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .internals import (
    Handle,
    LocalCluster,
    MPCBackend,
    NetworkModel,
    Session,
    SharedBits,
    SharedTensor,
    components,
    tapped,
)

SEED = 12
NETWORK = NetworkModel(latency_s=0.02, bandwidth_bps=1e9)
"""Makes costs include modelled seconds, which depend on the order of sends."""
SHORT, LONG = 8, 12  # hex digits of a payload in a line, and of a component

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

Record = dict[str, Any]


def sha(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes in C order, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def kind(array: np.ndarray) -> str:
    """dtype[shape]"""
    return f"{array.dtype.name}[{','.join(map(str, array.shape))}]"


class Message(NamedTuple):
    """One message on a link.

    `number` is "RUN.OP" (see `_within`), `round` that of its arrival, `what` is
    "LABEL PHASE DTYPE[SHAPE]", and `payload` is the start of its SHA-256.
    """

    number: str
    round: int
    what: str
    payload: str

    def __str__(self) -> str:
        return f"operation {self.number} ({self.what}), round {self.round}, payload {self.payload}"


RUN_BITS = 32


def _within(run: int, op: int) -> str:
    """An operation's number: "+N" where it is number N of its run, else the number as it is."""
    return f"+{op - (run << RUN_BITS)}" if op >> RUN_BITS == run else str(op)


class Recorder:
    """A tap on the wire. Every sender is one thread, so its list needs no lock."""

    def __init__(self) -> None:
        self._sent: dict[
            str, list[tuple[str, Message, int]]
        ] = {}  # by sender: receiver, message, bytes

    def __call__(self, sender: str, receiver: str, frame: Any) -> Any:
        tag, payload = frame.tag, frame.payload
        name = (
            frame.label
            if frame.label.rsplit("/", 1)[-1] == tag.name
            else f"{frame.label}:{tag.name}"
        )
        what = f"{name} {tag.phase.value} {kind(payload)}"
        message = Message(
            f"{tag.run}.{_within(tag.run, tag.op)}", frame.stamp_round, what, sha(payload)
        )
        self._sent.setdefault(sender, []).append((receiver, message, payload.nbytes))
        return frame

    def messages(self) -> Record:
        """Per ordered link what was sent, and per sender to whom, in order."""
        links: Record = {}
        order: Record = {}
        for sender, sent in sorted(self._sent.items()):
            receivers = sorted({receiver for receiver, *_ in sent})
            sequence = "".join(DIGITS[receivers.index(receiver)] for receiver, *_ in sent)
            order[sender] = {"receivers": receivers, "sequence": sequence}
            for receiver in receivers:
                mine = [(message, size) for to, message, size in sent if to == receiver]
                links[f"{sender} -> {receiver}"] = {
                    "messages": len(mine),
                    "bytes": sum(size for _, size in mine),
                    "digest": hashlib.sha256(
                        "\n".join(str(message) for message, _ in mine).encode()
                    ).hexdigest()[:32],
                    "each": [
                        message._replace(payload=message.payload[:SHORT]) for message, _ in mine
                    ],
                }
        return {"links": links, "order": order}


# ---------------------------------------------------------------------- shares


def described(value: Any) -> Any:
    """What one party has of a result: digests of its components, or of what was opened."""
    if isinstance(value, SharedTensor | SharedBits):
        scale = f"frac_bits {value.frac_bits}" if isinstance(value, SharedTensor) else "bits"
        parts = components(value)
        kinds = " or ".join(sorted({kind(a) for a in parts.values()}))
        digests = " ".join(f"{c}:{sha(a)[:LONG]}" for c, a in sorted(parts.items()))
        return f"{list(value.shape)} {scale} {kinds} {digests}".rstrip()
    if isinstance(value, bytes):
        return f"bytes {hashlib.sha256(value).hexdigest()[:LONG]}"
    if value is None:
        return "nothing"
    array = np.asarray(value)
    return f"opened {kind(array)} {sha(array)[:LONG]}"


def describe_results(
    mpc: Session, program: Callable[..., Mapping[str, Any]], *args: Any
) -> dict[str, str]:
    """Runs a program at a party and describes what this party has of its results."""
    return {name: described(value) for name, value in program(mpc, *args).items()}


def describe_one(mpc: Session, value: Any) -> dict[str, str]:
    """What a party has of a shared value."""
    return {"shares": described(value)}


def at_all(cluster: LocalCluster, fn: Callable[..., dict[str, str]], *args: Any) -> Record:
    """What `fn` returns, by name and party; raises the first cause if a party fails."""
    outcomes = cluster.submit(fn, *args).outcomes()
    cluster.settle(outcomes)
    names = list(dict.fromkeys(name for outcome in outcomes for name in outcome.value))
    return {
        name: {str(p): o.value[name] for p, o in enumerate(outcomes) if name in o.value}
        for name in names
    }


def shares_of(handle: Handle) -> Record:
    """What every party has of the value behind a handle."""
    return at_all(handle.cluster, describe_one, handle)["shares"]


# ---------------------------------------------------------------------- costs and openings


def cost_of(cost: Any, within: str = "") -> Record:
    """Rounds, modelled seconds, and a row per label and phase: bytes/messages on every link.

    Addresses in the cluster `within` are given by the number of the party.
    """
    found = cost.to_json()
    rows: dict[str, list[str]] = {}
    for r in found["links"]:
        ends = (r[end].removeprefix(f"{within}/") for end in ("sender", "receiver"))
        rows.setdefault(f"{r['label']} {r['phase']}", []).append(
            f"{'>'.join(ends)} {r['bytes']}/{r['messages']}"
        )
    return {
        "rounds": ", ".join(f"{phase} {n}" for phase, n in found["rounds"].items()),
        "modelled_s": ", ".join(
            f"{phase} {seconds:.9g}" for phase, seconds in found["modelled_s"].items()
        ),
        "rows": {what: ", ".join(sorted(links)) for what, links in sorted(rows.items())},
    }


def ledger_of(ledger: Any) -> list[str]:
    """A line per opening."""
    return [
        f"{o.run}.{_within(o.run, o.op)} {o.label}: {o.reason} -> {o.to} {list(o.shape)} "
        f"{o.count} {o.grounds}".rstrip()
        for o in ledger
    ]


def books_of(cluster: LocalCluster) -> Record:
    """Costs and openings of a cluster since it was started."""
    return {
        "setup": ", ".join(
            f"{key}: {value}" for key, value in cost_of(cluster.setup_cost, cluster.name).items()
        ),
        "cost": cost_of(cluster.cost, cluster.name),
        "ledger": ledger_of(cluster.ledger),
    }


# ---------------------------------------------------------------------- a program


def record_program(
    name: str, protocol: Callable[[], MPCBackend], program: Callable[..., Any], words: Any
) -> Record:
    """Everything that a program of `programs.py` does, in a cluster of its own."""
    recorder = Recorder()
    with (
        tapped(recorder),
        LocalCluster(protocol(), name=name, insecure_seed=SEED, network=NETWORK) as cluster,
    ):
        edges = cluster.share_ring(words, 0)
        results = at_all(cluster, describe_results, program, edges)
        books = books_of(cluster)
    return recorder.messages() | {"results": results, "books": {name: books}}
