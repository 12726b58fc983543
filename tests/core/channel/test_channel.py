"""Channels: the wire format, the endpoint's promises in memory, and TCP under TLS."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wwfl_core.channel.cost import Cost, NetworkModel, Phase
from wwfl_core.channel.endpoint import MAX_ABORTED_RUNS, Endpoint
from wwfl_core.channel.frames import (
    MAX_ROUND,
    MAX_SECONDS,
    Abort,
    Decoder,
    Frame,
    Hello,
    Tag,
    encode,
)
from wwfl_core.channel.memory import MemoryNetwork
from wwfl_core.errors import DeadlineExceeded, Desync, Misuse, PeerAborted, PeerLost, ProtocolError

ON, OFF = Phase.ONLINE, Phase.OFFLINE
U64 = np.dtype(np.uint64)


def send(
    endpoint: Endpoint, to: str, op: int, value: Any = 0, *, phase: Phase = ON, name: str = "mul"
) -> None:
    endpoint.send(to, op, name, phase, np.array(value, U64), label="test")


def recv(
    endpoint: Endpoint, frm: str, op: int, *, phase: Phase = ON, shape: Any = (), name: str = "mul"
) -> Any:
    return endpoint.recv(frm, op, name, phase, dtype=U64, shape=shape)


def memory(
    parties: int = 2, *, deadline_s: float = 5, network: NetworkModel | None = None
) -> list[Endpoint]:
    net = MemoryNetwork()
    endpoints = [net.endpoint(f"3pc/{i}") for i in range(parties)]
    for endpoint in endpoints:
        endpoint.begin(1, deadline_s=deadline_s, network=network)
    return endpoints


# Frames


ARRAYS = hnp.arrays(
    st.sampled_from([np.uint8, np.uint64, np.int64, np.float64]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
FRAMES = st.builds(
    Frame,
    st.builds(
        Tag,
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**64 - 1),
        st.text(max_size=9),
        st.sampled_from(Phase),
    ),
    st.text(max_size=9),
    st.integers(0, MAX_ROUND),
    st.floats(0, MAX_SECONDS),
    ARRAYS.map(lambda array: array.T)
    | ARRAYS
    | ARRAYS.map(lambda array: array[..., ::2] if array.ndim else array),
)
OTHERS = st.builds(Abort, st.integers(0, 2**64 - 1), st.text(), st.text()) | st.builds(
    Hello, st.text(), st.text()
)


def same(a: Any, b: Any) -> bool:
    if not isinstance(a, Frame) or not isinstance(b, Frame):
        return a == b
    metadata = all(
        getattr(a, name) == getattr(b, name) for name in ("tag", "label", "stamp_round", "stamp_s")
    )
    x, y = a.payload, b.payload
    return metadata and (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())


@given(st.lists(FRAMES | OTHERS, max_size=3), st.integers(1, 50))
def test_frames_survive_the_wire_however_it_is_split(frames: list[Any], step: int) -> None:
    wire = b"".join(b"".join(encode(frame)) for frame in frames)
    decoder, arrived = Decoder(), []
    for start in range(0, len(wire), step):
        arrived += decoder.feed(wire[start : start + step])
    assert len(arrived) == len(frames) and all(map(same, arrived, frames))
    assert decoder.idle
    assert not any(frame.payload.flags.writeable for frame in arrived if isinstance(frame, Frame))


def test_byte_by_byte_and_no_copy_of_large_payloads() -> None:
    frame = Frame(Tag(1, 2, "mul", ON), "mul", 1, 0.0, np.arange(1000, dtype=np.uint64))
    header, payload = encode(frame)
    assert np.shares_memory(np.frombuffer(payload, np.uint8), frame.payload)
    decoder = Decoder()
    got = [done for byte in header + bytes(payload) for done in decoder.feed(bytes([byte]))]
    assert len(got) == 1 and same(got[0], frame)
    decoder.feed(header)
    assert len(decoder.buffer()) == frame.payload.nbytes, "the payload is read in place"


@given(st.binary(min_size=16, max_size=200))
def test_garbage_is_rejected(garbage: bytes) -> None:
    with pytest.raises(Desync, match="this is no wwfl peer"):
        Decoder().feed(b"\0" + garbage)


@given(FRAMES, st.data())
def test_damaged_frames_never_crash_the_decoder(frame: Frame, data: st.DataObject) -> None:
    wire = bytearray(b"".join(encode(frame)))
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] = data.draw(st.integers(0, 255))
    decoder = Decoder(max_payload=1 << 20)
    try:
        decoder.feed(wire)
    except Desync as error:
        assert "frame" in str(error) or "version" in str(error)


def damage(at: int, new: bytes) -> bytes:
    wire = bytearray(
        b"".join(encode(Frame(Tag(1, 2, "mul", ON), "l", 1, 0.0, np.zeros((2, 3), U64))))
    )
    wire[at : at + len(new)] = new
    return bytes(wire)


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no wwfl peer"),
        (damage(4, b"\x09"), "wire version 9"),
        (damage(5, b"\x09"), "unknown kind 9"),
        (damage(6, b"\xff\xff"), "header of 65535 bytes"),
        (damage(6, b"\0\0"), "header of 0 bytes"),
        (damage(6, b"\x20\0"), "ends inside a field"),
        (damage(8, b"\xff" * 8), "over the limit"),
        (damage(8, b"\x10"), "declares uint64 (2, 3), which is 48 bytes, but carries 16"),
        (damage(40, b"\xff" * 8), "stamp of nan"),
        (damage(48, b"\x07"), "phase code 7"),
        (damage(49, b"\x07"), "dtype code 7"),
        (damage(50, b"\xc8"), "200 dimensions"),
        (damage(69, b"\xff"), "not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_frame_is_said(wire: bytes, message: str) -> None:
    with pytest.raises(Desync) as caught:
        Decoder().feed(wire)
    assert message in str(caught.value)


def test_what_cannot_travel_is_refused_before_sending() -> None:
    a, _ = memory()
    for payload in (
        np.zeros(2, np.float32),
        np.zeros(2, ">u8"),
        np.zeros(2, bool),
        np.zeros((1,) * 17, U64),
    ):
        with pytest.raises(Misuse):
            a.send("3pc/1", 1, "mul", ON, payload, label="test")
    with pytest.raises(Misuse, match="itself"):
        send(a, "3pc/0", 1)
    assert a.cost() == Cost()


# Endpoints in memory


def test_order_is_preserved_and_nothing_is_copied() -> None:
    a, b = memory()
    sent = [np.full((2, i), i, U64) for i in range(5)]
    for i, array in enumerate(sent):
        a.send("3pc/1", i, "mul", ON, array, label="test")
    for i, array in enumerate(sent):
        assert recv(b, "3pc/0", i, shape=(2, i)) is array
        assert not array.flags.writeable


def test_desync_names_both_sides() -> None:
    a, b = memory()
    send(a, "3pc/1", 17, [1, 2, 3], name="add")
    with pytest.raises(Desync) as caught:
        recv(b, "3pc/0", 17, shape=(3, 4))
    assert str(caught.value).startswith(
        "3pc/1 is at operation 17 'mul' and expected uint64 (3, 4) from 3pc/0, which sent "
        "operation 17 'add' uint64 (3,)"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"op": 2},
        {"phase": OFF},
        {"name": "add"},
        {"value": [1]},
        {"value": np.uint64(1), "dtype": "int64"},
    ],
)
def test_every_difference_is_a_desync(wrong: dict[str, Any]) -> None:
    a, b = memory()
    sent = {"op": 1, "phase": ON, "name": "mul", "value": 0, "dtype": "uint64", **wrong}
    payload = np.array(sent["value"], sent["dtype"])
    a.send("3pc/1", sent["op"], sent["name"], sent["phase"], payload, label="test")
    with pytest.raises(Desync):
        recv(b, "3pc/0", 1)


def test_runs_are_separate() -> None:
    a, b = memory()
    send(a, "3pc/1", 1, 1)
    a.begin(2, deadline_s=1)
    send(a, "3pc/1", 1, 2)
    b.begin(2, deadline_s=1)
    assert recv(b, "3pc/0", 1) == 2, "what is left of run 1 is dropped"
    a.begin(3, deadline_s=1)
    send(a, "3pc/1", 1, 3)
    with pytest.raises(Desync, match=r"of run 2 and expected.*of run 3"):
        recv(b, "3pc/0", 1)
    with pytest.raises(Misuse, match="must increase"):
        a.begin(3, deadline_s=1)


def test_a_peer_may_begin_first() -> None:
    a, b = memory()
    a.begin(2, deadline_s=1)
    send(a, "3pc/1", 1, 7)
    a.abort("broken", peers=["3pc/1"])
    b.begin(2, deadline_s=1)
    assert recv(b, "3pc/0", 1) == 7  # what was sent before the abort still counts
    with pytest.raises(PeerAborted, match="broken"):
        recv(b, "3pc/0", 2)


def test_deadline() -> None:
    a, _ = memory(deadline_s=0.05)
    started = time.monotonic()
    with pytest.raises(
        DeadlineExceeded,
        match=r"3pc/0: 3pc/1 did not send operation 3 'mul' of run 1 within 0.05 s",
    ):
        recv(a, "3pc/1", 3)
    assert 0.04 < time.monotonic() - started < 1


def test_peer_lost_after_its_last_message() -> None:
    a, b = memory()
    send(a, "3pc/1", 1, 5)
    a.close()
    assert recv(b, "3pc/0", 1) == 5
    with pytest.raises(PeerLost, match=r"3pc/0 is gone at operation 2 'mul' of run 1"):
        recv(b, "3pc/0", 2)
    with pytest.raises(PeerLost):
        send(b, "3pc/0", 3)
    with pytest.raises(PeerLost, match="no such endpoint"):
        send(b, "4pc/0", 3)
    with pytest.raises(Misuse, match="closed"):
        send(a, "3pc/1", 2)


def outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except ProtocolError as error:
        return error


def test_closing_and_losing_wake_those_who_wait() -> None:
    a, b = memory(deadline_s=60)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(outcome, lambda: recv(b, "3pc/0", 1))
        time.sleep(0.02)
        a.close()
        assert isinstance(waiting.result(5), PeerLost)


def test_abort_reaches_everyone_while_they_wait() -> None:
    endpoints = memory(4, deadline_s=60)
    addresses = [endpoint.address for endpoint in endpoints]
    with ThreadPoolExecutor() as pool:
        waiting = [
            pool.submit(outcome, lambda e=e, frm=addresses[i % 3 + 1]: recv(e, frm, 1))
            for i, e in enumerate(endpoints[1:], 1)
        ]
        time.sleep(0.02)
        endpoints[0].abort("the check failed", peers=[*addresses, "unknown/0"])
        for result in (future.result(5) for future in waiting):
            assert isinstance(result, PeerAborted)
            assert (result.origin, result.reason) == ("3pc/0", "the check failed")
            assert pickle.loads(pickle.dumps(result)).origin == "3pc/0"
    # Whoever is aborted and aborts in turn passes on the first cause.
    late = memory(3)
    late[0].abort("first", peers=["3pc/1"])
    late[1].abort("second", peers=["3pc/2"])
    result = outcome(lambda: recv(late[2], "3pc/0", 1))
    assert (result.origin, result.reason) == ("3pc/0", "first") and "told by 3pc/1" in str(result)
    for endpoint in late:
        endpoint.begin(2, deadline_s=1)
    send(late[0], "3pc/2", 1, 9)
    assert recv(late[2], "3pc/0", 1) == 9, "an abort ends its own run only"


def test_tamper() -> None:
    net = MemoryNetwork()
    a, b = net.endpoint("a"), net.endpoint("b")
    for endpoint in (a, b):
        endpoint.begin(1, deadline_s=0.05)
    net.tamper = lambda sender, to, frame: (
        None if frame.tag.op == 2 else replace(frame, payload=frame.payload + U64.type(1))
    )
    send(a, "b", 1, 4)
    assert recv(b, "a", 1) == 5
    send(a, "b", 2)
    with pytest.raises(DeadlineExceeded):
        recv(b, "a", 2)
    net.close()


# Metering


@given(st.integers(1, 12))
def test_ping_pong_takes_a_round_per_message(messages: int) -> None:
    ends = memory(network=NetworkModel(latency_s=0.5, bandwidth_bps=64))
    for i in range(messages):
        send(ends[i % 2], ends[1 - i % 2].address, i)
        recv(ends[1 - i % 2], ends[i % 2].address, i)
    cost = Cost.merge(end.cost() for end in ends)
    assert cost.rounds == {OFF: 0, ON: messages}
    assert cost.messages() == messages and cost.bytes_sent() == 8 * messages
    assert cost.modelled_s[ON] == pytest.approx(messages * 1.5)


def test_parallel_messages_share_a_round_and_an_uplink() -> None:
    ends = memory(3, network=NetworkModel(latency_s=0.5, bandwidth_bps=64))
    pairs = [(a, b) for a in ends for b in ends if a is not b]
    for op in range(2):
        for a, b in pairs:
            send(a, b.address, op)
    for op in range(2):
        for a, b in pairs:
            recv(b, a.address, op)
    cost = Cost.merge(end.cost() for end in ends)
    assert cost.rounds[ON] == 1 and cost.messages() == 12
    assert cost.modelled_s[ON] == pytest.approx(4 * 1 + 0.5)


def test_phases_are_independent_and_control_is_free() -> None:
    a, b = memory()
    for op in range(3):
        send(a, "3pc/1", op, phase=OFF)
        recv(b, "3pc/0", op, phase=OFF)
        send(b, "3pc/0", op, phase=OFF)
        recv(a, "3pc/1", op, phase=OFF)
    send(a, "3pc/1", 4)
    a.send("3pc/1", 5, "sync", ON, np.zeros(9, U64), label="sync", control=True)
    recv(b, "3pc/0", 4)
    recv(b, "3pc/0", 5, shape=(9,), name="sync")
    cost = Cost.merge([a.cost(), b.cost()])
    assert (
        cost.rounds == {OFF: 6, ON: 1}
        and cost.messages(phase=ON) == 1
        and cost.bytes_sent(phase=ON) == 8
    )
    a.begin(2, deadline_s=1)
    assert a.cost() == Cost(), "every run starts from zero"


def test_only_who_takes_part_in_a_run_can_abort_it() -> None:
    a, b, stranger = memory(3, deadline_s=0.2)
    for run in (2, 3):
        stranger._transport.post("3pc/1", Abort(run, "3pc/0", "says the stranger"))
    b.begin(2, deadline_s=0.2, members=["3pc/0", "3pc/1"])
    a.begin(2, deadline_s=0.2)
    with pytest.raises(DeadlineExceeded):
        recv(b, "3pc/0", 1)
    a.abort("says a member", peers=["3pc/1"])
    with pytest.raises(PeerAborted, match="says a member"):
        recv(b, "3pc/0", 1)
    b.begin(3, deadline_s=0.2, members=["3pc/0", "3pc/1"])
    b.invite(["3pc/2"])
    with pytest.raises(PeerAborted, match=r"told by 3pc/2.*says the stranger"):
        recv(b, "3pc/2", 1)


def test_a_peer_cannot_fill_the_memory_with_aborts_of_runs_to_come() -> None:
    a, b = memory(deadline_s=5)
    for run in range(1, 10_000):
        a._transport.post("3pc/1", Abort(run, "3pc/0", "x" * 4000))
    assert len(b._aborts) <= MAX_ABORTED_RUNS
    b.begin(2, deadline_s=5)
    with pytest.raises(PeerAborted):
        recv(b, "3pc/0", 1)
    b.begin(MAX_ABORTED_RUNS + 1, deadline_s=5)
    a._transport.post("3pc/1", Abort(MAX_ABORTED_RUNS + 1, "3pc/0", "the room is used again"))
    with pytest.raises(PeerAborted, match="used again"):
        recv(b, "3pc/0", 1)


def test_a_stamp_at_the_limit_does_not_spoil_the_frames_of_who_received_it() -> None:
    """It spoils the accounting, nothing else: the next stamp is no larger, and no frame is refused
    for it."""
    tag = Tag(1, 1, "mul", Phase.ONLINE)
    for round, seconds in ((MAX_ROUND, MAX_SECONDS), (MAX_ROUND + 1, MAX_SECONDS * 2)):
        frame = Frame(tag, "test", round, seconds, np.zeros(1, np.uint64))
        (arrived,) = Decoder().feed(b"".join(encode(frame)))
        assert isinstance(arrived, Frame) and (arrived.stamp_round, arrived.stamp_s) == (
            MAX_ROUND,
            MAX_SECONDS,
        )
    raw = bytearray(b"".join(encode(Frame(tag, "test", 1, 0.0, np.zeros(1, np.uint64)))))
    raw[16 + 16 : 16 + 24] = (2**64 - 1).to_bytes(8, "little")
    with pytest.raises(Desync, match="round 18446744073709551615"):
        Decoder().feed(raw)
