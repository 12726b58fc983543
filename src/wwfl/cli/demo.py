"""`wwfl demo`: clusters with different protocols train a model together on real digits; nobody ever
sees it.

The demo is a configuration of this package (demo.toml, demo_small.toml), which `wwfl train` could
run, too. What is here is what the demo shows of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from wwfl.data import Dataset
from wwfl.experiments import (
    Config,
    ExperimentData,
    initial_model,
    parse,
    prepare_data,
    protocol,
    start_federation,
    to_toml,
)
from wwfl.federation import (
    Cluster,
    Federation,
    Servers,
    downgrades,
    leaves,
    refusal,
    torch_reference,
)
from wwfl_core.channel import Cost, Phase
from wwfl_core.cluster import LocalCluster
from wwfl_core.errors import ConfigError
from wwfl_core.plugins import did_you_mean
from wwfl_core.protocol import MPCBackend

from .options import Json, console_beside, write_json
from .progress import Bars

MODELS = {
    "lenet": ("demo.toml", "LeNet-5, 61,706 parameters"),
    "small": ("demo_small.toml", "an MLP 64-32-10 on 8x8 digits, 2,410 parameters"),
}
"""The configuration of each model, and the model in words."""


def demo(
    rounds: Annotated[int, typer.Option(help="Rounds of federated training.")] = 10,
    processes: Annotated[
        bool, typer.Option("--processes", help="Every server as its own process, over TLS.")
    ] = False,
    json: Json = None,
    seed: Annotated[
        int, typer.Option(help="Public seed of the model, the sampling and (insecurely) all keys.")
    ] = 0,
    test_digits: Annotated[
        int, typer.Option(help="How many test digits to classify after each round.")
    ] = 2000,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Open the final model and add it to the JSON.")
    ] = False,
    servers: Annotated[
        str, typer.Option(help="Protocol of the global servers (as for `conformance`).")
    ] = "2pc",
    clusters: Annotated[
        str, typer.Option(help="Protocols of the clusters, with commas in between.")
    ] = "2pc,3pc,4pc",
    model: Annotated[
        str,
        typer.Option(help="lenet, or small (an MLP 64-32-10 on 8x8 digits, for slow protocols)."),
    ] = "lenet",
    allow_weaker: Annotated[
        bool,
        typer.Option("--allow-weaker", help="Let the model pass clusters that protect it less."),
    ] = False,
    show_config: Annotated[
        bool,
        typer.Option(
            "--show-config", help="Print the configuration, which `wwfl train` can run, and stop."
        ),
    ] = False,
) -> None:
    """Clusters with different protocols train one model on real MNIST digits for global servers."""
    if rounds < 1:
        raise ConfigError(f"--rounds must be at least 1, got {rounds}")
    config = packaged(model)
    names = [name.strip() for name in clusters.split(",")]
    config = replace(
        config,
        data=replace(config.data, test=test_digits),
        federation=replace(
            config.federation,
            servers=Servers(servers.strip()),
            clusters=tuple(Cluster(name) for name in names),
            processes=processes,
            insecure_seed=seed,
            allow_weaker=allow_weaker,
        ),
        schedule=replace(config.schedule, rounds=rounds),
        run=replace(config.run, seed=seed),
    )
    if reveal:
        reason = "the final model, because --reveal was given"
        config = replace(config, reveal=replace(config.reveal, when="final", reason=reason))
    if show_config:
        sys.stdout.write(to_toml(config))
        return

    console = console_beside(json)
    top, members = _protocols(servers, names, allow_weaker)
    if test_digits < 1:
        raise ConfigError(f"--test-digits must be at least 1, got {test_digits}")
    held = prepare_data(config)
    _announce(console, config, held.train, held.test, top, members, MODELS[model][1])
    started = time.monotonic()
    with start_federation(config, held) as federation:
        setup_s = time.monotonic() - started
        _fit(federation, config, held, console)
        wall_s = time.monotonic() - started
        accuracies = [record.accuracy or 0.0 for record in federation.history]
        batches = [record.batches for record in federation.history]
        plaintext, _ = torch_reference.run(
            initial_model(config, held.train),
            held.train,
            held.test,
            batches,
            config.schedule.sgd.lr,
        )
        results = figures(federation, accuracies, plaintext, wall_s, setup_s, rounds)
        results |= {
            "processes": processes,
            "servers": servers,
            "clusters": clusters.split(","),
            "model": model,
            "guarantee": str(federation.guarantee),
        }
        if reveal:
            final = federation.reveal(config.reveal.reason)
            results["revealed"] = {
                name: p.detach().numpy().ravel().tolist() for name, p in final.named_parameters()
            }

    _accuracy_table(console, accuracies, plaintext)
    _cost_table(console, results)
    _ledger(console, results)
    console.print(
        f"the model is protected against: {results['guarantee']} (the weakest cluster that it "
        "passed)"
    )
    console.print(f"wall time {wall_s:.1f} s, of which {setup_s:.1f} s to start the servers")
    write_json(results, json)


def packaged(model: str) -> Config:
    """The demo's configuration for a model.

    Raises:
        ConfigError: there is no such model, with the nearest name.
    """
    if model not in MODELS:
        raise ConfigError(
            f"--model {model!r} is unknown; {did_you_mean(model, MODELS)}known are "
            f"{', '.join(MODELS)}"
        )
    file = resources.files("wwfl.cli") / MODELS[model][0]
    return parse(file.read_text(encoding="utf-8"), source=file.name)


def _protocols(
    servers: str, clusters: Sequence[str], allow_weaker: bool
) -> tuple[MPCBackend, list[MPCBackend]]:
    """The protocols of the global servers and the clusters; refuses a federation in which the model
    loses protection."""
    top = _protocol(servers, "--servers")
    members = [_protocol(name, "--clusters") for name in clusters]
    lost = downgrades(
        top.sharing.security,
        [(f"{m.name}-{i}", m.sharing.security) for i, m in enumerate(members, 1)],
    )
    if lost and not allow_weaker:
        raise ConfigError(
            refusal(lost, "add --allow-weaker (the output tells what protection is left)")
        )
    return top, members


def _protocol(name: str, option: str) -> MPCBackend:
    if not name.strip():
        raise ConfigError(f"{option}: a protocol's name is missing; `wwfl backends` lists them")
    return protocol(name.strip())


def _announce(
    console: Console,
    config: Config,
    train: Dataset,
    test: Dataset,
    top: MPCBackend,
    members: Sequence[MPCBackend],
    model: str,
) -> None:
    schedule, told = config.schedule, config.federation
    where = "its own process, connected by TLS" if told.processes else "a thread of this process"
    names = ", ".join(f"{p.name} ({p.sharing.security})" for p in members)
    clients = leaves(told.clusters)[0].clients
    console.print(
        "[bold]WW-FL: clusters that run different MPC protocols train one model together[/bold]"
    )
    console.print(f"data      {train.describe()}\n          {test.describe()}")
    console.print(
        f"clusters  {names}\n"
        f"global    {top.name} ({top.sharing.security}), FedAvg on shares; every server is {where}"
    )
    console.print(
        f"round     {schedule.clients_per_round} of {clients} clients, "
        f"{schedule.samples_per_client} digits per cluster, {schedule.epochs} epochs, batch "
        f"{schedule.batch}, rate {schedule.sgd.lr}; {schedule.rounds} rounds of {model}"
    )
    console.print(
        f"[yellow]keys are derived from the public seed {told.insecure_seed}, so that this demo "
        "is reproducible; real runs draw fresh keys (Federation without insecure_seed)[/yellow]"
    )
    console.print(
        "nobody opens a model: after each round only the number of hits on the test set is opened\n"
    )


def _fit(federation: Federation, config: Config, held: ExperimentData, console: Console) -> None:
    with Bars(console, config.schedule.rounds) as bars:
        for number in range(1, config.schedule.rounds + 1):
            begun = time.monotonic()
            federation.fit(
                held.train,
                held.test,
                rounds=number,
                partition=held.partition,
                progress=bars.stage,
            )
            record = federation.history[-1]
            bars.finished(number)
            took = time.monotonic() - begun
            console.print(
                f"round {number:>2}: {record.accuracy:.2%} of {len(held.test)} test digits right "
                f"({took:.1f} s)"
            )


def figures(
    federation: Federation,
    accuracies: list[float],
    plaintext: list[float],
    wall_s: float,
    setup_s: float,
    rounds: int,
) -> dict[str, Any]:
    """All figures of a run as plain data."""
    everyone = [*federation.clusters, federation.global_servers]
    opened: dict[str, dict[str, int]] = {}
    for cluster in everyone:
        for reason, (_, values) in cluster.ledger.summary().items():
            opened.setdefault(cluster.name, {})[reason] = values
    costs = {c.name: c.cost for c in everyone}
    return {
        "rounds_run": rounds,
        "test_accuracy": accuracies,
        "plaintext_accuracy": plaintext,
        "wall_s": wall_s,
        "setup_s": setup_s,
        "bytes_sent": {
            name: {p.value: cost.bytes_sent(phase=p) for p in Phase} for name, cost in costs.items()
        },
        "rounds": {
            name: {p.value: cost.rounds.get(p, 0) for p in Phase} for name, cost in costs.items()
        },
        "modelled_s": {
            name: {p.value: cost.modelled_s.get(p, 0.0) for p in Phase}
            for name, cost in costs.items()
        },
        "stages": federation.cost_book.tally()["stages"],
        "per_party": {c.name: _per_party(c, c.cost) for c in everyone},
        "security": {c.name: str(c.sharing.security) for c in everyone},
        "opened": opened,
    }


def _per_party(cluster: LocalCluster, cost: Cost) -> dict[str, dict[str, int]]:
    senders = {**{a: a for a in cluster.addresses}, "client": "client"}
    return {
        name: {p.value: cost.bytes_sent(phase=p, sender=address) for p in Phase}
        for name, address in senders.items()
    }


def _accuracy_table(console: Console, ours: list[float], plaintext: list[float]) -> None:
    table = Table(title="test accuracy per round", box=SIMPLE)
    table.add_column("round", justify="right")
    table.add_column("in MPC", justify="right")
    table.add_column("plaintext float, same batches", justify="right")
    for number, (a, b) in enumerate(zip(ours, plaintext, strict=True), 1):
        table.add_row(str(number), f"{a:.2%}", f"{b:.2%}")
    console.print(table)


def _cost_table(console: Console, results: dict[str, Any]) -> None:
    title = "payload sent by all parties, time on the modelled network, time it took here"
    table = Table(title=title, box=SIMPLE, padding=0)  # 80 columns are few
    for column in (
        "where",
        "stage",
        "offline MB",
        "online MB",
        "rounds",
        "offline s",
        "online s",
        "took s",
    ):
        left = column in ("where", "stage")
        table.add_column(column, justify="left" if left else "right", no_wrap=left)
    for row in results["stages"]:
        table.add_row(
            row["where"],
            row["stage"],
            f"{row['bytes_offline'] / 1e6:.1f}",
            f"{row['bytes_online'] / 1e6:.1f}",
            str(row["rounds_online"]),
            f"{row['modelled_s_offline']:.1f}",
            f"{row['modelled_s_online']:.1f}",
            f"{row['measured_s']:.1f}",
        )
    console.print(table)
    console.print(
        "rounds are online; clusters 1 Gbps / 20 ms, global servers 100 Mbps / 100 ms, no compute "
        "time; took: what it took on this machine, where the clusters train at the same time"
    )
    parties = Table(title="MB sent per party (offline + online)", box=SIMPLE)
    most = max(len(senders) - 1 for senders in results["per_party"].values())
    for column in ("cluster", *(f"party {i}" for i in range(most)), "clients"):
        parties.add_column(column, justify="left" if column == "cluster" else "right")
    for name, senders in results["per_party"].items():
        *servers, client = [sum(phases.values()) / 1e6 for phases in senders.values()]
        parties.add_row(
            name, *[f"{mb:.1f}" for mb in servers], *[""] * (most - len(servers)), f"{client:.1f}"
        )
    console.print(parties)


def _ledger(console: Console, results: dict[str, Any]) -> None:
    console.print("[bold]everything that was opened[/bold]")
    for name, reasons in results["opened"].items():
        for reason, values in list(reasons.items())[:3]:
            console.print(f"  {name}: {reason}: {values} value{'s' if values != 1 else ''}")
        if len(reasons) > 3:
            console.print(
                f"  {name}: ... and {len(reasons) - 3} more like these, {sum(reasons.values())} "
                "values in all"
            )
    if not results["opened"]:
        console.print("  nothing")
