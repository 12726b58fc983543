"""Cluster: the servers that together run one protocol, as a coordinator and clients see them.

    with LocalCluster(protocol) as cluster:
        x = cluster.share(values)              # a client shares: the coordinator gets a handle
        y = cluster.run(program, x)            # every server runs program(mpc, tensor)
        cluster.reveal(y, "the result")

Here belongs where servers run (threads, processes), which commands they execute, what they keep
between commands, how clients share and receive, and shares on disk. What a program says is
`tensors`' affair."""

from . import share_files
from .client import Revealed, hand_over
from .local import Handle, LocalCluster, Pending
from .server import Outcome, PerParty, Ref, map_tree

__all__ = [
    "Handle",
    "LocalCluster",
    "Outcome",
    "Pending",
    "PerParty",
    "Ref",
    "Revealed",
    "hand_over",
    "map_tree",
    "share_files",
]
