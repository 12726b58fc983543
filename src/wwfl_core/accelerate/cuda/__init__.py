"""The kernels of `wwfl_core.kernels` on device arrays, with the same names, arguments and bits; and
what kernels of protocols are started with.

Arrays decide where they run: CuPy's on a GPU, and others where the launcher that they bring starts
kernels (their attribute `launcher`). Importing this package needs neither CuPy nor a device nor a
compiler.

A protocol that brings kernels of its own calls `over` (or a `Launcher`) with the path of its
source, which may include the headers of `csrc/`: masked.cuh (elementwise expressions with masks
from key streams), chacha.cuh, carry.cuh and lemma_w.cuh."""

from __future__ import annotations

from wwfl_core.kernels import check_int

from .bits import (
    expand,
    from_planes,
    negate_where,
    pack,
    pack_words,
    packed_bits,
    packed_words,
    pick,
    planes_of,
    to_planes,
    unpack_words,
    xor_where,
)
from .carry import Level
from .conv import col2im, im2col
from .elementwise import add, linear, mul_sum, scale, sub
from .fixedpoint import decode, encode
from .gemm import batched_matmul, matmul
from .launch import DeviceArray, Dim3, Launcher, launcher_for, over, plain, sized
from .prg import (
    Stream,
    check_length,
    combined,
    random_bytes,
    random_words,
    ring_or_bits,
    same_kind,
    source_args,
    stream_args,
    streams_args,
)
from .truncation import (
    left_bits,
    right_bits,
    shift_correct,
    shift_left_half,
    star_bits,
)

__all__ = [
    "DeviceArray",
    "Dim3",
    "Launcher",
    "Level",
    "Stream",
    "add",
    "batched_matmul",
    "check_int",
    "check_length",
    "col2im",
    "combined",
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
    "negate_where",
    "over",
    "pack",
    "pack_words",
    "packed_bits",
    "packed_words",
    "pick",
    "plain",
    "planes_of",
    "random_bytes",
    "random_words",
    "right_bits",
    "ring_or_bits",
    "same_kind",
    "scale",
    "shift_correct",
    "shift_left_half",
    "sized",
    "source_args",
    "star_bits",
    "stream_args",
    "streams_args",
    "sub",
    "to_planes",
    "unpack_words",
    "xor_where",
]
