"""What a user's type checker sees of wwfl."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

import wwfl
import wwfl.federation
import wwfl.nn
from helpers import REPOSITORY

ROOT = REPOSITORY
PACKAGES = ("wwfl", "wwfl_core", "backends", "reshare")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_ships_its_types(package: str) -> None:
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    assert (ROOT / "src" / package / "py.typed").exists() and "py.typed" in shipped[package]


@pytest.mark.parametrize("face", [wwfl, wwfl.federation, wwfl.nn], ids=lambda m: m.__name__)
def test_a_type_checker_sees_the_names_that_are_loaded_when_used(face: ModuleType) -> None:
    """Its stub is the list that the room loads from, so every name in it must be there."""
    stub = ast.parse(Path(str(face.__file__)).with_suffix(".pyi").read_text())
    named = [a.asname for n in stub.body if isinstance(n, ast.ImportFrom) for a in n.names]
    assert face.__all__ == sorted(name for name in named if name)
    assert all(getattr(face, name) is not None for name in face.__all__)


def test_what_ci_checks_is_all_of_the_sources_and_examples() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]
    assert settings["include"] == ["src", "examples"] and settings["strict"] == ["src/wwfl_core"]
    assert not {"exclude", "ignore", "typeCheckingMode"} & set(settings)


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("pyright"), reason="pyright is not installed")
@pytest.mark.parametrize(
    "page", ["README.md", "docs/tutorial/first-protocol.md", "docs/how-to/models.md"]
)
def test_what_documents_show_has_the_types_that_it_should(page: str, tmp_path: Path) -> None:
    """One after another, as a reader has them in one file; in pyright's basic mode."""
    code = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "shown.py").write_text("\n".join(code))
    settings = {
        "include": ["shown.py"],
        "extraPaths": [str(ROOT / "src")],
        "typeCheckingMode": "basic",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "-p", str(tmp_path), "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
