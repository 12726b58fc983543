"""Every error that wwfl raises on purpose. One small hierarchy, so that callers can catch by cause.

Each message says what was wrong, where, and what to do about it.
"""

from __future__ import annotations


class WwflError(Exception):
    """Base of all errors that wwfl raises on purpose."""


class Misuse(WwflError, ValueError):
    """The caller asked for something that cannot be: wrong dtype, shape, owner, party or
    sharing."""


class RangeError(Misuse):
    """A value does not fit the fixed-point format (or a declared domain)."""


class ConfigError(Misuse):
    """A configuration, a model or a file's declared content is not usable."""


class DataError(ConfigError):
    """A data or checkpoint file is missing, malformed or corrupt."""


class ProtocolError(WwflError):
    """Base of errors that end a run: the parties can no longer continue together."""


class Desync(ProtocolError):
    """Two parties are not executing the same operation: they run different programs or versions."""


class PeerLost(ProtocolError):
    """The connection to a party is gone; `peer` is its address, if it is known."""

    def __init__(self, message: str, peer: str = "") -> None:
        super().__init__(message)
        self.peer = peer


class PeerAborted(ProtocolError):
    """Another party aborted; `origin` is the party that failed first and `reason` what it said."""

    def __init__(self, message: str, origin: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.origin = origin
        self.reason = reason


class DeadlineExceeded(ProtocolError, TimeoutError):
    """A message did not arrive before its deadline; `op` is the number of the operation that waited
    for it, if any."""

    def __init__(self, message: str, op: int = 0) -> None:
        super().__init__(message)
        self.op = op


class VerificationFailed(ProtocolError):
    """A check of a malicious-secure protocol failed: somebody deviated. Nothing unverified was
    opened."""


class Refused(WwflError):
    """A policy or a limit forbids the request; `rule` names the one that does."""

    def __init__(self, message: str, rule: str = "") -> None:
        super().__init__(message)
        self.rule = rule


class InsecureNotAllowed(WwflError):
    """The request would weaken security and the explicit argument that permits it was not given."""
