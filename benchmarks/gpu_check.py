"""Whether a session on a GPU machine can begin: what can be imported there, and which kernels its compiler takes.

    python -m benchmarks.gpu_check

One line each; what fails says why and stops nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module

NEEDED = ("numpy", "numba", "torch", "cryptography", "blake3", "pydantic", "cupy", "pytest", "hypothesis", "wwfl")


def tried(what: str, call: Callable[[], object]) -> str:
    """What a call returns, or its error, and how long it took."""
    begun = time.monotonic()
    try:
        said = str(call())
    except Exception as error:
        said = f"{type(error).__name__}: {error}"[:600]
    return f"{what}: {said} ({time.monotonic() - begun:.1f} s)"


def compiled(source: str) -> str:
    """Compiles a file of kernels for this device."""
    from wwfl_core.kernels.cuda.device import cupy_launcher

    cupy_launcher().prepare(source)
    return "compiled"


def main() -> int:
    for name in NEEDED:
        print(tried(name, lambda n=name: getattr(import_module(n), "__version__", "here")), flush=True)
    try:
        from wwfl_core.kernels.cuda.launch import sources
    except Exception as error:
        print(f"no kernels: {type(error).__name__}: {error}")
        return 1
    for source in sources():
        print(tried(source, lambda s=source: compiled(s)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
