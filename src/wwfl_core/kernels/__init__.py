"""Compiled single-threaded kernels over Z_2^64 (uint64 arrays); no function changes its inputs."""

from __future__ import annotations

from wwfl_core.kernels.bits import expand, from_planes, pack, to_planes
from wwfl_core.kernels.conv import col2im, im2col
from wwfl_core.kernels.elementwise import mul_sum
from wwfl_core.kernels.gemm import matmul
from wwfl_core.kernels.prepare import prepare
from wwfl_core.kernels.truncation import left_bits, right_bits, shift_correct, shift_left_half, star_bits
from wwfl_core.kernels.words import pack_words, unpack_words

__all__ = [
    "col2im",
    "expand",
    "from_planes",
    "im2col",
    "left_bits",
    "matmul",
    "mul_sum",
    "pack",
    "pack_words",
    "prepare",
    "right_bits",
    "shift_correct",
    "shift_left_half",
    "star_bits",
    "to_planes",
    "unpack_words",
]
