"""A malicious-secure sharing against two corrupt parties: what two of them say together convinces
nobody."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from wwfl_core import LocalCluster, MPCBackend, Session
from wwfl_core.errors import VerificationFailed
from wwfl_core.numbers.bilinear import Bilinear
from wwfl_core.sharing.semantics import Security, SharingSemantics
from wwfl_core.sharing.share import Share

PARTIES, LIARS = 5, (3, 4)
COMPONENT = 0  # held by 2, 3 and 4
HOLDERS = tuple(frozenset(range(PARTIES)) - set(out) for out in combinations(range(PARTIES), 2))


class Five(MPCBackend):
    """Sums only: five parties, two of whom may lie; three hold each of ten components."""

    name = "five"
    sharing = SharingSemantics("rep(5,2)", PARTIES, HOLDERS, (1,) * 10, Security(True, 2))

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        raise NotImplementedError("sums only")


def opened(mpc: Session, lie: bool) -> Any:
    """Two holders show the same wrong copy of a component to those who lack it."""
    x = mpc.share(np.ones(2) if mpc.me == 0 else None, 0, shape=(2,))
    mpc.verify()
    if lie and mpc.me in LIARS:
        x.data.parts[COMPONENT] = x.data.parts[COMPONENT] + np.uint64(1 << 20)
    return mpc.reveal(x)


def test_two_holders_who_agree_on_a_lie_do_not_outvote_the_third() -> None:
    with LocalCluster(Five(), deadline_s=20.0) as c:
        assert np.array_equal(c.run(opened, False), np.ones(2))
        outcomes = c.submit(opened, True).outcomes()
        for party in (0, 1):
            assert isinstance(outcomes[party].error, VerificationFailed), outcomes[party].value


def test_words_have_more_vouchers_than_there_are_liars() -> None:
    with pytest.raises(Exception, match="fewer than 4"):
        Five.sharing.groups(4)
    with LocalCluster(Five()) as c:
        assert c.run(_fewest_dealers) == 3


def _fewest_dealers(mpc: Session) -> int:
    x = mpc.share(np.ones(2) if mpc.me == 0 else None, 0, shape=(2,))
    return min(len(group.dealers) for group, _ in mpc.protocol.words(x.data))
