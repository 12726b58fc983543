"""A run that is killed at any moment and resumed gives what an uninterrupted one gives, bit by
bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import small_federations
from small_federations import digits, make, weights
from wwfl import Federation, Round
from wwfl_core.errors import ConfigError

ROUNDS = 3
CASES = [
    ("flat", "float"),
    ("flat", "simulate"),
    ("flat", "mpc"),
    ("deep", "float"),
    ("deep", "mpc"),
    ("remembering", "simulate"),
    ("remembering", "mpc"),
    ("voting", "mpc"),
    ("single", "simulate"),
    ("hidden", "float"),
    ("hidden", "simulate"),
    ("hidden", "mpc"),
]


def whole(
    kind: str, engine: str, rounds: int = ROUNDS, saved: Path | None = None
) -> tuple[bytes, list[Round], float]:
    """An uninterrupted run, and the seconds that it took; `saved` is where it leaves a checkpoint
    of its last round but one."""
    train, test = digits()
    begun = time.monotonic()

    def on_round(record: Round, fed: Federation) -> None:
        if saved is not None and record.number == rounds - 1:
            fed.save(str(saved))

    with make(kind, engine) as fed:
        fed.fit(train, test, rounds=rounds, on_round=on_round)
        return weights(fed), fed.history, time.monotonic() - begun


QUICK = {
    ("flat", "mpc"),
    ("deep", "float"),
    ("remembering", "simulate"),
    ("voting", "mpc"),
    ("hidden", "mpc"),
}


@pytest.mark.parametrize(
    ("kind", "engine"),
    [pytest.param(*c, marks=[] if c in QUICK else [pytest.mark.slow]) for c in CASES],
)
def test_a_restored_run_is_the_uninterrupted_run(kind: str, engine: str, tmp_path: Path) -> None:
    train, test = digits()
    expected, history, _ = whole(kind, engine, saved=tmp_path)
    with make(kind, engine) as fed:
        fed.restore(str(tmp_path))
        assert len(fed.history) == ROUNDS - 1
        fed.fit(train, test, rounds=ROUNDS, checkpoint=str(tmp_path))
        assert weights(fed) == expected
        assert fed.history == history
        assert [r.batches for r in fed.history] == [r.batches for r in history]


def kill_and_resume(
    kind: str, engine: str, folder: Path, delays_s: list[float], rounds: int
) -> Federation:
    """Runs a child that dies after each delay (or finishes before), then finishes the run here."""
    for delay_s in delays_s:
        command = [
            sys.executable,
            small_federations.__file__,
            kind,
            engine,
            str(folder),
            str(rounds),
            str(delay_s),
        ]
        child = subprocess.run(command, env=dict(os.environ), capture_output=True, timeout=120)
        assert child.returncode in (0, -signal.SIGKILL), child.stderr.decode()
    train, test = digits()
    fed = make(kind, engine)
    if (folder / "federation.state").exists():
        fed.restore(str(folder))
    fed.fit(train, test, rounds=rounds, checkpoint=str(folder))
    return fed


@pytest.mark.parametrize(
    ("kind", "engine"), [("deep", "simulate"), pytest.param("flat", "mpc", marks=pytest.mark.slow)]
)
def test_a_run_that_was_killed_at_a_random_moment_goes_on_alike(
    kind: str, engine: str, tmp_path: Path
) -> None:
    expected, history, seconds = whole(kind, engine)
    seed = int.from_bytes(os.urandom(2), "little")
    delay_s = 2 * seconds * seed / 2**16
    print(f"killed after {delay_s:.3f} s of about {seconds:.3f} s")
    with kill_and_resume(kind, engine, tmp_path, [delay_s], ROUNDS) as fed:
        assert weights(fed) == expected and fed.history == history


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "engine"), CASES)
def test_a_run_that_was_killed_many_times_goes_on_alike(
    kind: str, engine: str, tmp_path: Path
) -> None:
    expected, history, seconds = whole(kind, engine, 8)
    delays = [seconds * int.from_bytes(os.urandom(2), "little") / 2**17 for _ in range(8)]
    print("killed after", delays)
    with kill_and_resume(kind, engine, tmp_path, delays, 8) as fed:
        assert weights(fed) == expected and fed.history == history


def test_a_resumed_run_needs_the_data_that_it_began_with(tmp_path: Path) -> None:
    train, test = digits()
    with make("flat", "simulate") as fed:
        fed.fit(train, test, rounds=1, checkpoint=str(tmp_path))
    with make("flat", "simulate") as fed:
        fed.restore(str(tmp_path))
        with pytest.raises(ConfigError, match="another training set or partition"):
            fed.fit(train, test, rounds=2, partition_seed=1)
        fed.fit(train, test, rounds=2)
    with make("flat", "mpc") as fed, pytest.raises(ConfigError, match="engine"):
        fed.restore(str(tmp_path))


def test_client_data_is_written_once(tmp_path: Path) -> None:
    train, test = digits()
    with make("flat", "mpc") as fed:
        fed.fit(train, test, rounds=4, checkpoint=str(tmp_path))
        uploaded = [leaf_data.shares.keys() for leaf_data in fed._context.leaf_data]
    sizes: dict[str, list[int]] = {}
    for path in tmp_path.glob("3pc-1.*.party0.share"):
        sizes.setdefault(path.name.split(".")[0], []).append(path.stat().st_size)
    row = 2 * 8 * (64 + 10)  # two components of a digit and its label
    assert 0 < sum(sizes["3pc-1"]) - len(uploaded[0]) * 20 * row < 4 * 1000
    assert len(list(tmp_path.glob("model.*"))) == 3


def test_a_checkpoint_that_is_half_written_does_not_count(tmp_path: Path) -> None:
    train, test = digits()
    with make("flat", "simulate") as fed:
        fed.fit(train, test, rounds=1, checkpoint=str(tmp_path))
        expected = weights(fed)
        fed.fit(train, test, rounds=2)
        state = (tmp_path / "federation.state").read_bytes()
        fed.save(str(tmp_path / "other"))  # what a run writes before it replaces the state
        for path in (tmp_path / "other").glob("*.share"):
            (tmp_path / path.name).write_bytes(path.read_bytes()[:100])
        assert (tmp_path / "federation.state").read_bytes() == state
    with make("flat", "simulate") as fed:
        fed.restore(str(tmp_path))
        assert weights(fed) == expected and len(fed.history) == 1
