"""Where independent computations run: here, in processes on this machine, or in the workers of a
Ray cluster.

Whatever can be spread takes any `concurrent.futures.Executor`. Functions and their arguments are
pickled, so workers need the same packages, and files under the same paths. Nothing secret goes this
way: what is spread is experiments, and training in the clear."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from wwfl_core.errors import ConfigError

LOCAL = "local"
"""The address of a Ray that is started here for as long as the executor lives."""


def processes(jobs: int) -> Executor:
    """So many worker processes on this machine. They start from nothing (a fork would copy threads
    that hold locks)."""
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))


class RayExecutor(Executor):
    """Tasks of one CPU each in a Ray cluster at `address`: "auto" (the one that this machine
    belongs to) or "host:port"; "local" starts one here, with `cpus` (by default all), and stops it
    at the end.

    Raises:
        ConfigError: Ray is not installed, cannot be started, or has no cluster at the address.
    """

    def __init__(self, address: str = LOCAL, *, cpus: int | None = None) -> None:
        if find_spec("ray") is None:
            raise ConfigError(
                "spreading over machines needs Ray, which is not installed: `pip install wwfl[ray]`"
            )
        import ray  # pyright: ignore[reportMissingImports]

        self._ray = ray
        self._started = not ray.is_initialized()
        if self._started:
            where = (
                {"num_cpus": cpus, "include_dashboard": False}
                if address == LOCAL
                else {"address": address}
            )
            try:
                ray.init(log_to_driver=False, logging_level="warning", **where)
            except Exception as error:  # Ray has no class of its own for this
                what = (
                    "cannot be started here" if address == LOCAL else f"has no cluster at {address}"
                )
                raise ConfigError(
                    f"Ray {what}: {error}; `ray start --head` starts a cluster"
                ) from error
        self._task = ray.remote(_called)
        self._open: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A task; its future raises what `fn` raised, or BrokenExecutor if Ray lost it for good.
        Cancelling the future stops the task, even while it runs."""
        future: Future[Any] = Future()
        self._open.add(future)
        reference = self._task.remote(fn, *args, **kwargs)
        future.add_done_callback(
            lambda mine: self._ray.cancel(reference) if mine.cancelled() else None
        )
        reference.future().add_done_callback(lambda done: self._settle(future, done))
        return future

    def _settle(self, future: Future[Any], done: Future[Any]) -> None:
        if future.set_running_or_notify_cancel():
            error = done.exception()
            if error is not None:
                lost = BrokenExecutor(f"Ray: {error}")
                lost.__cause__ = error
                future.set_exception(lost)
            elif isinstance(result := done.result(), _Raised):
                future.set_exception(result.error)
            else:
                future.set_result(result)
        self._open.discard(future)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Waits for all tasks, or cancels them, and leaves the cluster (stops it, if it was started
        here)."""
        unsettled = list(self._open)
        if cancel_futures:
            for future in unsettled:
                future.cancel()
        if wait:
            futures.wait(unsettled)
        if self._started:
            self._ray.shutdown()
            self._started = False


@dataclass
class _Raised:
    """What a function raised, as a value: Ray would wrap it in an error of its own."""

    error: Exception


def _called(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    except Exception as error:
        return _Raised(error)


def executor_for(jobs: int | None, ray: str | None) -> AbstractContextManager[Executor | None]:
    """What the options --jobs and --ray of a command mean; None is this process alone.

    Raises:
        ConfigError: both, or fewer than one job; what `RayExecutor` raises.
    """
    if ray is not None:
        if jobs is not None:
            raise ConfigError(
                "--jobs is for processes on this machine, --ray for a Ray cluster: say one of them"
            )
        return RayExecutor(ray)
    if jobs is not None and jobs < 1:
        raise ConfigError(f"--jobs {jobs}: at least one is needed")
    return nullcontext() if jobs in (None, 1) else processes(jobs)
