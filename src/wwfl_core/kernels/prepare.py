"""Compiling every kernel ahead of its first use."""

from __future__ import annotations

from . import bits, conv, elementwise, gemm, truncation, words
from ._lazy import Kernel


def all_kernels() -> dict[str, Kernel]:
    """Every compiled kernel, by "module.function"."""
    found: dict[str, Kernel] = {}
    for module in (gemm, conv, elementwise, bits, words, truncation):
        for name, value in vars(module).items():
            if isinstance(value, Kernel):
                found[f"{module.__name__.rpartition('.')[2]}.{name}"] = value
    return found


def prepare() -> None:
    """Compile all kernels, or load them from the disk cache.

    Optional: without it each kernel does so at its first call. A launcher of several processes
    calls this once before starting them, so that they find a filled cache."""
    for kernel in all_kernels().values():
        kernel.prepare()
