"""A checkout works where nothing can be installed, and its scripts name files that exist."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest

from helpers import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tools"))
import checkout_metadata

SCRIPTS = [REPOSITORY / "Makefile", *sorted((REPOSITORY / "benchmarks").glob("*.sh"))]


def test_the_metadata_of_a_checkout_has_the_entry_points_of_an_installation(tmp_path: Path) -> None:
    checkout_metadata.write(tmp_path)
    [found] = distributions(path=[str(tmp_path)])
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    points = {(p.group, p.name, p.value) for p in found.entry_points}

    assert (found.metadata["Name"], found.version) == (project["name"], project["version"])
    assert points == {
        (group, name, value)
        for group, named in {
            "console_scripts": project["scripts"],
            **project["entry-points"],
        }.items()
        for name, value in named.items()
    }
    assert all(p.load() for p in found.entry_points if p.group == "wwfl.accelerated")


PROGRAM = """
import importlib.metadata as metadata
import sys
import warnings

def entry_points(group):  # of what lies in one folder, whatever is installed here
    found = metadata.distributions(path=[sys.argv[1]])
    return [point for d in found for point in d.entry_points if point.group == group]

metadata.entry_points = entry_points
from backends import Tetrad4PC
from wwfl_core.accelerate import Kernels
from wwfl_core.cluster.accelerated import accelerated

class Any(Kernels):
    def put(self, array):
        return array

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    made = accelerated(Tetrad4PC(), Any.__new__(Any))
print(type(made).__name__, *(str(w.message) for w in said))
"""


@pytest.mark.parametrize("written", [True, False], ids=["with metadata", "without"])
def test_a_checkout_finds_its_kernels_by_its_metadata_and_says_so_where_it_cannot(
    written: bool, tmp_path: Path
) -> None:
    if written:
        checkout_metadata.write(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True
    )
    if written:
        assert done.stdout.strip() == "FusedTetrad4PC"
    else:
        assert done.stdout.startswith("Tetrad4PC no kernels of protocols are registered")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_path_that_a_script_names_exists(script: Path) -> None:
    named = re.findall(r"(?<![\w./-])(?:tests|tools|benchmarks|src)/[\w./*-]+", script.read_text())
    for path in named:
        assert list(REPOSITORY.glob(path)), f"{script.name} names {path}"


def test_the_scripts_are_looked_at() -> None:
    assert {"Makefile", "gpu_session.sh"} <= {path.name for path in SCRIPTS}
