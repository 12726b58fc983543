"""The emulated GPU, for measurements without one. It is apparatus of the tests
(`tests/emulated_gpu`), and this is the one place where benchmarks reach for it."""

from __future__ import annotations

import sys
from pathlib import Path

# Benchmarks run from the root of the repository, which is on the path; the folder of tests is not.
sys.path.append(str(Path(__file__).parents[1] / "tests"))

from emulated_gpu import EMULATED, EmulatedArray, EmulatedLauncher, emulated_launcher

__all__ = ["EMULATED", "EmulatedArray", "EmulatedLauncher", "emulated_launcher"]
