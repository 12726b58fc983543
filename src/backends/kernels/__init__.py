"""Protocols on a device: their local steps, one CUDA kernel each.

A protocol's file is its definition. Here is the same protocol for devices that run CUDA kernels
(`wwfl_core.accelerate`): a subclass that overrides small local steps, with launchers in Python and
kernels in `csrc/`. Messages, draws and results are those of the definition, bit for bit. Clusters
find the subclass by the entry point of the protocol's name in the group `wwfl.accelerated`."""

from __future__ import annotations

from pathlib import Path

SOURCES = Path(__file__).parent / "csrc"

__all__ = ["SOURCES"]
