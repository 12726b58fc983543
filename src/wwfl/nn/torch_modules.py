"""Descriptions of single torch modules: which are supported, with which options.

Strict on purpose: a module that is not understood in full is refused, by its path. Training a model
in MPC that silently differs from the one in torch would be far worse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from wwfl_core.errors import ConfigError

from . import spec
from .spec import Layer

SUPPORTED = (
    "Conv2d, Linear, BatchNorm2d, ReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d(1), Flatten, "
    "Identity, Dropout(p=0), in Sequential or a module whose forward combines them, their "
    "functional forms and sums of two outputs"
)
_TRACED = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)


def is_layer(module: nn.Module) -> bool:
    """Whether the module stands for one layer (supported or not), rather than for a composition to
    look into.

    Torch's own modules and whatever derives from them are layers, but for the containers.
    """
    nearest = next(
        base for base in type(module).__mro__ if base.__module__.split(".")[0] == "torch"
    )
    return nearest not in _TRACED


def describe(path: str, module: nn.Module) -> Layer | None:
    """Description of one layer, called `path`; None for a layer that does nothing."""
    # The exact type: a subclass (or a parametrised layer) may compute something else.
    reader = _READERS.get(type(module))
    if reader is None:
        raise ConfigError(f"{title(path, module)} is not supported; supported are {SUPPORTED}")
    check_untouched(path, module)
    return reader(path, module)


def title(path: str, module: nn.Module) -> str:
    """How messages call a module, for instance "3.1: Conv2d"."""
    return f"{path or '(the model)'}: {type(module).__name__}"


def check_untouched(path: str, module: nn.Module) -> None:
    """ConfigError if the module has hooks or a forward of its own: both can change values on the
    way.

    The old weight_norm is one that does. Torch has no public way to ask for hooks.
    """
    if (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    ):
        raise ConfigError(
            f"{title(path, module)} has hooks, which are not supported; remove them first"
        )
    if "forward" in vars(module):
        raise ConfigError(
            f"{title(path, module)} has a forward of its own; define a class for it instead"
        )


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


def _batch_norm(path: str, module: Any) -> Layer:
    _require(path, module, "affine", module.affine)
    _require(path, module, "track_running_stats", module.track_running_stats)
    momentum = module.momentum or 0.0
    _require(path, module, "momentum", 0 < momentum <= 1)
    _require(path, module, "eps", module.eps > 0)
    return spec.BatchNorm2d(path, module.num_features, float(module.eps), float(momentum))


def _pool(path: str, module: Any) -> Layer:
    kernel, stride = _square(path, module, "kernel_size"), _square(path, module, "stride")
    _require(path, module, "padding", _square(path, module, "padding") == 0)
    _require(path, module, "ceil_mode", not module.ceil_mode)
    if isinstance(module, nn.MaxPool2d):
        _require(path, module, "dilation", _square(path, module, "dilation") == 1)
        _require(path, module, "return_indices", not module.return_indices)
        return spec.MaxPool2d(path, kernel, stride)
    _require(path, module, "divisor_override", module.divisor_override is None)
    return spec.AvgPool2d(path, kernel, stride)


def _global_pool(path: str, module: Any) -> Layer:
    _require(path, module, "output_size", module.output_size in (1, (1, 1), [1, 1]))
    return spec.GlobalAvgPool2d(path)


def _flatten(path: str, module: Any) -> Layer:
    _require(path, module, "start_dim", module.start_dim == 1)
    _require(path, module, "end_dim", module.end_dim == -1)
    return spec.Flatten(path)


def _dropout(path: str, module: Any) -> None:
    _require(path, module, "p", module.p == 0)


_READERS: dict[type[nn.Module], Callable[[str, Any], Layer | None]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU: lambda path, module: spec.ReLU(path),
    nn.MaxPool2d: _pool,
    nn.AvgPool2d: _pool,
    nn.AdaptiveAvgPool2d: _global_pool,
    nn.Flatten: _flatten,
    nn.Identity: lambda path, module: None,
    nn.Dropout: _dropout,
}

_ALLOWED = {
    "padding_mode": "'zeros'",
    "groups": "1",
    "dilation": "1",
    "padding": "one integer for both directions (0 for pooling)",
    "stride": "one integer for both directions",
    "kernel_size": "one integer for both directions",
    "ceil_mode": "False",
    "return_indices": "False",
    "divisor_override": "None",
    "output_size": "1",
    "affine": "True",
    "track_running_stats": "True",
    "momentum": "a number above 0, at most 1",
    "eps": "a number above 0",
    "start_dim": "1",
    "end_dim": "-1",
    "p": "0 (no noise is drawn inside MPC training)",
}


def _require(path: str, module: Any, option: str, fits: bool) -> None:
    if not fits:
        raise ConfigError(
            f"{title(path, module)} with {option}={getattr(module, option)!r} is not supported; "
            f"allowed is {_ALLOWED[option]}"
        )


def _square(path: str, module: Any, option: str) -> int:
    """The option as one integer; torch keeps an int for poolings and a pair for convolutions."""
    value = getattr(module, option)
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    _require(path, module, option, len(set(both)) == 1 and isinstance(both[0], int))
    return both[0]
