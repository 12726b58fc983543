"""Every room has its contracts (import-linter, `make imports`), so that a new one cannot be
forgotten; what the contracts say is checked by lint-imports itself."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from helpers import REPOSITORY

SRC = REPOSITORY / "src"
ROOTS = sorted(p.name for p in SRC.iterdir() if (p / "__init__.py").exists())
SETTINGS: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
CONTRACTS: list[dict[str, Any]] = SETTINGS["tool"]["importlinter"]["contracts"]


def rooms_of(root: str) -> set[str]:
    """The packages in the folder of an import root."""
    return {p.parent.name for p in (SRC / root).glob("*/__init__.py")}


def rooms() -> set[str]:
    inside = {f"{root}.{room}" for root in ("wwfl_core", "wwfl") for room in rooms_of(root)}
    return inside | {"backends", "reshare"}


def words_of(lines: list[str]) -> set[str]:
    return {word for line in lines for word in line.replace("|", " ").replace(":", " ").split()}


def test_all_import_roots_are_checked() -> None:
    settings = SETTINGS["tool"]["importlinter"]
    assert sorted(settings["root_packages"]) == ROOTS
    [roots] = [c for c in CONTRACTS if c["id"] == "roots"]
    assert words_of(roots["layers"]) == set(ROOTS)


def test_every_room_has_a_floor() -> None:
    for root in ("wwfl_core", "wwfl"):
        [floors] = [c for c in CONTRACTS if c.get("containers") == [root]]
        assert floors["exhaustive"]
        assert rooms_of(root) <= words_of(floors["layers"])


def test_every_room_is_reached_through_its_face() -> None:
    protected = {
        m.removesuffix(".**"): c["allowed_importers"]
        for c in CONTRACTS
        if c["type"] == "protected"
        for m in c["protected_modules"]
        if m.endswith(".**")
    }
    assert set(protected) == rooms()
    assert all(allowed == [room] for room, allowed in protected.items())


def test_no_contract_is_there_twice() -> None:
    names = [c["id"] for c in CONTRACTS]
    assert len(names) == len(set(names))


def test_the_tools_need_nothing_of_ours() -> None:
    """They judge the source, so they must run on one that cannot be imported."""
    for path in Path(REPOSITORY / "tools").glob("*.py"):
        text = path.read_text()
        assert not any(f"import {root}" in text or f"from {root}" in text for root in ROOTS), path
