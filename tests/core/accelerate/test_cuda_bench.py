"""The benchmark of the GPU runs (here in the emulation, at sizes that say nothing), and its page is
current."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import (
    gpu,
    gpu_bench,
    gpu_check,
    gpu_gemm,
    gpu_host,
    gpu_kernels,
    gpu_report,
    gpu_split,
    gpu_training,
)
from torch import nn

from emulated_gpu import EMULATED, asarray, asnumpy
from emulated_gpu.devices import why_no_gpu
from kernel_inputs import words
from wwfl.nn import pool_first, trace
from wwfl_core import kernels as cpu
from wwfl_core.accelerate import cuda


def test_every_measurement_runs_and_every_product_is_exact() -> None:
    run, bench = gpu.Run(), gpu_bench.on_emulated()
    gpu.kernels_and_products(bench, 300, 1, 16, {"small": (9, 40, 17)}, run)
    gpu.training(run, {"tiny": TINY}, EMULATED, 1)
    result = run.result
    assert json.loads(json.dumps(result)) == result
    assert not any(
        "error" in row for key in ("kernels", "products", "training") for row in result[key]
    )
    assert "errors" not in result and not result["left_out"]
    row = result["products"][0]
    assert all(row[name]["exact"] for name in gpu_gemm.methods(bench)), row
    assert result["residue_stages"]["exact"]
    text = gpu_report.page(result)
    assert "int8 products in" in text and "wrong" not in text
    assert all(found["name"] in text for found in result["kernels"])
    assert "No GPU has run this" not in text
    for row in result["training"]:
        split = row["split"]
        assert row["seconds"] > 0 and row["bytes_total"] > 0
        assert all(split[kind] > 0 for kind in ("local", "packing", "transfer"))
        assert sum(split[kind] for kind in ("local", "packing", "transfer", "rest")) >= split[
            "seconds"
        ] * (1 - 1e-9)
        assert split["parties"] == {"3pc": 3, "4pc": 4}[row["protocol"]]


TINY: gpu_training.Task = (
    lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 10)),
    (1, 2, 3),
    2,
)


def test_a_run_that_ends_early_keeps_its_rows_and_goes_on_later(tmp_path: Path) -> None:
    """One row fails, the time is up before another, and a later run measures only what is
    missing."""
    file = tmp_path / "out" / "gpu.json"

    def rows(made: list[str]) -> Iterator[dict[str, Any]]:
        for name in ("a", "b", "c"):
            made.append(name)
            yield {"name": name}

    first, made = gpu.Run(file), []
    first.once("int8_peak", lambda: 1 // 0)
    assert "ZeroDivisionError" in json.loads(file.read_text())["errors"]["int8_peak"]
    first._until = 0.0
    first.rows("kernels", rows(made))
    first.row("training", ("n", "3pc", "cuda"), lambda: {})
    kept = json.loads(file.read_text())
    assert kept["kernels"] == [{"name": "a"}] and made == ["a"]
    assert kept["left_out"] == ["the rest of kernels", "n 3pc cuda"]
    first.attempt("training on cuda", lambda: gpu.training(first, "no such network", "cuda", 1))
    assert "no such network" in json.loads(file.read_text())["errors"]["training on cuda"]
    assert "Not measured: int8_peak" in gpu_report.page(kept | {"kernels": []})

    second = gpu.Run(file, resume=True)
    assert second.once("int8_peak", lambda: {"size": 1}) == {"size": 1}
    second.rows("kernels", rows(made))
    second.row(
        "training",
        ("n", "3pc", "cuda"),
        lambda: {"network": "n", "protocol": "3pc", "device": "cuda"},
    )
    assert made == ["a", "a", "b", "c"]
    third = gpu.Run(file, resume=True)
    third.rows("kernels", rows(made))
    third.row("training", ("n", "3pc", "cuda"), lambda: {"must": "not run"})
    assert len(made) == 4 and len(third.result["training"]) == 1
    assert third.result["left_out"] == [] and "int8_peak" not in third.result["errors"]


def test_a_kernel_that_fails_is_a_row_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(gpu_kernels.pair, "wrap_message", broken)
    monkeypatch.setattr(gpu_kernels, "plane_cases", broken)
    rows = list(gpu_kernels.measure(gpu_bench.on_emulated(), 40, 1))
    failed = [row for row in rows if "error" in row]
    assert [row["name"] for row in failed] == ["truncation, wrap message", "operands of a group"]
    assert sum("bytes_per_s" in row for row in rows) > 20


def test_bytes_of_the_carry_tree_are_those_of_its_arrays() -> None:
    """Counted from the arrays of every round, for a few positions."""
    bench, nb = gpu_bench.on_emulated(), 8
    for k in (2, 3, 7, 63):
        g, p = (tuple(bench.bytes(rows, nb) for _ in range(2)) for rows in (k, k - 1))
        masks = gpu_kernels.S[:2]
        g, p, message = gpu_kernels.replicated.level(g, p, None, *masks)
        moved = sum(a.nbytes for a in (*g, *p, message))
        while g[0].shape[0] > 1:
            taken = (message, message)
            *after, following = gpu_kernels.replicated.level(g, p, taken, *masks)
            arrays = (*g, *p, *taken, *after[0], *after[1], following)
            moved += sum(a.nbytes for a in arrays)
            (g, p), message = after, following
        assert gpu_kernels._carry_bytes(k, nb) == moved


def test_products_of_the_library_are_checked_and_count_as_local_work() -> None:
    bench = gpu_bench.on_emulated()
    left, right, out = (
        bench.launcher.zeros((1, 4, 4), dtype) for dtype in (np.int8, np.int8, np.int32)
    )
    assert gpu_check.multiplied(bench.launcher) == "right"
    with gpu_split.metered(bench.launcher, np) as meter:
        bench.launcher.int8_products(left, right, out)
    assert meter.parties()[0]["local"] > 0


@pytest.mark.parametrize("method", ["cublas_diagonals", "float64_limbs"])
def test_the_other_ways_to_multiply_are_exact(method: str) -> None:
    a, b = words(1, 7, 2100), words(2, 2100, 5)
    found = gpu_gemm.methods(gpu_bench.on_emulated())[method](asarray(a), asarray(b))
    np.testing.assert_array_equal(asnumpy(found), cpu.matmul([(a, b)]))


def test_the_networks_are_ones_that_can_be_trained() -> None:
    for build, image, _ in gpu_training.NETWORKS.values():
        layers, params = trace(build())
        assert pool_first(layers) and params
        assert build()(torch.zeros(2, *image)).shape == (2, 10)


@pytest.mark.skipif(not why_no_gpu(), reason="there is a GPU")
def test_without_a_gpu_the_benchmark_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert gpu.main(["--json", str(tmp_path / "x.json")]) == 2
    assert "CuPy" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_page_is_what_the_command_writes() -> None:
    page = (gpu_report.ROOT / gpu_report.PAGE).read_text()
    assert page == gpu_report.page(gpu_report.committed()), (
        f"run: {gpu_report.COMMAND.split(' && ')[1]}"
    )


@pytest.mark.parametrize(("protocol", "most"), [("3pc", 1700), ("4pc", 4700)])
def test_a_lenet_step_asks_a_device_for_no_more_than_this(protocol: str, most: int) -> None:
    """Launches and calls of the array library by all parties; `python -m benchmarks.gpu_host` says
    who asks."""
    tally = gpu_host.count(protocol, batch=1)
    assert 0.9 * most < tally.started <= most, tally.askers().most_common(12)


def test_what_is_counted() -> None:
    """Every kind of request once, and nothing after the counting."""
    x = asarray(np.arange(6, dtype=np.uint64).reshape(2, 3))
    with gpu_host.counting() as tally:
        y = cuda.add(x, x)  # a launch into a new array
        y += x
        z = np.concatenate([x, x.T.copy()[:2, :2]], axis=1) + np.uint64(1)
        z[0] = 7
        np.expand_dims(z.reshape(-1), 0)
    cuda.add(x, x)
    calls = ("concatenate", "copy", "add", "assignment")
    assert tally.names["launch", "linear"] == tally.kinds["launch"] == 1
    assert all(tally.names["call", name] for name in calls) and tally.names["call", "add"] == 2
    assert tally.kinds["call"] == 5 and tally.started == 6
    assert tally.kinds["allocation"] == 4, "the launch, the copy, the concatenation, the sum"
    assert {name for kind, name in tally.names if kind == "view"} >= {
        "__getitem__",
        "reshape",
        "expand_dims",
    }
