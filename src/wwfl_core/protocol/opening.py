"""How a value leaves the sharing: the one door, with its reason, its guard and its ledger line.

Here belongs every way to open a share to parties of the cluster. (Opening to a client, who is no
party, is in `wwfl_core.cluster.client`; who may open what is a guard's matter, such as
`wwfl.privacy.RevealPolicy`.)"""

from __future__ import annotations

from collections.abc import Sequence

from wwfl_core.errors import VerificationFailed
from wwfl_core.numbers import Array
from wwfl_core.party import DIGEST_BYTES, Op, agree, digest
from wwfl_core.sharing import Share

from .shares import ShareOperations


class Opening(ShareOperations):
    """One party's part in opening shares."""

    def verify(self) -> None:
        """Compares all digests of joint sends since the last check point; nobody goes on unless all
        of them agree.

        Two rounds, 64 bytes per ordered pair of parties (`wwfl_core.party.agree`). Free for
        semi-honest protocols.

        Raises:
            VerificationFailed: at every honest party, without telling whose digests differ.
        """
        if self.sharing.security.malicious:
            agree(self.party)

    def open(self, x: Share, reason: str, to: Sequence[int] | None = None) -> Array | None:
        """Opens a share to some parties (default: all that hold components). The one door through
        which values leave.

        Every missing component is sent by one holder; in a malicious-secure protocol the other
        holders send its digest, after a check point. One round (plus the check point's two). The
        opening is recorded in the ledger.

        Returns:
            The value at receivers, None elsewhere.

        Raises:
            Refused: by this server's guard (`Party.guard`), before anything is sent.
        """
        receivers = tuple(self.sharing.evaluators if to is None else to)
        audience = "all" if to is None else ",".join(map(str, receivers))
        grounds = self.party.admit(reason, audience, x.shape)
        self.verify()
        op = self.party.op("open")
        self.party.record_opening(op, reason, audience, x.shape, grounds)

        for receiver in receivers:
            for component in self.sharing.lacks(receiver):
                self._show(op, x, component, receiver)
        if self.me not in receivers:
            return None

        parts = dict(x.parts)
        for component in self.sharing.lacks(self.me):
            parts[component] = self._see(op, x, component)
        algebra = x.algebra
        return algebra.sum(
            [algebra.scale(self.coefficient(c), parts[c]) for c in self.sharing.required]
        )

    def _holders_for(self, component: int, receiver: int) -> list[int]:
        """Holders of a component, the one who sends its value to `receiver` first (its nearest
        predecessor)."""
        return sorted(
            self.sharing.holders[component], key=lambda h: (receiver - h) % self.sharing.parties
        )

    def _show(self, op: Op, x: Share, component: int, receiver: int) -> None:
        holders = self._holders_for(component, receiver)
        if self.me == holders[0]:
            op.send(receiver, x.parts[component])
        elif self.sharing.security.malicious and self.me in holders:
            op.send(receiver, digest(x.parts[component]))

    def _see(self, op: Op, x: Share, component: int) -> Array:
        holders = self._holders_for(component, self.me)
        value = op.recv(holders[0], x.algebra.dtype, x.shape)
        if self.sharing.security.malicious:
            mine = digest(value).tobytes()
            votes = [op.recv_bytes(h, DIGEST_BYTES) == mine for h in holders[1:]]
            # With fewer votes, the corrupt holders might be all who say so.
            if sum(votes) < self.sharing.security.corruptions:
                raise VerificationFailed(
                    f"party {holders[0]} ({self.party.addresses[holders[0]]}) sent party "
                    f"{self.me} a component {component} in the opening of operation {op.number} "
                    "that too few other holders confirm"
                )
        return value


__all__ = ["Opening"]
