"""Until the rules on floats are there: the weighted mean, for tests of engine="plain"."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np


def install() -> None:
    """Puts a module `wwfl.aggregation.plain` that can do FedAvg in place, if there is none."""
    name = "wwfl.aggregation.plain"
    if name in sys.modules or find_spec(name) is not None:
        return
    module: Any = ModuleType(name)
    module.aggregate = _mean
    sys.modules[name] = module


def _mean(
    rule: Any, models: Any, weights: Any, current: Any, root: Any = None, coin: Any = None, memory: Any = None
) -> np.ndarray:
    assert type(rule).__name__ == "FedAvg", rule
    return np.average(models, axis=0, weights=weights)
