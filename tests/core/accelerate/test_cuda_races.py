"""The emulation finds races: accesses of one launch without a barrier between them, in whatever
order threads run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.kernels import SOURCES
from emulated_gpu import RACES, EmulatedLauncher, asarray, emulation
from kernel_inputs import words
from wwfl_core.accelerate import cuda
from wwfl_core.accelerate.cuda import gemm, launch, launcher
from wwfl_core.errors import WwflError

PROBES = """#include "common.cuh"
#define SHARED __shared__ u64 tile[64]; const int t = threadIdx.x;
KERNEL no_barrier(u64* out) { SHARED tile[t] = t; out[t] = tile[63 - t]; }
KERNEL barrier(u64* out) { SHARED tile[t] = t; __syncthreads(); out[t] = tile[63 - t]; }
KERNEL read_then_write(u64* out) {
    SHARED
    for (int i = 0; i < 2; i++) { tile[t] = t + i; __syncthreads(); out[t] = tile[63 - t]; }
}
KERNEL warp_barrier(u64* out) {
    SHARED tile[t] = t; __syncwarp(); out[t] = tile[t ^ 1]; }
KERNEL warp_barrier_for_other_warp(u64* out) {
    SHARED tile[t] = t; __syncwarp(); out[t] = tile[t ^ 32]; }
KERNEL ballot_is_no_barrier(u64* out) {
    SHARED tile[t] = t; __ballot_sync(~0u, 1); out[t] = tile[t ^ 1]; }
KERNEL nobody_wrote(u64* out) {
    SHARED if (t < 63) tile[t] = t; __syncthreads(); out[t] = tile[63 - t]; }
KERNEL two_blocks_one_word(u64* out) { out[threadIdx.x] = blockIdx.x; }
KERNEL two_blocks_atomically(u64* out) { atomicAdd(out + threadIdx.x, 1); }
KERNEL neighbouring_bytes(u8* out) { out[64 * blockIdx.x + threadIdx.x] = 1; }
KERNEL one_byte(u8* out) { out[threadIdx.x / 2] = 1; }
"""
RIGHT = ("barrier", "warp_barrier", "two_blocks_atomically", "neighbouring_bytes")
UNWRITTEN = "thread 0 of block 0 reads shared memory that nobody wrote"
WRONG = {
    "no_barrier": UNWRITTEN,  # so is what is read before its writer came
    "read_then_write": (
        "race: thread 31 of block 0 writes and thread 32 of block 0 reads shared memory"
    ),
    "warp_barrier_for_other_warp": UNWRITTEN,
    "ballot_is_no_barrier": (
        "race: thread 1 of block 0 writes and thread 0 of block 0 reads shared memory"
    ),
    "nobody_wrote": UNWRITTEN,
    "two_blocks_one_word": (
        "race: thread 0 of block 0 writes and thread 0 of block 1 writes argument 0, byte 0"
    ),
    "one_byte": (
        "race: thread 0 of block 0 writes and thread 1 of block 0 writes argument 0, byte 0"
    ),
}


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the sources that may be changed."""
    shutil.copytree(launcher.SOURCE_DIR, tmp_path / "csrc")
    monkeypatch.setattr(launcher, "SOURCE_DIR", tmp_path / "csrc")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    launcher.source_text.cache_clear()
    yield tmp_path / "csrc"
    launcher.source_text.cache_clear()


def test_every_kind_of_race_is_found_and_none_where_there_is_a_barrier(sources: Path) -> None:
    (sources / "probes.cu").write_text(PROBES)
    launcher = EmulatedLauncher(RACES)

    def run(name: str) -> None:
        blocks = 2 if name.startswith("two_blocks") or name == "neighbouring_bytes" else 1
        launcher.launch(
            "probes.cu", name, (blocks, 1, 1), (64, 1, 1), [launcher.zeros((128,), np.uint64)]
        )

    for name in RIGHT:
        run(name)
    for name, says in WRONG.items():
        with pytest.raises(WwflError, match=f"{name}: {says}"):
            run(name)
    run("barrier")  # a race does not spoil the next launch


def _matmul(method: gemm.Method) -> Callable[[], Any]:
    return lambda: gemm.matmul([(asarray(words(1, 9, 70)), asarray(words(2, 70, 9)))], method)


def _planes() -> None:
    cuda.from_planes(cuda.to_planes(asarray(words(1, 2500)), 0, 64), 2500)


def _masked() -> None:
    cuda.random_words(bytes(32), bytes(12), (4500,), launcher=emulation.emulated_launcher())


BARRIERS = [  # a file, how many barriers it has, and what runs into each
    *(("bits.cu", i, _planes) for i in range(4)),
    *(("gemm.cu", i, _matmul("simt")) for i in range(2)),
    *(("digits.cu", i, _matmul("tensor")) for i in range(2)),
    ("residues.cu", 0, _matmul("residues")),
    *(("masked.cuh", i, _masked) for i in range(2)),
]


def without_barrier(text: str, number: int) -> str:
    """The source without its barrier of this number."""
    found = list(re.finditer(r"__sync(threads|warp)\(\);", text))
    return text[: found[number].start()] + text[found[number].end() :]


def test_all_barriers_are_tried() -> None:
    folders = (launcher.SOURCE_DIR, SOURCES)
    for file in (f for folder in folders for end in ("cu", "cuh") for f in folder.glob(f"*.{end}")):
        count = len(re.findall(r"__sync(?:threads|warp)\(\);", file.read_text()))
        assert count == sum(name == file.name for name, *_ in BARRIERS), file.name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "number", "run"), BARRIERS, ids=[f"{f}-{i}" for f, i, _ in BARRIERS]
)
def test_no_barrier_of_a_kernel_can_be_left_out(
    file: str, number: int, run: Callable[[], Any], sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sources / file).write_text(without_barrier((sources / file).read_text(), number))
    monkeypatch.setattr(launch, "MAX_BLOCKS", 1)  # so that a block walks over more than one tile
    monkeypatch.setattr(gemm, "WANTED_BLOCKS", 1)
    launcher = EmulatedLauncher(RACES)
    monkeypatch.setattr(emulation, "emulated_launcher", lambda: launcher)
    with pytest.raises(WwflError, match=f"race: |{UNWRITTEN[-30:]}"):
        run()
