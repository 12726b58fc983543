"""The emulated GPU: the CUDA sources of `src` compiled for the CPU by g++, with a header that plays
blocks, barriers, warps, shared memory, atomics and the tensor-core instruction (`emulated.h`).

It is apparatus of tests, bit-exact and slow, and no part of the library: no wheel has it, and the
core does not know it. Where this folder's parent is on Python's path, clusters compute on it by its
name, as on any device that a plug-in brings: `LocalCluster(protocol, device=EMULATED)`; server
processes inherit the path. A build with `RACES` reports accesses of one launch without a barrier
between them (`races.h`). Here belong also the marks of tests that run on it, and on a GPU where
there is one (`devices`)."""

from __future__ import annotations

from .emulation import (
    FLAGS,
    RACES,
    Emulated,
    EmulatedArray,
    EmulatedLauncher,
    asarray,
    asnumpy,
    build,
    emulated_launcher,
)

EMULATED = Emulated.name
"""The name of this device, for `device=`."""

__all__ = [
    "EMULATED",
    "FLAGS",
    "RACES",
    "Emulated",
    "EmulatedArray",
    "EmulatedLauncher",
    "asarray",
    "asnumpy",
    "build",
    "emulated_launcher",
]
