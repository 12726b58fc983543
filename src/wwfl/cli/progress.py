"""Progress bars of a federation: rounds, and one bar per cluster."""

from __future__ import annotations

from threading import Lock

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Bars:
    """A context manager that shows bars while a federation runs; `stage` is its progress callback
    (any thread)."""

    def __init__(self, console: Console, rounds: int, done: int = 0) -> None:
        self._bars = Progress(
            TextColumn("{task.description:>10}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed}/{task.total} {task.fields[stage]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._rounds = self._bars.add_task("rounds", total=rounds, completed=done, stage="rounds")
        self._tasks: dict[str, TaskID] = {}
        self._lock = Lock()

    def stage(self, cluster: str, stage: str, done: int, total: int) -> None:
        """A cluster has done so much of a stage."""
        with self._lock:
            if cluster not in self._tasks:
                self._tasks[cluster] = self._bars.add_task(cluster, total=total, stage=stage)
        shown = "batches" if stage == "train" else stage
        self._bars.update(self._tasks[cluster], completed=done, total=total, stage=shown)

    def finished(self, number: int) -> None:
        """Round `number` is over."""
        self._bars.update(self._rounds, completed=number)

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
