"""CrypTen 0.4.1 at one party: the child's side of `backends.crypten`.

Ranks 0 and 1 compute, rank 2 is the trusted third party (TTP) that deals tuples. All three run the
same methods in the same order; the TTP's do what CrypTen's TTPServer does for the requests of that
operation. Shares come and go as uint64 words of Z_2^64, of precision 0 to CrypTen: the scale of
fixed-point numbers is the framework's business."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch

from wwfl_core.kernels import expand, pack
from wwfl_core.numbers import RING, U8, U64, Array, Bilinear, Shape, numel

from .child import Relay
from .crypten_bridge import (
    TTP,
    Client,
    Server,
    Stream,
    communicator,
    install,
    set_products,
    set_zero_sharing,
    tensor,
    words,
)

# After the bridge, which makes CrypTen importable.
from crypten.mpc.primitives import beaver, circuit, converters  # isort: skip
from crypten.mpc.primitives.arithmetic import ArithmeticSharedTensor  # isort: skip
from crypten.mpc.primitives.binary import BinarySharedTensor  # isort: skip

WORD = 8
ADDER_LEVELS = 6  # log2 64
Keys = dict[str, bytes]


class Methods(Protocol):
    """What a runtime can do. Arrays are this party's shares; the TTP passes and returns None.
    `keys` are fresh."""

    def product(
        self, keys: Keys, f: Bilinear, x: Any, y: Any, xs: Shape, ys: Shape, truncate: int
    ) -> Any: ...
    def truncate(self, keys: Keys, x: Any, bits: int) -> Any: ...
    def conjunction(self, keys: Keys, x: Any, y: Any, size: int) -> Any: ...
    def sign(self, keys: Keys, x: Any, shape: Shape, bits: int) -> Any: ...
    def is_zero(self, keys: Keys, x: Any, shape: Shape, bits: int) -> Any: ...
    def bit_to_ring(self, keys: Keys, b: Any, shape: Shape) -> Any: ...
    def counted(self) -> dict[str, Any]: ...


def Runtime(relay: Relay, rank: int) -> Methods:
    """The runtime of a party, as the engine makes it."""
    client = install(relay, rank)
    return Dealer() if rank == TTP else Evaluator(rank, client)


def counted() -> dict[str, Any]:
    """CrypTen's own counters since the start: rounds (calls of collectives) and bytes, sent and
    received."""
    return communicator().get_communication_stats()


def evaluated(f: Bilinear) -> Any:
    """A bilinear map on tensors: numpy views of their words, evaluated by the framework's
    kernels."""
    return lambda a, b: tensor(f.apply(RING, [(words(a), words(b))]))


def _words_of(data: U8) -> torch.Tensor:
    """Packed bits as int64 words, padded to whole words."""
    flat = data.reshape(-1)
    return tensor(np.pad(flat, (0, -flat.size % WORD)).view(np.uint64))


class Evaluator:
    """Rank 0 or 1: CrypTen's arithmetic on this party's shares."""

    def __init__(self, rank: int, client: Client) -> None:
        self._rank, self._client = rank, client

    def _use(self, keys: Keys) -> None:
        """Fresh streams for one operation: with the TTP, and with the other party in both
        directions."""
        self._client.generator = Stream(keys["ttp"])
        set_zero_sharing({"prev": Stream(keys["prev"]), "next": Stream(keys["next"])})

    def product(
        self, keys: Keys, f: Bilinear, x: U64, y: U64, xs: Shape, ys: Shape, truncate: int
    ) -> U64:
        """CrypTen's Beaver protocol with `f` as the operation, then its division by 2^truncate."""
        self._use(keys)
        self._client.product_shape = shape = f.shape(xs, ys)
        # Rank 1 computes c only to learn its size ("TODO" in CrypTen); an empty tensor of that size
        # will do.
        set_products(evaluated(f), lambda a, b: torch.empty(shape, dtype=torch.long, device="meta"))
        z = beaver.mul(_arithmetic(x), _arithmetic(y))
        return words(z.div_(1 << truncate).share if truncate else z.share)

    def truncate(self, keys: Keys, x: U64, bits: int) -> U64:
        """CrypTen's division by a public integer among two: each divides its share, rounded to
        zero. No message."""
        return words(_arithmetic(x).div_(1 << bits).share)

    def conjunction(self, keys: Keys, x: U8, y: U8, size: int) -> U8:
        """AND of packed bits, 64 to a word."""
        self._use(keys)
        both = _binary(_words_of(x)) & _binary(_words_of(y))
        return words(both.share).view(np.uint8)[:size]

    def sign(self, keys: Keys, x: U64, shape: Shape, bits: int) -> U8:
        """CrypTen's `_ltz` up to its last step: shares to bits with its adder, then the sign bit;
        packed."""
        self._use(keys)
        added: Any = converters._A2B(_arithmetic(_window(x, bits)))
        return pack(words(added.share) >> np.uint64(63))

    def is_zero(self, keys: Keys, x: U64, shape: Shape, bits: int) -> U8:
        """CrypTen's `_eqz_2PC` up to its last step: do x0 and -x1 agree in every bit?"""
        self._use(keys)
        mine = tensor(_window(x, bits))
        first, second = BinarySharedTensor(mine, src=0), BinarySharedTensor(-mine, src=1)
        return pack(words(circuit.eq(first, second).share))

    def bit_to_ring(self, keys: Keys, b: U8, shape: Shape) -> U64:
        """CrypTen's B2A of single bits."""
        self._use(keys)
        bits = tensor(expand(b.reshape(-1), numel(shape)))
        return words(beaver.B2A_single_bit(_binary(bits)).share).reshape(shape)

    def counted(self) -> dict[str, Any]:
        return counted()


class Dealer:
    """Rank 2: the tuples that CrypTen's parties request in each operation, in their order."""

    def __init__(self) -> None:
        self._server = Server()

    def _use(self, keys: Keys) -> None:
        self._server.generators = [Stream(keys["ttp0"]), Stream(keys["ttp1"])]

    def product(
        self, keys: Keys, f: Bilinear, x: None, y: None, xs: Shape, ys: Shape, truncate: int
    ) -> None:
        """One triple c = f(a, b)."""
        self._use(keys)
        set_products(evaluated(f), evaluated(f))
        self._server.serve("additive", xs, ys, "mul")

    def truncate(self, keys: Keys, x: None, bits: int) -> None:
        """Nothing."""

    def conjunction(self, keys: Keys, x: None, y: None, size: int) -> None:
        """One AND triple per word."""
        self._use(keys)
        self._and((-(-size // WORD),))

    def sign(self, keys: Keys, x: None, shape: Shape, bits: int) -> None:
        """The adder: generate bits, then six levels that update set and propagate bits at once."""
        self._use(keys)
        n = numel(shape)
        self._and((1, n))
        for _ in range(ADDER_LEVELS):
            self._and((2, 1, n))

    def is_zero(self, keys: Keys, x: None, shape: Shape, bits: int) -> None:
        """The AND of 64 bits by halving."""
        self._use(keys)
        for _ in range(ADDER_LEVELS):
            self._and((numel(shape),))

    def bit_to_ring(self, keys: Keys, b: None, shape: Shape) -> None:
        """A random bit per element, shared both ways."""
        self._use(keys)
        self._server.serve("B2A", (numel(shape),))

    def _and(self, shape: Shape) -> None:
        self._server.serve("binary", shape, shape)

    def counted(self) -> dict[str, Any]:
        return counted()


def _window(x: Array, bits: int) -> U64:
    """x * 2^(64 - bits), flat: what is asked about the low bits of x is asked about all bits of
    this."""
    return np.ascontiguousarray(x).reshape(-1) << np.uint64(64 - bits)


def _arithmetic(x: Array) -> Any:
    return ArithmeticSharedTensor.from_shares(tensor(x), precision=0)


def _binary(x: torch.Tensor) -> Any:
    return BinarySharedTensor.from_shares(x, precision=0)
