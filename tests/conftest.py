"""Every worker of pytest-xdist stays on one core.

The parties of a cluster are threads that mostly compute in Python, one at a time. Where they may
run on several cores they wake each other across them and wait for the interpreter's lock. Servers
and runtimes in processes of their own inherit the core; the other workers use the others."""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
