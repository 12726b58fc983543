"""The benchmark of the GPU runs (here in the emulation, at sizes that say nothing), and its page is current."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import gpu, gpu_bench, gpu_gemm, gpu_kernels, gpu_report, gpu_training

from cuda_devices import why_no_gpu
from test_kernels import words
from wwfl.nn.trace import pool_first, trace
from wwfl_core import kernels as cpu
from wwfl_core.kernels import cuda


def test_every_measurement_runs_and_every_product_is_exact() -> None:
    bench = gpu_bench.on_shim()
    result = gpu.kernels_and_products(bench, 300, 1, 16, {"small": (9, 40, 17)})
    assert json.loads(json.dumps(result)) == result
    row = result["products"][0]
    assert all(row[name]["exact"] for name in gpu_gemm.methods(bench)), row
    text = gpu_report.page(result)
    assert all(found["name"] in text for found in result["kernels"])
    assert "No GPU has run this" not in text


def test_bytes_of_the_carry_tree_are_those_of_its_arrays() -> None:
    """Counted from the arrays of every round, for a few positions."""
    bench, nb = gpu_bench.on_shim(), 8
    for k in (2, 3, 7, 63):
        state = gpu_kernels.carry.CarryState(
            (bench.bytes(k, nb), bench.bytes(k, nb)), (bench.bytes(k - 1, nb), bench.bytes(k - 1, nb))
        )
        s0, s1 = gpu_kernels.S[:2]
        message = gpu_kernels.carry.start(state, s0, s1)
        moved = sum(a.nbytes for a in (*state.g, *state.p, message))
        while state.positions > 1:
            after, following = gpu_kernels.carry.advance(state, message, message, s0, s1)
            arrays = (*state.g, *state.p, message, message, *after.g, *after.p, following)
            moved += sum(a.nbytes for a in arrays)
            state, message = after, following
        assert gpu_kernels._carry_bytes(k, nb) == moved


@pytest.mark.parametrize("method", ["cublas_diagonals", "float64_limbs"])
def test_the_other_ways_to_multiply_are_exact(method: str) -> None:
    a, b = words(1, 7, 2100), words(2, 2100, 5)
    found = gpu_gemm.methods(gpu_bench.on_shim())[method](cuda.asarray(a), cuda.asarray(b))
    np.testing.assert_array_equal(cuda.asnumpy(found), cpu.matmul([(a, b)]))


def test_the_networks_are_ones_that_can_be_trained() -> None:
    for build, image, _ in gpu_training.NETWORKS.values():
        layers, params = trace(build())
        assert pool_first(layers) and params
        assert build()(torch.zeros(2, *image)).shape == (2, 10)


@pytest.mark.skipif(not why_no_gpu(), reason="there is a GPU")
def test_without_a_gpu_the_benchmark_says_what_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert gpu.main(["--json", str(tmp_path / "x.json")]) == 2
    assert "CuPy" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_page_is_what_the_command_writes() -> None:
    page = (gpu_report.ROOT / gpu_report.PAGE).read_text()
    assert page == gpu_report.page(gpu_report.committed()), f"run: {gpu_report.COMMAND.split(' && ')[1]}"
