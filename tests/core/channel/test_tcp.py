"""TCP connections under mutual TLS: everything arrives, nothing deadlocks, strangers are
refused."""

from __future__ import annotations

import logging
import pickle
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from wwfl_core.channel.certificates import Authority, Identity
from wwfl_core.channel.cost import Phase
from wwfl_core.channel.endpoint import Endpoint
from wwfl_core.channel.frames import Abort, Decoder, Hello, encode
from wwfl_core.channel.tcp import TcpNode
from wwfl_core.errors import DeadlineExceeded, InsecureNotAllowed, Misuse, PeerAborted, PeerLost

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


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("wwfl")] == []


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@contextmanager
def nodes(*identities: Identity | str, connect: bool = True) -> Iterator[list[TcpNode]]:
    """Connected nodes, each in a run; closed at the end."""
    made = [
        TcpNode(who, insecure_plaintext=True)
        if isinstance(who, str)
        else TcpNode(who.address, identity=who)
        for who in identities
    ]
    try:
        for node in made:
            if connect:
                node.connect(directory(made))
            node.endpoint.begin(1, deadline_s=10)
        yield made
    finally:
        for node in made:
            node.close()


def directory(made: list[TcpNode]) -> dict[str, tuple[str, int]]:
    return {node.address: node.host_port for node in made}


@pytest.mark.parametrize("secure", [True, False])
def test_tcp_carries_everything(authority: Authority, secure: bool) -> None:
    who = [authority.issue(name) if secure else name for name in ("3pc/0", "3pc/1", "3pc/2")]
    with nodes(*who) as made:
        a, b, c = (node.endpoint for node in made)
        send(a, "3pc/1", 1, [[1, 2], [3, 4]])
        a.send("3pc/1", 2, "empty", OFF, np.zeros((0, 3)), label="test")
        send(c, "3pc/1", 1, 6)
        assert recv(b, "3pc/2", 1) == 6
        first = recv(b, "3pc/0", 1, shape=(2, 2))
        assert first.tolist() == [[1, 2], [3, 4]] and not first.flags.writeable
        assert b.recv("3pc/0", 2, "empty", OFF, dtype=np.float64, shape=(0, 3)).shape == (0, 3)
        assert b.cost().rounds == {OFF: 1, ON: 1}
        a.abort("enough", peers=["3pc/1", "3pc/2"])
        with pytest.raises(PeerAborted, match="enough"):
            recv(b, "3pc/2", 2)
        made[2].close()
        b.begin(2, deadline_s=10)
        with pytest.raises(PeerLost, match=r"3pc/2 is gone.*disconnected"):
            recv(b, "3pc/2", 1)


@pytest.mark.parametrize("secure", [True, False])
def test_large_symmetric_exchange_does_not_deadlock(authority: Authority, secure: bool) -> None:
    big = np.arange(50_000_000 // 8, dtype=np.uint64)
    with nodes(*(authority.issue(name) if secure else name for name in ("a", "b"))) as made:

        def exchange(end: Endpoint, peer: str) -> bool:
            end.send(peer, 1, "mul", ON, big, label="test")
            return np.array_equal(recv(end, peer, 1, shape=big.shape), big)

        with ThreadPoolExecutor() as pool:
            assert all(pool.map(exchange, [node.endpoint for node in made], ["b", "a"]))


def test_close_delivers_what_was_sent(authority: Authority) -> None:
    with nodes(authority.issue("a"), authority.issue("b")) as made:
        a, b = made
        for op in range(20):
            send(a.endpoint, "b", op, np.full(100_000, op))
        a.close()
        for op in range(20):
            assert recv(b.endpoint, "a", op, shape=(100_000,))[-1] == op
        with pytest.raises(PeerLost):
            recv(b.endpoint, "a", 20)


def test_close_does_not_wait_for_a_peer_that_does_not_read() -> None:
    # A peer that greets and then never reads again.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        node = TcpNode("a", insecure_plaintext=True, flush_s=0.1)

        def greet() -> socket.socket:
            sock, _ = listener.accept()
            Decoder().feed(sock.recv(1000))
            sock.sendall(b"".join(encode(Hello("b", "a"))))
            return sock

        with ThreadPoolExecutor() as pool:
            greeted = pool.submit(greet)
            node.connect({"b": listener.getsockname()})
        node.endpoint.begin(1, deadline_s=1)
        send(node.endpoint, "b", 1, np.zeros(10_000_000))
        started = time.monotonic()
        node.close()
        assert time.monotonic() - started < 2
        greeted.result().close()


def test_garbage_on_a_connection_loses_the_peer() -> None:
    with nodes("a") as (node,), socket.create_connection(node.host_port) as sock:
        sock.sendall(b"".join(encode(Hello("b", "a"))) + b"no frame at all, sorry")
        with pytest.raises(PeerLost, match="malformed frame"):
            recv(node.endpoint, "b", 1)


def test_plaintext_must_be_asked_for(authority: Authority) -> None:
    with pytest.raises(InsecureNotAllowed, match="insecure_plaintext=True"):
        TcpNode("a")
    with pytest.raises(Misuse):
        TcpNode("a", identity=authority.issue("b"))
    with nodes("a") as (node,), pytest.raises(PeerLost, match="not connected to b"):
        send(node.endpoint, "b", 1)


def test_an_identity_is_picklable_and_does_not_print_its_key(authority: Authority) -> None:
    identity = authority.issue("3pc/0")
    assert pickle.loads(pickle.dumps(identity)) == identity
    assert "PRIVATE" not in repr(identity)
    with pytest.raises(Misuse):
        authority.issue("no address")


def test_a_stranger_is_refused(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), nodes(authority.issue("a")) as (node,):
        # Another authority, in both roles.
        with nodes(Authority().issue("b"), connect=False) as (stranger,):
            with pytest.raises(
                PeerLost, match=r"b: cannot connect to a at .*certificate verify failed"
            ):
                stranger.connect(directory([node]))
            with pytest.raises(
                PeerLost, match=r"a: cannot connect to b at .*certificate verify failed"
            ):
                node.connect(directory([stranger]))
        # No certificate at all: TLS 1.3 tells the dialler only when it reads.
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(node.host_port) as raw,
            pytest.raises(ssl.SSLError, match=r"(?i)certificate"),
        ):
            with bare.wrap_socket(raw) as sock:
                sock.recv(1)
        # No TLS at all.
        with nodes("b", connect=False) as (plain,), pytest.raises(PeerLost):
            plain.connect(directory([node]))
        with pytest.raises(DeadlineExceeded):
            node.endpoint.begin(2, deadline_s=0.01)
            recv(node.endpoint, "b", 1)
    assert caplog.text.count("a refused a connection from 127.0.0.1") >= 3


def test_another_servers_name_is_refused(authority: Authority) -> None:
    with nodes(authority.issue("a"), authority.issue("b"), connect=False) as (a, b):
        with pytest.raises(PeerLost, match="proved to be b, not c"):
            a.connect({"c": b.host_port})
        # A server with a valid certificate that greets under another's name.
        with socket.create_connection(a.host_port) as raw:
            with authority.issue("m").context(server=False).wrap_socket(raw) as sock:
                sock.sendall(b"".join(encode(Hello("b", "a"))))
                (answer,) = Decoder().feed(sock.recv(1000))
        assert isinstance(answer, Abort) and answer.reason == "m claims to be b"
    with nodes("a", "b") as (a, b), nodes("b", connect=False) as (second,):
        with pytest.raises(PeerLost, match=r"b is .or was. connected already"):
            second.connect({"a": a.host_port})
        with pytest.raises(PeerLost, match="x wants c, but this is b"):
            with nodes("x", connect=False) as (x,):
                x.connect({"c": b.host_port})


def test_what_a_peer_sends_ahead_is_bounded_and_nothing_of_it_is_lost() -> None:
    """A peer that floods this one is slowed down by its connection, at whatever it sends; another
    peer is not."""
    limit, count, words = 1 << 18, 300, 4096
    flooded = TcpNode("b", insecure_plaintext=True, max_waiting_bytes=limit)
    with nodes("a", "c", connect=False) as (a, c):
        try:
            for node in (a, c):
                node.connect({"b": flooded.host_port})
            flooded.endpoint.begin(1, deadline_s=10)
            for op in range(count):
                a.endpoint.send("b", op, "mul", ON, np.full(words, op, np.uint64), label="test")
            for op in range(20_000):  # small frames count, too
                send(c.endpoint, "b", op)
            time.sleep(0.5)
            here = {
                peer: sum(f.payload.nbytes for f in frames)
                for peer, frames in flooded.endpoint._inbox.items()
            }
            assert 0 < here["a"] < limit + 8 * words + 65536
            assert len(flooded.endpoint._inbox["c"]) < 2000
            for op in range(count):
                assert recv(flooded.endpoint, "a", op, shape=(words,))[0] == op
            for op in range(20_000):
                recv(flooded.endpoint, "c", op)
            for op in range(count):  # left unread: closing does not wait for it
                a.endpoint.send("b", op, "mul", ON, np.zeros(words, np.uint64), label="test")
        finally:
            begun = time.monotonic()
            flooded.close()
            assert time.monotonic() - begun < 5
