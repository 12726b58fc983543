"""The commands that tell what is installed: `wwfl backends`, `wwfl conformance`, `wwfl matrix`, and
the registry."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import backends.crypten
import backends.shamir
from backends import Plain, Replicated3PC
from helpers import REPOSITORY
from wwfl.cli import matrix
from wwfl.cli.main import app
from wwfl.experiments import measure_conversions
from wwfl_core.errors import ConfigError
from wwfl_core.protocol import registry
from wwfl_core.protocol.backend import MPCBackend

ROOT = REPOSITORY
FOLDER = ROOT / "examples" / "fantastic4"
BUILT_IN = ["2pc", "2pc-ot", "3pc", "4pc", "crypten", "plain", "shamir"]
ENGINES = {"crypten": "crypten", "shamir": "mpyc"}  # the optional package of each
HERE = [n for n in BUILT_IN if n not in ENGINES or importlib.util.find_spec(ENGINES[n])]
QUICK = [n for n in BUILT_IN if n not in ENGINES]
PRIME = "F_(2^127-1)"
Plugin = Callable[..., None]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    """Installs a distribution for one test: the metadata that pip writes, and a module, in a folder
    on sys.path."""

    def install(distribution: str, code: str, **points: str) -> None:
        folder = tmp_path / distribution
        info = folder / f"{distribution}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
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
    assert all(
        e.factory is not None and e.error is None and e.distribution == "wwfl"
        for e in found.values()
    )
    assert registry.get("3pc") is Replicated3PC
    assert registry.resolve("plain") is Plain
    assert registry.resolve("backends.replicated3pc:Replicated3PC") is Replicated3PC


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("3cp", "did you mean '3pc'"),
        ("tetrad", "known are 2pc, 2pc-ot, 3pc, 4pc, crypten, plain, shamir"),
        ("no_such_module:Class", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("backends:Tetrad", "has no attribute 'Tetrad'"),
        ("file.py/x:Class", "a module, not a file"),
        ("backends:", "package.module:Class"),
        ("wwfl_core.channel.cost:Cost", "a class, but not an MPCBackend"),
        ("wwfl_core.protocol.backend:MPCBackend", "does not define bilinear, name, sharing"),
        ("wwfl_core.protocol.registry:GROUP", "neither a protocol class nor a function"),
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
        (
            "from backends import Plain\n"
            "class P(Plain):\n"
            "    def bilinear(self, *a): raise KeyError('x')"
        ),
        "fails:P",
        "KeyError",
    ),
}


def test_broken_plugins_are_reported_and_disturb_nobody(
    plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, (code, value, _) in BROKEN.items():
        plugin(name, code, **{f"my-{name}": value})
    plugin(
        "works",
        "from backends import Plain\ndef make(): return Plain(frac_bits=13)\n",
        mine="works:make",
    )
    without_engines(monkeypatch)
    result = call("backends", "--json", "-")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert {name for name, row in rows.items() if row["error"] is None} >= {*QUICK, "mine"}
    for name, (_, _, says) in BROKEN.items():
        row = rows[f"my-{name}"]
        assert says in row["error"] and row["from"] == name
        assert f"my-{name} ({name}) does not work:" in " ".join(result.stderr.split())
    (row,) = json.loads(call("backends", "my-raises", "--json", "-").stdout)
    assert row["error"] == "RuntimeError: [no] luck"
    with pytest.raises(
        ConfigError, match=r"'my-raises' of raises cannot be loaded: RuntimeError: \[no\] luck"
    ):
        registry.get("my-raises")
    made = registry.get("mine")()
    assert made.format.frac_bits == 13
    rows = json.loads(call("matrix", "--json", "-").stdout)
    converted = {row["source"] for row in rows}
    assert converted >= {*QUICK, "mine", "my-fails"}  # converting needs no product
    assert not converted & {"my-missing", "my-raises", "my-leaves", "my-starts", "my-wrong"}
    values = {(row["source"], row["target"]): row["value"] for row in rows}
    assert values["3pc", "mine"] == "rounded" and values["mine", "3pc"] == "exact"


def test_nobody_takes_a_name_from_a_built_in_protocol(plugin: Plugin) -> None:
    plugin("thief", "from backends import Plain as P", **{"3pc": "thief:P"})
    found = registry.backends()
    assert found["3pc"].factory is Replicated3PC
    assert found["3pc (thief)"].error == "the name '3pc' is taken by wwfl"


# ---------------------------------------------------------------------- wwfl backends


def without_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if CrypTen and MPyC were not installed."""
    for module in (backends.crypten, backends.shamir):
        monkeypatch.setattr(module, "find_spec", lambda name: None)


def test_backends_lists_what_every_protocol_promises_and_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    file = tmp_path / "rows.json"
    shown = call("backends", *QUICK, "fantastic4:FantasticFour", "--json", str(file)).stdout
    rows = {row["name"]: row for row in json.loads(file.read_text())}
    assert list(rows) == [*QUICK, "f4"] and all(name in shown for name in rows)
    assert all(row["error"] is None for row in rows.values())
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
    # 32832 bytes of base transfers, once; a product and its truncation by 20 bits
    assert rows["2pc-ot"]["setup_bytes"] - 32 == 32832
    assert round(rows["2pc-ot"]["costs"]["product"]["bits_offline"]) == 8256 + 32 + 20


@pytest.mark.slow
@pytest.mark.skipif(not {*ENGINES} <= {*HERE}, reason="CrypTen or MPyC is not installed")
def test_backends_tells_where_other_engines_compute_and_what_is_wrong_with_them() -> None:
    result = call("backends", *ENGINES, "--json", "-")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert rows["shamir"]["domains"] == [PRIME, PRIME]
    assert rows["crypten"]["domains"] == ["Z_2^64", "GF(2), packed"]
    assert rows["crypten"]["known_defects"].keys() == {"views/uniform", "views/fresh"}
    assert "known defect (views/uniform, views/fresh): CrypTen opens" in " ".join(
        result.stderr.split()
    )


CAVEAT = """
from dataclasses import replace
from backends import REPLICATED_3PC, Replicated3PC
from wwfl_core.sharing.semantics import Security
class P(Replicated3PC):
    name = "careless"
    sharing = replace(REPLICATED_3PC, security=Security(caveats=("masks from a dice",)))
    known_defects = {"views/fresh": "a dice has six sides"}
"""


def test_backends_tells_caveats_and_known_defects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "careless.py").write_text(CAVEAT)
    monkeypatch.syspath_prepend(tmp_path)
    result = call("backends", "careless:P", "--json", "-")
    (row,) = json.loads(result.stdout)
    assert (row["name"], row["caveats"]) == ("careless", ["masks from a dice"])
    assert row["security"] == "semi-honest, 1 corrupt party; masks from a dice"
    assert "careless, known defect (views/fresh): a dice has six sides" in result.stderr


@pytest.mark.parametrize("command", ["backends", "matrix"])
def test_an_optional_engine_that_is_not_installed_is_a_line_and_no_error(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_engines(monkeypatch)
    shown = " ".join(call(command, "plain", "crypten", "shamir").stdout.split())
    assert "does not work: ConfigError: CrypTen cannot run here: crypten" in shown
    assert (
        "does not work: ConfigError: Shamir runs on MPyC, which is not installed; `pip install "
        "wwfl[mpyc]`"
    ) in shown


@pytest.mark.parametrize("command", ["backends", "matrix"])
def test_an_unknown_name_is_an_error(command: str) -> None:
    assert "did you mean '4pc'" in " ".join(call(command, "4cp", code=1).stderr.split())


# ---------------------------------------------------------------------- wwfl matrix


@pytest.fixture(
    scope="module",
    params=[
        # To conversion CrypTen is one more protocol on Z_2^64, whose processes start slowly.
        pytest.param([name for name in HERE if name != "crypten"], id="without CrypTen"),
        pytest.param(HERE, id="all", marks=pytest.mark.slow),
    ],
)
def pairs(request: pytest.FixtureRequest) -> dict[tuple[str, str], dict[str, Any]]:
    """Every ordered pair of these built-in protocols and one of another distribution."""
    sys.path.insert(0, str(FOLDER))
    try:
        result = call("matrix", *request.param, "fantastic4:FantasticFour", "--json", "-")
    finally:
        sys.path.remove(str(FOLDER))
    return {(row["source"], row["target"]): row for row in json.loads(result.stdout)}


def test_matrix_measures_every_ordered_pair_exactly(
    pairs: dict[tuple[str, str], dict[str, Any]],
) -> None:
    names = {source for source, _ in pairs}
    assert names >= {*QUICK, "f4"} and pairs.keys() == set(product(names, repeat=2))
    assert all(
        (row["error"], row["value"], row["path"]) == (None, "exact", "generic")
        for row in pairs.values()
    )
    assert pairs["2pc", "3pc"]["guarantee"] == "semi-honest, 1 corrupt party"
    for malicious in ("4pc", "f4"):
        assert (
            pairs["4pc", malicious]["guarantee"]
            == "malicious, security with abort, 1 corrupt party"
        )
        assert pairs[malicious, "2pc"]["guarantee"] == "semi-honest, 1 corrupt party"
    assert pairs["4pc", "plain"]["guarantee"] == "none"
    # two words (3PC: x1 + x2 and x3), each in full to one party of 2PC and as a seed to the other
    assert pairs["3pc", "2pc"]["bytes"] == 2 * (1000 * 8 + 32)
    assert pairs["3pc", "2pc"]["rounds"] == 1
    for (source, target), row in pairs.items():
        changes = (source == "shamir") != (target == "shamir")
        assert bool(row["domain"]) == changes
    if "shamir" in HERE:
        assert pairs["2pc", "shamir"]["domain"] == f"Z_2^64 -> {PRIME}"
        assert pairs["shamir", "2pc"]["domain"] == f"{PRIME} -> Z_2^64"
        # two words of a number and a mark, in full to two of three parties; a product of the marks,
        # framed
        assert pairs["2pc", "shamir"]["bytes"] == 2 * (2 * 2 * 16_000 + 32) + 6 * (16_000 + 20)


def test_the_table_of_conversions_in_the_documentation_is_current(
    pairs: dict[tuple[str, str], dict[str, Any]],
) -> None:
    """Whole where all engines are installed; else the rows of the protocols that are."""
    page = (ROOT / "docs" / "reference" / "matrix.md").read_text()
    head, separator, *lines = page.removeprefix(matrix.INTRODUCTION + "\n").splitlines()
    assert [tuple(line.split(" | ", 2)[:2]) for line in lines] == [
        (f"| {a}", b) for a, b in product(BUILT_IN, repeat=2)
    ]
    built_in = [row for pair, row in pairs.items() if "f4" not in pair]
    names = {source for source, _ in pairs}
    shown = [line for line in lines if {*line.removeprefix("| ").split(" | ", 2)[:2]} <= names]
    assert matrix.markdown_table(built_in).splitlines() == [head, separator, *shown]


def test_matrix_writes_the_page_of_the_built_in_protocols_only(
    tmp_path: Path, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin(
        "works",
        "from backends import Replicated3PC\nclass P(Replicated3PC): pass\n",
        mine="works:P",
    )
    without_engines(monkeypatch)
    file = tmp_path / "matrix.md"
    call("matrix", "--markdown", str(file))
    page, made = (ROOT / "docs" / "reference" / "matrix.md").read_text(), file.read_text()
    assert made.startswith(matrix.INTRODUCTION) and "mine" not in made
    assert made.splitlines() == [
        line
        for line in page.splitlines()
        if not line.startswith("| ") or ("crypten |" not in line and "shamir |" not in line)
    ]


@pytest.mark.parametrize("options", [[], ["--long"]])
def test_the_tables_fit_a_terminal_of_80_columns(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = call("matrix", *QUICK, *options).stdout
    assert max(map(len, shown.splitlines())) <= 80 and "…" not in shown
    for source in QUICK:
        assert any(line.split()[:1] == [source] for line in shown.splitlines())
    assert (
        "4pc -> 3pc 66,084 4 S1 generic exact 66,084 generic" if options else " 66/4 "
    ) in " ".join(shown.split())


def test_a_pair_that_fails_concerns_no_other_pair() -> None:
    """Its clusters are made anew, others are not."""
    made: list[Any] = []

    class Noted(Replicated3PC):
        def at(self, party: Any) -> Any:
            made.append(party)
            return super().at(party)

    class Late(Plain):
        name = "late"

        def open(self, *args: Any, **options: Any) -> Any:
            raise OSError("no luck")

    def entry(name: str, kind: Callable[[], MPCBackend]) -> registry.Entry:
        return registry.Entry(name, kind, None, "test")

    rows, problems = measure_conversions([entry("late", Late), entry("noted", Noted)])
    assert not problems
    errors = {(row["source"], row["target"]): row["error"] for row in rows}
    assert errors["noted", "noted"] is None and errors["late", "noted"] is None
    assert all("no luck" in errors[source, "late"] for source in ("noted", "late"))
    assert {row["value"] for row in rows if row["target"] == "late"} == {""}
    assert len(made) == 3 * 3  # the source of the pair that failed was made twice, the target once


# ---------------------------------------------------------------------- wwfl conformance


def test_conformance_judges_a_module_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "judged.py").write_text(
        "from backends import Plain\n"
        "class Right(Plain): pass\n"
        "class Wrong(Plain):\n"
        "    def bilinear(self, f, x, y, truncate=0):\n"
        "        return super().bilinear(f, x, x, truncate)\n"
    )
    without_engines(monkeypatch)  # conversion to and from those takes minutes
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
        "no check has a name that starts with 'tabel'"
        in call("conformance", "3pc", "--only", "tabel", code=1).stderr
    )


def test_conformance_of_an_unknown_protocol_says_what_there_is() -> None:
    assert "did you mean '4pc'" in " ".join(call("conformance", "4cp", code=1).stderr.split())
