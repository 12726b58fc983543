"""The kernels of `wwfl_core.kernels` on device arrays, with the same names, arguments and bits.

Arrays decide where they run: CuPy arrays on a GPU, `shim.ShimArray`s on a CPU with the same CUDA
sources. Importing this package needs neither CuPy nor a device nor a compiler."""

from __future__ import annotations

from .bits import expand, from_planes, pack, pack_words, to_planes, unpack_words
from .conv import col2im, im2col
from .elementwise import add, linear, mul_sum, scale, sub
from .fixedpoint import decode, encode
from .gemm import batched_matmul, matmul
from .launch import Launcher, launcher_for
from .prg import Stream, combined, random_bytes, random_words
from .shim import ShimArray, asarray, asnumpy
from .truncation import (
    correction,
    left_bits,
    right_bits,
    shift_correct,
    truncate_left,
    truncate_right,
    wrap_message,
)

__all__ = [
    "Launcher",
    "ShimArray",
    "Stream",
    "add",
    "asarray",
    "asnumpy",
    "batched_matmul",
    "col2im",
    "combined",
    "correction",
    "decode",
    "encode",
    "expand",
    "from_planes",
    "im2col",
    "launcher_for",
    "left_bits",
    "linear",
    "matmul",
    "mul_sum",
    "pack",
    "pack_words",
    "random_bytes",
    "random_words",
    "right_bits",
    "scale",
    "shift_correct",
    "sub",
    "to_planes",
    "truncate_left",
    "truncate_right",
    "unpack_words",
    "wrap_message",
]
