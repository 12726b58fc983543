"""Compiled single-threaded kernels over Z_2^64 (uint64 arrays); no function changes its inputs."""

from __future__ import annotations

from ._lazy import check_int
from .bits import expand, from_planes, negate_where, pack, pick, to_planes, xor_where
from .conv import col2im, geometry, im2col
from .elementwise import mul_sum
from .gemm import matmul
from .prepare import prepare
from .truncation import left_bits, right_bits, shift_correct, shift_left_half, star_bits
from .words import pack_words, unpack_words

__all__ = [
    "check_int",
    "col2im",
    "expand",
    "from_planes",
    "geometry",
    "im2col",
    "left_bits",
    "matmul",
    "mul_sum",
    "negate_where",
    "pack",
    "pack_words",
    "pick",
    "prepare",
    "right_bits",
    "shift_correct",
    "shift_left_half",
    "star_bits",
    "to_planes",
    "unpack_words",
    "xor_where",
]
