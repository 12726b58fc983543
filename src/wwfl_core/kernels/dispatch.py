"""The array decides where a kernel runs: on NumPy arrays as it is, on a device's arrays as the device's own kernel.

Device kernels bear the names of the functions in this package and take the same arguments (`wwfl_core.kernels.cuda`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
CUDA = "wwfl_core.kernels.cuda"


def device_kernels(argument: Any) -> Any:
    """The kernels for an argument: None for NumPy arrays and for whatever the host's kernel will refuse.

    An argument is an array, or the sequence of pairs that products take.
    """
    first = argument
    while isinstance(first, list | tuple) and first:
        first = cast(Any, first)[0]
    kind = cast(Any, type(first))  # pyright: ignore[reportUnknownArgumentType]
    if kind is np.ndarray or not hasattr(sys.modules[kind.__module__], "asnumpy"):
        return None
    return import_module(CUDA)


def by_array(fn: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a public kernel: a device's arrays go to the kernel of the same name there."""
    name = fn.__name__

    @wraps(fn)
    def dispatched(*args: P.args, **kwargs: P.kwargs) -> R:
        kernels = device_kernels(args[0] if args else None)
        return fn(*args, **kwargs) if kernels is None else getattr(kernels, name)(*args, **kwargs)

    return dispatched
