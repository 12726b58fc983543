"""The kernels of `wwfl_core.kernels` on device arrays, with the same names, arguments and bits.

Arrays decide where they run: CuPy arrays on a GPU, `shim.ShimArray`s on a CPU with the same CUDA sources. Importing
this package needs neither CuPy nor a device nor a compiler.
"""

from __future__ import annotations

from .elementwise import add, linear, mul_sum, scale, sub
from .launch import Launcher, launcher_for
from .shim import ShimArray, asarray, asnumpy

__all__ = ["Launcher", "ShimArray", "add", "asarray", "asnumpy", "launcher_for", "linear", "mul_sum", "scale", "sub"]
