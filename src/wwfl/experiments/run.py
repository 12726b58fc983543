"""Running a configuration: round by round into a run folder, from the start or from where a run
stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wwfl.federation import STATE, Federation, Progress, difference
from wwfl.privacy import Private
from wwfl_core.cluster import LocalCluster
from wwfl_core.errors import ConfigError, DataError

from .config import Config
from .from_config import ExperimentData, prepare_data, read_data, start_federation
from .run_folder import RunFolder

NOT_IN_LINES = ("batches", "bytes_sent", "seconds")
"""Fields of a round that a line of metrics has in another form."""

OnRound = Callable[[dict[str, Any]], None]
"""Called with each round's line of metrics as soon as it is on the disk."""


def _quiet(*_: Any) -> None:
    return


def create_run(config: Config, folder: str | Path) -> RunFolder:
    """A new run folder for a configuration, after its data was found to suffice."""
    train, test = read_data(config.data)
    return RunFolder.create(
        folder, config, {"data": {"train": train.describe(), "test": test.describe()}}
    )


def finish_run(
    folder: RunFolder,
    *,
    progress: Progress = _quiet,
    on_round: OnRound = _quiet,
    executor: Executor | None = None,
) -> list[dict[str, Any]]:
    """Runs a folder's configuration up to its last round, from the start or from where it stopped,
    and returns the metrics, one entry per round; `executor` is where it trains in the clear.

    Goes on from the folder's checkpoint if there is one. With a public `insecure_seed` (or an
    engine that computes in the clear) a run that was interrupted ends exactly like one that was
    not, measured seconds apart.

    Raises:
        ConfigError, DataError: a configuration that cannot run, a checkpoint that does not fit;
        nothing is changed. ConfigError: another process writes the folder.
    """
    config = folder.config
    with folder.locked(), folder.unless_refused():
        data = prepare_data(config)
        with start_federation(config, data, executor) as federation:
            resumed = _restore(federation, folder)
            folder.begin(resumed, _setup_bytes(federation))
            folder.note(
                guarantee=str(federation.guarantee),
                malicious={str(k): who for k, who in enumerate(data.malicious) if who},
            )
            _rounds(federation, folder, data, progress, on_round)
            _reveal(federation, folder)
    return folder.metrics()


@contextmanager
def use_run(folder: RunFolder) -> Iterator[tuple[Federation, ExperimentData]]:
    """The federation of a run at its checkpoint, for prediction; nothing is written.

    Raises:
        DataError: the run has no checkpoint.
    """
    if not (folder.checkpoint / STATE).exists():
        raise DataError(f"{folder.path} has no checkpoint; train with run.checkpoint = true")
    data = prepare_data(folder.config)
    with start_federation(folder.config, data) as federation:
        yield federation.restore(str(folder.checkpoint)), data


def _setup_bytes(federation: Federation) -> dict[str, int]:
    return {
        c.name: c.setup_cost.bytes_sent()
        for c in everyone(federation)
        if isinstance(c, LocalCluster)
    }


def everyone(federation: Federation) -> list[LocalCluster]:
    """All groups of servers of a federation."""
    return [*federation.clusters, federation.global_servers]


def _restore(federation: Federation, folder: RunFolder) -> int:
    """How many rounds are done; the federation continues after them."""
    if (folder.checkpoint / STATE).exists():
        federation.restore(str(folder.checkpoint))
    elif folder.metrics():
        _check_lost(folder)
    folder.rewind(len(federation.history))
    return len(federation.history)


def _check_lost(folder: RunFolder) -> None:
    """A run without a checkpoint can only start again; refuses where that would throw rounds
    away."""
    if not folder.config.run.checkpoint:
        raise ConfigError(
            f"{folder.path} cannot be continued: it was made with run.checkpoint = false"
        )
    if len(folder.metrics()) > 1:
        raise DataError(
            f"{folder.path} has rounds but no checkpoint; restore {folder.checkpoint} from a copy"
        )


def _rounds(
    federation: Federation,
    folder: RunFolder,
    data: ExperimentData,
    progress: Progress,
    on_round: OnRound,
) -> None:
    config = folder.config
    test = data.test if config.run.evaluate else None
    before, opened = federation.cost_book.tally(), _opened(federation)
    for number in range(len(federation.history) + 1, config.schedule.rounds + 1):
        begun = time.monotonic()
        federation.fit(data.train, test, rounds=number, partition=data.partition, progress=progress)
        now = federation.cost_book.tally()
        line = _line(federation, time.monotonic() - begun) | difference(now, before)
        line["privacy"] = spent(federation, config.privacy.delta)
        folder.append(line, _new_openings(federation, opened))
        if config.run.checkpoint:
            federation.save(str(folder.checkpoint))
        before, opened = now, _opened(federation)
        on_round(line)


def _line(federation: Federation, took_s: float) -> dict[str, Any]:
    """A round as one line; its batches, which are long, as their SHA-256."""
    record = federation.history[-1]
    facts = {
        key: value for key, value in asdict(record).items() if key not in ("number", *NOT_IN_LINES)
    }
    batches = json.dumps(record.batches)
    return {
        "round": record.number,
        **facts,
        "batches_sha256": hashlib.sha256(batches.encode()).hexdigest(),
        "measured_s": took_s,
    }


def spent(federation: Federation, delta: float) -> dict[str, Any] | None:
    """What has been promised after the rounds so far, if the rule is differentially private:
    epsilon, delta, the unit that they protect, and all of it in words."""
    if not isinstance(federation.aggregation, Private):
        return None
    guarantee = federation.aggregation.guarantee(len(federation.history), delta)
    return {**asdict(guarantee), "words": str(guarantee)}


def _opened(federation: Federation) -> dict[str, int]:
    return {cluster.name: len(cluster.ledger) for cluster in everyone(federation)}


def _new_openings(federation: Federation, before: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {"where": cluster.name, **entry}
        for cluster in everyone(federation)
        for entry in cluster.ledger.to_json()[before.get(cluster.name, 0) :]
    ]


def _reveal(federation: Federation, folder: RunFolder) -> None:
    """Opens the final model where the configuration says so, and keeps it in the folder; once per
    model."""
    section, done = folder.config.reveal, len(federation.history)
    if section.when == "never" or folder.facts.get("revealed_after_round") == done:
        return
    opened = _opened(federation)
    model = federation.reveal(section.reason)
    arrays: dict[str, Any] = {name: p.detach().numpy() for name, p in model.named_parameters()}
    np.savez(folder.path / "model.npz", **arrays)
    folder.append_openings(done, _new_openings(federation, opened))
    folder.note(revealed_after_round=done)
