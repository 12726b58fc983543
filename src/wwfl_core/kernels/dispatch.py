"""The array decides where a kernel runs: on NumPy arrays as it is, on a device's arrays as the
device's own kernel.

Device kernels bear the names of the functions in this package and take the same arguments
(`wwfl_core.accelerate.cuda`)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
CUDA = "wwfl_core.accelerate.cuda"


def first_array(argument: Any) -> Any:
    """The array that decides: an argument is one, or the sequence of pairs that products take."""
    first: Any = argument
    while isinstance(first, list | tuple) and first:
        first = cast(Any, first)[0]
    return cast(Any, first)


def device_kernels(argument: Any) -> Any:
    """The kernels for an argument: None for NumPy arrays and for whatever the host's kernel will
    refuse."""
    kind = cast(Any, type(first_array(argument)))
    if kind is np.ndarray or not hasattr(sys.modules[kind.__module__], "asnumpy"):
        return None
    return import_module(CUDA)


def by_array(fn: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a public kernel: a device's arrays go to the kernel of the same name there.
    Where operations are recorded (`wwfl_core.recording`), the host's kernels are; of a device's,
    their launches."""
    name = fn.__name__

    @wraps(fn)
    def dispatched(*args: P.args, **kwargs: P.kwargs) -> R:
        first = first_array(args[0] if args else None)
        if type(first) is np.ndarray:
            return fn(*args, **kwargs)
        recorder = getattr(first, "recorder", None)
        if recorder is not None and recorder.on_host:
            return recorder.call(fn, *args, **kwargs)
        kernels = device_kernels(first)
        return (
            fn(*args, **kwargs) if kernels is None else getattr(kernels, name, fn)(*args, **kwargs)
        )

    return dispatched
