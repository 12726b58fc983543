"""Table 11 of WW-FL: what one secure aggregation costs, in real MPC, on the paper's network.

Ten models of LeNet's 61,706 parameters are shared at the global servers; every rule runs on the
shares, with 2PC and a helper and with 3PC. Bytes are those of all parties and the helper, offline
and online apart, payload only. `modelled_s` is the time of all messages on the network model (100
Mbps uplinks, 100 ms one way), offline and then online; `compute_s` is the wall clock of the same
run on this machine, all parties as threads of one process. Sharing the inputs is not part of the
table, as in the paper."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from backends import Additive2PC, Replicated3PC
from wwfl.aggregation import (
    WAN,
    Aggregation,
    FedAvg,
    FLTrust,
    Inputs,
    Krum,
    Median,
    MultiKrum,
    NormClipping,
    Screened,
    TrimmedMean,
    TrimmedMeanVariant,
    plain,
)
from wwfl.data import batches
from wwfl.federation import server_programs as programs
from wwfl.nn.models import lenet5
from wwfl.nn.spec import Layer
from wwfl.nn.trace import trace
from wwfl.nn.train import SGD
from wwfl_core.channel.cost import Cost, Phase
from wwfl_core.cluster.local import Handle, LocalCluster
from wwfl_core.errors import ConfigError
from wwfl_core.numbers.arrays import F64
from wwfl_core.protocol.backend import MPCBackend
from wwfl_core.randomness.prg import chacha20, derive_key
from wwfl_core.tensors import Session, SharedTensor

INPUTS, TRIM = 10, 2
PROTOCOLS: Mapping[str, Callable[[], MPCBackend]] = {"2pc": Additive2PC, "3pc": Replicated3PC}
RANGE_BITS = 28
"""Declared comparison width of rules that order models: at 20 fractional bits, parameters within
(-64, 64)."""
RULES: Mapping[str, Aggregation] = {
    "fedavg": FedAvg(),
    "fltrust": FLTrust(),
    "trimmed-mean": TrimmedMean(TRIM, bits=RANGE_BITS),
    "trimmed-mean, 64 bits": TrimmedMean(TRIM),
    "trimmed-mean-variant-10": TrimmedMeanVariant(TRIM, 10),
    "trimmed-mean-variant-100": TrimmedMeanVariant(TRIM, 100),
    "trimmed-mean-variant-1000": TrimmedMeanVariant(TRIM, 1000),
    "median": Median(bits=RANGE_BITS),
    "krum": Krum(TRIM),
    "multi-krum": MultiKrum(TRIM),
    "multi-krum, screened": Screened(MultiKrum(TRIM)),
    "norm-clipping": NormClipping(1.0),
}
PAPER: Mapping[str, tuple[float, float]] = {  # megabytes, seconds
    "fedavg": (0.0, 0.023),
    "fltrust": (5329.19, 1713.44),
    "trimmed-mean": (1021.59, 326.57),
    "trimmed-mean-variant-10": (9.69, 558.05),
    "trimmed-mean-variant-100": (11.90, 558.26),
    "trimmed-mean-variant-1000": (33.94, 561.50),
}
ROOT_SAMPLES, ROOT_BATCH, ROOT_EPOCHS = 200, 80, 5
DEADLINE_S = 600.0


@dataclass(frozen=True)
class Row:
    """One measurement. `deviation` is the largest distance from the same rule on float64 (NaN: not
    an aggregation)."""

    rule: str
    protocol: str
    bytes_offline: int
    bytes_online: int
    rounds: int
    modelled_s: float
    modelled_online_s: float
    compute_s: float
    deviation: float | None
    options: str


def inputs_of(parameters: int | None = None, models: int = INPUTS) -> tuple[F64, F64, F64]:
    """(current [d], models [n, d], root [d]), public and always the same: LeNet's initial
    parameters (or zeros, when `parameters` says how many), updates along one direction with noise
    of its size, the last two reversed and tripled."""
    if parameters is None:
        current = np.concatenate(
            [p.detach().numpy().reshape(-1) for p in lenet5().parameters()]
        ).astype(np.float64)
    else:
        current = np.zeros(parameters)
    d = len(current)
    stream = chacha20(derive_key(b"table 11", "updates"), bytes(12), 8 * (models + 2) * d).view(
        np.uint64
    )
    noise = (stream.astype(np.float64) / 2.0**64 - 0.5).reshape(models + 2, d) * 0.02
    sign = np.where(np.arange(models) < models - TRIM, 1.0, -3.0)[:, None]
    return (
        current,
        current + noise[0] * sign + noise[1 : models + 1],
        current + noise[0] + noise[models + 1] / 2,
    )


def run(console: Console, *, full: bool = False, **options: Any) -> dict[str, Any]:
    """All rows. `full` trains all epochs of FLTrust's root model instead of one.

    Options: `rules` and `protocols` (names, by default all), `parameters` (by default LeNet's),
    `root_training` (default True)."""
    known = {"rules", "protocols", "parameters", "root_training"}
    if unknown := options.keys() - known:
        raise ConfigError(
            f"table11 has no option {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}"
        )
    rules = _some(RULES, options.get("rules"), "rule")
    protocols = _some(PROTOCOLS, options.get("protocols"), "protocol")
    rows: list[Row] = []
    for name, make in protocols.items():
        with LocalCluster(
            make(), name=f"table11-{name}", network=WAN, deadline_s=DEADLINE_S
        ) as cluster:
            for row in aggregations(cluster, rules, options.get("parameters")):
                console.print(
                    f"{row.protocol}: {row.rule} in {row.compute_s:.1f} s",
                    style="dim",
                    highlight=False,
                )
                rows.append(row)
            if "fltrust" in rules and options.get("root_training", True):
                rows.append(root_training(cluster, ROOT_EPOCHS if full else 1))
    console.print(table(rows))
    return {
        "inputs": INPUTS,
        "network": asdict(WAN),
        "paper": dict(PAPER),
        "rows": [asdict(row) for row in rows],
    }


def _some(known: Mapping[str, Any], wanted: Sequence[str] | None, what: str) -> dict[str, Any]:
    if wanted is None:
        return dict(known)
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigError(f"table11 has no {what} {', '.join(unknown)}; it has {', '.join(known)}")
    return {name: known[name] for name in wanted}


# ---------------------------------------------------------------------- aggregation


def aggregate(
    mpc: Session,
    rule: Aggregation,
    models: Sequence[SharedTensor],
    current: SharedTensor,
    root: SharedTensor,
    stored: bool,
) -> tuple[SharedTensor, bytes | None]:
    """The rule on shares, with the coin that it needs; `stored` brings the model back to the
    cluster's format."""
    coin = mpc.coin("coordinates to sample") if rule.needs_coin else None
    model = rule.aggregate(
        Inputs(models, [1.0] * len(models), current, root if rule.needs_root else None, coin)
    )
    return model.rescale(mpc.format.frac_bits) if stored else model, coin


def aggregations(
    cluster: LocalCluster, rules: Mapping[str, Aggregation], parameters: int | None = None
) -> Iterator[Row]:
    """One row per rule; FedAvg has a second one, with the truncation that storing its model
    takes."""
    current, models, root = inputs_of(parameters)
    shared = [[cluster.share(m) for m in models], cluster.share(current), cluster.share(root)]
    decode = cluster.protocol.format
    known = tuple(
        decode.decode(decode.encode(a)) for a in (models, current, root)
    )  # as the servers hold them
    for name, rule in rules.items():
        row = _measure(cluster, name, rule, shared, known, stored=False)
        yield row
        if isinstance(rule, FedAvg):
            yield replace(
                _measure(cluster, name, rule, shared, known, stored=True), rule=f"{name}, stored"
            )


def _measure(
    cluster: LocalCluster,
    name: str,
    rule: Aggregation,
    shared: Sequence[Any],
    known: Sequence[F64],
    *,
    stored: bool,
) -> Row:
    begun = time.monotonic()
    handle, coin = cluster.run(aggregate, rule, *_fresh(cluster, shared), stored)
    seconds, cost = time.monotonic() - begun, cluster.last_cost
    models, current, root = known
    wanted = plain.aggregate(rule, list(models), [1.0] * len(models), current, root, coin)
    deviation = float(np.abs(cluster.reveal(handle) - wanted).max())
    return _row(cluster, name, cost, seconds, deviation, repr(rule))


def _fresh(cluster: LocalCluster, shared: Sequence[Any]) -> list[Any]:
    """The inputs as new values, so that no rule profits from what an earlier one opened (2PC keeps
    masked operands)."""
    return cluster.run(_copies, *shared)


def _copies(
    mpc: Session, models: list[SharedTensor], current: SharedTensor, root: SharedTensor
) -> list[Any]:
    return [[m + 0 for m in models], current + 0, root + 0]


def _row(
    cluster: LocalCluster,
    name: str,
    cost: Cost,
    compute_s: float,
    deviation: float | None,
    options: str,
) -> Row:
    online = cost.modelled_s.get(Phase.ONLINE, 0.0)
    return Row(
        name,
        cluster.protocol.name,
        cost.bytes_sent(phase=Phase.OFFLINE),
        cost.bytes_sent(phase=Phase.ONLINE),
        cost.rounds.get(Phase.ONLINE, 0),
        cost.modelled_s.get(Phase.OFFLINE, 0.0) + online,
        online,
        compute_s,
        deviation,
        options,
    )


# ---------------------------------------------------------------------- FLTrust's root model


def root_training(cluster: LocalCluster, epochs: int) -> Row:
    """Training LeNet on the root set at the same servers, on the same network; costs depend on
    shapes only.

    The paper's parameters: 200 samples, batches of 80, 5 epochs. Epochs cost the same, so with
    fewer of them bytes, rounds and modelled time are those of one epoch times 5 / epochs (`options`
    says what was run)."""
    layers, params = trace(lenet5())
    flat = cluster.share(np.concatenate([p.reshape(-1) for p in params.values()]))
    images = cluster.share(np.zeros((ROOT_SAMPLES, 1, 32, 32)))
    one_hot = cluster.share(np.eye(10)[np.arange(ROOT_SAMPLES) % 10])
    drawn = batches(derive_key(b"table 11", "root"), ROOT_SAMPLES, ROOT_BATCH, epochs)
    begun = time.monotonic()
    cost = _train(cluster, layers, flat, images, one_hot, drawn)
    row = _row(cluster, "fltrust, root training", cost, time.monotonic() - begun, None, "")
    times = ROOT_EPOCHS / epochs
    scaled = {
        name: value * times if isinstance(value, float) else round(value * times)
        for name, value in asdict(row).items()
        if name.startswith(("bytes", "rounds", "modelled", "compute"))
    }
    return replace(
        row, options=f"{ROOT_SAMPLES} samples, {epochs} of {ROOT_EPOCHS} epochs measured", **scaled
    )


def _train(
    cluster: LocalCluster,
    layers: Sequence[Layer],
    flat: Handle,
    images: Handle,
    one_hot: Handle,
    drawn: Any,
) -> Cost:
    cluster.run(
        programs.train_batch, list(layers), 12, flat, images, one_hot, drawn, SGD(0.05), None
    )
    return cluster.last_cost


# ---------------------------------------------------------------------- output


def table(rows: Sequence[Row]) -> Table:
    """The rows beside the paper's figures."""
    shown = Table(title="Table 11: one secure aggregation, 100 Mbps, 100 ms")
    for head in (
        "rule",
        "protocol",
        "offline MB",
        "online MB",
        "rounds",
        "modelled s",
        "compute s",
        "deviation",
    ):
        shown.add_column(head, justify="left" if head in ("rule", "protocol") else "right")
    shown.add_column("paper MB", justify="right")
    shown.add_column("paper s", justify="right")
    for row in rows:
        paper = [f"{value:g}" for value in PAPER.get(row.rule, ())] or ["", ""]
        shown.add_row(
            row.rule,
            row.protocol,
            f"{row.bytes_offline / 1e6:.2f}",
            f"{row.bytes_online / 1e6:.2f}",
            str(row.rounds),
            f"{row.modelled_s:.2f}",
            f"{row.compute_s:.1f}",
            "" if row.deviation is None else f"{row.deviation:.1e}",
            *paper,
        )
    return shown


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as JSON has them, one line per rule: per protocol megabytes offline + online, rounds,
    modelled seconds."""
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    heads = [f"{p} {what}" for p in protocols for what in ("MB", "rounds", "s")]
    lines = [
        "| rule | " + " | ".join([*heads, "paper MB", "paper s"]) + " |",
        "| --- |" + " --- |" * (len(heads) + 2),
    ]
    for rule in dict.fromkeys(row["rule"] for row in rows):
        cells = [rule]
        for row in (
            row for p in protocols for row in rows if (row["rule"], row["protocol"]) == (rule, p)
        ):
            offline, online = (row[f"bytes_{phase}"] / 1e6 for phase in ("offline", "online"))
            cells += [
                f"{offline:.2f} + {online:.2f}",
                str(row["rounds"]),
                f"{row['modelled_s']:.2f}",
            ]
        cells += [f"{value:,.2f}" for value in PAPER[rule]] if rule in PAPER else ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
