"""What CrypTen 0.4.1 finds in place of its sockets and its generators. Imported in a child process
only.

Three things of CrypTen are replaced, none of them part of its protocols:

* Transport. A `Communicator` over the party's channels takes the place of torch.distributed, so
  CrypTen opens no socket. Collectives send what CrypTen's own accounting says: an all-reduce of two
  parties sends each one's tensor.
* Requests to the trusted third party (TTP). CrypTen's party 0 sends a pickled request for every
  tuple, some 200 bytes, and gets a pickled size before the tensor. Here the TTP runs the same
  program as the parties, so it knows what is asked for; only the tensors travel.
* Randomness. CrypTen draws masks from `torch.Generator`, a Mersenne Twister that torch seeds with
  32 bits: whoever sees a few masked values can try all seeds. The streams here are ChaCha20 under
  the keys of exactly the parties that shared the seed in CrypTen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch

from wwfl_core.channel import Phase
from wwfl_core.numbers import RING, U64, Array, Shape
from wwfl_core.randomness import Prg

from .child import Relay

# Submodules that `import crypten` loads, that need onnx and tensorboard (and torch internals that
# moved), and that nothing here uses; each with the names that crypten.nn imports from it.
UNUSED = {
    "crypten.nn.onnx_converter": ("from_onnx", "from_pytorch", "from_tensorflow", "TF_AND_TF2ONNX"),
    "crypten.nn.tensorboard": (),
}
for _name, _imported in UNUSED.items():
    _empty = ModuleType(_name)
    _empty.__dict__.update(dict.fromkeys(_imported))
    sys.modules.setdefault(_name, _empty)

import crypten  # noqa: E402
import crypten.communicator  # noqa: E402
from crypten.communicator.communicator import Communicator, _logging  # noqa: E402
from crypten.mpc.primitives import arithmetic, beaver, binary  # noqa: E402
from crypten.mpc.provider import ttp_provider  # noqa: E402

P0, P1, TTP = 0, 1, 2
VERSION = "0.4.1"
if crypten.__version__ != VERSION:
    raise ImportError(
        f"CrypTen {crypten.__version__} is installed; what is replaced here was read in {VERSION} "
        "only"
    )


def tensor(words: Array) -> torch.Tensor:
    """Ring words as CrypTen keeps them: int64, the same bits. The memory is shared."""
    return torch.from_numpy(np.ascontiguousarray(words).reshape(words.shape).view(np.int64))


def words(value: Any) -> U64:
    """The words of a torch tensor; the memory is shared where it is contiguous. (CrypTen is not
    typed: what it returns passes for a tensor of its own class for GPUs as well.)"""
    return value.detach().contiguous().numpy().view(np.uint64)


class Stream:
    """Stands in for a `torch.Generator`: uniform words under one key, drawn in program order."""

    device = torch.device("cpu")

    def __init__(self, key: bytes) -> None:
        self._prg = Prg(key)
        self._drawn = 0

    def draw(self, shape: Shape) -> torch.Tensor:
        """The next words."""
        self._drawn += 1
        return tensor(self._prg.draw(self._drawn, "w", RING, tuple(shape)))


def _ring_element(
    size: Any, ring_size: int = 2**64, generator: Any = None, **_: Any
) -> torch.Tensor:
    """In place of crypten.common.rng.generate_random_ring_element (which leaves out one element of
    the ring)."""
    return generator.draw(size)


def _kbit(size: Any, bitlength: int | None = None, generator: Any = None, **_: Any) -> torch.Tensor:
    """In place of crypten.common.rng.generate_kbit_random_tensor."""
    drawn = generator.draw(size)
    return drawn if bitlength in (None, 64) else drawn & ((1 << bitlength) - 1)


class TorchWith:
    """torch, but for `mul`: CrypTen's Beaver code looks its product up there by name, and accepts
    only known names."""

    def __init__(self, mul: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        self.mul = mul

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


class RelayCommunicator(Communicator):
    """Two parties and the TTP over a `Relay`. It has the collectives that two-party Beaver
    protocols use."""

    BYTES_PER_ELEMENT = 8
    instance: RelayCommunicator | None = None

    def __init__(self, relay: Relay, rank: int) -> None:
        self._relay, self._rank = relay, rank
        self.reset_communication_stats()

    @classmethod
    def is_initialized(cls) -> bool:
        return cls.instance is not None

    @classmethod
    def get(cls) -> RelayCommunicator | None:
        return cls.instance

    def get_world_size(self) -> int:
        return 2

    def get_rank(self) -> int:
        return self._rank

    def get_ttp_rank(self) -> int:
        return TTP

    @_logging  # signatures are those of DistributedCommunicator, not those of the base class
    def all_reduce(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input: Any, op: Any = torch.distributed.ReduceOp.SUM, batched: bool = False
    ) -> Any:
        """Both parties send their tensors and combine them; a batch takes one round."""
        mine = input if batched else [input]
        other = P1 if self._rank == P0 else P0
        for share in mine:
            self._relay.send(other, words(share))
        theirs = [tensor(self._relay.recv(other, np.uint64, tuple(share.shape))) for share in mine]
        combine = torch.bitwise_xor if op == torch.distributed.ReduceOp.BXOR else torch.add
        result = [combine(a, b) for a, b in zip(mine, theirs, strict=True)]
        return result if batched else result[0]

    @_logging
    def broadcast(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input: torch.Tensor, src: int, group: Any = None
    ) -> torch.Tensor:
        """From the TTP to party 0, which is whom CrypTen's `ttp_comm_group` has in it."""
        if self._rank == src:
            self._relay.send(P0, words(input), Phase.OFFLINE)
            return input
        return tensor(self._relay.recv(src, np.uint64, tuple(input.shape), Phase.OFFLINE))


def communicator() -> RelayCommunicator:
    """That of this process, which `install` made."""
    assert RelayCommunicator.instance is not None
    return RelayCommunicator.instance


class Client:
    """In place of CrypTen's TTPClient. `product_shape` is what the next additive triple's c will
    have."""

    def __init__(self) -> None:
        self.generator: Stream | None = None
        self.product_shape: Shape = ()

    def get(self) -> Client:
        """CrypTen asks the class for its instance."""
        return self

    def get_generator(self, device: Any = None) -> Stream | None:
        return self.generator

    def ttp_request(self, function: str, device: Any, *sizes: Any) -> torch.Tensor:
        """Party 0 receives its part of the tuple."""
        size = self.product_shape if function == "additive" else torch.broadcast_shapes(*sizes)
        return communicator().broadcast(torch.empty(tuple(size), dtype=torch.long), TTP)


class Server(ttp_provider.TTPServer):
    """CrypTen's TTPServer without its connection and its loop; `serve` is one turn of that loop."""

    def __init__(self) -> None:
        self.device = "cpu"
        self.generators: list[Stream] = []

    def serve(self, function: str, *sizes: Any) -> None:
        """Computes a tuple as CrypTen does and sends party 0 its part."""
        communicator().broadcast(getattr(self, function)(*sizes), TTP)


def install(relay: Relay, rank: int) -> Client:
    """Makes this process a CrypTen party (or the TTP) that talks through `relay`. Once per
    process."""
    torch.set_num_threads(1)
    RelayCommunicator.instance = RelayCommunicator(relay, rank)
    crypten.communicator.DistributedCommunicator = RelayCommunicator
    client = Client()
    ttp_provider.TTPClient = client
    replaced: tuple[Any, ...] = (ttp_provider, arithmetic, binary)
    for module in replaced:
        if hasattr(module, "generate_random_ring_element"):
            module.generate_random_ring_element = _ring_element
        if hasattr(module, "generate_kbit_random_tensor"):
            module.generate_kbit_random_tensor = _kbit
    crypten.cfg["mpc.provider"] = "TTP"
    crypten.cfg["communicator.verbose"] = True
    return client


def set_products(
    product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    triple: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    """What CrypTen takes for torch.mul: in its Beaver formula, and where triples are made."""
    beaver.torch = TorchWith(product)
    ttp_provider.torch = TorchWith(triple)


def set_zero_sharing(streams: Mapping[str, Stream]) -> None:
    """The generators of pseudo-random zero sharings, which both parties hold."""
    for name, stream in streams.items():
        crypten.generators[name][torch.device("cpu")] = stream
