"""Configurations: strict, typed, explained; what is written is what is read."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from helpers import REPOSITORY
from wwfl.aggregation import FedAvgM, Median, TrimmedMean
from wwfl.cli.main import COMMANDS, app
from wwfl.experiments.config import Config, example, keys, load, parse, schema, to_toml
from wwfl.experiments.config.tables import FORMS
from wwfl.experiments.from_config import aggregation_rule
from wwfl.federation import GLOBAL_NETWORK, Cluster, Group, NamedRule, Schedule, leaves
from wwfl.federation.topology import build as build_tree
from wwfl_core import NetworkModel
from wwfl_core.errors import ConfigError

ROOT = REPOSITORY
PAGE = (ROOT / "docs" / "reference" / "command-line.md").read_text()


def test_the_example_is_the_default_and_explains_every_key() -> None:
    assert parse(example()) == Config()
    for line in example().splitlines():
        if " = " in line and not line.startswith("#"):
            assert "  # " in line, line


def test_every_key_of_every_table_has_a_meaning() -> None:
    for table in FORMS:
        for key in keys(table).values():
            assert key.meaning or key.tables, (table, key.name)


def test_what_a_file_says_of_a_network_leaves_the_rest_as_it_is_by_default() -> None:
    servers = parse("[federation.servers]\nnetwork = { latency_s = 0.25 }").federation.servers
    assert servers.network == NetworkModel(0.25, GLOBAL_NETWORK.bandwidth_bps)
    assert servers.protocol == Config().federation.servers.protocol


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_megabits_are_read_back_as_they_were_written(megabits: float) -> None:
    text = f"[federation.servers]\nnetwork = {{ bandwidth_mbps = {megabits!r} }}"
    config = parse(text)
    assert config.federation.servers.network == NetworkModel(0.1, megabits * 1e6)
    assert parse(to_toml(config)) == config


def test_the_schema_describes_every_key_and_no_other() -> None:
    whole = schema()
    for name, table in whole["$defs"].items():
        assert table["additionalProperties"] is False, name
    assert set(whole["$defs"]["Schedule"]["properties"]) == set(keys(Schedule))
    assert "lr" in keys(Schedule) and "sgd" not in keys(Schedule)
    assert "malicious" not in whole["$defs"]["LocalTrainers"]["properties"]
    assert whole["$defs"]["Group"]["required"] == ["members", "kind"]


def test_python_takes_names_as_a_file_does() -> None:
    tree = build_tree(
        Group("2pc", [Cluster("3pc", name="c", count=2)], NamedRule("trimmed-mean", {"trim": 0})),
        Schedule(),
    )
    assert [place.name for place in tree.children] == ["c-1", "c-2"]
    assert [place.spec.protocol.name for place in tree.walk()] == ["2pc", "3pc", "3pc"]
    assert tree.spec.rule == TrimmedMean(trim=0)
    with pytest.raises(ConfigError, match=r"Cluster\.count must be at least 1, got 0"):
        Cluster("3pc", count=0)
    with pytest.raises(ConfigError, match="did you mean '3pc'"):
        build_tree(Group("2pc", [Cluster("3pcc")]), Schedule())


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples" / "configs").glob("*.toml")), ids=lambda p: p.stem
)
def test_every_configuration_of_the_examples_is_valid(path: Path) -> None:
    assert parse(to_toml(load(path))) == load(path)


@settings(max_examples=40, deadline=None)
@given(
    text=st.text(max_size=30),
    number=st.floats(min_value=1e-9, max_value=1e9),
    seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3),
    options=st.dictionaries(
        st.text(max_size=8),
        st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(),
    ),
)
def test_what_is_written_is_read_back(
    text: str, number: float, seeds: list[int], options: dict[str, object]
) -> None:
    base = Config()
    config = Config(
        model=replace(base.model, name=text),
        schedule=replace(base.schedule, sgd=replace(base.schedule.sgd, lr=number)),
        aggregation=replace(base.aggregation, options=options),
        grid=replace(base.grid, seeds=tuple(seeds)),
    )
    assert parse(to_toml(config)) == config


NESTED = """
[[federation.clusters]]
kind = "group"
protocol = "3pc"
[[federation.clusters.members]]
count = 2
clients = 5
[[federation.clusters.members]]
kind = "group"
members = [{ kind = "trainers", clients = 7 }]
[[federation.clusters]]
clients = 9
"""


def test_topologies_nest_and_know_their_leaves() -> None:
    config = parse(NESTED)
    assert [leaf.clients for leaf in leaves(config.federation.clusters)] == [
        5,
        5,
        7,
        9,
    ]
    assert parse(to_toml(config)) == config


def test_a_rule_inside_a_rule_and_a_network_are_tables() -> None:
    config = parse(
        "[aggregation]\n"
        "rule = 'fedavgm'\n"
        "options = { base = { name = 'trimmed-mean', trim = 2 }, momentum = 0.5 }\n"
        "[[grid.rules]]\n"
        "rule = 'median'\n"
        "options = { by = { latency_s = 0.1, bandwidth_bps = 1e8 } }"
    )
    assert aggregation_rule(config.aggregation, config.privacy) == FedAvgM(
        TrimmedMean(trim=2), momentum=0.5
    )
    assert aggregation_rule(config.grid.rules[0], config.privacy) == Median(
        by=NetworkModel(0.1, 1e8)
    )
    assert parse(to_toml(config)) == config


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[schedule]\nepoch = 3", "schedule: 'epoch' is no key here; did you mean 'epochs'?"),
        (
            "[shedule]\nrounds = 3",
            "configuration: 'shedule' is no key here; did you mean 'schedule'?",
        ),
        ("[schedule]\nbatch = '3'", "schedule.batch: input should be a valid integer, got '3'"),
        ("[schedule]\nbatch = true", "schedule.batch: input should be a valid integer, got True"),
        (
            "[schedule]\nrounds = 0",
            "schedule.rounds: input should be greater than or equal to 1, got 0",
        ),
        ("[schedule]\nlr = nan", "schedule.lr: input should be"),
        (
            "[schedule]\ndata_policy = 'window'",
            "schedule: Schedule.data_policy is 'window'; choose",
        ),
        (
            "[federation]\nengine = 'mcp'",
            "federation.engine: input should be 'mpc', 'simulate', 'float' or 'plain', got 'mcp'",
        ),
        (
            "[[federation.clusters]]\nclientz = 3",
            "federation.clusters.0: 'clientz' is no key here; did you mean",
        ),
        (
            "[[federation.clusters]]\nkind = 'grup'",
            "clusters.0: kind must be 'cluster', 'group' or 'trainers'",
        ),
        (
            "[[federation.clusters]]\nkind = 'group'",
            "federation.clusters.0.members: field required",
        ),
        (
            NESTED + "[[federation.clusters]]\nkind = 'group'\nmembers = [{ clients = 0 }]",
            "clusters.2.members.0.clients",
        ),
        ("[federation]\nclusters = []", "federation.clusters: list should have at least 1 item"),
        (
            "[schedule]\nclients_per_round = 9",
            "clients_per_round is 9, but a cluster of protocol '2pc' has 4 clients",
        ),
        (
            "[privacy]\nepsilon = 8.0",
            "privacy: epsilon is a budget of differential privacy, but there is none",
        ),
        (
            "[schedule]\nsampling = 'secret'",
            "schedule.sampling: input should be 'public' or 'hidden', got 'secret'",
        ),
        (
            "[schedule]\nsamplng = 'hidden'",
            "schedule: 'samplng' is no key here; did you mean 'sampling'?",
        ),
        (
            "[schedule]\nsampling = 'hidden'\nclients_per_round = 4",
            "all 4 clients of a cluster of protocol '2pc' are",
        ),
        (
            "[schedule]\nsampling = 'hidden'\n[[federation.clusters]]\nkind = 'trainers'",
            "sampling is 'hidden', but trainers cannot be: local trainers get the model",
        ),
        ("[grid]\nseeds = []", "grid.seeds: list should have at least 1 item"),
        ("[schedule", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, source="x.toml")
    assert says in str(caught.value)
    assert str(caught.value).startswith("x.toml")


def test_all_errors_of_a_file_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("[schedule]\nbatch = 0\nlr = -1\n[model]\nhiden = [1]")
    assert all(
        words in str(caught.value)
        for words in ("schedule.batch", "schedule.lr", "'hiden' is no key")
    )


def test_overrides_are_toml_values_and_reach_into_lists() -> None:
    changes = [
        "schedule.lr=0.5",
        "model.name=mlp",
        "model.hidden=[8, 9]",
        "federation.clusters.0.protocol=4pc",
    ]
    config = parse("[[federation.clusters]]\nprotocol = '2pc'", changes)
    assert (config.schedule.sgd.lr, config.model.name) == (0.5, "mlp")
    assert config.model.hidden == (8, 9)
    assert config.federation.clusters[0].protocol == "4pc"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("schedule.lr", "not of the form section.key=value"),
        ("schedule..lr=1", "not of the form section.key=value"),
        ("schedule.rounds.x=1", "is a value, not a section"),
        ("federation.clusters.7.clients=1", "no position in a list of 1"),
        ("schedule.round=1", "did you mean 'rounds'?"),
    ],
)
def test_overrides_that_cannot_be_are_explained(change: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse("[schedule]\nrounds = 3\n[[federation.clusters]]\n", [change])
    assert says in str(caught.value)


def test_a_file_that_cannot_be_read_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wwfl config --example"):
        load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin.toml")


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


def test_the_command_prints_example_schema_and_what_a_file_is_resolved_to(tmp_path: Path) -> None:
    assert call("config", "--example") == example()
    assert set(json.loads(call("config", "--schema"))["properties"]) == set(keys(Config))
    file = tmp_path / "a.toml"
    file.write_text("[schedule]\nrounds = 3\n")
    shown = parse(call("config", "--check", str(file), "--set", "schedule.lr=0.25"))
    assert (shown.schedule.rounds, shown.schedule.sgd.lr) == (3, 0.25)
    for wrong in (
        "federation.servers.protocol=3pcc",
        "aggregation.rule=fedavgg",
        "model.name=json:nothing",
    ):
        call("config", "--check", str(file), "--set", wrong, code=1)
    call("config", code=2)
    call("config", "--schema", "--example", code=2)


@pytest.mark.parametrize(
    "block", re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
)
def test_the_configurations_of_the_documentation_are_valid(block: str) -> None:
    """And are resolved to what they say: every key of theirs is in the result."""
    assert parse(to_toml(parse(block))) == parse(block)


def test_the_documentation_lists_every_command() -> None:
    for name in COMMANDS:
        assert f"`wwfl {name}" in PAGE or f"`{name}`" in PAGE, name


@pytest.mark.parametrize(
    "block", re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
)
def test_the_python_of_the_documentation_is_what_a_file_would_say(block: str) -> None:
    space: dict[str, Any] = {}
    exec(block, space)
    file = parse(
        """
        [schedule]
        rounds = 20
        batch = 10
        [[federation.clusters]]
        protocol = "3pc"
        clients = 10
        count = 2
        [[federation.clusters]]
        kind = "group"
        protocol = "3pc"
        members = [{ protocol = "2pc" }]
        """
    )
    assert space["schedule"] == file.schedule
    assert [leaf.clients for leaf in leaves(space["members"])] == [10, 10, 4]
    assert space["members"][0] == file.federation.clusters[0]
