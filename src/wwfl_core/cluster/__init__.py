"""Cluster: the servers that together run one protocol, as a coordinator and clients see them.

    with LocalCluster(protocol) as cluster:
        x = cluster.share(values)              # a client shares: the coordinator gets a handle
        y = cluster.run(program, x)            # every server runs program(mpc, tensor)
        cluster.reveal(y, "the result")

Here belongs where servers run (threads, processes), which commands they execute, what they keep
between commands, how clients share and receive, and shares on disk. What a program says is
`tensors`' affair."""

from .client import Revealed, combine, hand_over
from .local import Handle, LocalCluster, Pending
from .server import Outcome, PerParty, Ref, map_tree
from .share_files import load_shares, save_shares

__all__ = [
    "Handle",
    "LocalCluster",
    "Outcome",
    "Pending",
    "PerParty",
    "Ref",
    "Revealed",
    "combine",
    "hand_over",
    "load_shares",
    "map_tree",
    "save_shares",
]
