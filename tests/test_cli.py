"""The commands that tell what is installed: `wwfl backends`, `wwfl conformance`, `wwfl matrix`, and the registry."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backends import Plain, Replicated3PC
from wwfl.cli.main import app
from wwfl_core import registry
from wwfl_core.errors import ConfigError

ROOT = Path(__file__).parent.parent
BUILT_IN = ["2pc", "3pc", "4pc", "plain"]
Plugin = Callable[..., None]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    """Installs a distribution for one test: the metadata that pip writes, and a module, in a folder on sys.path."""

    def install(distribution: str, code: str, **points: str) -> None:
        folder = tmp_path / distribution
        info = folder / f"{distribution}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{lines}")
        (folder / f"{distribution}.py").write_text(code)
        monkeypatch.syspath_prepend(folder)
        installed.append(distribution)

    installed: list[str] = []
    yield install
    for name in installed:
        sys.modules.pop(name, None)


def call(*arguments: str, code: int = 0) -> Any:
    """Runs the command and returns its result; standard output and standard error apart."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


# ---------------------------------------------------------------------- the registry


def test_the_built_in_protocols_are_registered() -> None:
    found = {name: entry for name, entry in registry.backends().items() if entry.built_in}
    assert list(found) == BUILT_IN
    assert all(e.factory is not None and e.error is None and e.distribution == "wwfl" for e in found.values())
    assert registry.get("3pc") is Replicated3PC
    assert registry.resolve("plain") is Plain
    assert registry.resolve("backends.replicated3pc:Replicated3PC") is Replicated3PC


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("3cp", "did you mean '3pc'"),
        ("tetrad", "known are 2pc, 3pc, 4pc, plain"),
        ("no_such_module:Class", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("backends:Tetrad", "has no attribute 'Tetrad'"),
        ("file.py/x:Class", "a module, not a file"),
        ("backends:", "package.module:Class"),
        ("wwfl_core.cost:Cost", "a class, but not an MPCBackend"),
        ("wwfl_core.backend:MPCBackend", "does not define bilinear, name, sharing"),
        ("wwfl_core.registry:GROUP", "neither a protocol class nor a function"),
    ],
)
def test_what_cannot_be_resolved_is_explained(what: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"(?s).") as caught:
        registry.resolve(what)
    assert says in str(caught.value)


BROKEN = {
    "missing": ("", "missing:Protocol", "AttributeError"),
    "raises": ("raise RuntimeError('[no] luck')", "raises:Protocol", "RuntimeError: [no] luck"),
    "leaves": ("import sys; sys.exit(3)", "leaves:Protocol", "SystemExit: 3"),
    "syntax": ("class", "syntax:Protocol", "SyntaxError"),
    "number": ("Protocol = 3", "number:Protocol", "neither a protocol class nor a function"),
    "starts": ("def make(): raise OSError('no licence')", "starts:make", "OSError: no licence"),
    "wrong": ("def make(): return 3", "wrong:make", "made a int, not an MPCBackend"),
    "fails": (
        "from backends import Plain\nclass P(Plain):\n    def bilinear(self, *a): raise KeyError('x')",
        "fails:P",
        "KeyError",
    ),
}


def test_broken_plugins_are_reported_and_disturb_nobody(plugin: Plugin) -> None:
    for name, (code, value, _) in BROKEN.items():
        plugin(name, code, **{f"my-{name}": value})
    plugin("works", "from backends import Plain\ndef make(): return Plain(frac_bits=13)\n", mine="works:make")
    result = call("backends", "--json", "-")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert {*BUILT_IN, "mine"} <= {name for name, row in rows.items() if row["error"] is None}
    for name, (_, _, says) in BROKEN.items():
        row = rows[f"my-{name}"]
        assert says in row["error"] and row["from"] == name
        assert f"my-{name} ({name}) does not work:" in " ".join(result.stderr.split())
    with pytest.raises(ConfigError, match=r"'my-raises' of raises cannot be loaded: RuntimeError: \[no\] luck"):
        registry.get("my-raises")
    made = registry.get("mine")()
    assert made.fixed.frac_bits == 13
    rows = json.loads(call("matrix", "--json", "-").stdout)
    converted = {row["source"] for row in rows}
    assert converted >= {*BUILT_IN, "mine", "my-fails"}  # converting needs no product
    assert not converted & {"my-missing", "my-raises", "my-leaves", "my-starts", "my-wrong"}
    values = {(row["source"], row["target"]): row["value"] for row in rows}
    assert values["3pc", "mine"] == "rounded" and values["mine", "3pc"] == "exact"


def test_nobody_takes_a_name_from_a_built_in_protocol(plugin: Plugin) -> None:
    plugin("thief", "from backends import Plain as P", **{"3pc": "thief:P"})
    found = registry.backends()
    assert found["3pc"].factory is Replicated3PC
    assert found["3pc (thief)"].error == "the name '3pc' is taken by wwfl"


# ---------------------------------------------------------------------- wwfl backends


def test_backends_lists_what_every_protocol_promises_and_costs(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    shown = call("backends", "--json", str(file)).stdout
    rows = {row["name"]: row for row in json.loads(file.read_text()) if row["from"] == "wwfl"}
    assert list(rows) == BUILT_IN and all(name in shown for name in BUILT_IN)
    two, four = rows["2pc"], rows["4pc"]
    assert (two["parties"], two["helpers"], two["holders"]) == (3, [2], [[0], [1]])
    assert (four["malicious"], four["coefficients"]) == (True, [1, -1, -1, -1])
    assert two["security"] == "semi-honest, 1 corrupt party"
    assert rows["plain"]["security"].startswith("none")
    assert four["domains"] == ["Z_2^64", "GF(2), packed"]
    assert rows["3pc"]["costs"] == {
        "share": {"bits_offline": 0, "bits_online": 64, "rounds": 1},
        "reveal": {"bits_offline": 0, "bits_online": 192, "rounds": 1},
        "product": {"bits_offline": 20, "bits_online": 194, "rounds": 3},
        "sign": {"bits_offline": 0, "bits_online": 544, "rounds": 8},
    }


# ---------------------------------------------------------------------- wwfl matrix


def test_matrix_measures_every_ordered_pair_exactly(plugin: Plugin) -> None:
    plugin("works", "from backends import Replicated3PC\nclass P(Replicated3PC): pass\n", mine="works:P")
    rows = {(row["source"], row["target"]): row for row in json.loads(call("matrix", "--json", "-").stdout)}
    names = [*BUILT_IN, "mine"]
    assert set(rows) >= set(product(names, names))
    assert all(row["error"] is None and row["path"] == "generic" for row in rows.values())
    assert rows["2pc", "3pc"]["guarantee"] == "semi-honest, 1 corrupt party"
    assert rows["4pc", "4pc"]["guarantee"] == "malicious, security with abort, 1 corrupt party"
    assert rows["4pc", "mine"]["guarantee"] == "semi-honest, 1 corrupt party"
    assert rows["4pc", "plain"]["guarantee"] == "none"
    for other in names:
        for key in ("bytes", "rounds", "guarantee"):
            assert rows["mine", other][key] == rows["3pc", other][key]
    # two words (3PC: x1 + x2 and x3), each in full to one party of 2PC and as a seed to the other
    assert rows["3pc", "2pc"]["bytes"] == 2 * (1000 * 8 + 32)
    assert rows["3pc", "2pc"]["rounds"] == 1


def test_the_table_of_conversions_in_the_documentation_is_current(tmp_path: Path, plugin: Plugin) -> None:
    plugin("works", "from backends import Replicated3PC\nclass P(Replicated3PC): pass\n", mine="works:P")
    file = tmp_path / "matrix.md"
    call("matrix", "--markdown", str(file))
    assert file.read_text() == (ROOT / "docs" / "matrix.md").read_text()


# ---------------------------------------------------------------------- wwfl conformance


def test_conformance_judges_a_module_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "judged.py").write_text(
        "from backends import Plain\n"
        "class Right(Plain): pass\n"
        "class Wrong(Plain):\n"
        "    def bilinear(self, f, x, y, truncate=0):\n"
        "        return super().bilinear(f, x, x, truncate)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # undone afterwards, with what the command adds
    right = json.loads(call("conformance", "judged:Right", "--json", "-").stdout)
    assert right["ok"] and right["protocol"] == "plain"
    result = call("conformance", "judged:Wrong", "--only", "correctness", code=1)
    assert "DOES NOT CONFORM" in result.stdout and "correctness/product" in result.stdout


def test_conformance_runs_some_checks_only() -> None:
    report = json.loads(call("conformance", "3pc", "--only", "table", "--json", "-").stdout)
    assert report["ok"] and {check["name"].split("/")[0] for check in report["checks"]} == {"table"}
    assert (
        "no check has a name that starts with 'tabel'" in call("conformance", "3pc", "--only", "tabel", code=1).stderr
    )


def test_conformance_of_an_unknown_protocol_says_what_there_is() -> None:
    assert "did you mean '4pc'" in " ".join(call("conformance", "4cp", code=1).stderr.split())
