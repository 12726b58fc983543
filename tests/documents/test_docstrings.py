"""Examples in docstrings (`>>>`) are true, in every module that has some."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from types import ModuleType

import pytest

from helpers import REPOSITORY

SRC = REPOSITORY / "src"
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def name_of(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


WITH_EXAMPLES = [name_of(p) for p in sorted(SRC.rglob("*.py")) if ">>> " in p.read_text()]


def failures(module: ModuleType) -> tuple[int, int, str]:
    """(failed, tried, what the failed ones said)."""
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, module.__name__):
        runner.run(test, out=said.append)
    return runner.failures, runner.tries, "".join(said)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    failed, tried, said = failures(importlib.import_module(name))
    assert tried, f"{name} has examples in places where no docstring is"
    assert not failed, said


def test_an_example_that_lies_is_noticed() -> None:
    module = ModuleType("made_up", ">>> 1 + 1\n2\n>>> 2 + 2\n5\n")
    failed, tried, said = failures(module)
    assert (failed, tried) == (1, 2) and "Expected:\n    5\nGot:\n    4" in said
