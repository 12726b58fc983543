"""Endpoints in different processes or machines, connected by TCP under mutual TLS 1.3.

A pair of servers has two connections, one per direction: whoever sends, dials. So each socket is
used by one thread only (an OpenSSL connection must not be read and written at the same time), and
since reading never waits for writing, two servers that send each other any amount at once cannot
deadlock. After the handshake no byte ever travels against a connection's direction.

Handshake: TLS, in which both sides prove their address (see pki.py); the dialer says Hello(own
address, address it wants); the accepting side answers with the Hello turned around, or with an
Abort that says why it refuses."""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Final

from wwfl_core.errors import InsecureNotAllowed, Misuse, PeerLost, ProtocolError

from .certificates import Identity, certified_address
from .endpoint import MAX_WAITING_BYTES, Endpoint
from .frames import Abort, AnyFrame, Decoder, Frame, Hello, encode

HostPort = tuple[str, int]

_SMALL: Final = 64 * 1024
_log = logging.getLogger("wwfl.channel")


class TcpNode:
    """One server on the network: listens for the others, dials them, and carries the frames of
    `endpoint`.

    Pass the `identity` that an `Authority` issued for `address`; unencrypted and unauthenticated
    connections need `insecure_plaintext=True`. `port` 0 picks a free one; the directory for
    `connect` is made of every node's `host_port`. Of what a peer sends ahead, at most about
    `max_waiting_bytes` and one message are kept here: then nothing more is read from it until the
    party has taken some."""

    def __init__(
        self,
        address: str,
        *,
        identity: Identity | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        insecure_plaintext: bool = False,
        flush_s: float = 5.0,
        handshake_s: float = 10.0,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        if identity is None and not insecure_plaintext:
            raise InsecureNotAllowed(
                f"{address}: TCP without an identity would be unencrypted and unauthenticated; "
                "pass one from pki.Authority.issue(), or insecure_plaintext=True if nobody else "
                "can reach the network"
            )
        if identity is not None and (insecure_plaintext or identity.address != address):
            raise Misuse(
                f"{address}: got the identity of {identity.address}, plaintext={insecure_plaintext}"
            )
        self.address = address
        self._accepting = identity.context(server=True) if identity else None
        self._dialing = identity.context(server=False) if identity else None
        self._flush_s, self._handshake_s = flush_s, handshake_s
        self._lock = Lock()
        # Guarded by _lock: all open sockets and running threads, the sending side per peer, and the
        # peers that have dialled.
        self._sockets: set[socket.socket] = set()
        self._threads: list[Thread] = []
        self._senders: dict[str, _Sender] = {}
        self._heard: set[str] = set()
        self._closing = False
        self._listener = socket.create_server((host, port))
        self.host_port: HostPort = self._listener.getsockname()[:2]
        self._stop_listening, self._stopped = socket.socketpair()
        self.endpoint = Endpoint(address, self, max_waiting_bytes=max_waiting_bytes)
        self._listening = self._spawn(self._listen, f"{address} listens")

    def connect(self, directory: Mapping[str, HostPort]) -> None:
        """Dial every server of `directory` that is not connected yet; the own address is skipped.

        Returns once all have answered. When every server has returned from `connect`, all see each
        other.

        Raises:
            PeerLost: if one cannot be reached, proves another address than expected, or refuses.
        """
        for to, where in directory.items():
            with self._lock:
                known = to == self.address or to in self._senders
            if not known:
                self._start_sending(to, _Sender(self._dial(to, where)))

    def post(self, to: str, frame: Frame | Abort) -> None:
        """Queue a frame for the thread that writes to `to`."""
        with self._lock:
            sender = self._senders.get(to)
        if sender is None:
            raise PeerLost(
                f"{self.address}: not connected to {to}; name it in the directory of connect()", to
            )
        buffers = encode(frame)
        # Small messages travel in one piece: one system call, one packet.
        small = sum(map(len, buffers)) <= _SMALL
        sender.queue.put([b"".join(buffers)] if small else buffers)

    def close(self) -> None:
        """Send what is queued (for at most `flush_s`), disconnect, and wait for all threads to
        end."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            senders = list(self._senders.values())
        # Wakes the party if it waits; its own call of this method returns above.
        self.endpoint.close()
        for sender in senders:
            sender.queue.put(None)
        until = time.monotonic() + self._flush_s
        for sender in senders:
            sender.done.wait(max(0.0, until - time.monotonic()))
        self._stop_listening.close()
        # From here on nothing is accepted, so the sockets and threads below are all there will be.
        self._listening.join()
        with self._lock:
            for sock in self._sockets:
                _end(sock, socket.SHUT_RDWR)
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def _spawn(self, work: Callable[[], None], name: str) -> Thread:
        thread = Thread(target=work, name=f"wwfl {name}", daemon=True)
        with self._lock:
            self._threads = [running for running in self._threads if running.is_alive()]
            self._threads.append(thread)
            thread.start()
        return thread

    def _start_sending(self, to: str, sender: _Sender) -> None:
        with self._lock:
            self._senders[to] = sender
            if self._closing:
                # close() may have missed it; without this its thread would wait for ever.
                sender.queue.put(None)
        self._spawn(lambda: self._write(to, sender), f"{self.address} to {to}")

    def _own(self, sock: socket.socket) -> None:
        with self._lock:
            if self._closing:
                sock.close()
                raise ConnectionAbortedError(f"{self.address} is closing")
            self._sockets.add(sock)

    def _disown(self, sock: socket.socket) -> None:
        # First out of the set, then closed, so that close() never touches a reused file descriptor.
        with self._lock:
            self._sockets.discard(sock)
        sock.close()

    # Sending: dial, then write until told to stop.

    def _dial(self, to: str, where: HostPort) -> socket.socket:
        try:
            sock = socket.create_connection(where, timeout=self._handshake_s)
            try:
                return self._introduce(sock, to)
            except BaseException:
                sock.close()
                raise
        except (OSError, ProtocolError) as error:
            raise PeerLost(
                f"{self.address}: cannot connect to {to} at {where[0]}:{where[1]}: {error}; check "
                "that it runs, the directory, and that both identities come from one authority"
            ) from error

    def _introduce(self, sock: socket.socket, to: str) -> socket.socket:
        if self._dialing is not None:
            sock = secure = self._dialing.wrap_socket(sock)
            if (name := certified_address(secure)) != to:
                raise PeerLost(f"the server there proved to be {name}, not {to}")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(b"".join(encode(Hello(self.address, to))))
        answer = _read_one(sock)
        if isinstance(answer, Abort):
            raise PeerLost(f"refused: {answer.reason}")
        if answer != Hello(to, self.address):
            raise PeerLost(f"answered {answer} to the greeting")
        sock.settimeout(None)
        self._own(sock)
        return sock

    def _write(self, to: str, sender: _Sender) -> None:
        try:
            while (buffers := sender.queue.get()) is not None:
                for buffer in buffers:
                    sender.sock.sendall(buffer)
            _end(sender.sock, socket.SHUT_WR)
        except OSError as error:
            self.endpoint.lost(to, f"sending to it failed ({error})")
        finally:
            sender.done.set()
            self._disown(sender.sock)

    # Receiving: accept, check who it is, then read until the end.

    def _listen(self) -> None:
        with self._listener, self._stopped, selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            while not any(key.fileobj is self._stopped for key, _ in selector.select()):
                # A dialler may vanish between two calls; that is no reason to stop listening.
                with suppress(OSError):
                    self._accept(*self._listener.accept())

    def _accept(self, sock: socket.socket, where: HostPort) -> None:
        sock.settimeout(self._handshake_s)
        if self._accepting is not None:
            sock = self._accepting.wrap_socket(
                sock, server_side=True, do_handshake_on_connect=False
            )
        self._own(sock)
        # The handshake runs in the reading thread: a slow or hostile dialler keeps nobody else
        # waiting.
        self._spawn(
            lambda: self._serve(sock, f"{where[0]}:{where[1]}"), f"{self.address} from {where}"
        )

    def _serve(self, sock: socket.socket, where: str) -> None:
        try:
            peer = self._identify(sock)
        except (OSError, ProtocolError) as error:
            _log.warning("%s refused a connection from %s: %s", self.address, where, error)
        else:
            self.endpoint.lost(peer, self._read(sock, peer))
        finally:
            self._disown(sock)

    def _identify(self, sock: socket.socket) -> str:
        """Finish the handshake; returns who dialled."""
        certified = None
        if isinstance(sock, ssl.SSLSocket):
            sock.do_handshake()
            certified = certified_address(sock)
        hello = _read_one(sock)
        try:
            peer = self._admit(hello, certified)
            answer = Hello(self.address, peer)
        except PeerLost as error:
            sock.sendall(b"".join(encode(Abort(0, self.address, str(error)))))
            raise
        sock.sendall(b"".join(encode(answer)))
        sock.settimeout(None)
        return peer

    def _admit(self, hello: AnyFrame, certified: str | None) -> str:
        if not isinstance(hello, Hello):
            raise PeerLost(f"the first frame must be a greeting, not {hello}")
        if certified is not None and hello.sender != certified:
            raise PeerLost(f"{certified} claims to be {hello.sender}")
        if hello.receiver != self.address:
            raise PeerLost(f"{hello.sender} wants {hello.receiver}, but this is {self.address}")
        with self._lock:
            if hello.sender in self._heard:
                raise PeerLost(
                    f"{hello.sender} is (or was) connected already; restart the deployment"
                )
            self._heard.add(hello.sender)
        return hello.sender

    def _read(self, sock: socket.socket, peer: str) -> str:
        """Deliver everything that arrives; returns why it ended."""
        decoder = Decoder()
        small = memoryview(bytearray(_SMALL))
        try:
            while True:
                # Large payloads are read in place; everything else many pieces at a time.
                direct = decoder.buffer()
                if len(direct) >= _SMALL:
                    count = sock.recv_into(direct)
                    frame = decoder.wrote(count) if count else None
                    frames = [] if frame is None else [frame]
                else:
                    count = sock.recv_into(small)
                    frames = decoder.feed(small[:count])
                if not count:
                    return "it disconnected" if decoder.idle else "it disconnected within a message"
                for frame in frames:
                    if isinstance(frame, Hello):
                        return "it sent a second greeting"
                    self.endpoint.deliver(peer, frame)
                self.endpoint.wait_for_room(peer)
        except (OSError, ProtocolError) as error:
            return f"reading from it failed ({error})"


class _Sender:
    """The sending side of a connection: a socket for one thread, and its queue (None ends it)."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.queue: SimpleQueue[list[bytes | memoryview] | None] = SimpleQueue()
        self.done = Event()


def _end(sock: socket.socket, how: int) -> None:
    """Shut a connection down below TLS. Safe while another thread uses it: this only ends its wait.

    SSLSocket.shutdown would take the TLS object away from that thread.
    """
    with suppress(OSError):
        socket.socket.shutdown(sock, how)


def _read_one(sock: socket.socket) -> AnyFrame:
    """Read exactly one frame and nothing behind it; only for handshakes, so without payload."""
    decoder = Decoder(max_payload=0)
    while True:
        count = sock.recv_into(decoder.buffer())
        if not count:
            raise PeerLost("it disconnected during the handshake")
        frame = decoder.wrote(count)
        if frame is not None:
            return frame
