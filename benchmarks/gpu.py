"""Measures the CUDA kernels, matrix products modulo 2^64, and training steps on a GPU.

    python -m benchmarks.gpu --json benchmarks/results/gpu.json     (on a machine with a GPU)
    python -m benchmarks.gpu --docs        (writes docs/how-to/gpu.md from that file, anywhere)

Times are medians between device events (of whole training steps: wall clock). Ceilings are measured
in the same run: a copy within the device's memory, and one large int8 product. The file is written
anew after every row, and what fails is a row that says why, so whatever ends a run, the rows before
it are kept; `--resume` measures what the file lacks. Needs CuPy and a GPU, and says so where they
are missing."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wwfl_core.errors import ConfigError

from . import gpu_gemm, gpu_kernels, gpu_report
from .gpu_bench import Bench, describe_device, on_device
from .machine import describe

if TYPE_CHECKING:
    from .gpu_training import Task

BATCH, PEAK_SIZE = 64, 8192


class Run:
    """A result that grows row by row and is on disk after each. No row begins after `seconds`
    (None: no limit)."""

    def __init__(
        self, file: Path | None = None, seconds: float | None = None, resume: bool = False
    ) -> None:
        self._file, self._until = file, None if seconds is None else time.monotonic() + seconds
        self.result: dict[str, Any] = {}
        if resume and file is not None and file.exists():
            self.result = json.loads(file.read_text())
        self.result["left_out"] = []

    @property
    def time_is_up(self) -> bool:
        return self._until is not None and time.monotonic() > self._until

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """A single entry, measured unless it is there already; None where that failed."""
        if key not in self.result:
            try:
                self.result[key] = make()
                self.result.get("errors", {}).pop(key, None)
            except Exception as error:  # the other sections still count
                self._failed(key, error)
            self._save()
        return self.result.get(key)

    def rows(self, key: str, rows: Iterator[dict[str, Any]]) -> None:
        """A section whose rows are measured as the iterator gives them; from the start again unless
        it was complete."""
        done = self.result.setdefault("complete", [])
        if key in done:
            return
        found = self.result[key] = []
        try:
            for row in rows:
                found.append(row)
                self._save()
                if self.time_is_up:
                    self.result["left_out"].append(f"the rest of {key}")
                    return self._save()
            done.append(key)
        except Exception as error:
            self._failed(key, error)
        self._save()

    def row(self, key: str, name: Sequence[str], make: Callable[[], dict[str, Any]]) -> None:
        """One row of a section, unless it is there without an error already, or the time is up."""
        kept = [
            row
            for row in self.result.setdefault(key, [])
            if "error" in row or _name(row) != list(name)
        ]
        if len(kept) < len(self.result[key]):
            return
        if self.time_is_up:
            self.result["left_out"].append(" ".join(name))
        else:
            made = make()
            self.result[key] = [row for row in kept if _name(row) != list(name)] + [made]
        self._save()

    def attempt(self, key: str, section: Callable[[], None]) -> None:
        """A section that writes its own rows; what stops it as a whole is noted."""
        try:
            section()
        except Exception as error:
            self._failed(key, error)
            self._save()

    def _failed(self, key: str, error: Exception) -> None:
        self.result.setdefault("errors", {})[key] = f"{type(error).__name__}: {error}"[:300]

    def _save(self) -> None:
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            scratch = self._file.with_suffix(".tmp")
            scratch.write_text(json.dumps(self.result, indent=1) + "\n")
            os.replace(scratch, self._file)


def _name(row: dict[str, Any]) -> list[str]:
    return [row["network"], row["protocol"], row["device"]]


def kernels_and_products(
    bench: Bench,
    elements: int,
    batch: int,
    peak_size: int,
    shapes: dict[str, tuple[int, int, int]],
    run: Run,
) -> None:
    """Everything but training."""
    run.once("device", lambda: describe_device(bench))
    run.once("machine", describe)
    run.once("date", lambda: datetime.now(UTC).date().isoformat())
    peak = run.once("int8_peak", lambda: gpu_gemm.int8_peak(bench, peak_size))
    bench.release()
    run.rows("kernels", gpu_kernels.measure(bench, elements, batch))
    run.rows("products", gpu_gemm.measure(bench, shapes, peak and peak["mac_per_s"]))
    run.once("residue_stages", lambda: gpu_gemm.residue_stages(bench, *next(iter(shapes.values()))))
    bench.release()


def training(run: Run, networks: str | Mapping[str, Task], device: str, repeats: int) -> None:
    """A training step of every network (names of `gpu_training.NETWORKS`, or tasks) in every
    protocol on a device."""
    from . import gpu_training  # needs torch; kernels and products do not

    if isinstance(networks, str):
        networks = {name: gpu_training.NETWORKS[name] for name in networks.split(",") if name}
    for network, task in networks.items():
        for protocol in gpu_training.PROTOCOLS:
            name = (network, protocol, device)
            run.row(
                "training",
                name,
                lambda n=name, t=task: gpu_training.row(n[0], t, n[1], n[2], repeats),
            )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", metavar="FILE", help="write the result ('-': standard output)")
    parser.add_argument(
        "--resume", action="store_true", help="keep what FILE has and measure the rest"
    )
    parser.add_argument("--seconds", type=float, help="begin no further row after this time")
    parser.add_argument(
        "--docs",
        action="store_true",
        help=f"write {gpu_report.PAGE} from {gpu_report.RESULT}, stop",
    )
    parser.add_argument(
        "--elements", type=int, default=1 << 26, help="of elementwise kernels (default 2^26)"
    )
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument(
        "--networks", default="LeNet-5,VGG16-CIFAR10", help="training steps on the GPU; empty: none"
    )
    parser.add_argument(
        "--cpu-networks", default="LeNet-5", help="and on the CPU (VGG16 takes minutes there)"
    )
    options = parser.parse_args(argv)
    if options.docs:
        gpu_report.write()
        return 0
    try:
        bench = on_device(options.repeats)
    except ConfigError as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        return 2
    file = Path(options.json) if options.json and options.json != "-" else None
    run = Run(file, options.seconds, options.resume)
    kernels_and_products(bench, options.elements, BATCH, PEAK_SIZE, gpu_gemm.SHAPES, run)
    for networks, device, repeats in (
        (options.networks, "cuda", options.repeats),
        (options.cpu_networks, "cpu", 1),
    ):
        run.attempt(
            f"training on {device}", lambda n=networks, d=device, r=repeats: training(run, n, d, r)
        )
    print(json.dumps(run.result, indent=1) if options.json == "-" else gpu_report.page(run.result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
