"""Methods of shared tensors that stand for operations of `wwfl_core.tensors.ops`; see there for
domains and bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from .tensor import SharedBits, SharedTensor


class Functions:
    """Mixin of `SharedTensor`. `bits` is the declared width of values in comparisons (64: any)."""

    __slots__ = ()

    def _ops(self) -> Any:
        from . import ops  # ops are built on tensors, so they are loaded when first used

        return cast(Any, ops)

    def relu(self, bits: int = 64) -> SharedTensor:
        """max(x, 0)."""
        return self._ops().relu(self, bits)

    def abs(self, bits: int = 64) -> SharedTensor:
        """|x|."""
        return self._ops().abs(self, bits=bits)

    def maximum(self, other: SharedTensor | float, bits: int = 64) -> SharedTensor:
        """Elementwise maximum."""
        return self._ops().maximum(self, other, bits=bits)

    def minimum(self, other: SharedTensor | float, bits: int = 64) -> SharedTensor:
        """Elementwise minimum."""
        return self._ops().minimum(self, other, bits=bits)

    def clip(self, low: float, high: float, bits: int = 64) -> SharedTensor:
        """x limited to [low, high]."""
        return self._ops().clip(self, low, high, bits=bits)

    def max(self, axis: int = -1, bits: int = 64) -> SharedTensor:
        """The largest entry along an axis."""
        return self._ops().max(self, axis, bits=bits)

    def min(self, axis: int = -1, bits: int = 64) -> SharedTensor:
        """The smallest entry along an axis."""
        return self._ops().min(self, axis, bits=bits)

    def argmax(self, axis: int = -1, bits: int = 64) -> SharedTensor:
        """The index (an integer tensor) of the first largest entry along an axis."""
        return self._ops().argmax(self, axis, bits=bits)

    def exp(self) -> SharedTensor:
        """e^x on [-128, 8]."""
        return self._ops().exp(self)

    def reciprocal(self, low: float, high: float) -> SharedTensor:
        """1 / x on [low, high]."""
        return self._ops().reciprocal(self, low=low, high=high)

    def sqrt(self, low: float, high: float) -> SharedTensor:
        """The square root on [low, high]."""
        return self._ops().sqrt(self, low=low, high=high)

    def inv_sqrt(self, low: float, high: float) -> SharedTensor:
        """1 / sqrt(x) on [low, high]."""
        return self._ops().inv_sqrt(self, low=low, high=high)

    def log(self, low: float, high: float) -> SharedTensor:
        """The natural logarithm on [low, high]."""
        return self._ops().log(self, low=low, high=high)

    def sigmoid(self, bits: int = 64) -> SharedTensor:
        """1 / (1 + e^-x)."""
        return self._ops().sigmoid(self, bits=bits)

    def softmax(self, axis: int = -1) -> SharedTensor:
        """e^x / sum(e^x) along an axis."""
        return self._ops().softmax(self, axis)

    def where(self, condition: SharedBits, other: SharedTensor) -> SharedTensor:
        """This tensor where the bits are 1, else `other`."""
        return self._ops().where(condition, self, other)
