"""The CUDA sources compile for Hopper, and both compilers see the same kernels; the emulation
notices bad kernels."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from backends.kernels import SOURCES
from emulated_gpu import FLAGS, RACES, EmulatedLauncher, asarray, asnumpy, build
from helpers import TESTS
from nvrtc import Compiled, nvrtc
from wwfl_core.accelerate.cuda import launcher, residues
from wwfl_core.errors import ConfigError, Misuse, WwflError

PYTHON_FILES = [*Path(launcher.__file__).parent.glob("*.py"), *SOURCES.parent.glob("*.py")]
FILES = [*launcher.sources(), *map(str, sorted(SOURCES.glob("*.cu")))]
"""The core's kernels, and those of the built-in protocols."""
TARGETS = ["sm_90"]
CUPY_OPTIONS = ("--device-as-default-execution-space",)  # what CuPy adds to ours
# Bytes per thread, of kernels that need a few more registers than they may use.
SPILLED = {"gemm": 72, "check_ring": 32, "check_bytes": 8, "offline_bytes": 48}


def entries(ptx: str) -> set[str]:
    return set(re.findall(r"\.visible \.entry (\w+)\(", ptx))


@cache
def compiled(source: str, target: str) -> Compiled:
    """A file of kernels."""
    options = (
        f"--gpu-architecture={target}",
        *launcher.OPTIONS,
        *CUPY_OPTIONS,
        "--ptxas-options=-v",
    )
    return nvrtc().compile(launcher.source_text(source), source, options)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", FILES, ids=lambda file: Path(file).stem)
def test_compiles_for_hopper_without_a_gpu(source: str, target: str) -> None:
    ptx, cubin, _ = compiled(source, target)
    assert entries(ptx) and len(cubin) > 1000
    library = ctypes.CDLL(str(build(source)))
    for name in entries(ptx):
        assert getattr(library, name), f"{name} is missing in the library for a CPU"


def test_every_kernel_that_is_launched_exists_and_every_one_that_exists_is_launched() -> None:
    text = "".join(path.read_text() for path in PYTHON_FILES)
    found = {source: entries(compiled(source, TARGETS[0]).ptx) for source in FILES}
    for source, names in found.items():
        assert f'"{Path(source).name}"' in text, f"nothing launches {source}"
        for name in names:
            stem = re.sub(r"_(ring|bits)$", "", name)
            assert f'"{name}"' in text or f'"{stem}"' in text, (
                f"nothing launches {name} of {source}"
            )


@pytest.mark.parametrize("source", FILES, ids=lambda file: Path(file).stem)
def test_kernels_keep_their_values_in_registers(source: str) -> None:
    spilled = compiled(source, TARGETS[0]).spilled()
    assert set(spilled) == entries(compiled(source, TARGETS[0]).ptx)
    assert {kernel for kernel, size in spilled.items() if size > SPILLED.get(kernel, 0)} == set()


def test_the_tensor_kernel_uses_the_tensor_cores() -> None:
    assert compiled("digits.cu", TARGETS[0]).ptx.count("mma.sync.aligned.m16n8k32") == 2 * 36 * 2


def test_residues_are_two_dot_products_of_bytes_each_and_no_division() -> None:
    ptx = compiled("residues.cu", TARGETS[0])[0]
    words_of_a_thread = 8
    assert len(re.findall(r"\bdp4a\.", ptx)) == 2 * words_of_a_thread * residues.PLANES
    assert not re.search(r"\b(rem|div)\.[su]64", ptx) and "rem." not in ptx


def test_a_source_that_does_not_compile_is_reported() -> None:
    with pytest.raises(AssertionError, match="identifier"):
        nvrtc().compile("void f() { nonsense; }", "broken.cu", ("--gpu-architecture=sm_90",))


# ---- the emulation


@pytest.fixture
def own_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of sources of its own, with common.cuh."""
    shutil.copy(launcher.SOURCE_DIR / "common.cuh", tmp_path)
    monkeypatch.setattr(launcher, "SOURCE_DIR", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    launcher.source_text.cache_clear()
    yield tmp_path
    launcher.source_text.cache_clear()


def test_barriers_warps_and_atomics_work_on_a_cpu(own_source: Path) -> None:
    (own_source / "probe.cu").write_text(
        '#include "common.cuh"\n'
        "KERNEL turn(const u64* x, u64* out, u64* total, u64* votes) {\n"
        "    __shared__ u64 tile[96];\n"
        "    const int t = threadIdx.x + 48 * threadIdx.y;\n"
        "    const u64 at = 96 * (blockIdx.x + 2 * blockIdx.y);\n"
        "    for (int turn = 0; turn < 3; turn++) {\n"
        "        tile[t] = x[at + t] + turn;\n"
        "        __syncthreads();\n"
        "        out[at + t] = tile[95 - t];\n"
        "        __syncthreads();\n"
        "    }\n"
        "    out[at + t] += __shfl_xor_sync(0xffffffffu, (u64)t, 5) << 32;\n"
        "    if (t % 32 == 0) atomicAdd(total, 1);\n"
        "    votes[at + t] = __ballot_sync(0xffffffffu, t % 3 == 0);\n"
        "}\n"
    )
    x = np.arange(4 * 96, dtype=np.uint64) * np.uint64(7)
    device = asarray(x)
    launcher = EmulatedLauncher()
    out, votes = launcher.empty((384,), np.uint64), launcher.empty((384,), np.uint64)
    total = launcher.zeros((1,), np.uint64)
    launcher.launch("probe.cu", "turn", (2, 2, 1), (48, 2, 1), [device, out, total, votes])
    t = np.arange(96, dtype=np.uint64)
    expected = x.reshape(4, 96)[:, ::-1] + np.uint64(2) + ((t ^ np.uint64(5)) << np.uint64(32))
    np.testing.assert_array_equal(asnumpy(out).reshape(4, 96), expected)
    assert int(total[0]) == 12
    ballots = [
        sum(1 << lane for lane in range(32) if (32 * warp + lane) % 3 == 0) for warp in range(3)
    ]
    assert (asnumpy(votes).reshape(4, 3, 32) == np.array(ballots, np.uint64)[None, :, None]).all()


def test_a_barrier_that_not_all_threads_reach_is_an_error(own_source: Path) -> None:
    (own_source / "bad.cu").write_text(
        '#include "common.cuh"\n'
        "KERNEL stuck(u64* out) { if (threadIdx.x < 40) __syncthreads(); out[threadIdx.x] = 1; }\n"
        "KERNEL fine(u64* out) { __syncthreads(); out[threadIdx.x] = 2; }\n"
    )
    launcher = EmulatedLauncher()
    out = launcher.zeros((64,), np.uint64)
    with pytest.raises(WwflError, match="not all threads"):
        launcher.launch("bad.cu", "stuck", (1, 1, 1), (64, 1, 1), [out])
    launcher.launch("bad.cu", "fine", (1, 1, 1), (64, 1, 1), [out])
    assert (asnumpy(out) == 2).all()


def test_the_opposite_order_shows_a_missing_barrier(own_source: Path) -> None:
    body = (
        "KERNEL {name}(u64* out) {{\n"
        "    __shared__ u64 tile[64];\n"
        "    tile[threadIdx.x] = 7 * threadIdx.x;\n"
        "    {barrier}\n"
        "    out[threadIdx.x] = tile[63 - threadIdx.x];\n"
        "}}\n"
    )
    kernels = body.format(name="racy", barrier="") + body.format(
        name="right", barrier="__syncthreads();"
    )
    (own_source / "race.cu").write_text('#include "common.cuh"\n' + kernels)
    results: dict[str, list[list[int]]] = {}
    for flags in (FLAGS, (*FLAGS, "-DEMULATED_REVERSED")):
        launcher = EmulatedLauncher(flags)
        for name in ("racy", "right"):
            out = launcher.zeros((64,), np.uint64)
            launcher.launch("race.cu", name, (1, 1, 1), (64, 1, 1), [out])
            results.setdefault(name, []).append(asnumpy(out).tolist())
    assert results["right"] == [[7 * (63 - t) for t in range(64)]] * 2
    assert results["racy"][0] != results["racy"][1]


def test_errors_of_the_launcher_say_what_to_do(
    own_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_source / "broken.cu").write_text("KERNEL f() { nonsense; }\n")
    launcher = EmulatedLauncher()
    with pytest.raises(ConfigError, match=r"cannot compile broken\.cu"):
        launcher.launch("broken.cu", "f", (1, 1, 1), (1, 1, 1), [])
    with pytest.raises(Misuse, match="no dynamic shared memory"):
        launcher.launch("broken.cu", "f", (1, 1, 1), (1, 1, 1), [], shared_bytes=16)
    monkeypatch.setenv("PATH", str(own_source))
    with pytest.raises(ConfigError, match=r"needs g\+\+"):
        launcher.launch("broken.cu", "f", (1, 1, 1), (1, 1, 1), [])


SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    "flags",
    [SANITIZED, ("-DEMULATED_REVERSED",), RACES[len(FLAGS) :]],
    ids=["sanitizers", "reversed", "races"],
)
def test_kernels_give_the_same_in_other_builds(flags: tuple[str, ...], tmp_path: Path) -> None:
    """Their tests once more: with checks of addresses and undefined behaviour; in the opposite
    order; without races."""
    runtime = subprocess.run(
        ["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    program = (
        "import sys, pytest\n"
        f"sys.path.append({str(TESTS)!r})\n"
        "from emulated_gpu import emulation\n"
        f"launcher = emulation.EmulatedLauncher((*emulation.FLAGS, *{flags!r}))\n"
        "emulation.emulated_launcher = lambda: launcher\n"
        "options = ['-q', '-p', 'no:cacheprovider', '-m', 'not gpu and not slow', '--timeout', "
        "'0']\n"
        "sys.exit(pytest.main([*options, *sys.argv[1:]]))\n"
    )
    here = Path(__file__).parent
    names = ("cuda_kernels", "cuda_gemm", "cuda_residues", "cuda_protocols", "device_steps")
    files = [str(here / f"test_{name}.py") for name in names]
    environment = {
        **os.environ,
        "LD_PRELOAD": runtime.stdout.strip() if flags == SANITIZED else "",
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "XDG_CACHE_HOME": str(tmp_path),
    }
    result = subprocess.run(
        [sys.executable, "-c", program, *files],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-6000:]
