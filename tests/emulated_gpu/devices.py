"""Where the tests of CUDA kernels run: on the emulated GPU, and on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

from wwfl_core.accelerate import cuda
from wwfl_core.accelerate.cuda.launch import Launcher

from . import EMULATED, asarray, asnumpy, emulation


@dataclass(frozen=True)
class Device:
    """How arrays get there and back."""

    put: Callable[[Any], Any]
    get: Callable[[Any], np.ndarray]
    launcher: Launcher


@cache
def why_no_gpu() -> str:
    """Why the tests of a GPU cannot run here; empty if they can."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed"
    try:
        return "" if cupy.cuda.runtime.getDeviceCount() else "CUDA reports no device"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CUDA finds no device: {error}"


@cache
def device(name: str) -> Device:
    """The emulated GPU, or the current one."""
    if name == EMULATED:
        return Device(asarray, asnumpy, emulation.emulated_launcher())
    import cupy

    return Device(cupy.asarray, cupy.asnumpy, cuda.launcher_for(cupy.zeros(1)))


GPU = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(bool(why_no_gpu()), reason=f"no GPU: {why_no_gpu()}"),
    ],
)
everywhere = pytest.mark.parametrize("where", [pytest.param(EMULATED, id="emulated"), GPU])


def same(actual: Any, expected: np.ndarray, where: str) -> None:
    """On that device, C-contiguous, and equal in dtype, shape and every value."""
    assert type(actual) is not np.ndarray, "the result left the device"
    host = device(where).get(actual)
    assert host.dtype == expected.dtype
    assert host.shape == expected.shape
    assert actual.flags.c_contiguous
    np.testing.assert_array_equal(host, expected)
