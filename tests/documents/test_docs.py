"""The documentation is true: its code runs, its generated tables are current, its files exist."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from benchmarks import costs

from helpers import REPOSITORY
from pages import blocks
from wwfl import Schedule

ROOT = REPOSITORY


def test_the_readme_computes_on_shares(capsys: pytest.CaptureFixture[str]) -> None:
    space: dict[str, Any] = {}
    exec(blocks("README.md")[0], space)
    import numpy as np

    assert np.allclose(space["z"], np.maximum(space["x"] @ space["y"], 0), atol=1e-4)
    printed = capsys.readouterr().out
    assert "reveal" in printed


def test_the_readme_trains_together() -> None:
    """The second example, with one round of one epoch instead of three of five, tested with the
    hundred digits that it then classifies."""
    code = blocks("README.md")[1]
    space: dict[str, Any] = {"SHORT": Schedule(epochs=1)}
    for whole, bounded in (
        ("rounds=3", "rounds=1"),
        ("fed.fit(train, test,", "fed.fit(train, test[:100],"),
        ("model=LeNet(),", "model=LeNet(), schedule=SHORT,"),
    ):
        assert whole in code
        code = code.replace(whole, bounded)
    exec(code, space)
    assert len(space["history"]) == 1
    assert space["labels"].shape == (100,)


def test_the_readmes_protocol_passes_the_kit() -> None:
    from wwfl_core.testing import conformance

    code = blocks("README.md")[2]
    space: dict[str, Any] = {}
    exec(code.replace("print(conformance(Mine))", "pass"), space)
    report = conformance(space["Mine"])
    assert report.ok, str(report)


def test_the_example_of_the_page_of_models_runs() -> None:
    space: dict[str, Any] = {}
    for code in blocks("docs/how-to/models.md"):
        exec(code, space)
    assert space["kinds"] == [
        "Conv2d",
        "BatchNorm2d",
        "ReLU",
        "Conv2d",
        "Add",
        "GlobalAvgPool2d",
        "Flatten",
        "Linear",
    ]


def columns(page: str) -> dict[str, list[str]]:
    """A Markdown table, column by column."""
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if line.startswith("|")
    ]
    return {head: list(cells) for head, *cells in zip(*lines, strict=True)}


@pytest.mark.parametrize(
    "protocols",
    [
        pytest.param(["2pc", "2pc-ot", "3pc", "4pc"], id="own"),
        pytest.param(["crypten", "shamir"], id="engines", marks=pytest.mark.slow),
    ],
)
def test_the_table_of_costs_is_current(tmp_path: Path, protocols: list[str]) -> None:
    made = tmp_path / "costs.md"
    costs.main([*protocols, "--markdown", str(made)])
    page, found = (ROOT / "docs" / "reference" / "costs.md").read_text(), columns(made.read_text())
    assert page.split("\n|")[0] == made.read_text().split("\n|")[0]
    assert list(columns(page)) == ["operation", "2pc", "2pc-ot", "3pc", "4pc", "crypten", "shamir"]
    missing = {
        name
        for name, package in {"crypten": "crypten", "shamir": "mpyc"}.items()
        if not find_spec(package)
    }
    assert found == {
        k: v for k, v in columns(page).items() if k in {"operation", *protocols} - missing
    }
