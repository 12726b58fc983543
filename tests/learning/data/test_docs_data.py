"""What the pages of data and attacks say is so."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from helpers import REPOSITORY as ROOT
from pages import blocks
from wwfl.attacks import attacks, model_attacks
from wwfl.data import datasets, partition
from wwfl.experiments.config import parse

PAGES = ("docs/how-to/data.md", "docs/how-to/attacks.md")


@pytest.mark.parametrize("page", PAGES)
def test_the_code_on_the_page_runs(page: str) -> None:
    for code in blocks(page):
        exec(code, {"__name__": "a_page"})


def test_the_example_poisons_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    space: dict[str, Any] = {}
    exec(blocks("docs/how-to/attacks.md")[0], space)
    assert sum(len(cluster) for cluster in space["poisoned"].malicious) == 6
    assert space["poisoned"].relabelled == 300 and "300" in capsys.readouterr().out


def test_the_federation_and_the_file_on_the_page_are_attacked() -> None:
    space: dict[str, Any] = {}
    exec(blocks("docs/how-to/attacks.md")[1], space)
    assert len(space["attacked"]) == 1 and sum(map(len, space["bad"].malicious)) == 12

    page = (ROOT / "docs/how-to/attacks.md").read_text()
    [text] = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert parse(text).attack.placement == "cluster-focused"


def test_the_page_of_attacks_lists_all_of_them_with_their_defaults() -> None:
    page = (ROOT / "docs/how-to/attacks.md").read_text()
    for entry in (*attacks().values(), *model_attacks().values()):
        if entry.distribution != "wwfl":
            continue
        row = next(line for line in page.splitlines() if line.startswith(f"| `{entry.name}`"))
        assert entry.factory is not None
        for name, parameter in inspect.signature(entry.factory).parameters.items():
            said = re.search(rf"\b{name}=([^,`]+)", row)
            assert said, (entry.name, name)
            default = parameter.default
            assert (
                said[1] == (default.__name__ if callable(default) else f'"{default}"')
                or float(said[1]) == default
            )


def test_the_page_of_data_knows_all_partitions_and_scales() -> None:
    page = (ROOT / "docs/how-to/data.md").read_text()
    for name, function in vars(partition).items():
        if (
            inspect.isfunction(function)
            and function.__annotations__.get("return") == "Partition"
            and name[0] != "_"
        ):
            assert f"| `{name}(" in page, name
    for scale in (datasets.MNIST_SCALE, datasets.FASHION_SCALE, datasets.CIFAR_SCALE):
        for value in (*scale.mean, *scale.std):
            assert f"{value:.4f}".lstrip("0") in page
