"""Secrets come from one source of randomness: facts about the source text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import REPOSITORY

SRC = REPOSITORY / "src"
FILES = sorted(SRC.rglob("*.py"))
# Randomness that is not a secret, each with the reason why it may be predictable.
NOT_SECRET = {
    "wwfl/attacks/api.py": "names the type of the generator that an experiment hands to an attack",
    "wwfl/attacks/updates.py": (
        "the noise of an attacker in an experiment, from the experiment's own generator"
    ),
    "wwfl/data/partition.py": (
        "the split of a public data set among simulated clients, reproducible by design"
    ),
    "wwfl/federation/leaf_training.py": "the randomness of a malicious client in an experiment",
    "wwfl/federation/topology.py": (
        "names the type of the generator that an experiment hands to an attack"
    ),
    "wwfl/nn/models.py": (
        "the initial parameters of a model, which every client starts from and knows"
    ),
}


def name_of(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def imported(tree: ast.AST) -> Iterator[str]:
    """Absolute names of imported modules (also inside functions and under TYPE_CHECKING)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def unsafe_randomness(tree: ast.AST) -> list[str]:
    """Uses of generators that are not cryptographic."""
    found = []
    for module in imported(tree):
        if module.split(".")[0] == "random" or module.startswith(("numpy.random", "torch.random")):
            found.append(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if text.startswith(("np.random", "numpy.random", "torch.random", "random.")):
                found.append(f"{text} (line {node.lineno})")
            tail = text.removeprefix("torch.")
            if text.startswith("torch.") and (
                tail in ("Generator", "manual_seed", "normal", "bernoulli") or tail[:4] == "rand"
            ):
                found.append(f"{text} (line {node.lineno})")
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_the_cryptographic_generator_is_used(path: Path) -> None:
    found = unsafe_randomness(ast.parse(path.read_text()))
    if name_of(path) in NOT_SECRET:
        assert found, "this file needs no exception any more"
    else:
        assert not found


def test_the_detector_of_unsafe_randomness_works() -> None:
    for code in (
        "import random",
        "from random import Random",
        "from numpy.random import default_rng",
        "import numpy.random",
        "import numpy as np\nnp.random.default_rng(0)",
        "import torch\ntorch.Generator()",
        "import torch\ntorch.rand(3)",
        "import torch\ntorch.manual_seed(0)",
    ):
        assert unsafe_randomness(ast.parse(code)), code
    assert not unsafe_randomness(
        ast.parse("import secrets, os\nos.urandom(3)\nop.random(key, 'u', RING, shape)")
    )


def test_protocol_keys_come_from_one_place() -> None:
    """`fresh_key` in randomness/prg.py; `secrets` elsewhere makes names, and passwords of key
    files (certificates.py)."""
    assert {name_of(p) for p in FILES if "urandom" in p.read_text()} == {
        "wwfl_core/randomness/prg.py"
    }
    allowed = {
        "wwfl_core/cluster/local.py",
        "wwfl_core/channel/certificates.py",
        "wwfl_core/files.py",
        "wwfl/federation/checkpoint.py",
    }
    assert {
        name_of(p) for p in FILES if "secrets" in set(imported(ast.parse(p.read_text())))
    } <= allowed
