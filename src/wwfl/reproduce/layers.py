"""Topologies by composition, as in the paper's Table 5: who is in which layer, and bytes of every
layer, measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wwfl.experiments import Config, parse, prepare_data, start_federation
from wwfl_core.channel import Phase
from wwfl_core.errors import ConfigError

from .measured_round import announce

CLUSTER = '{ protocol = "2pc", clients = 4 }'
COMMON = """
[model]
name = "mlp"
hidden = [16]
[data]
pool = 4
train = 2000
test = 100
[schedule]
rounds = 1
samples_per_client = 20
clients_per_round = 2
epochs = 1
batch = 20
lr = 0.1
[run]
evaluate = false
"""
DIFFERENCES = (
    "a small MLP (64-16-10) on digits of 8x8 pixels, one round; bytes of transfers and of "
    "aggregation scale with the parameters, those of training with the model and the batches",
    "the paper's table names systems; here each is a composition of clusters, groups and trainers",
)


@dataclass(frozen=True)
class Topology:
    """A federation as the text of its section [federation]."""

    name: str
    layers: int
    who_sees: str
    federation: str

    def config(self, full: bool) -> Config:
        """The configuration; `full` trains LeNet-5 on whole digits."""
        common = COMMON.replace('name = "mlp"\nhidden = [16]', 'name = "lenet5"').replace(
            "pool = 4", "pool = 1"
        )
        return parse(
            f"{common if full else COMMON}\n[federation]\nallow_weaker = true\n{self.federation}"
        )


def _servers(protocol: str, members: str) -> str:
    return f'servers = {{ protocol = "{protocol}" }}\nclusters = [{members}]'


TRAINERS = '{ kind = "trainers", clients = 4 }'
GROUP = '{{ kind = "group", protocol = "{protocol}", members = [{members}] }}'
TOPOLOGIES = (
    Topology(
        "federated learning, one server",
        2,
        "clients and the server see models",
        _servers("plain", TRAINERS),
    ),
    Topology("secure aggregation, two servers", 2, "clients see models", _servers("2pc", TRAINERS)),
    Topology(
        "hierarchical federated learning",
        3,
        "clients and all servers see models",
        _servers("plain", ", ".join([GROUP.format(protocol="plain", members=TRAINERS)] * 2)),
    ),
    Topology(
        "hierarchical secure aggregation",
        3,
        "clients see models",
        _servers("2pc", ", ".join([GROUP.format(protocol="3pc", members=TRAINERS)] * 2)),
    ),
    Topology("one MPC cluster (outsourced training)", 2, "nobody", _servers("2pc", CLUSTER)),
    Topology(
        "WW-FL",
        3,
        "nobody",
        _servers("2pc", '{ protocol = "2pc" }, { protocol = "3pc" }, { protocol = "4pc" }'),
    ),
    Topology(
        "WW-FL with privileged clients who train",
        3,
        "the privileged clients see models",
        _servers("2pc", f"{CLUSTER}, {CLUSTER}, {TRAINERS}"),
    ),
    Topology(
        "WW-FL, four layers",
        4,
        "nobody",
        _servers(
            "2pc", ", ".join([GROUP.format(protocol="3pc", members=f"{CLUSTER}, {CLUSTER}")] * 2)
        ),
    ),
)


def run(
    console: Console, *, full: bool, topologies: tuple[Topology, ...] = TOPOLOGIES
) -> dict[str, Any]:
    """One round of each topology, its bytes by layer; `full` trains LeNet-5 instead of the small
    model."""
    announce(console, "Bytes per layer of one round, by topology", *DIFFERENCES)
    rows = []
    with console.status("running") as status:
        for topology in topologies:
            status.update(topology.name)
            rows.append(_row(topology, full))
    console.print(_table(rows))
    for row in rows:
        if row["error"] is not None:
            console.print(f"[yellow]{escape(row['topology'])}:[/yellow] {escape(row['error'])}")
    return {
        "what": (
            f"one round of {'LeNet-5' if full else 'an MLP 64-16-10'}, clusters and trainers of 4 "
            "clients"
        ),
        "differences": list(DIFFERENCES),
        "rows": rows,
        "full_command": "wwfl reproduce layers --full",
    }


def _row(topology: Topology, full: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "topology": topology.name,
        "layers": topology.layers,
        "sees_models": topology.who_sees,
        "bytes": {},
        "guarantee": None,
        "error": None,
    }
    config = topology.config(full)
    try:
        data = prepare_data(config)
        with start_federation(config, data) as federation:
            federation.fit(data.train, rounds=1, partition=data.partition)
            row["guarantee"] = str(federation.guarantee)
            for (_, stage), cost in federation.costs.items():
                sent = row["bytes"].setdefault(stage, {p.value: 0 for p in Phase})
                for p in Phase:
                    sent[p.value] += cost.bytes_sent(phase=p)
    except ConfigError as error:
        row["error"] = str(error)
    return row


STAGES = {"upload": "clients", "train": "train", "reshare": "between", "aggregate": "aggregate"}


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        title="kB of all parties, both phases, per layer", box=SIMPLE, padding=(0, 1, 0, 0)
    )
    table.add_column("topology")
    for column in ("layers", *STAGES.values()):
        table.add_column(column, justify="right")
    table.add_column("who sees models")
    for row in rows:
        sizes = [_kilobytes(row, stage) for stage in STAGES]
        table.add_row(row["topology"], str(row["layers"]), *sizes, row["sees_models"])
    return table


def _kilobytes(row: dict[str, Any], stage: str) -> str:
    if row["error"] is not None:
        return "-"
    return f"{sum(row['bytes'].get(stage, {}).values()) / 1e3:.1f}"
