"""HPMPC's `compare_views` prints a mismatch and goes on (its `exit(0)` is commented out)."""

from __future__ import annotations

from backends import Tetrad4PC


class PrintAndContinue(Tetrad4PC):
    """A failed check point is reported, not raised. (Digests are sent and read as they should
    be.)"""

    def verify(self) -> None:
        op, transcript = self.party.op("check"), self.party.transcript
        others = [p for p in range(self.party.size) if p != self.me]
        for other in others:
            op.send(other, transcript.said(other))
        for other in others:
            if op.recv(other, "u1", (32,)).tobytes() != transcript.heard(other).tobytes():
                print(f"views do not match: party {other} does not vouch for what I got")
        transcript.clear()
