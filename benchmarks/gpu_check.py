"""Whether a session on a GPU machine can begin: what can be imported there, which kernels its
compiler takes, and whether cuBLAS multiplies int8 matrices.

    python -m benchmarks.gpu_check

One line each; what fails says why and stops nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wwfl_core.accelerate.cuda.launch import Launcher

NEEDED = (
    "numpy",
    "numba",
    "torch",
    "cryptography",
    "blake3",
    "pydantic",
    "cupy",
    "pytest",
    "hypothesis",
    "wwfl",
)


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
    from wwfl_core.accelerate.cuda.device import cupy_launcher

    cupy_launcher().prepare(source)
    return "compiled"


def registered() -> str:
    """The protocols whose kernels are found; without them, steps would be measured unfused."""
    from importlib.metadata import entry_points

    from wwfl_core.cluster.accelerated import GROUP

    return ", ".join(sorted(point.name for point in entry_points(group=GROUP))) or "NONE"


def multiplied(launcher: Launcher) -> str:
    """Eighteen int8 products by the device's library, as large products modulo 2^64 need them."""
    import numpy as np  # which may be missing: then that is a line, too

    left, right = (launcher.zeros((18, side, 32), np.int8) for side in (16, 48))
    left += 1
    right += 2
    out = launcher.empty((18, 16, 48), np.int32)
    launcher.int8_products(left, right, out)
    return "right" if bool(np.all(out == 64)) else "WRONG"


def main() -> int:
    for name in NEEDED:
        print(
            tried(name, lambda n=name: getattr(import_module(n), "__version__", "here")), flush=True
        )
    try:
        from backends.kernels import SOURCES
        from wwfl_core.accelerate.cuda.device import cupy_launcher
        from wwfl_core.accelerate.cuda.launch import sources
    except Exception as error:
        print(f"no kernels: {type(error).__name__}: {error}")
        return 1
    for source in (*sources(), *map(str, sorted(SOURCES.glob("*.cu")))):
        print(tried(source, lambda s=source: compiled(s)), flush=True)
    print(tried("int8 products of cuBLAS", lambda: multiplied(cupy_launcher())), flush=True)
    print(tried("kernels of protocols", registered), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
