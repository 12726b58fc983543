"""Foreign runtimes: their messages travel over the parties' channels, and their deaths are
everybody's to know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backends import Replicated3PC
from backends.foreign.engine import Engine, EngineFailed
from helpers import TESTS
from wwfl_core import LocalCluster, Session
from wwfl_core.channel.cost import Phase
from wwfl_core.errors import ConfigError, ProtocolError


class Talking(Replicated3PC):
    """Three parties with an engine each."""

    def at(self, party: Any) -> Any:
        bound = super().at(party)
        bound.engine = Engine(
            "echo_runtime", {"index": party.index, "size": self.parties}, compute_deadline_s=20
        )
        return bound

    parties = 3

    def close(self) -> None:
        self.engine.close()  # type: ignore[attr-defined]


def call(mpc: Session, method: str, *args: Any, only: int | None = None) -> Any:
    op = mpc.party.op(method)
    if only is not None and mpc.me != only:
        return op.recv(only, np.uint8, (1,))
    return [mpc.me, mpc.protocol.engine.call(op, method, *args)]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


def test_messages_of_a_runtime_are_metered_like_all_others() -> None:
    with LocalCluster(Talking(), deadline_s=20) as c:
        outcomes = c.submit(call, "ring", np.arange(5, dtype=np.uint64)).outcomes()
        c.settle(outcomes)
        assert all(o.error is None for o in outcomes)
        assert all(np.array_equal(o.value[1], np.arange(5)) for o in outcomes)
        assert c.last_cost.bytes_sent() == 3 * 40
        assert c.last_cost.rounds[Phase.ONLINE] == 1
        gossip = [o.value for o in c.submit(call, "gossip", b"ab").outcomes()]
        assert [v[1] for v in gossip] == [
            {p: b"ab" * (p + i) for p in range(3) if p != i} for i in range(3)
        ]


def test_a_failing_runtime_is_reported_with_its_own_words_and_started_anew() -> None:
    with LocalCluster(Talking(), deadline_s=10) as c:
        before = [o.value[1] for o in c.submit(call, "pid").outcomes()]
        with pytest.raises(EngineFailed, match="on purpose"):
            c.run(call, "fail")
        after = [o.value[1] for o in c.submit(call, "pid").outcomes()]
        assert not set(before) & set(after)


def test_a_dying_runtime_is_named_and_all_other_parties_learn_of_it() -> None:
    with LocalCluster(Talking(), deadline_s=10) as c:
        outcomes = c.submit(lambda mpc: call(mpc, "die", only=1)).outcomes()
        assert isinstance(outcomes[1].error, EngineFailed)
        assert "last words" in str(outcomes[1].error) and "exit code 3" in str(outcomes[1].error)
        assert all(isinstance(outcomes[p].error, ProtocolError) for p in (0, 2))


def test_a_runtime_that_cannot_start_is_a_configuration_error() -> None:
    class Alone(Talking):
        parties = 1

    with (
        LocalCluster(Alone(), deadline_s=10) as c,
        pytest.raises(ConfigError, match="too few parties"),
    ):
        c.run(call, "pid")
    engine = Engine("no_such_runtime", {})
    with pytest.raises(ConfigError, match="no_such_runtime"):
        engine._start()
    engine.close()
