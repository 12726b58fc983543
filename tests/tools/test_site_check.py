"""`make docs` fails on a page that loads something from elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from helpers import REPOSITORY

TOOL = REPOSITORY / "tools" / "site_check.py"


def check(site: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(TOOL), str(site)], capture_output=True, text=True, timeout=30
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://elsewhere.example/x.js"></script>',
        '<img src="//elsewhere.example/x.png">',
        '<link rel="stylesheet" href="http://elsewhere.example/x.css">',
        '<link rel="preconnect" href="https://elsewhere.example">',
    ],
)
def test_what_is_loaded_from_elsewhere_is_found(text: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(f"<html>{text}</html>")
    code, said = check(tmp_path)
    assert code == 1 and "elsewhere.example" in said


def test_a_style_sheet_that_loads_is_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<html></html>")
    (tmp_path / "a.css").write_text("x {background: url('https://elsewhere.example/a.png')}")
    code, said = check(tmp_path)
    assert code == 1 and "a.css" in said


def test_links_that_a_reader_may_follow_are_fine(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<a href="https://elsewhere.example">read</a><script src="x.js"></script>'
        '<link rel="canonical" href="https://here.example/">'
    )
    assert check(tmp_path)[0] == 0


def test_no_page_is_no_success(tmp_path: Path) -> None:
    assert check(tmp_path)[0] == 2
