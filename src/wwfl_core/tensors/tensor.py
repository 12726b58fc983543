"""What programs compute with: shared tensors (fixed point or integers) and shared bits.

Both get their operators from `arithmetic`. Here the operations of `ops` that read better as methods
become methods; each is the function of that name, where its domain, its error and its cost are
written down."""

from __future__ import annotations

from wwfl_core.numbers.arrays import Shape
from wwfl_core.sharing import Share

from .arithmetic import Arithmetic, Logic, Public
from .ops import approx, nonlinear, select


class SharedTensor(Arithmetic["SharedBits"]):
    """An array of secret numbers: `data` shares round(value * 2^frac_bits) modulo 2^64.

    Operators follow NumPy. A product of two tensors with fractions is truncated back to the format
    of the cluster (`mpc.format.frac_bits`); the exact product must stay below 2^(62 - 2 frac_bits)
    in magnitude. `bits` is the declared width of values in comparisons (64: any).

    Programs get tensors from `Session.share` and from operations, rather than from this class:

    >>> from backends.plain import Plain
    >>> from wwfl_core import LocalCluster
    >>> def program(mpc, x, y):
    ...     a, b = mpc.share(x, owner=0), mpc.share(y, owner=0)
    ...     return mpc.reveal((a - b).relu())
    >>> with LocalCluster(Plain()) as cluster:
    ...     cluster.run(program, [1.5, -2.0], [0.5, 3.0])
    array([1., 0.])
    """

    __slots__ = ()

    def bits_like(self, data: Share, shape: Shape) -> SharedBits:
        """Bits of the same computation; `shape` is theirs, not that of the share."""
        return SharedBits(self.mpc, data, shape)

    def relu(self, bits: int = 64) -> SharedTensor:
        """max(x, 0), exact; see `ops.relu`."""
        return nonlinear.relu(self, bits)

    def abs(self, bits: int = 64) -> SharedTensor:
        """|x|, exact; see `ops.abs`."""
        return select.abs(self, bits=bits)

    def maximum(self, other: SharedTensor | Public, bits: int = 64) -> SharedTensor:
        """Elementwise maximum, exact; see `ops.maximum`."""
        return select.maximum(self, other, bits=bits)

    def minimum(self, other: SharedTensor | Public, bits: int = 64) -> SharedTensor:
        """Elementwise minimum, exact; see `ops.minimum`."""
        return select.minimum(self, other, bits=bits)

    def clip(self, low: float, high: float, bits: int = 64) -> SharedTensor:
        """x limited to [low, high]; see `ops.clip`."""
        return select.clip(self, low, high, bits=bits)

    def max(self, axis: int = -1, bits: int = 64) -> SharedTensor:
        """The largest entry along an axis, exact; see `ops.max`."""
        return select.max(self, axis, bits=bits)

    def min(self, axis: int = -1, bits: int = 64) -> SharedTensor:
        """The smallest entry along an axis, exact; see `ops.min`."""
        return select.min(self, axis, bits=bits)

    def argmax(self, axis: int = -1, bits: int = 64) -> SharedTensor:
        """The index (an integer tensor) of the first largest entry along an axis; see
        `ops.argmax`."""
        return select.argmax(self, axis, bits=bits)

    def exp(self) -> SharedTensor:
        """e^x on [-128, 8]; see `ops.exp`."""
        return approx.exp(self)

    def reciprocal(self, low: float, high: float) -> SharedTensor:
        """1 / x on [low, high]; see `ops.reciprocal`."""
        return approx.reciprocal(self, low=low, high=high)

    def sqrt(self, low: float, high: float) -> SharedTensor:
        """The square root on [low, high]; see `ops.sqrt`."""
        return approx.sqrt(self, low=low, high=high)

    def inv_sqrt(self, low: float, high: float) -> SharedTensor:
        """1 / sqrt(x) on [low, high]; see `ops.inv_sqrt`."""
        return approx.inv_sqrt(self, low=low, high=high)

    def log(self, low: float, high: float) -> SharedTensor:
        """The natural logarithm on [low, high]; see `ops.log`."""
        return approx.log(self, low=low, high=high)

    def sigmoid(self, bits: int = 64) -> SharedTensor:
        """1 / (1 + e^-x) for |x| <= 128; see `ops.sigmoid`."""
        return approx.sigmoid(self, bits=bits)

    def softmax(self, axis: int = -1) -> SharedTensor:
        """e^x / sum(e^x) along an axis; see `ops.softmax`."""
        return approx.softmax(self, axis)

    def where(self, condition: SharedBits, other: SharedTensor) -> SharedTensor:
        """This tensor where the bits are 1, else `other`; see `ops.where`."""
        return select.where(condition, self, other)


class SharedBits(Logic[SharedTensor]):
    """An array of secret bits, as comparisons give them; `data` shares them as the protocol says
    (`MPCBackend.bits`; over rings packed 8 to a byte, over GF(2))."""

    __slots__ = ()

    def numbers_like(self, data: Share, frac_bits: int) -> SharedTensor:
        """Numbers of the same computation."""
        return SharedTensor(self.mpc, data, frac_bits)


__all__ = ["SharedBits", "SharedTensor"]
