"""Batch norm on shares: batch statistics in training, running statistics in evaluation.

With d = x - mean, r = 1 / sqrt(var + eps) and a = weight * r, per channel over the n values of
batch, height and width:

    y = a d + bias
    d bias = sum g        d weight = r sum g d        dx = a (g - mean(g) - d r^2 mean(g d))

Everything but the two products of the activations' size (a d, and a g - d a r^2 mean(g d), which is
one) is computed on one value per channel, or per image and channel.

Range, for f fractional bits (20 by default): activations and means stay below 2^(int_bits - 1), the
variance of a channel over a batch below 2^12, and the sum of d^2 over one image below 2^(62 - 2f),
a mean square of 4096 at 32 x 32. Outside of it results are meaningless, as everywhere in fixed
point. eps is at least 2^(3 - f), 7.6e-6, so that a running variance that rounding made a little
negative stays in the domain of the inverse square root."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wwfl_core.errors import ConfigError, Misuse
from wwfl_core.numbers import Bilinear, Mul, SumTo
from wwfl_core.tensors import (
    SharedTensor,
    bilinear_many,
    concatenate,
    inv_sqrt,
    stack_tensors,
    weighted_sum,
)

from . import spec
from .layer_interface import Layer, Params

MORE_BITS = 8
"""More fractional bits for variances, so that eps is many units, and for small factors of the
backward pass."""
MAX_VARIANCE = 2.0**12


class BatchNormLayer(Layer):
    """Training mode. Rounds forward and backward: 19 and 9 in 2PC, 30 and 12 in 3PC, 24 and 9 in
    4PC."""

    description: spec.BatchNorm2d

    def forward(self, x: SharedTensor, params: Params) -> SharedTensor:
        _check_eps(self.description, x)
        self._images, self._count = x.shape[0], x.shape[0] * x.shape[2] * x.shape[3]
        if self._count < 2:
            raise Misuse(
                f"{self.description.title}: a batch's variance needs at least two values per "
                "channel"
            )
        self.mean = self._mean(x.sum(axis=(0, 2, 3)))
        self._centred = x - _per_channel(self.mean)
        eps, ratio = self.description.eps, self._measure_spread()
        low, high = 0.5 * ratio * eps, ratio * MAX_VARIANCE
        self._inverse = inv_sqrt(
            self.spread + ratio * eps, low=low, high=high, gain=math.sqrt(ratio)
        )
        self._scale = params[self.description.weight] * self._inverse
        return self._centred * _per_channel(self._scale) + _per_channel(
            params[self.description.bias_name]
        )

    def _measure_spread(self) -> float:
        """Sets `spread`, and returns its ratio to the variance, which is between 1/2 and 2.

        The sum of d^2 over an image is a product of which only the sum is re-shared. Dividing by
        powers of two near the image's size (part of the truncation) and the batch size (another
        scale) is free; the ratio is left."""
        d, f = self._centred, self._centred.frac_bits
        pixels = self._count // self._images
        shift, images = pixels.bit_length() - 1, (self._images - 1).bit_length()
        per_image = d.mpc.protocol.bilinear(_dot(d), d.data, d.data, f - MORE_BITS + shift)
        total = SharedTensor(d.mpc, per_image, f + MORE_BITS).sum(axis=(0, 2, 3))
        self.spread = SharedTensor(d.mpc, total.data, f + MORE_BITS + images)
        self.factor = 2.0 ** (shift + images) / (
            self._count - 1
        )  # the variance without bias is spread * factor
        return self._count / 2.0 ** (shift + images)

    def backward(
        self, gradient: SharedTensor, params: Params, grads: Params, first: bool
    ) -> SharedTensor | None:
        g, d, r, a = gradient, self._centred, self._inverse, self._scale
        sums = stack_tensors([g.sum(axis=(0, 2, 3)), g.bilinear(_dot(g), d).sum(axis=(0, 2, 3))])
        grads[self.description.bias_name] = sums[0]
        if first:
            grads[self.description.weight] = sums[1] * r
            return None
        means = self._mean(sums)
        by_root = stack_tensors([sums[1], means[1], a]) * r
        grads[self.description.weight] = by_root[0]
        # a r^2 mean(g d) is small where the variance is large, and multiplies a large d: it gets
        # more bits.
        fine = 1 << MORE_BITS
        rest = stack_tensors([a, by_root[2] * fine]) * stack_tensors([means[0], by_root[1]])
        both = Mul().then(SumTo((1, *g.shape)))
        factors = stack_tensors([_per_channel(a), _per_channel(-rest[1])])
        back = bilinear_many([(both, stack_tensors([g * fine, d]), factors)], shift=MORE_BITS)[0][0]
        return back - _per_channel(rest[0])

    def _mean(self, total: SharedTensor) -> SharedTensor:
        """total / count, for a mean below 2^(int_bits - 1): the public factor has as many bits as
        that leaves."""
        f, n = total.frac_bits, self._count
        bits = min(f + n.bit_length(), 62 - f - self.int_bits)
        factor = round(2.0**bits / n)
        return SharedTensor(total.mpc, (total * factor).data, f + bits).truncate(bits)


class FrozenBatchNormLayer(Layer):
    """Evaluation mode: one product with the scale that `freeze` has computed."""

    description: spec.BatchNorm2d

    def forward(self, x: SharedTensor, params: Params) -> SharedTensor:
        scale, shift = (params[name] for name in _frozen_names(self.description))
        return x * _per_channel(scale) + _per_channel(shift)

    def backward(
        self, gradient: SharedTensor, params: Params, grads: Params, first: bool
    ) -> SharedTensor | None:
        raise Misuse(
            f"{self.description.title} has no backward pass in evaluation mode; use "
            "training_forward"
        )


def freeze(norms: Sequence[spec.BatchNorm2d], params: Params) -> Params:
    """`params` with scale = weight / sqrt(running_var + eps) and shift = bias - running_mean *
    scale of every norm.

    All norms in the rounds of one: S + I + 6 M (`wwfl_core.tensors.ops.approx`), on one value per
    channel."""
    missing = [norm for norm in norms if _frozen_names(norm)[0] not in params]
    if not missing:
        return params

    def joined(names: Sequence[str]) -> SharedTensor:
        return concatenate([params[name] for name in names])

    variance = joined([norm.running_var for norm in missing])
    for norm in missing:
        _check_eps(norm, variance)
    with variance.mpc.scope("freeze"):
        eps = np.concatenate([np.full(norm.channels, norm.eps) for norm in missing])
        fine = variance.rescale(variance.frac_bits + MORE_BITS) + eps
        inverse = inv_sqrt(fine, low=0.5 * float(eps.min()), high=MAX_VARIANCE)
        scale = joined([norm.weight for norm in missing]) * inverse
        shift = (
            joined([norm.bias_name for norm in missing])
            - joined([norm.running_mean for norm in missing]) * scale
        )
    frozen, at = dict(params), 0
    for norm in missing:
        rows = slice(at, at + norm.channels)
        frozen |= dict(zip(_frozen_names(norm), (scale[rows], shift[rows]), strict=True))
        at = rows.stop
    return frozen


def statistics(layers: Sequence[BatchNormLayer], params: Params) -> Params:
    """The new running statistics after a forward pass: two truncations for all layers of a model
    together."""
    if not layers:
        return {}
    norms = [layer.description for layer in layers]
    with layers[0].mean.mpc.scope("statistics"):
        f = layers[0].mean.frac_bits
        new = (
            [layer.mean for layer in layers],
            concatenate([layer.spread for layer in layers]).rescale(f),
        )
        old = [params[name] for norm in norms for name in (norm.running_mean,)] + [
            params[n.running_var] for n in norms
        ]
        rates = [np.full(norm.channels, norm.momentum) for norm in norms]
        toward = rates + [rate * layer.factor for rate, layer in zip(rates, layers, strict=True)]
        moved = weighted_sum(
            [
                (concatenate(old), 1 - np.concatenate(rates + rates)),
                (concatenate([*new[0], new[1]]), np.concatenate(toward)),
            ]
        )
    result, at = {}, 0
    for name, norm in [(n.running_mean, n) for n in norms] + [(n.running_var, n) for n in norms]:
        result[name] = moved[at : at + norm.channels]
        at += norm.channels
    return result


def _frozen_names(norm: spec.BatchNorm2d) -> tuple[str, str]:
    """What scale and shift are called among the parameters of evaluation; no parameter of torch has
    such a name."""
    return f"{norm.name}:scale", f"{norm.name}:shift"


def _check_eps(norm: spec.BatchNorm2d, x: SharedTensor) -> None:
    f = x.mpc.format.frac_bits
    if norm.eps < 2.0 ** (3 - f):
        raise ConfigError(
            f"{norm.title} with eps={norm.eps:g} needs at least {2.0 ** (3 - f):.1e} with {f} "
            "fractional bits; use a larger eps or more frac_bits"
        )


def _dot(x: SharedTensor) -> Bilinear:
    """Products summed over every image's height and width."""
    return Mul().then(SumTo((x.shape[0], x.shape[1], 1, 1)))


def _per_channel(x: SharedTensor) -> SharedTensor:
    """[c] as [1, c, 1, 1]."""
    return x.reshape(1, -1, 1, 1)
