# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
"""The CUDA kernels on a GPU, through CuPy (`pip install wwfl[cuda]`). Importing this module needs
no device."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import ConfigError

from .launcher import OPTIONS, DeviceArray, Dim3, Launcher, source_text


def cupy() -> Any:
    """The CuPy module.

    Raises:
        ConfigError: where CuPy is not installed; the message says how to install it.
    """
    try:
        import cupy as module  # pyright: ignore[reportMissingImports, reportMissingTypeStubs, reportUnknownVariableType]
    except ImportError as error:
        raise ConfigError(
            "device='cuda' needs CuPy: pip install 'wwfl[cuda]' for CUDA 12, 'wwfl[cuda13]' for "
            "CUDA 13"
        ) from error
    return module  # pyright: ignore[reportUnknownVariableType]


def require_device() -> Any:
    """The CuPy module, where it also has a device to run on.

    Raises:
        ConfigError: without CuPy, without a driver, or without a device.
    """
    module = cupy()
    try:
        count = int(module.cuda.runtime.getDeviceCount())
    except module.cuda.runtime.CUDARuntimeError as error:
        raise ConfigError(
            f"CuPy is installed, but CUDA finds no device it can use: {error}"
        ) from error
    if not count:
        raise ConfigError("CuPy is installed, but CUDA reports no device")
    return module


R_8I, R_32I, COMPUTE_32I, GEMM_DEFAULT, OP_N, OP_T = 3, 10, 72, -1, 0, 1  # of cuBLAS


class CupyLauncher(Launcher):
    """Compiles a source at its first launch (NVRTC; CuPy keeps the binaries on disk) and launches
    on a stream."""

    called = "CuPy array"

    def __init__(self) -> None:
        self._cupy = require_device()
        self.kind = self._cupy.ndarray
        self._kernels: dict[tuple[str, str], Any] = {}
        self._modules: dict[str, Any] = {}
        self._lock = threading.Lock()

    def launch(
        self,
        source: str,
        kernel: str,
        grid: Dim3,
        block: Dim3,
        args: Sequence[Any],
        shared_bytes: int = 0,
        stream: Any = None,
    ) -> None:
        function = self._kernels.get((source, kernel)) or self._load(source, kernel)
        # As 8-byte scalars, which CuPy copies as they are: every parameter of our kernels is that
        # wide.
        words = tuple(np.array(self.words(args, kernel), np.uint64))
        if stream is None:
            function(grid, block, words, shared_mem=shared_bytes)
            return
        with stream:
            function(grid, block, words, shared_mem=shared_bytes)

    def prepare(self, source: str) -> Any:
        """The compiled module of a file of kernels, for the current device.

        Raises:
            ConfigError: where it cannot be compiled.
        """
        with self._lock:
            module = self._modules.get(source)
            if module is None:
                module = self._cupy.RawModule(code=source_text(source), options=OPTIONS)
                try:
                    module.compile()
                except self._cupy.cuda.compiler.CompileException as error:
                    raise ConfigError(
                        f"NVRTC cannot compile {source} for this device: {error}"
                    ) from error
                self._modules[source] = module
            return module

    def _load(self, source: str, kernel: str) -> Any:
        function = self._kernels[source, kernel] = self.prepare(source).get_function(kernel)
        return function

    def int8_products(self, left: DeviceArray, right: DeviceArray, out: DeviceArray) -> None:
        cublas = _cublas()
        (count, m, k), n = left.shape, right.shape[1]
        one, zero = (
            np.ones(1, np.int32),
            np.zeros(1, np.int32),
        )  # on the host: cuBLAS reads them during the call
        # cuBLAS counts by columns: for it, the operands are right^T and left^T, and the result is
        # out^T = right left^T.
        first, second = (
            (right.data.ptr, R_8I, right.strides[1]),
            (left.data.ptr, R_8I, left.strides[1]),
        )
        result = out.data.ptr, R_32I, out.strides[1] // 4
        how = COMPUTE_32I, GEMM_DEFAULT
        try:
            # CuPy has a handle per thread and device, and gives it the current stream at every
            # call.
            start = self._cupy.cuda.device.get_cublas_handle(), OP_T, OP_N, n, m, k, one.ctypes.data
            if count == 1:
                cublas.gemmEx(*start, *first, *second, zero.ctypes.data, *result, *how)
                return
            cublas.gemmStridedBatchedEx(
                *(*start, *first, right.strides[0], *second, left.strides[0]),
                *(zero.ctypes.data, *result, out.strides[0] // 4, count, *how),
            )
        except cublas.CUBLASError as error:
            if count == 1:
                raise ConfigError(
                    f"cuBLAS cannot compute an int8 product ({m}, {k}) by ({k}, {n}): {error}; "
                    "large products modulo 2^64 need it"
                ) from error
            for i in range(
                count
            ):  # not every architecture takes int8 products in batches (cuVS: Ada does not)
                self.int8_products(left[i : i + 1], right[i : i + 1], out[i : i + 1])

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> DeviceArray:
        return self._cupy.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> DeviceArray:
        return self._cupy.zeros(shape, dtype)

    def address(self, array: DeviceArray) -> int:
        return int(array.data.ptr)


def _cublas() -> Any:
    """CuPy's binding of cuBLAS.

    Raises:
        ConfigError: where the library is not installed.
    """
    try:
        from cupy_backends.cuda.libs import (  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]
            cublas,  # pyright: ignore[reportUnknownVariableType]
        )
    except ImportError as error:
        raise ConfigError(
            "large products modulo 2^64 need cuBLAS: install the CUDA toolkit, or its wheel "
            f"nvidia-cublas (nvidia-cublas-cu12 for CUDA 12): {error}"
        ) from error
    return cublas  # pyright: ignore[reportUnknownVariableType]


@cache
def cupy_launcher() -> CupyLauncher:
    """The launcher of CuPy arrays."""
    return CupyLauncher()
