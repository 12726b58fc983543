"""Turn a torch module into layer descriptions plus parameters, and write parameters back.

Strict on purpose: a module that is not understood in full is refused, by its path. Training a model in MPC
that silently differs from the one in torch would be far worse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from wwfl.nn import spec
from wwfl.nn.spec import Layer, layer_shapes, output_shape, pool_first
from wwfl_core.errors import ConfigError

__all__ = [
    "SUPPORTED",
    "layer_shapes",
    "load_parameters",
    "output_shape",
    "parameters",
    "pool_first",
    "trace",
]

SUPPORTED = "Conv2d, Linear, ReLU, MaxPool2d, AvgPool2d, Flatten, Identity, Dropout(p=0), nested in Sequential"


def trace(module: nn.Module) -> tuple[list[Layer], dict[str, np.ndarray]]:
    """Layers of `module` in the order of execution, and its parameters: name -> float64 array (a copy).

    module: a Sequential (nested as deep as you like) of supported layers, or one such layer. Names are those
    of torch's `named_parameters`. ConfigError, with the path of the module, for anything else.
    """
    layers: list[Layer] = []
    for path, leaf in _leaves(module, ""):
        described = _describe(path, leaf)
        if described is not None:
            layers.append(described)
    shapes = spec.parameter_shapes(layers)
    params = parameters(module)
    if list(shapes) != list(params):
        # named_parameters lists a shared tensor once; the layers use it twice.
        shared = sorted(set(shapes) - set(params)) or sorted(set(params) - set(shapes))
        raise ConfigError(f"{', '.join(shared)}: shared between layers, not supported; give each layer its own")
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            raise ConfigError(f"{name}: requires_grad=False, but every parameter is trained; make it trainable")
    return layers, params


def parameters(module: nn.Module) -> dict[str, np.ndarray]:
    """All parameters of any module, in torch's order: name -> float64 array (a copy), all finite."""
    result: dict[str, np.ndarray] = {}
    for name, parameter in module.named_parameters():
        if not parameter.is_floating_point():
            raise ConfigError(f"{name}: dtype {parameter.dtype} is not a real floating-point type")
        value = parameter.detach().to(device="cpu", dtype=torch.float64, copy=True).numpy()
        if not np.isfinite(value).all():
            raise ConfigError(f"{name}: contains NaN or infinity; start from a finite model")
        result[name] = value
    return result


def load_parameters(module: nn.Module, params: Mapping[str, Any]) -> None:
    """Write `params` (name -> array of the parameter's exact shape) into `module`, rounded to its dtype.

    The names must be exactly those of the module. Everything is checked first: on an error nothing is
    written.
    """
    targets = dict(module.named_parameters())
    if missing := sorted(set(targets) - set(params)):
        raise ConfigError(f"parameters missing for {', '.join(missing)}; the values belong to another model")
    if extra := sorted(set(params) - set(targets)):
        raise ConfigError(f"the module has no parameter {', '.join(extra)}; the values belong to another model")
    values: dict[str, torch.Tensor] = {}
    for name, target in targets.items():
        value = np.array(params[name])  # a copy: the caller's array may be read-only, which torch warns about
        if value.dtype.kind not in "fiu":
            raise ConfigError(f"{name}: dtype {value.dtype} is not a real number type")
        if value.shape != tuple(target.shape):
            raise ConfigError(f"{name}: shape {value.shape}, the module needs {tuple(target.shape)}")
        values[name] = torch.from_numpy(value.astype(np.float64)).to(target.dtype)
        if not torch.isfinite(values[name]).all():
            raise ConfigError(f"{name}: NaN or infinity, or too large for {target.dtype}; the run has diverged")
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(values[name])


def _leaves(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    # A subclass of Sequential is fine as long as it runs its children in order, which only `forward` decides.
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        _no_hooks(path, module)
        # Not named_children, which leaves out the second use of a layer that stands twice in the model.
        for name, child in zip(module._modules, module, strict=True):
            yield from _leaves(child, f"{path}.{name}" if path else name)
    else:
        yield path, module


def _describe(path: str, module: nn.Module) -> Layer | None:
    """Description of one leaf; None for a layer that does nothing."""
    # The exact type: a subclass (or a parametrised layer) may compute something else.
    reader = _READERS.get(type(module))
    if reader is None:
        raise ConfigError(f"{_title(path, module)} is not supported; supported are {SUPPORTED}")
    _no_hooks(path, module)
    return reader(path, module)


def _conv(path: str, module: Any) -> Layer:
    _require(path, module, "padding_mode", module.padding_mode == "zeros")
    _require(path, module, "groups", module.groups == 1)
    _require(path, module, "dilation", tuple(module.dilation) == (1, 1))
    _require(path, module, "padding", not isinstance(module.padding, str))
    return spec.Conv2d(
        path,
        tuple(module.weight.shape),
        _square(path, module, "stride"),
        _square(path, module, "padding"),
        module.bias is not None,
    )


def _linear(path: str, module: Any) -> Layer:
    return spec.Linear(path, tuple(module.weight.shape), module.bias is not None)


def _pool(path: str, module: Any) -> Layer:
    kernel, stride = _square(path, module, "kernel_size"), _square(path, module, "stride")
    _require(path, module, "stride", kernel == stride)
    _require(path, module, "padding", _square(path, module, "padding") == 0)
    _require(path, module, "ceil_mode", not module.ceil_mode)
    if isinstance(module, nn.MaxPool2d):
        _require(path, module, "dilation", _square(path, module, "dilation") == 1)
        _require(path, module, "return_indices", not module.return_indices)
        return spec.MaxPool2d(path, kernel, stride)
    _require(path, module, "divisor_override", module.divisor_override is None)
    return spec.AvgPool2d(path, kernel, stride)


def _flatten(path: str, module: Any) -> Layer:
    _require(path, module, "start_dim", module.start_dim == 1)
    _require(path, module, "end_dim", module.end_dim == -1)
    return spec.Flatten(path)


def _dropout(path: str, module: Any) -> None:
    _require(path, module, "p", module.p == 0)


_READERS: dict[type[nn.Module], Callable[[str, Any], Layer | None]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.ReLU: lambda path, module: spec.ReLU(path),
    nn.MaxPool2d: _pool,
    nn.AvgPool2d: _pool,
    nn.Flatten: _flatten,
    nn.Identity: lambda path, module: None,
    nn.Dropout: _dropout,
}

_ALLOWED = {
    "padding_mode": "'zeros'",
    "groups": "1",
    "dilation": "1",
    "padding": "one integer for both directions (0 for pooling)",
    "stride": "one integer for both directions (equal to kernel_size for pooling)",
    "kernel_size": "one integer for both directions",
    "ceil_mode": "False",
    "return_indices": "False",
    "divisor_override": "None",
    "start_dim": "1",
    "end_dim": "-1",
    "p": "0 (no noise is drawn inside MPC training)",
}


def _require(path: str, module: Any, option: str, fits: bool) -> None:
    if not fits:
        raise ConfigError(
            f"{_title(path, module)} with {option}={getattr(module, option)!r} is not supported; "
            f"allowed is {_ALLOWED[option]}"
        )


def _square(path: str, module: Any, option: str) -> int:
    """The option as one integer; torch keeps an int for poolings and a pair for convolutions."""
    value = getattr(module, option)
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    _require(path, module, option, len(set(both)) == 1 and isinstance(both[0], int))
    return both[0]


def _no_hooks(path: str, module: nn.Module) -> None:
    # Hooks can change values on the way (the old weight_norm is one). Torch has no public way to ask for
    # them.
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
        raise ConfigError(f"{_title(path, module)} has hooks, which are not supported; remove them first")


def _title(path: str, module: nn.Module) -> str:
    return f"{path or '(the model)'}: {type(module).__name__}"
