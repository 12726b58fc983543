"""docs/tutorial/first-protocol.md is true: all its Python blocks run in order, and its commands do
what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import REPOSITORY

ROOT = REPOSITORY
PAGE = ROOT / "docs" / "tutorial" / "first-protocol.md"


def blocks() -> list[tuple[int, str]]:
    """(line number of its first line, code) of every Python block."""
    text = PAGE.read_text()
    found = re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(text[: m.start(1)].count("\n") + 1, m[1]) for m in found]


class Reader:
    """Runs the blocks in order, each once, in one namespace."""

    def __init__(self) -> None:
        self.space: dict[str, Any] = {"__name__": "tutorial"}
        self.done = 0

    def up_to(self, number: int) -> None:
        for line, code in blocks()[self.done : number]:
            exec(compile("\n" * (line - 1) + code, str(PAGE), "exec"), self.space)
            self.done += 1


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


@pytest.mark.parametrize(
    "number", range(1, len(blocks()) + 1), ids=lambda n: f"line {blocks()[n - 1][0]}"
)
def test_every_block_runs_after_those_before_it(reader: Reader, number: int) -> None:
    reader.up_to(number)
    assert reader.done >= number


def test_there_are_blocks_for_every_stage() -> None:
    stages = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    assert [s[:2] for s in stages] == [f"{n}." for n in range(1, 9)]
    assert all("```python" in s for s in stages)


def the_file() -> str:
    [code] = [code for _, code in blocks() if code.startswith("# myprotocol.py")]
    return code


def test_the_readers_protocol_conforms_by_the_command(tmp_path: Path) -> None:
    """As a new user would: the file in a folder of its own, and the command of the page."""
    (tmp_path / "myprotocol.py").write_text(the_file())
    [command] = re.findall(r"^    (wwfl conformance .*)$", PAGE.read_text(), re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "conforms" in done.stdout


def test_the_page_links_to_what_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE.read_text()):
        assert "://" in target or (PAGE.parent / target).exists(), target
    for name in re.findall(r"`((?:src|examples|docs)/[^`]+)`", PAGE.read_text()):
        assert (ROOT / name).exists(), name
