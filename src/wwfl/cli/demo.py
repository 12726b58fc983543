"""`wwfl demo`: clusters with different protocols train a model together on real digits; nobody ever
sees it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from wwfl.data.datasets import Dataset
from wwfl.federation import Cluster, Federation, downgrades, refusal, torch_reference
from wwfl_core.channel.cost import Cost, Phase
from wwfl_core.cluster.local import LocalCluster
from wwfl_core.errors import ConfigError
from wwfl_core.protocol.backend import MPCBackend

from .progress import Bars
from .scenario import Scenario, protocol, scenario


def demo(
    *,
    rounds: int,
    processes: bool,
    json_path: str | None,
    seed: int,
    test_digits: int,
    reveal: bool,
    servers: str,
    clusters: Sequence[str],
    model: str,
    allow_weaker: bool,
    console: Console,
) -> dict[str, Any]:
    """Runs the demo and returns all its figures.

    Raises:
        ConfigError: an option with a bad value, an unknown protocol or model, or protocols among
            which the model would lose protection, without `allow_weaker`.
    """
    if rounds < 1:
        raise ConfigError(f"--rounds must be at least 1, got {rounds}")
    what = scenario(model)
    top, members = _protocols(servers, clusters, allow_weaker)
    train, test = what.data()
    if not 1 <= test_digits <= len(test):
        raise ConfigError(f"--test-digits must be in 1..{len(test)}, got {test_digits}")
    test = test[:test_digits]
    schedule = what.schedule
    _announce(console, train, test, top, members, what, rounds, processes, seed)
    started = time.monotonic()
    with Federation(
        what.model(seed),
        top,
        members,
        schedule=schedule,
        processes=processes,
        insecure_seed=seed,
        allow_weaker=allow_weaker,
    ) as federation:
        setup_s = time.monotonic() - started
        _fit(federation, train, test, rounds, console)
        wall_s = time.monotonic() - started
        accuracies = [r.accuracy or 0.0 for r in federation.history]
        plaintext, _ = torch_reference.run(
            what.model(seed), train, test, [r.batches for r in federation.history], schedule.sgd.lr
        )
        results = figures(federation, accuracies, plaintext, wall_s, setup_s, rounds)
        results |= {
            "processes": processes,
            "servers": servers,
            "clusters": list(clusters),
            "model": model,
        }
        results["guarantee"] = str(federation.guarantee)
        if reveal:
            final = federation.reveal("the final model, because --reveal was given")
            results["revealed"] = {
                n: p.detach().numpy().ravel().tolist() for n, p in final.named_parameters()
            }
    _accuracy_table(console, accuracies, plaintext)
    _cost_table(console, results)
    _ledger(console, results)
    console.print(
        f"the model is protected against: {results['guarantee']} (the weakest cluster that it "
        "passed)"
    )
    console.print(f"wall time {wall_s:.1f} s, of which {setup_s:.1f} s to start the servers")
    if json_path is not None:
        text = json.dumps(results, indent=1)
        if json_path == "-":
            sys.stdout.write(text + "\n")
        else:
            Path(json_path).write_text(text + "\n")
    return results


def _protocols(
    servers: str, clusters: Sequence[str], allow_weaker: bool
) -> tuple[MPCBackend, list[Cluster]]:
    """The global servers' protocol and the clusters; refuses a federation in which the model loses
    protection."""
    top = protocol(servers, "--servers")
    members = [Cluster(protocol(name, "--clusters")) for name in clusters]
    lost = downgrades(
        top.sharing.security,
        [(f"{m.protocol.name}-{i}", m.protocol.sharing.security) for i, m in enumerate(members, 1)],
    )
    if lost and not allow_weaker:
        raise ConfigError(
            refusal(lost, "add --allow-weaker (the output tells what protection is left)")
        )
    return top, members


def _announce(
    console: Console,
    train: Dataset,
    test: Dataset,
    top: MPCBackend,
    members: list[Cluster],
    what: Scenario,
    rounds: int,
    processes: bool,
    seed: int,
) -> None:
    schedule = what.schedule
    where = "its own process, connected by TLS" if processes else "a thread of this process"
    names = ", ".join(f"{m.protocol.name} ({m.protocol.sharing.security})" for m in members)
    console.print(
        "[bold]WW-FL: clusters that run different MPC protocols train one model together[/bold]"
    )
    console.print(f"data      {train.describe()}\n          {test.describe()}")
    console.print(
        f"clusters  {names}\nglobal    {top.name} ({top.sharing.security}), FedAvg on shares; "
        f"every server is {where}"
    )
    console.print(
        f"round     {schedule.clients_per_round} of {members[0].clients} clients, "
        f"{schedule.samples_per_client} digits "
        f"per cluster, {schedule.epochs} epochs, batch {schedule.batch}, rate {schedule.sgd.lr}; "
        f"{rounds} rounds "
        f"of {what.title}"
    )
    console.print(
        f"[yellow]keys are derived from the public seed {seed}, so that this demo is "
        "reproducible; real runs draw "
        "fresh keys (Federation without insecure_seed)[/yellow]"
    )
    console.print(
        "nobody opens a model: after each round only the number of hits on the test set is opened\n"
    )


def _fit(
    federation: Federation, train: Dataset, test: Dataset, rounds: int, console: Console
) -> None:
    with Bars(console, rounds) as bars:
        for number in range(1, rounds + 1):
            begun = time.monotonic()
            federation.fit(train, test, rounds=number, progress=bars.stage)
            record = federation.history[-1]
            bars.finished(number)
            took = time.monotonic() - begun
            console.print(
                f"round {number:>2}: {record.accuracy:.2%} of {len(test)} test digits right "
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
        "time; took: what "
        "it took on this machine, where the clusters train at the same time"
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
