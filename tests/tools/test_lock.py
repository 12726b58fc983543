"""The lock files are whole, agree with constraints.txt, and cover what pyproject.toml asks for."""

from __future__ import annotations

import re
import sys
import tomllib

import pytest

from helpers import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tools"))
import lock

FILES = ("requirements.lock", "requirements-tools.lock")


def read(file: str) -> list[str]:
    lines = (REPOSITORY / file).read_text().splitlines()
    return lock.entries("\n".join(line for line in lines if not line.startswith("#")))


def canonical(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name
    return re.sub(r"[-_.]+", "-", name[0]).lower()


PINS = [
    line
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize("file", FILES)
def test_every_package_is_pinned_with_hashes(file: str) -> None:
    for entry in read(file):
        name, version, _ = lock.name_and_version(entry)
        assert version, f"{name} has no version"
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), f"{name} has no hash"


def test_torch_alone_is_in_no_lock() -> None:
    locked = {lock.name_and_version(entry)[0] for file in FILES for entry in read(file)}
    pinned = {canonical(pin) for pin in PINS}
    assert pinned - locked == {"torch"}


def test_constraints_and_locks_name_the_same_versions() -> None:
    main = lock.versions(read(FILES[0]))
    assert set(main) <= set(PINS)
    known = {pin.partition(" ;")[0] for pin in PINS}
    assert {pin.partition(" ;")[0] for pin in lock.versions(read(FILES[1]))} <= known
    assert len(PINS) == len(set(PINS))


def test_the_locks_cover_what_the_project_asks_for() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]

    locked = {lock.name_and_version(entry)[0] for entry in read(FILES[0])}
    asked = project["dependencies"] + [r for extra in lock.EXTRAS for r in extras[extra]]
    assert {canonical(r) for r in asked} - locked == {"torch"}

    locked = {lock.name_and_version(entry)[0] for entry in read(FILES[1])}
    assert {canonical(r) for r in extras["maintain"]} <= locked


def test_what_is_in_no_lock_is_said() -> None:
    """Optional parts that CI does not install: too large, or for a machine that it is not."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) - set(lock.EXTRAS) == {
        "ray",
        "cuda",
        "cuda13",
        "maintain",
    }
