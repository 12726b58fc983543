"""Accounting: costs compose, clocks follow dependencies, the ledger adds up."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wwfl_core.channel.clock import ORIGIN, Clock, Stamp
from wwfl_core.channel.cost import Cost, Link, NetworkModel, Phase
from wwfl_core.errors import Misuse
from wwfl_core.party.ledger import Ledger

ON, OFF = Phase.ONLINE, Phase.OFFLINE


def costs() -> st.SearchStrategy[Cost]:
    links = st.builds(
        Link, st.sampled_from("ab"), st.sampled_from("ab"), st.sampled_from(Phase), st.just("mul")
    )
    counts = st.tuples(st.integers(0, 100), st.integers(0, 9))
    phases = st.fixed_dictionaries({phase: st.integers(0, 9) for phase in Phase})
    return st.builds(Cost, st.dictionaries(links, counts), phases, phases)


@given(costs(), costs())
def test_sequential_adds_everything_and_parallel_takes_the_slower(a: Cost, b: Cost) -> None:
    for both in (a + b, a.parallel(b)):
        assert both.bytes_sent() == a.bytes_sent() + b.bytes_sent()
        assert both.messages(phase=ON) == a.messages(phase=ON) + b.messages(phase=ON)
    for phase in Phase:
        assert (a + b).rounds[phase] == a.rounds[phase] + b.rounds[phase]
        assert a.parallel(b).rounds[phase] == max(a.rounds[phase], b.rounds[phase])
        assert a.parallel(b).modelled_s[phase] == max(a.modelled_s[phase], b.modelled_s[phase])


@given(costs(), costs(), costs())
def test_composition_is_associative_and_has_a_zero(a: Cost, b: Cost, c: Cost) -> None:
    assert (a + b) + c == a + (b + c)
    assert a.parallel(b).parallel(c) == Cost.merge([c, b, a])
    assert sum([a, b], Cost()) == a + b


def test_filters_and_renderings() -> None:
    cost = Cost(rounds={OFF: 0, ON: 2}, modelled_s={OFF: 0.0, ON: 0.5})
    cost.record(Link("a", "b", ON, "mul"), 1000)
    cost.record(Link("a", "b", ON, "mul"), 24)
    cost.record(Link("b", "a", OFF, "triples"), 7)
    assert cost.bytes_sent(label="mul") == 1024 and cost.messages(label="mul") == 2
    assert (
        cost.bytes_sent(sender="b")
        == cost.bytes_sent(receiver="a")
        == cost.bytes_sent(phase=OFF)
        == 7
    )
    assert cost.bytes_sent(sender="a", receiver="a") == 0
    data = json.loads(json.dumps(cost.to_json()))
    assert data["rounds"] == {"offline": 0, "online": 2}
    assert data["links"][1] == {
        "sender": "b",
        "receiver": "a",
        "phase": "offline",
        "label": "triples",
        "bytes": 7,
        "messages": 1,
    }
    assert "1,031" in str(cost) and "online 2" in str(cost) and "0.5 s" in str(cost)


@given(
    st.floats(0, 1),
    st.floats(1, 1e10),
    st.lists(st.integers(0, 10**9), min_size=1, max_size=6),
)
def test_messages_queue_on_the_uplink(latency: float, bandwidth: float, sizes: list[int]) -> None:
    clock = Clock(NetworkModel(latency, bandwidth))
    stamps = [clock.send(ON, size) for size in sizes]
    assert {stamp.round for stamp in stamps} == {1}
    assert stamps[-1].seconds == pytest.approx(sum(sizes) * 8 / bandwidth + latency)
    assert clock.now(ON) == ORIGIN, "sending takes the sender no time"


def test_an_idle_uplink_starts_at_the_senders_now() -> None:
    clock = Clock(NetworkModel(latency_s=0.25, bandwidth_bps=80))
    assert clock.send(ON, 10) == Stamp(1, 1.25)
    clock.receive(ON, Stamp(3, 5.0))
    clock.receive(ON, Stamp(1, 0.5))
    assert clock.now(ON) == Stamp(3, 5.0)
    assert clock.send(ON, 10) == Stamp(4, 6.25)
    assert clock.send(OFF, 10) == Stamp(1, 1.25), "the phases are independent"


def test_network_models() -> None:
    assert Clock(NetworkModel(0.1, math.inf)).send(ON, 10**12) == Stamp(1, 0.1)
    assert Clock(None).send(ON, 10**12) == Stamp(1, 0.0)
    for latency, bandwidth in ((-1, 1), (math.nan, 1), (math.inf, 1), (0, 0), (0, math.nan)):
        with pytest.raises(Misuse):
            NetworkModel(latency, bandwidth)


def test_ledger() -> None:
    ledger = Ledger()
    assert str(ledger) == "nothing was opened"
    entry = ledger.record(run=1, op=2, label="relu", reason="masked", shape=(3, 4))
    assert entry.count == 12 and entry.to == "all"
    ledger.record(run=1, op=3, label="loss", reason="result", to="client")
    ledger.extend(Ledger([entry]))
    assert ledger.summary() == {"masked": (2, 24), "result": (1, 1)}
    assert json.loads(json.dumps(ledger.to_json()))[0]["shape"] == [3, 4]
    assert [opening.op for opening in ledger] == [2, 3, 2] and len(ledger) == 3
    assert ledger != Ledger([entry]) and "2 openings, 24 values" in str(ledger)
