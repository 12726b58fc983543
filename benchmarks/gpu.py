"""Measures the CUDA kernels, matrix products modulo 2^64, and training steps on a GPU.

    python -m benchmarks.gpu --json benchmarks/results/gpu.json     (on a machine with a GPU)
    python -m benchmarks.gpu --docs                                 (writes docs/gpu.md from that file, anywhere)

Times are medians between device events (of whole training steps: wall clock). Ceilings are measured in the same run: a
copy within the device's memory, and one large int8 product. Needs CuPy and a GPU, and says so where they are missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wwfl_core.errors import ConfigError

from . import gpu_gemm, gpu_kernels, gpu_report, gpu_training
from .gpu_bench import Bench, describe_device, on_device
from .machine import describe


def kernels_and_products(
    bench: Bench, elements: int, batch: int, peak_size: int, shapes: dict[str, tuple[int, int, int]]
) -> dict[str, Any]:
    """Everything but training."""
    peak = gpu_gemm.int8_peak(bench, peak_size)
    return {
        "device": describe_device(bench),
        "machine": describe(),
        "date": datetime.now(UTC).date().isoformat(),
        "int8_peak": peak,
        "kernels": gpu_kernels.measure(bench, elements, batch),
        "products": gpu_gemm.measure(bench, shapes, peak["mac_per_s"]),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the result ('-': standard output)")
    parser.add_argument("--docs", action="store_true", help=f"write {gpu_report.PAGE} from {gpu_report.RESULT}, stop")
    parser.add_argument("--elements", type=int, default=1 << 26, help="of elementwise kernels (default 2^26)")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--networks", default="LeNet-5,VGG16-CIFAR10", help="training steps to measure; empty: none")
    parser.add_argument("--no-cpu", action="store_true", help="leave out the training steps on the CPU")
    options = parser.parse_args(argv)
    if options.docs:
        gpu_report.write()
        return 0
    try:
        bench = on_device(options.repeats)
    except ConfigError as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        return 2
    result = kernels_and_products(bench, options.elements, 64, 8192, gpu_gemm.SHAPES)
    networks = [name for name in options.networks.split(",") if name]
    if networks and gpu_training.available():
        devices = ["cuda"] if options.no_cpu else ["cuda", "cpu"]
        result["training"] = gpu_training.rows(networks, devices, options.repeats)
    text = json.dumps(result, indent=1)
    if options.json and options.json != "-":
        Path(options.json).parent.mkdir(parents=True, exist_ok=True)
        Path(options.json).write_text(text + "\n")
    print(text if options.json == "-" else gpu_report.page(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
