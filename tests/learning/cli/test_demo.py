"""`wwfl demo` is a configuration of the package: what it shows is what `wwfl train` computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from wwfl.cli.demo import MODELS, packaged
from wwfl.cli.main import COMMANDS, app, load
from wwfl.experiments import Config, parse, to_toml


def call(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


@pytest.mark.parametrize("model", MODELS)
def test_the_demos_configurations_are_complete(model: str) -> None:
    config = packaged(model)
    assert config.federation.insecure_seed == config.partition.seed == config.run.seed == 0
    assert [cluster.protocol for cluster in config.federation.clusters] == ["2pc", "3pc", "4pc"]
    assert parse(call("demo", "--model", model, "--show-config").stdout) == parse(
        to_toml(config), ["data.test=2000"]
    )


def test_lenet_is_trained_as_a_configuration_without_a_word_is() -> None:
    config = packaged("lenet")
    assert (config.model, config.schedule) == (Config().model, Config().schedule)


def test_train_computes_what_the_demo_shows(tmp_path: Path) -> None:
    options = ("demo", "--model", "small", "--rounds", "1", "--test-digits", "100", "--seed", "5")
    options += ("--servers", "plain", "--clusters", "plain,plain")
    shown = tmp_path / "demo.json"
    call(*options, "--json", str(shown))
    (tmp_path / "demo.toml").write_text(call(*options, "--show-config").stdout)
    call("train", str(tmp_path / "demo.toml"), "--run", str(tmp_path / "run"))
    (line,) = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    figures = json.loads(shown.read_text())
    assert [line["accuracy"]] == figures["test_accuracy"]
    sent = [(row["where"], row["stage"], row["bytes_online"]) for row in line["stages"]]
    assert sent == [(row["where"], row["stage"], row["bytes_online"]) for row in figures["stages"]]


def test_every_command_has_a_signature_and_a_help_that_is_read_without_importing_it() -> None:
    shown = " ".join(call("--help").stdout.split())
    for name in COMMANDS:
        command = load(name)
        assert command.name == name and command.help is not None
        assert " ".join(command.help.split())[:30] in shown.replace("│ ", ""), name


def test_the_version_and_the_short_help() -> None:
    assert call("--version").stdout.startswith("wwfl ")
    assert call("-h").stdout == call("--help").stdout
    assert "--rounds" in call("demo", "-h").stdout


def test_a_command_that_does_not_exist_is_wrong_usage() -> None:
    assert "demo" in call("demoo", code=2).output
