"""Run folders: written whole or not at all, by one process, and continued where they stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wwfl.experiments.config import Config, parse
from wwfl.experiments.run import create_run, finish_run
from wwfl.experiments.run_folder import RunFolder, versions
from wwfl_core.errors import ConfigError, DataError

FACTS = {"data": {"train": "some digits", "test": "others"}}


def folder(path: Path, rounds: int = 0) -> RunFolder:
    """A run with lines of so many rounds."""
    made = RunFolder.create(path, Config(), FACTS)
    for number in range(1, rounds + 1):
        made.append(
            {"round": number, "accuracy": number / 10},
            [{"where": "global", "reason": f"hits {number}"}],
        )
    return made


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folder(tmp_path / "a", 3)
    again = RunFolder.open(tmp_path / "a")
    assert again.config == Config()
    assert [line["round"] for line in again.metrics()] == [1, 2, 3]
    assert again.ledger()[2] == {"round": 3, "where": "global", "reason": "hits 3"}
    assert again.facts["data"] == FACTS["data"]


def test_sessions_tell_what_computed(tmp_path: Path) -> None:
    made = folder(tmp_path / "a")
    made.begin(0, {"2pc-1": 96})
    made.begin(4, {})
    (first, second) = RunFolder.open(tmp_path / "a").facts["sessions"]
    assert (first["from_round"], second["from_round"]) == (1, 5)
    assert (
        {"python", "platform", "wwfl", "torch", "numpy"}
        <= first["versions"].keys()
        == versions().keys()
    )


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    folder(tmp_path / "a", 1)
    with pytest.raises(ConfigError, match="holds a run already: continue it with --resume"):
        folder(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes").touch()
    with pytest.raises(ConfigError, match="exists: name another folder"):
        folder(tmp_path / "b")
    (tmp_path / "c").mkdir()
    folder(tmp_path / "c")  # an empty folder is fine


def test_a_refused_configuration_leaves_a_folder_for_the_corrected_one(tmp_path: Path) -> None:
    wrong = parse(
        '[federation]\nengine = "float"\nclusters = [{}]\n[aggregation]\nrule = "trimmed-mean"'
    )
    made = create_run(wrong, tmp_path / "a")
    with pytest.raises(ConfigError, match="needs more than"):
        finish_run(made)
    again = folder(tmp_path / "a")
    again.begin(0, {})
    with pytest.raises(ConfigError), again.unless_refused():
        raise ConfigError("later")
    assert RunFolder.open(tmp_path / "a").facts["sessions"], "a run that began is kept"


def test_only_one_process_writes_a_folder(tmp_path: Path) -> None:
    made = folder(tmp_path / "a")
    with made.locked():
        with (
            pytest.raises(ConfigError, match="being written by another process"),
            RunFolder.open(made.path).locked(),
        ):
            pass
    with RunFolder.open(made.path).locked():
        pass


def damage(name: str, text: str) -> Any:
    return lambda path: (path / name).write_text(text)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: (path / "run.json").unlink(), "is not a run of wwfl: it has no run.json"),
        (damage("run.json", "{"), r"run\.json is not a run of wwfl, or damaged"),
        (damage("run.json", "[]"), r"run\.json is not a run of wwfl, or damaged"),
        (damage("run.json", '{"wwfl_run": 99}'), "has format 99"),
        (lambda path: (path / "config.toml").unlink(), r"config\.toml cannot be read"),
        (damage("config.toml", "[shedule]"), "did you mean 'schedule'"),
    ],
)
def test_a_foreign_or_damaged_folder_is_explained(tmp_path: Path, spoil: Any, says: str) -> None:
    folder(tmp_path / "a")
    spoil(tmp_path / "a")
    with pytest.raises(ConfigError, match=says):
        RunFolder.open(tmp_path / "a")
    with pytest.raises(DataError, match="no such run folder"):
        RunFolder.open(tmp_path / "none")


def test_a_line_that_a_killed_process_left_is_dropped_and_a_damaged_one_is_not(
    tmp_path: Path,
) -> None:
    made = folder(tmp_path / "a", 2)
    file = made.path / "metrics.jsonl"
    whole = file.read_text()
    file.write_text(whole + '{"round": 3, "acc')
    assert [line["round"] for line in made.metrics()] == [1, 2]
    made.rewind(2)
    assert file.read_text() == whole
    file.write_text(whole.replace("{", "[", 1))
    with pytest.raises(DataError, match="line 1 is damaged"):
        made.metrics()


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_rewinding_keeps_the_rounds_of_the_checkpoint(tmp_path: Path, rounds: int) -> None:
    made = folder(tmp_path / "a", 3)
    made.rewind(rounds)
    assert [line["round"] for line in made.metrics()] == [line["round"] for line in made.ledger()]
    assert len(made.metrics()) == rounds


def test_a_checkpoint_with_more_rounds_than_lines_is_refused(tmp_path: Path) -> None:
    made = folder(tmp_path / "a", 2)
    with pytest.raises(DataError, match="has 2 rounds, the checkpoint has 3"):
        made.rewind(3)
    assert len(made.metrics()) == 2


def test_more_rounds_are_a_new_configuration_of_the_same_run(tmp_path: Path) -> None:
    made = folder(tmp_path / "a", 1)
    made.extend(parse("[schedule]\nrounds = 77"))
    assert RunFolder.open(made.path).config.schedule.rounds == 77
    assert json.loads((made.path / "run.json").read_text())["seed"] == 0
