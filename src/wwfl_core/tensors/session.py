"""The session: what a program gets as `mpc`, at every party.

    def program(mpc, x, y):
        a, b = mpc.share(x, owner=0), mpc.share(y, owner=1)
        return mpc.reveal((a @ b).relu())

It makes tensors of values; `Computation`, which it extends, opens them. What is done with shares is
the protocol's (`session.protocol`), what is done with tensors is theirs."""

from __future__ import annotations

import numpy.typing as npt

from wwfl_core.errors import Misuse
from wwfl_core.numbers.arrays import Shape
from wwfl_core.party import Party

from .computation import Computation
from .tensor import SharedTensor


class Session(Computation):
    """One party's end of a protocol, as programs see it.

    Programs are SPMD: every party runs the same program, with the same public arguments, and calls
    the same operations in the same order. A session is what `SharedTensor.mpc` is; tensors of two
    sessions do not mix. The same class serves every protocol and the reference that computes with
    floats: the protocol names the format of its numbers."""

    def at(self, party: Party) -> Session:
        """The same protocol at another party object (a recorder's)."""
        return Session(self.protocol.at(party))

    def share(
        self, value: npt.ArrayLike | None, owner: int, *, shape: Shape | None = None
    ) -> SharedTensor:
        """Shares a float array that party `owner` knows.

        Every party calls this; those who do not know the value pass None and its shape. One
        dealing: one round, or none.

        Args:
            value: real numbers of any shape, at `owner`; elsewhere ignored, and may be None.
            owner: the number of a party that holds shares.
            shape: the value's shape; needed where `value` is None.

        Returns:
            A tensor of the value's shape at the scale of the format (`format.frac_bits`).

        Raises:
            Misuse: wrong owner, dtype or shape, before anything is sent.
            RangeError: a value outside the format's range, before anything is sent.
        """
        protocol = self.protocol
        if not isinstance(owner, int) or owner not in self.sharing.evaluators:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise Misuse(
                f"owner={owner!r} is not a party that holds shares; choose one of "
                f"{self.sharing.evaluators}"
            )
        if value is None and (shape is None or self.me == owner):
            raise Misuse(
                f"party {owner} shares a value: it must be given there, and its shape everywhere"
            )
        encoded = None if value is None else self.format.encode(value, "the shared value")
        known = encoded.shape if encoded is not None else tuple(shape or ())
        if shape is not None and known != tuple(shape):
            raise Misuse(f"the shared value has shape {known}, declared was {tuple(shape)}")

        mine = None if encoded is None or self.me != owner else protocol.numbers.from_words(encoded)
        dealt = protocol.deal(mine, [owner], known, name="share")
        return SharedTensor(self, dealt, self.format.frac_bits)

    def public_tensor(self, value: npt.ArrayLike) -> SharedTensor:
        """A public float array as a shared tensor: nothing is hidden, nothing is sent.

        Raises:
            Misuse: for a dtype that is not a real number.
            RangeError: a value outside the format's range.
        """
        words = self.format.encode(value, "the public value")
        return SharedTensor(self, self.protocol.public(words), self.format.frac_bits)


__all__ = ["Session"]
