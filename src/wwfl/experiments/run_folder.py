"""A run on disk: what it was told, what it did round by round, and where it can go on.

    config.toml    the configuration as resolved
    run.json       what wrote it: seed, data, versions, one entry per session
    metrics.jsonl  one line per round: accuracy, participants, bytes and seconds per stage and link
    ledger.jsonl   everything that was opened, with its round
    checkpoint/    every party's shares and the coordinator's public state
    plots/         pictures of the metrics (needs the extra `report`)

A round's lines are written before its checkpoint. So a run that is killed at any moment has lines
for at least the rounds of its checkpoint; `rewind` drops those that the checkpoint does not know.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from wwfl_core.errors import ConfigError, DataError
from wwfl_core.files import write_whole

from .config import Config, parse, to_toml

FORMAT = 1
PACKAGES = ("numpy", "numba", "torch", "cryptography", "pydantic")


class RunFolder:
    """One run's folder. Make one with `create` or `open`; hold `locked()` while writing."""

    def __init__(self, path: Path, config: Config, facts: dict[str, Any]) -> None:
        self.path = path
        self.config = config
        self.facts = facts

    @classmethod
    def create(cls, path: str | Path, config: Config, facts: dict[str, Any]) -> Self:
        """A new run. `facts` describe its data.

        Raises:
            ConfigError: the folder exists and is not empty.
        """
        folder = Path(path)
        if folder.exists() and (
            not folder.is_dir() or any(p.name != ".lock" for p in folder.iterdir())
        ):
            what = (
                "holds a run already: continue it with --resume, or"
                if (folder / "run.json").exists()
                else "exists:"
            )
            raise ConfigError(f"{folder} {what} name another folder with --run")
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(
            folder, config, {"wwfl_run": FORMAT, "seed": config.run.seed, "sessions": [], **facts}
        )
        write_whole(folder / "config.toml", [to_toml(config).encode()])
        made._write_facts()
        return made

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """An existing run.

        Raises:
            DataError: no such folder, not a run of wwfl, of another version, or damaged.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no such run folder")
        try:
            facts = json.loads((folder / "run.json").read_text())
            known = facts["wwfl_run"]
        except OSError as error:
            raise DataError(
                f"{folder} is not a run of wwfl: it has no run.json ({error.strerror})"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{folder}/run.json is not a run of wwfl, or damaged: {error}"
            ) from error
        if known != FORMAT:
            raise DataError(f"{folder} has format {known}, this version of wwfl reads {FORMAT}")
        try:
            text = (folder / "config.toml").read_text()
        except OSError as error:
            raise DataError(
                f"{folder}/config.toml cannot be read ({error.strerror}); restore it"
            ) from error
        return cls(folder, parse(text, source=str(folder / "config.toml")), facts)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else writes this folder meanwhile; the lock ends with the process, however it
        ends.

        Raises:
            ConfigError: another process holds it.
        """
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise ConfigError(
                f"{self.path} is being written by another process; wait for it or use --run"
            ) from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def unless_refused(self) -> Iterator[None]:
        """A configuration that cannot run leaves no run behind, so that the folder takes the
        corrected one."""
        try:
            yield
        except ConfigError:
            if not self.facts["sessions"]:
                for name in ("run.json", "config.toml"):
                    (self.path / name).unlink(missing_ok=True)
            raise

    # ------------------------------------------------------------------ writing

    def begin(self, resumed_at: int, setup_bytes: dict[str, int]) -> None:
        """Notes a session: when, on what, from which round on, and what starting the servers
        sent."""
        self.facts["sessions"].append(
            {
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "from_round": resumed_at + 1,
                "setup_bytes": setup_bytes,
                "versions": versions(),
            }
        )
        self._write_facts()

    def note(self, **facts: Any) -> None:
        """Adds facts about the run, such as what it is protected against."""
        self.facts |= facts
        self._write_facts()

    def extend(self, config: Config) -> None:
        """Takes a configuration that asks for more rounds."""
        self.config = config
        write_whole(self.path / "config.toml", [to_toml(config).encode()])

    def append(self, line: dict[str, Any], openings: Iterable[dict[str, Any]]) -> None:
        """Writes a round's ledger entries and its line, and returns when they are on the disk."""
        self.append_openings(line["round"], openings)
        _append(self.path / "metrics.jsonl", [line])

    def append_openings(self, number: int, openings: Iterable[dict[str, Any]]) -> None:
        """Adds to the ledger what was opened in, or after, round `number`."""
        _append(self.path / "ledger.jsonl", [{"round": number, **opening} for opening in openings])

    def rewind(self, rounds: int) -> None:
        """Drops all lines of rounds after `rounds`.

        Raises:
            DataError: there are fewer lines than rounds: the folder lost something.
        """
        kept = [line for line in self.metrics() if line["round"] <= rounds]
        if len(kept) != rounds:
            raise DataError(
                f"{self.path}/metrics.jsonl has {len(kept)} rounds, the checkpoint has {rounds}; "
                "restore the file"
            )
        write_whole(self.path / "metrics.jsonl", [_jsonl(kept).encode()])
        write_whole(
            self.path / "ledger.jsonl",
            [_jsonl(o for o in self.ledger() if o["round"] <= rounds).encode()],
        )

    def _write_facts(self) -> None:
        write_whole(self.path / "run.json", [f"{json.dumps(self.facts, indent=1)}\n".encode()])

    # ------------------------------------------------------------------ reading

    @property
    def checkpoint(self) -> Path:
        """Where the parties' shares are."""
        return self.path / "checkpoint"

    def metrics(self) -> list[dict[str, Any]]:
        """One entry per round."""
        return _read_jsonl(self.path / "metrics.jsonl")

    def ledger(self) -> list[dict[str, Any]]:
        """Everything that was opened."""
        return _read_jsonl(self.path / "ledger.jsonl")


def versions() -> dict[str, str]:
    """What computes: package, commit where this is a checkout, Python, platform, the libraries that
    matter."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": str(os.cpu_count()),
    }
    for package in ("wwfl", *PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    commit = _commit()
    return found if commit is None else found | {"commit": commit}


def _commit() -> str | None:
    """The commit of the checkout that this code is in, with "+" if it was changed since; None
    elsewhere."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    try:
        head, changed = (
            subprocess.run(
                ["git", "-C", str(root), *args],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
            for args in (
                ["rev-parse", "--short=12", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no"],
            )
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


# ---------------------------------------------------------------------- files


def _append(path: Path, entries: list[dict[str, Any]]) -> None:
    with path.open("a") as file:
        file.write(_jsonl(entries))
        file.flush()
        os.fsync(file.fileno())


def _jsonl(entries: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def _read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All whole lines; a last one without its end is what a killed process was writing."""
    try:
        *lines, rest = path.read_text().split("\n")
    except FileNotFoundError:
        return []
    if rest:
        print(f"{path}: the last line is incomplete and left out", file=sys.stderr)
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise DataError(
                f"{path}, line {number} is damaged: {error}; restore the file from a copy"
            ) from error
    return found
