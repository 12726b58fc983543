"""What every layer over shared tensors has: forward with what the backward pass needs, and
backward.

`int_bits` is the declared range of activations: a comparison looks at frac_bits + int_bits bits, so
activations must stay below 2^(int_bits - 1) in magnitude (2048 for the default 12)."""

from __future__ import annotations

from abc import ABC, abstractmethod

from wwfl_core.tensors import SharedTensor

from . import spec

Params = dict[str, SharedTensor]
DEFAULT_INT_BITS = 12


class Layer(ABC):
    """One layer of one forward pass: `forward` once, then `backward` at most once."""

    def __init__(self, description: spec.Layer, int_bits: int) -> None:
        self.description = description
        self.int_bits = int_bits

    def sign_bits(self, x: SharedTensor) -> int:
        """How many bits a comparison of activations looks at."""
        return min(64, x.frac_bits + self.int_bits)

    @abstractmethod
    def forward(self, x: SharedTensor, params: Params) -> SharedTensor:
        """The output for the input x (the sum of the inputs, where a layer has several)."""

    @abstractmethod
    def backward(
        self, gradient: SharedTensor, params: Params, grads: Params, first: bool
    ) -> SharedTensor | None:
        """Adds this layer's parameter gradients to `grads`; returns the input's gradient (None if
        `first`)."""
