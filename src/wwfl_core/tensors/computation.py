"""What a tensor knows of the computation that it belongs to: the protocol under it, and the format
of its numbers.

`session` adds what makes tensors of values, so it knows their classes. Nothing here does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy.typing as npt

from wwfl_core.errors import Misuse
from wwfl_core.numbers.algebra import Algebra
from wwfl_core.numbers.arrays import Array, Shape, to_host
from wwfl_core.numbers.number_format import NumberFormat
from wwfl_core.party import Party, coin
from wwfl_core.protocol.backend import MPCBackend
from wwfl_core.sharing import Share, SharingSemantics


class Secret(Protocol):
    """A shared tensor, or shared bits."""

    @property
    def mpc(self) -> Computation:
        """Where it is shared."""
        ...

    @property
    def data(self) -> Share:
        """This party's part."""
        ...

    @property
    def shape(self) -> Shape:
        """Its shape, as the program sees it."""
        ...

    @property
    def frac_bits(self) -> int | None:
        """The scale of numbers; None for bits."""
        ...


class Computation:
    """One party's end of a computation over one protocol. Operations on tensors reach their shares
    through `protocol`."""

    def __init__(self, protocol: MPCBackend) -> None:
        self.protocol = protocol

    @property
    def party(self) -> Party:
        """This server: its channel, its keys, its ledger and its guard."""
        return self.protocol.party

    @property
    def me(self) -> int:
        """This party's number, from 0."""
        return self.protocol.me

    @property
    def name(self) -> str:
        """The protocol's name."""
        return self.protocol.name

    @property
    def sharing(self) -> SharingSemantics:
        """How values are shared, and what that protects against."""
        return self.protocol.sharing

    @property
    def format(self) -> NumberFormat:
        """How numbers become words; `format.frac_bits` is the scale of what is shared."""
        return self.protocol.format

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    def scope(self, label: str) -> AbstractContextManager[None]:
        """`with mpc.scope("conv1"):` reports costs and openings inside under that label."""
        return self.party.scope(label)

    def verify(self) -> None:
        """Goes on only if all parties agree on everything sent so far; see `MPCBackend.verify`.

        Two rounds, 64 bytes per ordered pair of parties; free for semi-honest protocols.

        Raises:
            VerificationFailed: at every honest party.
        """
        self.protocol.verify()

    def coin(self, reason: str) -> bytes:
        """32 bytes of public randomness that no party controls: everyone commits, then everyone
        opens.

        Three rounds (commit; confirm what was received; open). One honest party suffices for
        uniformity; a party can only abort. Not an opening of a secret.

        Raises:
            VerificationFailed: when an opening does not match its commitment, or parties saw
                different commitments.
        """
        return coin(self.party, reason)

    def reveal(self, x: Secret, reason: str = "reveal", to: Sequence[int] | None = None) -> Any:
        """Opens a tensor or bits to some parties (default: all that hold components).

        One round, and a check point's two in a malicious-secure protocol. The ledger records it
        under `reason`.

        Returns:
            At receivers float64, int64 for a tensor without a fraction, bool for bits; elsewhere
            None.

        Raises:
            Misuse: a tensor of another session.
            Refused: by this server's guard, before anything is sent.
        """
        if x.mpc is not self:
            raise Misuse("this tensor belongs to another cluster or party; reshare it first")
        opened = self.protocol.open(x.data, reason, to)
        if opened is None:
            return None
        return decoded(self.protocol, to_host(opened), x.data.algebra, x.shape, x.frac_bits)

    def constant(self, value: npt.ArrayLike, frac_bits: int) -> Array:
        """A public array as words of the given scale (integers for frac_bits=0)."""
        return self.format.constant(value, frac_bits)

    def factor(self, value: npt.ArrayLike) -> tuple[Array, int]:
        """A public factor as (words, bits) with value = words / 2^bits; see `FixedPoint.factor`."""
        return self.format.factor(value)


def decoded(
    protocol: MPCBackend, opened: Array, algebra: Algebra, shape: Shape, frac_bits: int | None
) -> Any:
    """Opened elements, on the host, as float64, as int64 (no fraction), or as bools (`frac_bits` is
    None: bits)."""
    if frac_bits is None:
        return protocol.bits.to_bools(opened, shape)
    return protocol.format.from_elements(algebra, opened, frac_bits)
