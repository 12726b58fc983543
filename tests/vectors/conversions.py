"""Conversions between every two built-in protocols, and what a client shares and learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import Any

import numpy as np

from .internals import (
    RING,
    RING32,
    Handle,
    LocalCluster,
    Session,
    SharedTensor,
    reshare_with_report,
)
from .programs import PROTOCOLS, reals, words
from .recorder import (
    NETWORK,
    SEED,
    Record,
    Recorder,
    books_of,
    cost_of,
    described,
    shares_of,
    tapped,
)

PAIRS = {f"{source} to {target}": (source, target) for source, target in permutations(PROTOCOLS, 2)}
HOSTS = ("host a", "host b", "host c", "host d")
ON_SAME_HOSTS = ("2pc to 3pc", "3pc to 2pc", "3pc to 4pc", "plain to 4pc")
"""Pairs that are also recorded with servers of both clusters on the same hosts."""


def _narrowed(mpc: Session, x: SharedTensor) -> SharedTensor:
    return x.narrow()


def _bits(mpc: Session, x: SharedTensor) -> Any:
    return x.negative(24)


def _values(source: LocalCluster) -> Iterator[tuple[str, Handle, Mapping[str, Any]]]:
    """What is converted: a name, a handle, and options of `reshare`."""
    x = source.share(reals("converted", 2, 9))
    narrow = source.run(_narrowed, x)

    yield "numbers", x, {}
    yield "a small value", source.share(reals("small", 3)), {}
    yield "a scalar", source.share(np.array(0.75)), {}
    yield "bits", source.run(_bits, x), {}
    yield "narrow", narrow, {}
    yield "widened", narrow, {"algebra": RING}
    yield "to 32 bits", x, {"algebra": RING32}
    if source.sharing.security.malicious:
        yield "detect", x, {"path": "detect"}


def record_conversion(pair: str, hosts: bool = False) -> Record:
    """All values from one protocol to the other, in two clusters of their own."""
    first, second = PAIRS[pair]
    recorder = Recorder()
    results: Record = {}
    with (
        tapped(recorder),
        _cluster(first, "from", hosts) as source,
        _cluster(second, "to", hosts) as target,
    ):
        for name, x, options in _values(source):
            moved = reshare_with_report(x, target, allow_weaker=True, **options)
            cost = cost_of(moved.cost)
            results[name] = shares_of(moved.handle) | {
                "path": f"{moved.path}, {moved.handle.guarantee}, outvoted {list(moved.outvoted)}",
                "rounds": cost["rounds"],
                "modelled_s": cost["modelled_s"],
                "bytes": str(moved.cost.bytes_sent()),
            }
        books = {side.name: books_of(side) for side in (source, target)}
    return recorder.messages() | {"results": results, "books": books}


def _cluster(protocol: str, side: str, hosts: bool) -> LocalCluster:
    made = PROTOCOLS[protocol]()
    return LocalCluster(
        made,
        name=f"{side}-{protocol}",
        insecure_seed=SEED,
        network=NETWORK,
        hosts=HOSTS[: made.sharing.parties] if hosts else None,
    )


def record_client(protocol: str) -> Record:
    """What a client shares, in full and as seeds, and what is opened to it and to the servers."""
    recorder = Recorder()
    with (
        tapped(recorder),
        LocalCluster(
            PROTOCOLS[protocol](), name=protocol, insecure_seed=SEED, network=NETWORK
        ) as cluster,
    ):
        x, small = cluster.share(reals("client", 3, 5)), cluster.share(reals("client", 3))
        ring = cluster.share_ring(words("client", 2, 4), 0)
        told = cluster.reveal_to_client(x, "a client", "for the client")
        results = {
            "large": shares_of(x),
            "small": shares_of(small),
            "words": shares_of(ring),
            "opened": {
                "to all": described(cluster.reveal(ring, "words")),
                "to the client": f"{described(told.value)}, outvoted {list(told.outvoted)}",
            },
        }
        books = books_of(cluster)
    return recorder.messages() | {"results": results, "books": {protocol: books}}
