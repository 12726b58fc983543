"""What it costs a cluster to draw clients whom nobody knows: one round's selection, in every
protocol.

    python -m benchmarks.hidden_sampling

By default 10 of 20 clients with 20 digits of 32 x 32 pixels each and their labels, all servers as
threads of one process. Bytes are what all servers send, offline and online; `modelled` is the time
on the network of a cluster (20 ms, 1 Gbps), without computing, `measured` the best of the repeats
on this machine. `upload` is what all clients send once; with public sampling only those are
uploaded that are ever drawn."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from backends import Additive2PC, Additive2PCOT, Replicated3PC, Tetrad4PC
from wwfl.data.datasets import mnist
from wwfl.federation import CLUSTER_NETWORK, one_hot
from wwfl.federation import server_programs as programs
from wwfl_core import LocalCluster, MPCBackend, Phase

from .machine import describe

PROTOCOLS: dict[str, Callable[[], MPCBackend]] = {
    "2pc": Additive2PC,
    "2pc-ot": Additive2PCOT,
    "3pc": Replicated3PC,
    "4pc": Tetrad4PC,
}


def measure(name: str, clients: int, sampled: int, rows: int, repeats: int) -> dict[str, Any]:
    """One protocol's row."""
    train, _ = mnist()
    with LocalCluster(PROTOCOLS[name](), name=name, network=CLUSTER_NETWORK) as cluster:
        uploads, sent = [], 0
        for client in range(clients):
            mine = train[client * rows : (client + 1) * rows]
            both = []
            for value in (mine.images, one_hot(mine.labels, 10)):
                both.append(cluster.share(value))
                sent += cluster.last_cost.bytes_sent()
            uploads.append(tuple(both))
        seconds = []
        for _ in range(repeats):
            begun = time.perf_counter()
            cluster.run(programs.select, uploads, sampled)
            seconds.append(time.perf_counter() - begun)
        cost = cluster.last_cost
    return {
        "protocol": name,
        "bytes_offline": cost.bytes_sent(phase=Phase.OFFLINE),
        "bytes_online": cost.bytes_sent(phase=Phase.ONLINE),
        "rounds_online": cost.rounds.get(Phase.ONLINE, 0),
        "modelled_s": sum(cost.modelled_s.values()),
        "measured_s": min(seconds),
        "bytes_upload": sent,
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--sampled", type=int, default=10)
    parser.add_argument("--rows", type=int, default=20, help="digits per client")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--protocols", default="2pc,3pc,4pc", help=f"of {', '.join(PROTOCOLS)}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    rows = [
        measure(name, args.clients, args.sampled, args.rows, args.repeats)
        for name in args.protocols.split(",")
    ]
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    print(
        f"hidden sampling, {args.sampled} of {args.clients} clients, {args.rows} digits each: "
        f"{describe()}"
    )
    for r in rows:
        print(
            f"{r['protocol']:>7}  offline {r['bytes_offline'] / 1e6:.3f} MB  online "
            f"{r['bytes_online'] / 1e6:.3f} MB  {r['rounds_online']} rounds  modelled "
            f"{r['modelled_s']:.3f} s  measured {r['measured_s']:.3f} s  upload "
            f"{r['bytes_upload'] / 1e6:.1f} MB"
        )


if __name__ == "__main__":
    main()
