"""Channel: messages between servers, over memory or TLS, and what they cost.

Here belongs what a message is (frames), how it travels (endpoints over a transport, certificates),
and how bytes, rounds and modelled seconds are counted (virtual clocks). What a message means is the
protocol's affair."""

from .certificates import Authority, Identity
from .cost import Cost, Link, NetworkModel, Phase
from .endpoint import Endpoint, Transport
from .frames import Abort, Frame, Hello, Tag
from .memory import MemoryNetwork
from .tcp import HostPort, TcpNode

__all__ = [
    "Abort",
    "Authority",
    "Cost",
    "Endpoint",
    "Frame",
    "Hello",
    "HostPort",
    "Identity",
    "Link",
    "MemoryNetwork",
    "NetworkModel",
    "Phase",
    "Tag",
    "TcpNode",
    "Transport",
]
