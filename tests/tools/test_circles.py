"""`make circles` finds a planted circle of every kind, and finds none where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from helpers import REPOSITORY

TOOL = REPOSITORY / "tools" / "circles.py"


def run(src: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(TOOL), str(src)], capture_output=True, text=True, timeout=30
    )
    return done.returncode, done.stdout + done.stderr


def tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if not (path.parent / "__init__.py").exists():
            (path.parent / "__init__.py").write_text("")
    return folder


KINDS = {
    "at the top": {"p/a.py": "import p.b", "p/b.py": "from p.a import x"},
    "relative": {"p/a.py": "from .b import y", "p/b.py": "from . import a"},
    "in a function": {"p/a.py": "from .b import y", "p/b.py": "def f():\n    from .a import x"},
    "for type checkers": {
        "p/a.py": "from .b import y",
        "p/b.py": (
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n"
            "    from .a import x\n"
            "else:\n"
            "    x = 1\n"
        ),
    },
    "of three": {
        "p/a.py": "from .b import y",
        "p/b.py": "from q.c import z",
        "q/c.py": "from p.a import x",
    },
    "through a face": {
        "p/__init__.py": "from .a import x as public",
        "p/a.py": "from q import z",
        "q/__init__.py": "from .c import z",
        "q/c.py": "from p import public",
    },
    "with its own face": {"p/__init__.py": "from .a import x", "p/a.py": "from p import other"},
    "with the face above": {
        "p/__init__.py": "from .r.a import x",
        "p/r/a.py": "from .. import other",
    },
    "with a face for a name of a third": {
        "p/__init__.py": "from .a import x\nfrom .b import y",
        "p/a.py": "from . import y",
        "p/b.py": "",
    },
    "of one": {"p/a.py": "import p.a"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_circle_is_found(kind: str, tmp_path: Path) -> None:
    code, text = run(tree(tmp_path, KINDS[kind]))
    assert code == 1, text
    assert text.splitlines()[-1].startswith("1 circles among"), text
    assert "imports" in text


def test_what_only_looks_like_a_circle_is_none(tmp_path: Path) -> None:
    files = {
        # two rooms whose faces know each other's modules, with no module that reaches itself
        "p/__init__.py": "from .a import x\nfrom .b import y",
        "p/a.py": "x = 1",
        "p/b.py": "from q import z",
        "q/__init__.py": "from .c import z",
        "q/c.py": "from p import x\nimport numpy",
    }
    assert run(tree(tmp_path, files)) == (0, "0 circles among 5 modules\n")


def test_two_circles_are_two(tmp_path: Path) -> None:
    files = KINDS["at the top"] | {"q/c.py": "from . import d", "q/d.py": "from . import c"}
    code, text = run(tree(tmp_path, files))
    assert code == 1 and "2 circles among" in text
    assert "p.a:1 imports p.b" in text and "q.d:1 imports q.c" in text


def test_an_empty_folder_is_an_error_and_no_success(tmp_path: Path) -> None:
    code, text = run(tmp_path)
    assert code == 2 and "no Python file" in text
