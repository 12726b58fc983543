"""Turn a torch module into layer descriptions plus parameters, and write parameters back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from wwfl_core.errors import ConfigError

from . import graph, spec
from .layer_interface import DEFAULT_INT_BITS
from .model import Model
from .spec import Layer, layer_shapes, output_shape, pool_first
from .torch_modules import SUPPORTED

__all__ = [
    "SUPPORTED",
    "layer_shapes",
    "load_parameters",
    "model_of",
    "output_shape",
    "parameters",
    "pool_first",
    "trace",
]


def model_of(module: nn.Module, int_bits: int = DEFAULT_INT_BITS) -> Model:
    """The description of a torch module that servers compute with; `trace` says which modules.

    >>> from wwfl.nn import LeNet, model_of
    >>> model_of(LeNet()).size
    61706
    """
    return Model.of(trace(module)[0], int_bits)


def trace(module: nn.Module) -> tuple[list[Layer], dict[str, np.ndarray]]:
    """Layers of `module` in the order of execution, and its parameters: name -> float64 array (a
    copy).

    module: any module whose forward combines supported layers (`SUPPORTED`), or one such layer; it
    is traced with torch.fx. Names are torch's. The running statistics of a batch norm count as
    parameters; the order is that of `spec.parameter_shapes`.

    Raises:
        ConfigError: with the path of the module, for anything that is not understood in full.

    >>> layers, parameters = trace(nn.Linear(2, 3))
    >>> layers
    [Linear(name='', source=None, weight_shape=(3, 2), bias=True)]
    >>> parameters["bias"].shape
    (3,)
    """
    layers = graph.describe(module)
    shapes = spec.parameter_shapes(layers)
    params = parameters(module)
    if shared := sorted(set(shapes) - set(params)):
        # named_parameters lists a shared tensor once; the layers use it twice.
        raise ConfigError(
            f"{', '.join(shared)}: shared between layers, not supported; give each layer its own"
        )
    if unused := sorted(set(params) - set(shapes)):
        raise ConfigError(
            f"{', '.join(unused)}: no layer of the model's forward uses it; remove it from the "
            "module"
        )
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            raise ConfigError(
                f"{name}: requires_grad=False, but every parameter is trained; make it trainable"
            )
    return layers, {name: params[name] for name in shapes}


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and floating-point buffers (running statistics) by name, in torch's order, each
    tensor once.

    Other buffers are counters (batch norm's num_batches_tracked), which no supported layer computes
    with."""
    own = dict(module.named_parameters())
    own |= {name: value for name, value in module.named_buffers() if value.is_floating_point()}
    return {name: own[name] for name in module.state_dict(keep_vars=True) if name in own}


def parameters(module: nn.Module) -> dict[str, np.ndarray]:
    """All parameters and running statistics of any module, in torch's order: name -> float64 array
    (a copy), all finite."""
    result: dict[str, np.ndarray] = {}
    for name, parameter in _state(module).items():
        if not parameter.is_floating_point():
            raise ConfigError(f"{name}: dtype {parameter.dtype} is not a real floating-point type")
        value = parameter.detach().to(device="cpu", dtype=torch.float64, copy=True).numpy()
        if not np.isfinite(value).all():
            raise ConfigError(f"{name}: contains NaN or infinity; start from a finite model")
        result[name] = value
    return result


def load_parameters(module: nn.Module, params: Mapping[str, Any]) -> None:
    """Write `params` (as `parameters` returns them) into `module`, rounded to its dtype.

    The names must be exactly those of the module. Everything is checked first: on an error nothing
    is written."""
    targets = _state(module)
    if missing := sorted(set(targets) - set(params)):
        raise ConfigError(
            f"parameters missing for {', '.join(missing)}; the values belong to another model"
        )
    if extra := sorted(set(params) - set(targets)):
        raise ConfigError(
            f"the module has no parameter {', '.join(extra)}; the values belong to another model"
        )
    values: dict[str, torch.Tensor] = {}
    for name, target in targets.items():
        value = np.array(
            params[name]
        )  # a copy: the caller's array may be read-only, which torch warns about
        if value.dtype.kind not in "fiu":
            raise ConfigError(f"{name}: dtype {value.dtype} is not a real number type")
        if value.shape != tuple(target.shape):
            raise ConfigError(
                f"{name}: shape {value.shape}, the module needs {tuple(target.shape)}"
            )
        values[name] = torch.from_numpy(value.astype(np.float64)).to(target.dtype)
        if not torch.isfinite(values[name]).all():
            raise ConfigError(
                f"{name}: NaN or infinity, or too large for {target.dtype}; the run has diverged"
            )
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(values[name])
