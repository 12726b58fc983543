"""docs/how-to/aggregation.md is true, and rules are found by name: built-in ones, those of other
packages, broken ones."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from helpers import REPOSITORY
from wwfl import Ensemble
from wwfl.aggregation import FedAvg, FedAvgM, Krum, MultiKrum, TrimmedMean, in_floats, registry
from wwfl_core import NetworkModel
from wwfl_core.errors import ConfigError
from wwfl_core.plugins import options_of

ROOT = REPOSITORY
PAGE = (ROOT / "docs" / "how-to" / "aggregation.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A distribution for one test: what pip would write, and a module, on sys.path."""
    made: list[str] = []

    def one(name: str, code: str, points: str) -> None:
        info = tmp_path / name / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(points)
        (tmp_path / name / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path / name)
        made.append(name)

    yield one
    for name in made:
        sys.modules.pop(name, None)


def test_all_code_of_the_page_runs_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    page = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)  # dataclasses look their module up
    space = page.__dict__
    for code in BLOCKS:
        exec(compile(code, "docs/how-to/aggregation.md", "exec"), space)
    gaps = np.array(space["models"]) - space["current"]
    want = np.where((gaps < 0).sum(0) * 2 > 5, -1, 1) * 2.0**-7
    assert np.allclose(space["clear"] - space["current"], want)


def test_the_pages_rule_becomes_available_by_its_entry_point(install: Install) -> None:
    [code] = [code for code in BLOCKS if code.startswith("# majority.py")]

    points = "\n".join(
        re.findall(r"^    (\[project\.entry-points\.\"wwfl\.aggregations\"\]|sign-.*)$", PAGE, re.M)
    )
    group, line = points.split("\n")
    install("majority", code, f"[{group.split(chr(34))[1]}]\n{line.replace(chr(34), '')}\n")
    rule = registry.rule("sign-majority", rate=0.5)
    moved = in_floats.aggregate(rule, [np.ones(3), np.ones(3), -np.ones(3)], [1.0] * 3, np.zeros(3))
    assert np.array_equal(moved, np.full(3, 0.5))
    assert registry.rule("majority:SignMajority") == registry.rule("sign-majority")
    assert registry.rule("fedavgm", base={"name": "sign-majority", "rate": 0.5}) == FedAvgM(rule)
    with pytest.raises(ConfigError, match="did you mean 'rate'"):
        registry.rule("sign-majority", rat=0.5)


def test_every_built_in_rule_is_documented_with_its_options() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| `\w+` \|.*\|([^|]*)\|$", PAGE, re.MULTILINE))
    assert list(rows) == list(registry.OWN)
    for name, make in registry.OWN.items():
        options = list(options_of(make))
        assert re.findall(r"`(\w+)`", rows[name]) == [
            o for o in options if (name, o) != ("krum", "selected")
        ]


def test_rules_are_made_by_name_with_options_as_a_configuration_gives_them() -> None:
    assert {type(registry.rule(name)) for name in registry.OWN} == set(registry.OWN.values())
    assert registry.rule("multi-krum", byzantine=1, selected=3) == MultiKrum(1, 3)
    table = {"latency_s": 0.01, "bandwidth_bps": 1e9}
    assert registry.rule("trimmed-mean", by=table) == TrimmedMean(by=NetworkModel(0.01, 1e9))
    assert registry.rule("fedavgm", base="krum", rate=1) == FedAvgM(Krum())
    assert registry.rule("fedavgm") == FedAvgM(FedAvg())


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        (
            "trimmed-meen",
            {},
            "no aggregation rule is registered as 'trimmed-meen'; did you mean 'trimmed-mean'",
        ),
        ("krum", {"byzantin": 1}, "did you mean 'byzantine'"),
        ("fedavg", {"trim": 1}, "its options are none"),
        ("krum", {"byzantine": "2"}, "byzantine is '2'"),
        ("krum", {"byzantine": True}, "byzantine is True"),
        ("multi-krum", {"selected": 2.5}, "selected is 2.5, but it is (int)"),
        ("fltrust", {"norm_bound": "big"}, "norm_bound is 'big'"),
        ("fedavgm", {"base": 3}, "base is 3: name a rule"),
        ("fedavgm", {"rate": float("inf")}, "rate above 0 and finite"),
        ("median", {"by": "sorting"}, "by is 'sorting': it can be pairs, exchange, or a network"),
        ("norm-clipping", {"clip": -1.0}, "clip must be"),
        ("trimmed-mean", {"by": {"latency": 1}}, "refuses"),
        ("wwfl.aggregation:Inputs", {}, "not a class of aggregation rules"),
        ("wwfl.aggregation:Aggregation", {}, "does not define aggregate"),
    ],
)
def test_what_is_wrong_is_answered_with_what_is_near(
    name: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        registry.rule(name, **options)


def test_broken_plugins_are_reported_and_disturb_nobody(install: Install) -> None:
    install(
        "broken_rule",
        "raise RuntimeError('no luck')",
        "[wwfl.aggregations]\nmine = broken_rule:Rule\n",
    )
    install(
        "thief", "from wwfl.aggregation import Krum as R", "[wwfl.aggregations]\nfedavg = thief:R\n"
    )
    found = registry.rules()
    assert list(found)[: len(registry.OWN)] == list(registry.OWN) and found["krum"].built_in
    assert (
        found["mine"].error == "RuntimeError: no luck"
        and found["mine"].distribution == "broken_rule"
    )
    assert found["fedavg (thief)"].error == "the name 'fedavg' is taken by wwfl"
    assert registry.rule("fedavg") == FedAvg()
    assert registry.rule("ensemble", min_accuracy=0.5) == Ensemble(0.5)
    with pytest.raises(ConfigError, match="of broken_rule cannot be loaded: RuntimeError: no luck"):
        registry.rule("mine")
