"""The core knows no protocol: none is named in its code, its strings or its kernels. (Docstrings
and comments may cite a paper.)"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import REPOSITORY

CORE = REPOSITORY / "src" / "wwfl_core"
NAMES = re.compile(
    r"2pc|3pc|4pc|tetrad|replicated|additive|crypten|mpyc|aby3|astra|spdz|fantastic", re.I
)


def named(source: str) -> Iterator[str]:
    """Identifiers and strings of a source that name a protocol; docstrings are prose."""
    tree = ast.parse(source)
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            words = [node.value]
        else:
            parts = (
                getattr(node, field, None) for field in ("id", "name", "attr", "arg", "asname")
            )
            words = [part for part in parts if isinstance(part, str)]
        yield from (word for word in words if NAMES.search(word))


@pytest.mark.parametrize(
    "path", sorted(CORE.rglob("*.py")), ids=lambda p: p.relative_to(CORE).as_posix()
)
def test_no_code_of_the_core_names_a_protocol(path: Path) -> None:
    assert not NAMES.search(path.stem)
    assert not list(named(path.read_text()))


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.cu*")), ids=lambda p: p.name)
def test_no_kernel_of_the_core_names_a_protocol(path: Path) -> None:
    assert not NAMES.search(path.name + path.read_text())


@pytest.mark.parametrize(
    "code",
    [
        "class Tetrad: ...",
        "if name == '3pc': ...",
        "from backends import Additive2PC as X",
        "x.replicated",
        "def f(crypten): ...",
        "f(tetrad=1)",
    ],
)
def test_a_name_of_a_protocol_would_be_found(code: str) -> None:
    assert list(named(code))
    assert not list(named('"""As Tetrad does (NDSS\'22)."""'))
