"""Local steps of protocols that a device computes in one kernel.

A protocol writes a step as a function over the algebra, as its paper has it: that is its
definition, and what the host runs. `fused("family.kernel")` says that
`wwfl_core.accelerate.cuda.family.kernel` computes the same bits in one pass; it takes over for
elementwise products of arrays of one shape on a device, if masks are made where they are added.
`one_pass("family.kernel")` says the same of a step that is no product."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from importlib import import_module
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import numpy as np

from wwfl_core.numbers.algebra import Algebra
from wwfl_core.numbers.arrays import Array, on_host
from wwfl_core.numbers.bilinear import Bilinear, Mul

from .device import Hiding

P = ParamSpec("P")
R = TypeVar("R")
Mask = Array | Hiding
Components = tuple[Array, ...]
Named = Mapping[str, Array]
Parts = Named | Components
"""A value's components at this party, by name or in order."""
X = TypeVar("X", bound=Parts)
Step = Callable[Concatenate[Bilinear, Algebra, X, X, P], R]
ELEMENTS = (np.dtype(np.uint64), np.dtype(np.uint8))
KERNELS = "wwfl_core.accelerate.cuda"


def fused(*kernels: str) -> Callable[[Step[X, P, R]], Step[X, P, R]]:
    """Decorator of a step (f, algebra, x, y, *operands). Where the device takes over, each kernel
    is called with x, y and the operands, with streams in place of masks, and the step returns their
    results. A kernel gets all masks, or those whose numbers follow its name: with "a.b:0", "a.c:1"
    a.b gets the first and a.c the second."""
    plans = [
        (name, [int(i) for i in masks.split(",") if i])
        for name, _, masks in (k.partition(":") for k in kernels)
    ]

    def decorate(step: Step[X, P, R]) -> Step[X, P, R]:
        @wraps(step)
        def run(f: Bilinear, algebra: Algebra, x: X, y: X, *args: P.args, **kwargs: P.kwargs) -> R:
            if not _takes_over(f, algebra, x, y, args):
                return step(f, algebra, x, y, *args, **kwargs)
            operands: list[Any] = [a for a in args if not isinstance(a, Hiding)]
            masks = [a for a in args if isinstance(a, Hiding)]
            results = [
                _kernel(name)(
                    x,
                    y,
                    *operands,
                    *(s for i in chosen or range(len(masks)) for s in masks[i].streams),
                )
                for name, chosen in plans
            ]
            return cast(R, results[0] if len(results) == 1 else tuple(results))

        return run

    return decorate


def one_pass(kernel: str) -> Callable[[Callable[P, R]], Callable[..., R]]:
    """Decorator of a step over words and packed bits, of which the first argument is an array, a
    mask, or a party's components. Where that is a device's, the kernel is called with the same
    arguments, each mask as its streams (and `launcher` if the first is a mask). So callers may pass
    masks where the step has arrays: only the host runs it."""

    def decorate(step: Callable[P, R]) -> Callable[..., R]:
        @wraps(step)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            first: Any = cast(Components, args[0])[0] if isinstance(args[0], tuple) else args[0]
            if _stepwise(first):
                return step(*args, **kwargs)
            operands: list[Any] = []
            for a in args:
                operands += a.streams if isinstance(a, Hiding) else [a]
            place = {"launcher": first.launcher} if isinstance(first, Hiding) else {}
            return cast(R, _kernel(kernel)(*operands, **kwargs, **place))

        return run

    return decorate


def _takes_over(f: Bilinear, algebra: Algebra, x: Parts, y: Parts, operands: Sequence[Any]) -> bool:
    arrays = [*_arrays(x), *_arrays(y)]
    if _stepwise(arrays[0]) or type(f) is not Mul or np.dtype(algebra.dtype) not in ELEMENTS:
        return False
    return any(isinstance(o, Hiding) for o in operands) and all(
        a.shape == arrays[0].shape for a in arrays
    )


def _stepwise(first: Any) -> bool:
    """Whether a step runs as it is written: on the host, or recorded for the host
    (`wwfl_core.recording`)."""
    return not isinstance(first, Hiding) and (getattr(first, "stepwise", False) or on_host(first))


def _arrays(parts: Parts) -> Iterable[Array]:
    return parts.values() if isinstance(parts, Mapping) else parts


def _kernel(name: str) -> Callable[..., Any]:
    family, _, kernel = name.partition(".")
    return getattr(_family(family), kernel)


@cache
def _family(name: str) -> Any:
    return import_module(f"{KERNELS}.{name}")
