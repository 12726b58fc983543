"""MPyC (https://github.com/lschoe/mpyc) as one party's engine for Shamir sharing over F_p, p =
2^127 - 1.

Runs in the child process of `backends.foreign.engine`; importing MPyC parses arguments, configures
logging and creates a global runtime, so it is done in `Runtime.__init__` only. MPyC's sockets are
never opened: its `MessageExchanger`s write to and are fed from `Relay.exchange`.

Rounds. MPyC is asynchronous, but its control flow depends on public values alone and every party
sends and receives in every step of a product or an opening. So all parties, which start equal, have
the same tasks waiting when nothing is ready any more. Then they exchange all that was written
since, once, and go on; a call takes a fixed number of rounds, and all parties leave it in the same
one. Framing: 8 bytes per exchange and link for its length, 12 per MPyC message.

Security: MPyC's, semi-honest, t < m/2, with the changes of `_harden`. Statistical parameter: K =
60, of which MPyC's sum of C(m, t) bounded masks costs ceil(log2 C(m, t)) bits (58 for three
parties, 56 for five): an opened x + r is within 2^-58 of what a simulator draws without x. |x| <
2^63 and 64 + K + 2 < 127 bits is what MPyC asks for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

from wwfl_core.numbers import U64

from .child import Relay
from .mpyc_field import (
    DIGEST_BYTES,
    P,
    WireFormat,
    faster_roots,
    from_words,
    to_words,
    weighted_digests,
)
from .mpyc_loop import QuietLoop

VERSION = "0.11"
VALUE_BITS = 64
K = 60
INSTALL = "install it with `pip install wwfl[mpyc]` (or `pip install mpyc==0.11`)"


class _Outbox:
    """The transport of one MessageExchanger: collects what is written until the end of the
    round."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._written.append(data)

    def collect(self) -> bytes:
        data = b"".join(self._written)
        self._written.clear()
        return data


class Runtime:
    """One MPyC party. Arrays in arguments and results are this party's shares as words (uint64 [n,
    2])."""

    def __init__(self, relay: Relay, index: int, parties: int, threshold: int) -> None:
        self._relay, self._loop = relay, QuietLoop()
        self._mpc = _import(self._loop, index, parties, threshold)
        self._type = self._mpc.SecInt(VALUE_BITS, p=P)
        self._field = self._type.field
        _harden(self._mpc)
        _speed_up()
        self._field.array._sqrt = faster_roots(self._field.array._sqrt)
        self._outboxes: dict[int, _Outbox] = {}
        self._exchangers: dict[int, Any] = {}

    def connect(self, keys: Mapping[tuple[int, ...], bytes]) -> None:
        """Sets the PRSS keys, one per set of m - t parties that this party is in, and connects the
        exchangers.

        MPyC's own set-up draws them at the lowest party of each set; here they come from the
        cluster's keys of the same sets (nothing is sent, and runs under an insecure seed compute
        the same values)."""
        from mpyc.asyncoro import MessageExchanger

        mpc = self._mpc
        mpc._prss_keys = dict(keys)
        mpc.prfs.cache_clear()
        mpc.parties[mpc.pid].protocol = self._loop.create_future()
        for peer in mpc.parties:
            if peer.pid != mpc.pid:
                self._outboxes[peer.pid] = _Outbox()
                self._exchangers[peer.pid] = MessageExchanger(mpc, peer.pid)
                self._exchangers[peer.pid].transport = self._outboxes[peer.pid]
                mpc.set_protocol(peer.pid, self._exchangers[peer.pid])

    # ------------------------------------------------------------------ operations; n elements each

    def reshare(self, words: U64) -> U64:
        """Shares of degree 2t to shares of degree t (Gennaro, Rabin, Rabin, PODC'98). 1 round.

        Each of 2t + 1 parties sends m - 1 elements per element.
        """
        return self._finish(self._mpc._reshare(self._shared(words)))

    def reshare_truncate(self, words: U64, bits: int) -> U64:
        """`reshare`, then `truncate`: 2 rounds, since the random bits are made during the first."""
        return self._finish(
            self._mpc.np_trunc(self._mpc._reshare(self._shared(words)), f=bits, l=VALUE_BITS)
        )

    def truncate(self, words: U64, bits: int) -> U64:
        """x / 2^bits, rounded to one of the two neighbours, |x| < 2^63. 2 rounds: random bits, one
        opening."""
        return self._finish(self._mpc.np_trunc(self._shared(words), f=bits, l=VALUE_BITS))

    def sign(self, words: U64, bits: int) -> U64:
        """[x < 0] for |x| < 2^(bits - 1). 3 + ceil(log2(bits + 1)) rounds (Toft's comparison, as in
        MPyC)."""
        return self._finish(self._mpc.np_sgn(self._shared(words), l=bits, LT=True))

    def is_zero(self, words: U64, bits: int) -> U64:
        """[x = 0 mod 2^bits] for |x| < 2^bits. 2 + ceil(log2 bits) rounds."""
        return self._finish(self._mpc.np_sgn(self._shared(words), l=bits, EQ=True))

    # ------------------------------------------------------------------ running MPyC

    def _shared(self, words: U64) -> Any:
        return self._type.array(self._field.array(from_words(words), check=False))

    def _finish(self, secure: Any) -> U64:
        """This party's shares of a result, when they are there."""
        result = self._mpc.gather(secure)
        self._rounds(result)
        return to_words(result.result().value)

    def _rounds(self, result: Any) -> None:
        """Exchanges until `result` is done, and checks that then nothing is left over."""
        self._loop.run_until_idle()
        while not result.done():
            outgoing = {peer: outbox.collect() for peer, outbox in self._outboxes.items()}
            incoming = self._relay.exchange(outgoing)
            if not any(outgoing.values()) and not any(incoming.values()):
                raise RuntimeError(
                    "MPyC waits for a message that nobody sends: the parties do not run the same "
                    "call"
                )
            for peer, data in incoming.items():
                self._exchangers[peer].data_received(data)
            self._loop.run_until_idle()
        unsent = any([outbox.collect() for outbox in self._outboxes.values()])
        if unsent or any(exchanger.buffers for exchanger in self._exchangers.values()):
            raise RuntimeError(
                "MPyC finished with messages that nobody asked for: the parties are out of step"
            )


def _import(loop: QuietLoop, index: int, parties: int, threshold: int) -> Any:
    """MPyC's global runtime, with explicit options whatever the environment says.

    Raises:
        ImportError: MPyC is missing or has another version than the one whose internals are used
            here.
    """
    import asyncio
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("mpyc")
    except PackageNotFoundError:
        raise ImportError(f"MPyC is not installed; {INSTALL}") from None
    if found != VERSION:
        raise ImportError(
            f"MPyC {found} is installed, but only {VERSION} is known to fit; {INSTALL}"
        )
    for name in [name for name in os.environ if name.startswith("MPYC_")]:
        del os.environ[name]
    options = {"-M": parties, "-I": index, "-T": threshold, "-L": VALUE_BITS, "-K": K, "-W": 0}
    sys.argv = [
        "wwfl",
        *(f"{key}{value}" for key, value in options.items()),
        "--no-log",
        "--no-uvloop",
    ]
    asyncio.set_event_loop(loop)
    from mpyc import runtime

    runtime.pickle = WireFormat
    return runtime.mpc


def _harden(mpc: Any) -> None:
    """Closes a leak of MPyC 0.11: in large fields, its zero test opens a polynomial that is a
    product.

    `np_is_zero_public` opens a * r for a random r from shares of degree 2t without adding a sharing
    of zero. Everybody thus learns the polynomial a(X) r(X), and its roots are those of a(X) and of
    r(X): with t = 1, each party combines its own share of a with the two roots and has two
    candidates for a, which in a comparison tells about the compared value. With a fresh sharing of
    zero of degree 2t the opened polynomial is uniform but for its value at 0."""
    from mpyc import thresha

    async def opened_product(self: Any, a: Any):  # type: ignore[no-untyped-def]  # MPyC reads the annotation
        await self.returnType(_future())
        field, n = type(a).sectype.field, a.size
        a = await self.gather(a)
        r = self._np_randoms(field, n)  # nonzero but with probability 1/p
        keys, m = self.prfs(field.order), len(self.parties)
        zero = thresha.np_pseudorandom_share_0(field, m, self.pid, keys, self._prss_uci(), n)
        product = await self.output(a.reshape(-1) * r + zero, threshold=2 * self.threshold)
        return (product == 0).reshape(a.shape)

    coroutine: Callable[..., Any] = mpc.coroutine(opened_product)
    mpc.np_is_zero_public = MethodType(coroutine, mpc)


def _speed_up() -> None:
    """MPyC's pseudorandom sharings of field elements and of zero with the same values, on limbs
    instead of ints."""
    from hashlib import shake_128

    from mpyc import thresha

    def faster(
        original: Callable[..., Any], weights: Callable[[int, int], list[int]]
    ) -> Callable[..., Any]:
        def shares(field: Any, m: int, i: int, prfs: Any, uci: bytes, n: int) -> Any:
            some = next(iter(prfs.values()))
            if field.modulus != P or some.max != P or some.byte_length != DIGEST_BYTES:
                return original(field, m, i, prfs, uci, n)
            terms = []
            for subset, prf in prfs.items():
                at: Any = thresha._f_S_i(field, m, i, subset)
                row = [int(at) * w for w in weights(i, m - len(subset))]
                terms.append((shake_128(prf.key + uci).digest(n * len(row) * DIGEST_BYTES), row))
            return field.array(weighted_digests(terms, n), check=False)

        return shares

    thresha.np_pseudorandom_share = faster(thresha.np_pseudorandom_share, lambda i, d: [1])
    thresha.np_pseudorandom_share_0 = faster(
        thresha.np_pseudorandom_share_0, lambda i, d: [(i + 1) ** j for j in range(1, d + 1)]
    )


def _future() -> Any:
    import asyncio

    return asyncio.Future
