"""How a run of the tests is arranged: floor by floor, every worker on one core.

What tests share (clusters, federations, programs) is no matter of this file; see README.md."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FLOORS = (
    "tools",
    "test_",
    "core/test_",
    "core/numbers",
    "core/sharing",
    "core/randomness",
    "core/channel",
    "core/party",
    "core/protocol",
    "core/tensors",
    "core/cluster",
    "protocols",
    "conversion",
    "core/recording",
    "core/accelerate",
    "core/testing",
    "learning/nn",
    "learning/data",
    "learning",
    "documents",
)
"""Folders (or beginnings of names) under tests, from what everything stands on upwards."""


def pytest_configure(config: pytest.Config) -> None:
    """The parties of a cluster are threads that mostly compute in Python, one at a time. Where they
    may run on several cores they wake each other across them and wait for the interpreter's lock.
    Servers and runtimes in processes of their own inherit the core; the other workers use the
    others."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What fails first is what the others stand on. Folders that are not named come last."""

    def floor(item: pytest.Item) -> int:
        path = item.path.relative_to(TESTS).as_posix() if TESTS in item.path.parents else ""
        return next((i for i, name in enumerate(FLOORS) if path.startswith(name)), len(FLOORS))

    items.sort(key=floor)
