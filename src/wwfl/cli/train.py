"""`wwfl train`, `wwfl predict`: a configuration becomes a run folder; its model answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wwfl.experiments import executors as spread
from wwfl.experiments.config import Config, load, parse, to_toml
from wwfl.experiments.images import read_image
from wwfl.experiments.report.plots import available, write_plots
from wwfl.experiments.run import run, start, use
from wwfl.experiments.run_folder import RunFolder
from wwfl.federation import STAGE_KEYS, total
from wwfl_core.errors import ConfigError

from .backends import write_json
from .progress import Bars

RUNS = Path("runs")


def train(
    *,
    config_path: str | None,
    overrides: Sequence[str],
    folder: str | None,
    resume: bool,
    json_path: str | None,
    console: Console,
    jobs: int | None = None,
    ray: str | None = None,
) -> list[dict[str, Any]]:
    """Runs a configuration, or goes on with a run; prints and returns its metrics.

    Raises:
        ConfigError: a configuration that is wrong or cannot run, a folder that exists (or does not,
        with `resume`).
    """
    kept = (
        _resumed(config_path, overrides, folder)
        if resume
        else _started(config_path, overrides, folder)
    )
    config = kept.config
    console.print(f"run       {escape(str(kept.path))}")
    for split, line in kept.facts["data"].items():
        console.print(f"{split:<9} {escape(line)}", highlight=False)
    console.print(_who(config))
    if config.federation.insecure_seed is not None:
        console.print(
            "[yellow]all keys are derived from federation.insecure_seed: reproducible, not "
            "secure[/yellow]"
        )
    with (
        spread.chosen(jobs, ray) as executor,
        Bars(console, config.schedule.rounds, len(kept.metrics())) as bars,
    ):

        def show(line: dict[str, Any]) -> None:
            bars.finished(line["round"])
            console.print(_sentence(line))

        metrics = run(kept, progress=bars.stage, on_round=show, executor=executor)
    console.print(_costs(metrics))
    if available():
        write_plots(metrics, kept.path / "plots")
    console.print(f"the model is protected against: {kept.facts['guarantee']}")
    console.print(f"`wwfl report {escape(str(kept.path))}` makes a page of this run")
    write_json({"run": str(kept.path), "metrics": metrics}, json_path)
    return metrics


def _started(config_path: str | None, overrides: Sequence[str], folder: str | None) -> RunFolder:
    if config_path is None:
        raise ConfigError("name a configuration; `wwfl config --example` prints one")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return start(load(config_path, overrides), folder or RUNS / f"{Path(config_path).stem}-{stamp}")


def _resumed(config_path: str | None, overrides: Sequence[str], folder: str | None) -> RunFolder:
    """The folder's own configuration; only the number of rounds may be another one now."""
    if folder is None:
        raise ConfigError("--resume needs --run FOLDER, the run to go on with")
    kept = RunFolder.open(folder)
    stored = to_toml(kept.config)
    wanted = (
        load(config_path, overrides)
        if config_path
        else parse(stored, overrides, source=f"{folder}/config.toml")
    )
    different = _differences(kept.config, wanted)
    if different:
        raise ConfigError(
            f"{folder} was made with another configuration ({', '.join(different)} differ); only "
            "schedule.rounds may "
            f"change with --resume"
        )
    if wanted.schedule.rounds < (done := len(kept.metrics())):
        raise ConfigError(
            f"{folder} has {done} rounds; schedule.rounds={wanted.schedule.rounds} would be fewer"
        )
    with kept.locked():
        kept.extend(wanted)
    return kept


def _differences(old: Config, new: Config) -> list[str]:
    """Keys with other values, as section.key; the number of rounds does not count."""
    return [
        f"{section}.{key}"
        for section in Config.model_fields
        for key in type(getattr(old, section)).model_fields
        if getattr(getattr(old, section), key) != getattr(getattr(new, section), key)
        and (section, key) != ("schedule", "rounds")
    ]


def _who(config: Config) -> str:
    section = config.federation
    names = ", ".join(
        f"{member.count} x {getattr(member, 'protocol', member.kind)}"
        if member.count > 1
        else _label(member)
        for member in section.clusters
    )
    return escape(
        f"engine    {section.engine}; {names} for global servers {section.servers.protocol}"
    )


def _label(member: Any) -> str:
    return member.name or getattr(member, "protocol", member.kind)


def _sentence(line: dict[str, Any]) -> str:
    hits = "" if line["accuracy"] is None else f" {line['accuracy']:.2%} of the test images right"
    gone = "".join(f"; {name} left out: {why}" for name, why in line.get("absent", {}).items())
    private = f"\n           {line['privacy']['words']}" if line.get("privacy") else ""
    return escape(f"round {line['round']:>3}:{hits} ({line['measured_s']:.1f} s){gone}{private}")


def _costs(metrics: list[dict[str, Any]]) -> Table:
    table = Table(
        title="payload of all parties, time on the modelled network, time it took here", box=SIMPLE
    )
    for column in ("where", "stage"):
        table.add_column(column, no_wrap=True)
    for column in ("offline MB", "online MB", "rounds", "modelled s", "took s"):
        table.add_column(column, justify="right")
    for row in total([row for line in metrics for row in line["stages"]], STAGE_KEYS):
        table.add_row(
            row["where"],
            row["stage"],
            f"{row['bytes_offline'] / 1e6:.1f}",
            f"{row['bytes_online'] / 1e6:.1f}",
            str(row["rounds_online"]),
            f"{row['modelled_s_online'] + row['modelled_s_offline']:.1f}",
            f"{row['measured_s']:.1f}",
        )
    return table


def predict(
    *, folder: str, image: str | None, index: int | None, json_path: str | None, console: Console
) -> dict[str, Any]:
    """Classifies one image with the model of a run, on shares, as a client asks: it alone learns
    the label.

    This process is the client and runs the servers, too: it shows the protocol and hides nothing
    from itself.

    Raises:
        ConfigError: neither or both of `image` and `index`, an index outside the test set, an
        unreadable image. DataError: no such run, or one without a checkpoint.
    """
    if (image is None) == (index is None):
        raise ConfigError("say either --image FILE or --index N (of the test set)")
    kept = RunFolder.open(folder)
    with use(kept) as (federation, setting):
        test, truth = setting.test, None
        if image is not None:
            pixels = read_image(image, test, kept.config.data)
        else:
            assert index is not None
            if not 0 <= index < len(test):
                raise ConfigError(f"--index {index}: the test set has images 0..{len(test) - 1}")
            pixels, truth = test.images[index : index + 1], int(test.labels[index])
        label = int(federation.predict(pixels)[0])
        after = len(federation.history)
    result = {
        "run": folder,
        "rounds": after,
        "image": image,
        "index": index,
        "label": label,
        "truth": truth,
    }
    known = "" if truth is None else f" (the test set says {truth})"
    console.print(f"label {label}{known}, by the model of {after} rounds")
    if kept.config.federation.engine == "mpc":
        console.print(
            "asked on shares: the servers learnt neither the image nor the label, the client only "
            "the label"
        )
    else:
        console.print(
            f"engine {kept.config.federation.engine} computes in the clear: nothing was hidden"
        )
    write_json(result, json_path)
    return result
