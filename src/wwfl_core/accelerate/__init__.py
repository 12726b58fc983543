"""Devices: where the arrays of a party live and are made, and the GPU kernels.

Nothing else in the core knows that devices exist, but the few places that choose one. A protocol
that brings kernels of its own (`wwfl.accelerated`, docs/gpu.md) uses `LazyMask`, `LazyStep` and
`elementwise` from here, and the launching tools of `wwfl_core.accelerate.cuda`. A plug-in's device
(`wwfl.devices`) is a `Device`, or `Kernels` with a launcher that runs the CUDA kernels."""

from __future__ import annotations

from .choose import named
from .device import HOST, Device, Memory
from .gpu import DRAWN_LATE, Kernels
from .lazy_mask import LazyMask, LazyStep, elementwise

__all__ = [
    "DRAWN_LATE",
    "HOST",
    "Device",
    "Kernels",
    "LazyMask",
    "LazyStep",
    "Memory",
    "elementwise",
    "named",
]
