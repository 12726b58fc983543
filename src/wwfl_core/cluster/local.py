"""A cluster: the servers that together run one protocol, and the coordinator's view of it.

The coordinator sends commands (`server.py`) to servers (`workers.py`) and holds handles; it never
holds a share, except in `share`, where the caller acts as the client who owns the data. A handle
and its cluster know each other, so both are here."""

from __future__ import annotations

import pickle
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Any, Self

import numpy.typing as npt

from wwfl_core import kernels
from wwfl_core.accelerate.choose import named
from wwfl_core.accelerate.device import HOST, Memory
from wwfl_core.channel import Authority, Cost, HostPort, Link, MemoryNetwork, NetworkModel, Phase
from wwfl_core.errors import (
    DeadlineExceeded,
    Misuse,
    PeerAborted,
    PeerLost,
    ProtocolError,
    VerificationFailed,
)
from wwfl_core.numbers.arrays import Array, Shape
from wwfl_core.party import Ledger
from wwfl_core.protocol.backend import MPCBackend, checked_protocol
from wwfl_core.randomness.prg import derive_key, fresh_key
from wwfl_core.sharing import Security, SharingSemantics, weaker_of
from wwfl_core.tensors import Session, SharedTensor, decoded

from .client import Revealed, accept, client_shares, combine, hand_over, links_to_client
from .hosts import checked_hosts
from .server import Command, Outcome, PerParty, Ref, map_tree
from .workers import ProcessWorker, ThreadWorker, Worker

DEFAULT_DEADLINE_S = 120.0


class Handle:
    """A shared tensor that lives at the servers of `cluster`.

    `guarantee` is what its value was protected against on its whole way: the weakest among the
    cluster, the clusters that it came from, and everything that it was computed from."""

    def __init__(self, cluster: LocalCluster, ref: Ref, guarantee: Security) -> None:
        self.cluster = cluster
        self.ref = ref
        self.guarantee = guarantee

    @property
    def shape(self) -> Shape:
        """The tensor's shape, which is public."""
        return self.ref.shape

    def __repr__(self) -> str:
        return f"Handle(shape={self.ref.shape}, at {self.cluster.name})"

    def __del__(self) -> None:
        self.cluster.forget(self.ref)


class Pending:
    """A command that the servers of a cluster are executing."""

    def __init__(self, cluster: LocalCluster, futures: Sequence[Future[Outcome]]) -> None:
        self._cluster = cluster
        self._futures = futures

    def outcomes(self) -> list[Outcome]:
        """Waits for all servers; never raises."""
        return [future.result() for future in self._futures]

    def result(self) -> Any:
        """Waits; returns the program's value or raises the first cause of its failure."""
        return self._cluster.settle(self.outcomes())


class LocalCluster:
    """Runs a protocol on this machine: one thread per party, or one process per party
    (`processes=True`) over TLS.

    `name` must be unique among clusters that are connected. `network` makes costs include the time
    that a run would take on that network. `insecure_seed` derives all keys from a public seed, for
    reproducible runs.

    `hosts` names who operates each server; by default every server has a host of its own. Clusters
    may share hosts, in any order, and conversions between them take that into account. A host runs
    at most one server of a cluster (Misuse otherwise): it would be several corrupt parties at once.

    `device` is where the servers keep their shares and compute: "cpu", "cuda" (the first GPU),
    "cuda:N", or "shim" (the GPU kernels compiled for the CPU, for tests). Results and PRG streams
    are the same everywhere, so clusters on different devices work together. ConfigError if it
    cannot be used here, Misuse if the protocol cannot use it."""

    def __init__(
        self,
        protocol: MPCBackend,
        *,
        name: str | None = None,
        processes: bool = False,
        network: NetworkModel | None = None,
        deadline_s: float = DEFAULT_DEADLINE_S,
        insecure_seed: int | None = None,
        authority: Authority | None = None,
        hosts: Sequence[str] | None = None,
        device: str = HOST.name,
    ) -> None:
        self.protocol = checked_protocol(protocol)
        self.sharing: SharingSemantics = protocol.sharing
        self.name = name or f"{protocol.name}-{secrets.token_hex(3)}"
        self.network = network
        self.deadline_s = deadline_s
        self.processes = processes
        self.device = _usable(device, protocol)
        self.cost = Cost()
        self.last_cost = Cost()
        self.compute_s = 0.0
        self.ledger = Ledger()
        self.addresses = tuple(f"{self.name}/{i}" for i in range(self.sharing.parties))
        self.hosts = checked_hosts(
            self.addresses if hosts is None else tuple(hosts), self.addresses, self.sharing
        )
        self.authority = authority
        self._lock = Lock()
        self._run = 0
        self._drop: list[str] = []
        self._failed = False
        self._broken: str | None = None
        self._dealt = 0
        self._memory: list[Memory] = []
        seed = None if insecure_seed is None else derive_key(b"wwfl", self.name, str(insecure_seed))
        self._client_seed = seed
        self.memory = MemoryNetwork()
        self.workers: list[Worker] = []
        self.directory: dict[str, HostPort] = {}
        self.reachable: set[str] = set()
        try:
            self._start()
            self.run(_agree_on_keys, seed)
        except BaseException:
            self.close()
            raise
        self.setup_cost, self.cost = self.cost, Cost()

    def _start(self) -> None:
        kernels.prepare()  # once here, rather than at the same time in every server process
        if not self.processes:
            self.workers = [
                ThreadWorker(self.protocol, i, self.addresses, self.memory, self.device)
                for i in range(len(self.addresses))
            ]
            return
        self.authority = self.authority or Authority()
        started: list[ProcessWorker] = []
        for i, address in enumerate(self.addresses):
            started.append(
                ProcessWorker(
                    self.protocol, i, self.addresses, self.authority.issue(address), self.device
                )
            )
            self.workers.append(started[-1])
        self.directory = {w.address: w.host_port() for w in started}
        self.reachable = set(self.directory)
        for worker in started:
            worker.connect(self.directory)

    # ------------------------------------------------------------------ commands

    def submit(
        self,
        fn: Callable[..., Any],
        *args: Any,
        run: int | None = None,
        guarantee: Security | None = None,
    ) -> Pending:
        """Starts `fn(mpc, *args)` at every server and returns at once. Handles in args become
        tensors there.

        Handles in its result have the weakest guarantee of the cluster, all handles in args, and
        `guarantee`."""
        known = [
            self.sharing.security,
            *_guarantees_in(args),
            *([] if guarantee is None else [guarantee]),
        ]
        weakest = weaker_of(*known)
        with self._lock:
            if self._broken is not None:
                raise ProtocolError(
                    f"cluster {self.name} cannot continue: {self._broken}; make a new cluster"
                )
            per_party = [self._for_party(args, i) for i in range(len(self.workers))]
            self._run = max(self._run + 1, run or 0)
            after_failure, drop = self._failed, tuple(self._drop)
            commands = [
                Command(
                    self._run, fn, mine, self.deadline_s, self.network, weakest, after_failure, drop
                )
                for mine in per_party
            ]
            futures = [
                worker.submit(command)
                for worker, command in zip(self.workers, commands, strict=True)
            ]
            self._failed = False
            del self._drop[: len(drop)]
        return Pending(self, futures)

    def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Runs `fn(mpc, *args)` at every server; shared tensors in its result come back as handles.

        Arguments go to every server as they are: pass secrets as handles (from `share`), or as
        `PerParty` values.

        Other results are those of the lowest-numbered party that returned one. If a party fails,
        all fail: the first cause is raised, the other parties' reactions are its notes."""
        return self.submit(fn, *args).result()

    def run_agreed(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Like `run`, for public results that every evaluator reports: the caller believes no
        single server.

        Raises:
            VerificationFailed: when evaluators of a malicious-secure cluster report different
                results and fewer than all but the permitted number of corrupt ones agree.
        """
        outcomes = self.submit(fn, *args).outcomes()
        value = self.settle(outcomes)
        if not self.sharing.security.malicious:
            return value
        votes = [pickle.dumps(outcomes[p].value) for p in self.sharing.evaluators]
        winner = max(votes, key=votes.count)
        if votes.count(winner) < len(votes) - self.sharing.security.corruptions:
            raise VerificationFailed(
                f"the servers of cluster {self.name} report different results; none is believed"
            )
        return self._handles(pickle.loads(winner), outcomes) if winner != votes[0] else value

    @property
    def broken(self) -> str | None:
        """Why no command can be run any more, if so."""
        return self._broken

    def next_run(self) -> int:
        """A run number above all that this cluster used."""
        with self._lock:
            return self._run + 1

    def _for_party(self, args: tuple[Any, ...], index: int) -> tuple[Any, ...]:
        def leaf(item: Any) -> Any:
            if isinstance(item, PerParty):
                return item.values[index]
            if isinstance(item, Handle):
                if item.cluster is not self:
                    raise Misuse(
                        f"{item!r} is not shared at cluster {self.name}; reshare it there first"
                    )
                return item.ref
            return item

        return map_tree(args, leaf)

    def settle(self, outcomes: Sequence[Outcome]) -> Any:
        """Accounts for a finished command and returns its value, or raises the first cause of its
        failure."""
        merged = outcomes[0].cost
        for outcome in outcomes[1:]:
            merged = merged.parallel(outcome.cost)
        self.last_cost = merged
        self._memory = [o.memory for o in outcomes if o.memory is not None]
        self.cost = self.cost + merged
        self.compute_s += sum(o.compute_s for o in outcomes)
        evaluators = self.sharing.evaluators
        self.ledger.extend(outcomes[evaluators[0]].openings)
        if any(o.error is not None for o in outcomes):
            raise self._failure(outcomes)
        values = [outcomes[p].value for p in (*evaluators, *range(len(outcomes)))]
        value = next((v for v in values if v is not None), None)
        return self._handles(value, outcomes)

    def _handles(self, value: Any, outcomes: Sequence[Outcome]) -> Any:
        # A server that reports too little can only make the others' result look weaker than it is.
        guarantee = weaker_of(
            self.sharing.security, *(o.guarantee for o in outcomes if o.guarantee is not None)
        )
        return map_tree(
            value, lambda item: Handle(self, item, guarantee) if isinstance(item, Ref) else item
        )

    def _failure(self, outcomes: Sequence[Outcome]) -> BaseException:
        failed = [(i, o) for i, o in enumerate(outcomes) if o.error is not None]
        first, cause = min(failed, key=lambda item: (*_rank(item[1].error), item[1].at))
        error = cause.error
        assert error is not None
        for i, outcome in failed:
            if i != first:
                error.add_note(
                    f"party {self.addresses[i]}: {type(outcome.error).__name__}: {outcome.error}"
                )
        error.add_note(f"first failure at party {self.addresses[first]}")
        with self._lock:
            self._failed = True
            harmless = len(failed) == len(outcomes) and all(
                not isinstance(o.error, ProtocolError) for _, o in failed
            )
            # A server of another cluster that is gone ends a conversion, but not this cluster.
            lost = any(
                isinstance(o.error, PeerLost) and o.error.peer in ("", *self.addresses)
                for _, o in failed
            )
            if (
                isinstance(error, VerificationFailed)
                or lost
                or (self.sharing.security.malicious and not harmless)
            ):
                self._broken = f"{type(error).__name__} at {self.addresses[first]}: {error}"
        return error

    # ------------------------------------------------------------------ clients

    def share(self, value: npt.ArrayLike, *, frac_bits: int | None = None) -> Handle:
        """Shares a float array as a client would: masks as 32-byte seeds, one component in full.

        The servers verify that they got the same (malicious-secure sharings). Raises RangeError or
        Misuse before anything is sent."""
        bits = self.protocol.format.frac_bits if frac_bits is None else frac_bits
        return self.share_ring(self.protocol.format.encode(value, "the shared value", bits), bits)

    def share_ring(self, ring: Array, frac_bits: int) -> Handle:
        """Shares words (two's complement) as they are."""
        # Never a number twice, and after `submit(run=...)` one that follows from it alone, as in
        # the servers' streams.
        self._dealt = max(self._dealt + 1, self._run)
        numbers = self.protocol.numbers
        parts, uploads = client_shares(
            self.sharing, numbers, numbers.from_words(ring), self._client_key()
        )
        handle: Handle = self.run(accept, PerParty(tuple(parts)), ring.shape, frac_bits)
        links = {
            Link("client", a, Phase.ONLINE, "upload"): (n, 1)
            for a, n in zip(self.addresses, uploads, strict=True)
            if n
        }
        self.last_cost = self.last_cost + Cost(links)
        self.cost = self.cost + Cost(links)
        return handle

    def _client_key(self) -> bytes:
        if self._client_seed is None:
            return fresh_key()
        return derive_key(self._client_seed, "client", str(self._dealt))

    def reveal(self, handle: Handle, reason: str = "reveal") -> Any:
        """Opens a shared tensor to the servers and the caller; recorded in the ledger."""
        return self.run_agreed(_reveal, handle, reason)

    def reveal_to_client(
        self, handle: Handle, client: str, reason: str, program: Callable[..., Any] = hand_over
    ) -> Revealed:
        """Opens a shared tensor to a client alone, whom the caller acts as
        (`wwfl_core.cluster.client`). No server learns it.

        `program(mpc, tensor, client, reason)` returns what `hand_over` does, which it calls.

        Bytes: every component once (Tetrad: twice, and 32 bytes), beside the check point.

        Raises:
            Refused: by a server's guard, before anything is sent.
            VerificationFailed: servers that contradict each other where nobody can be outvoted.
        """
        outcomes = self.submit(program, handle, client, reason).outcomes()
        self.settle(outcomes)
        handed = [outcome.value for outcome in outcomes]
        algebra = handle.ref.algebra
        shape = (
            handle.shape
            if handle.ref.frac_bits is not None
            else self.protocol.bits.shape(handle.shape)
        )
        links = Cost(links_to_client(self.sharing, self.addresses, algebra, shape))
        self.last_cost, self.cost = self.last_cost + links, self.cost + links
        opened, liars = combine(self.sharing, algebra, shape, handed)
        value = decoded(self.protocol, opened, algebra, handle.shape, handle.ref.frac_bits)
        return Revealed(value, tuple(self.addresses[p] for p in liars))

    def connect(self, other: LocalCluster) -> None:
        """Lets the servers of both clusters reach each other. Idempotent.

        Raises:
            Misuse: threads and processes cannot be connected; processes need one `authority` for
                both clusters.
        """
        if self.processes != other.processes:
            raise Misuse(
                f"{self!r} and {other!r} cannot be connected: make both with threads or both with "
                "processes"
            )
        if not self.processes:
            self.memory.bridge(other.memory)
            return
        if self.authority is not other.authority:
            raise Misuse(
                f"{self!r} and {other!r} trust different certificate authorities; pass the same "
                "authority= to both"
            )
        for here, there in ((self, other), (other, self)):
            if not there.directory.keys() <= here.reachable:
                for worker in here.workers:
                    worker.connect(there.directory)
                here.reachable |= there.directory.keys()

    def memory_report(self) -> tuple[Memory, ...]:
        """What each server process held on its device after the last command; threads share one.
        Empty on the host."""
        found = sorted(self._memory, key=lambda m: m.reserved_bytes)
        return tuple(self._memory) if self.processes else tuple(found[-1:])

    # ------------------------------------------------------------------ lifetime

    def forget(self, ref: Ref) -> None:
        """Lets the servers drop a tensor, with the next command."""
        self._drop.append(ref.id)

    def close(self) -> None:
        """Stops all servers."""
        self._broken = self._broken or "it was closed"
        for worker in self.workers:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"LocalCluster({self.protocol.name}, name={self.name!r}, "
            f"{'processes' if self.processes else 'threads'})"
        )


def _guarantees_in(args: tuple[Any, ...]) -> list[Security]:
    """The guarantees of all handles in a program's arguments."""
    found: list[Security] = []

    def leaf(item: Any) -> None:
        if isinstance(item, Handle):
            found.append(item.guarantee)

    map_tree(args, leaf)
    return found


def _usable(device: str, protocol: MPCBackend) -> str:
    """The name of a device, if it is there and the protocol can use it."""
    if named(device) is not HOST and not protocol.devices:
        raise Misuse(
            f"{protocol.name} computes on the host only; use device={HOST.name!r} for its clusters"
        )
    return device


def _rank(error: BaseException | None) -> tuple[int, int]:
    """How close an error is to the root cause: own errors, then lost peers and deadlines, then
    reactions.

    Of parties whose deadlines pass together, the one that waits in the earliest operation keeps the
    others waiting."""
    if isinstance(error, PeerAborted):
        return 3, 0
    if isinstance(error, PeerLost):
        return 2, 0
    if isinstance(error, TimeoutError):
        return 1, error.op if isinstance(error, DeadlineExceeded) else 0
    return 0, 0


def _reveal(mpc: Session, tensor: SharedTensor, reason: str) -> Any:
    return mpc.reveal(tensor, reason)


def _agree_on_keys(mpc: Session, seed: bytes | None) -> None:
    mpc.party.agree_on_keys(mpc.sharing, seed)
    mpc.verify()
