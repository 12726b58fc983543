"""The model that layer descriptions describe, written a second time in torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional

from wwfl.nn import spec


def forward(
    layers: Sequence[spec.Layer],
    params: Mapping[str, torch.Tensor],
    x: torch.Tensor,
    training: bool = False,
) -> torch.Tensor:
    """Differentiable; in training mode running statistics in `params` are updated in place."""
    outputs: dict[str, torch.Tensor] = {spec.INPUT: x}
    for layer in layers:
        taken = [x if source is None else outputs[source] for source in layer.sources]
        x = outputs[layer.name] = _layer(layer, params, taken, training)
    return x


def _layer(
    layer: spec.Layer, params: Mapping[str, torch.Tensor], taken: list[torch.Tensor], training: bool
) -> torch.Tensor:
    x = taken[0]
    match layer:
        case spec.Conv2d():
            bias = params[layer.bias_name] if layer.bias else None
            return functional.conv2d(
                x, params[layer.weight], bias, stride=layer.stride, padding=layer.padding
            )
        case spec.Linear():
            y = x @ params[layer.weight].T
            return y + params[layer.bias_name] if layer.bias else y
        case spec.BatchNorm2d():
            running = params[layer.running_mean], params[layer.running_var]
            own = params[layer.weight], params[layer.bias_name]
            return functional.batch_norm(x, *running, *own, training, layer.momentum, layer.eps)
        case spec.ReLU():
            return x.clamp(min=0)
        case spec.MaxPool2d():
            return functional.max_pool2d(x, layer.kernel, layer.stride)
        case spec.AvgPool2d():
            return functional.avg_pool2d(x, layer.kernel, layer.stride)
        case spec.GlobalAvgPool2d():
            return x.mean(dim=(2, 3), keepdim=True)
        case spec.Flatten():
            return x.reshape(len(x), -1)
        case spec.Add():
            return taken[0] + taken[1]
