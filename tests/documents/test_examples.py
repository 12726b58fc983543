"""examples/fantastic4: a protocol that is not built in gets everything from its sharing and its
product."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from device_bench import Log
from helpers import REPOSITORY, Wiretap, rng
from reshare import reshare
from wwfl import SGD, Cluster, Federation, Schedule
from wwfl.data.datasets import mnist
from wwfl.experiments import operation_costs as measure
from wwfl.federation import torch_reference as plaintext
from wwfl.nn.layers import Network, Params
from wwfl.nn.models import mlp
from wwfl.nn.trace import trace
from wwfl.nn.train import train
from wwfl_core import LocalCluster, MPCBackend, Session, SharedTensor, WwflError
from wwfl_core.accelerate.cuda.shim import ShimLauncher
from wwfl_core.channel.frames import Frame
from wwfl_core.cluster import accelerated
from wwfl_core.errors import VerificationFailed
from wwfl_core.testing import conformance

FOLDER = REPOSITORY / "examples" / "fantastic4"
SOURCES = Path(measure.__file__).parent.parent  # what this process runs
sys.path.insert(0, str(FOLDER))
from fantastic4 import FantasticFour  # noqa: E402

BUILT_IN = (Plain, Additive2PC, Replicated3PC, Tetrad4PC)


@pytest.fixture(scope="module")
def c() -> Iterator[LocalCluster]:
    with LocalCluster(FantasticFour(), name="f4", insecure_seed=1, deadline_s=60) as made:
        yield made


def everything(mpc: Session, x: np.ndarray, y: np.ndarray) -> list[Any]:
    a, b = mpc.share(x, 0), mpc.share(y, 3)
    less = a < b
    results = (
        a,
        a * b,
        a @ b,
        a.relu(),
        a.truncate(7),
        less,
        less & (b < 0),
        less.to_integers(),
        less.times(a),
    )
    return [mpc.reveal(r) for r in (*results, a.equals(a), a.equals(b))]


def expected(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    less = x < y
    return [
        x,
        x * y,
        x @ y,
        np.maximum(x, 0),
        x,
        less,
        less & (y < 0),
        less,
        less * x,
        x == x,
        x == y,
    ]


def test_every_operation_is_that_of_numpy(c: LocalCluster) -> None:
    g = rng()
    x, y = g.normal(size=(9, 9)) * 30, g.normal(size=(9, 9)) * 30
    for got, want in zip(c.run(everything, x, y), expected(x, y), strict=True):
        assert np.abs(np.asarray(got, np.float64) - want).max() < 2**-11


def test_its_declared_costs_are_those_of_the_table() -> None:
    """`wwfl backends` and the kit measure the same; the kit compares with what the class declares
    (below)."""
    rows = {
        row["operation"]: measure.cost_cell(row)
        for row in measure.measure_operations(FantasticFour())
    }
    assert rows["product"] == "0 / 384 / 1"
    assert rows["product, exact truncation"] == "0 / 1024 / 3"
    assert rows["sign, 64 bits"] == "0 / 1214 / 8"
    assert (
        rows["reveal to all"] == "0 / 256.5 / 3"
    )  # two digests of 32 bytes per component for 4096 elements
    assert len(FantasticFour.declared_costs) == 11


def test_it_runs_in_processes() -> None:
    x = np.array([[1.5, -2.0], [0.25, 3.0]])
    with LocalCluster(FantasticFour(), processes=True, deadline_s=60) as c:
        for program, want in (
            (measure.product_truncated, x * x),
            (measure.relu64, np.maximum(x, 0)),
        ):
            assert (
                np.abs(c.reveal(c.run(program, c.share(x), c.share(x), None)) - want).max() < 2**-14
            )


@pytest.mark.parametrize("other", BUILT_IN, ids=lambda k: k.name)
def test_it_converts_to_and_from_every_built_in_protocol(
    c: LocalCluster, other: type[MPCBackend]
) -> None:
    x = rng().normal(size=(7, 11))
    exact = c.protocol.format.decode(c.protocol.format.encode(x))
    with LocalCluster(other(), deadline_s=60) as d:
        there = reshare(c.share(x), d, allow_weaker=True)  # (Fantastic Four is malicious-secure)
        assert np.array_equal(d.reveal(there), exact)
        assert np.array_equal(c.reveal(reshare(there, c)), exact)


def deals(mpc: Session, values: np.ndarray, groups: list[list[int]], together: bool) -> list[Any]:
    jobs = [(v if mpc.me in g else None, g) for v, g in zip(values, groups, strict=True)]
    shape = values.shape[1:]
    shares = (
        mpc.protocol.deal_many(jobs, shape)
        if together
        else [mpc.protocol.deal(v, g, shape) for v, g in jobs]
    )
    return [mpc.protocol.open(s, "test") for s in shares]


@pytest.mark.parametrize("kind", [*BUILT_IN, FantasticFour], ids=lambda k: k.name)
def test_many_deals_by_any_parties_are_those_one_by_one_in_one_round(
    kind: type[MPCBackend],
) -> None:
    """Values of one dealer, whose receivers compare them, mixed with values of several, who vouch
    for each other."""
    parties = kind.sharing.evaluators
    groups = [list(g) for size in (1, 2) for g in combinations(parties, size)] * 2
    g = rng()
    values = g.integers(0, 2**64, (len(groups), 3, 5), np.uint64)
    sent = []
    for together in (True, False):
        with LocalCluster(kind(), insecure_seed=3, name="deals", deadline_s=20) as c:
            c.memory.tamper = tap = Wiretap()
            assert all(map(np.array_equal, c.run(deals, values, groups, together), values))
            rounds = c.last_cost.rounds
            sent.append(
                sorted(
                    (s, r, f.payload.tobytes()) for s, r, _, f in tap.frames if f.tag.name == "deal"
                )
            )
            opening = 3 if kind.sharing.security.malicious else 1
            if together and kind is not Plain:
                assert max(rounds.values()) <= 1 + opening * len(groups)
    assert sent[0] == sent[1]


# ---------------------------------------------------------------------- one corrupt party


SECRETS = (np.array([[3.5, -2.0], [0.25, 1.0]]), np.array([[-1.5, 4.0], [2.0, -0.75]]))


def small(mpc: Session, x: np.ndarray, y: np.ndarray) -> list[Any]:
    a, b = mpc.share(x, 0), mpc.share(y, 3)
    z = a * b
    bit = z.negative(26)
    return [mpc.reveal(r) for r in (z, a @ b, bit, bit.times(z))]


def execute(
    attack: tuple[int, int] | None, bit: int = 0
) -> tuple[list[Any], list[tuple[int, int, int, Frame]]]:
    """Runs `small`; `attack` = (party, index) flips one bit of the index-th message of that
    party."""

    def alter(sender: int, i: int, frame: Frame) -> Frame:
        if (sender, i) != attack:
            return frame
        altered = np.array(frame.payload).reshape(-1)
        altered[0] ^= altered.dtype.type(1 << bit % (8 * altered.itemsize))
        return dataclasses.replace(frame, payload=altered.reshape(frame.payload.shape))

    with LocalCluster(FantasticFour(), name="tampered", insecure_seed=7, deadline_s=20) as c:
        c.memory.tamper = wiretap = Wiretap(alter)
        return c.submit(small, *SECRETS).outcomes(), wiretap.frames


def test_no_altered_message_makes_an_honest_party_accept_a_wrong_value() -> None:
    """One message of every kind (sender, receiver, operation, dtype)."""
    g = rng()
    outcomes, frames = execute(None)
    assert [o.error for o in outcomes] == [None] * 4
    right = [o.value for o in outcomes]
    kinds: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
    for s, r, i, frame in frames:
        kinds.setdefault((s, r, frame.tag.name, frame.payload.dtype.str), []).append((s, i))
    assert len(kinds) > 40
    unnoticed = set()
    for kind, messages in kinds.items():
        party, index = messages[g.integers(len(messages))]
        outcomes, _ = execute((party, index), int(g.integers(64)))
        honest = [(p, o) for p, o in enumerate(outcomes) if p != party]
        for p, outcome in honest:
            assert outcome.error is None or isinstance(outcome.error, WwflError), outcome.error
            if outcome.error is None:
                assert all(
                    np.array_equal(a, b) for a, b in zip(outcome.value, right[p], strict=True)
                ), kind
        if all(o.error is None for _, o in honest):
            unnoticed.add(kind[2])
    # A flip goes unnoticed only where it changes nothing: one digest of two in an opening.
    assert unnoticed <= {"open"}


def test_a_lie_in_a_product_is_noticed() -> None:
    _, frames = execute(None)
    s, i = next((s, i) for s, _, i, f in frames if f.tag.name == "mul")
    outcomes, _ = execute((s, i))
    assert any(isinstance(o.error, VerificationFailed) for p, o in enumerate(outcomes) if p != s)


# ---------------------------------------------------------------------- learning


def sgd(
    mpc: Session,
    layers: Any,
    params: Params,
    x: SharedTensor,
    one_hot: SharedTensor,
    batches: Any,
) -> Params:
    return train(mpc, Network(layers), params, x, one_hot, batches, SGD(0.05))[0]


def test_it_trains_an_mlp_as_pytorch_does(c: LocalCluster) -> None:
    g = np.random.default_rng(3)
    x, y = g.normal(size=(30, 20)), g.integers(0, 4, 30)
    model = mlp(20, [8], 4, seed=6).double()
    layers, initial = trace(model)
    batches = [list(range(i, i + 10)) for i in (0, 10, 20)] * 2
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    for rows in batches:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(torch.tensor(x[rows])), torch.tensor(y[rows])).backward()
        optimiser.step()
    params = {k: c.share(v) for k, v in initial.items()}
    found = c.run(sgd, layers, params, c.share(x), c.share(np.eye(4)[y]), batches)
    for key, p in model.named_parameters():
        assert np.abs(c.reveal(found[key]) - p.detach().numpy()).max() < 1e-3, key


def test_it_federates_with_another_protocol() -> None:
    whole, rest = mnist()
    data, test = whole[:200], rest[:50]
    schedule = Schedule(
        samples_per_client=20, clients_per_round=2, epochs=1, batch=20, sgd=SGD(0.1)
    )
    members = [Cluster(FantasticFour(), clients=3), Cluster(Replicated3PC(), clients=3)]
    with Federation(
        mlp(1024, [16], 10, seed=1), Additive2PC(), members, schedule=schedule, deadline_s=60
    ) as fed:
        history = fed.fit(data, test, rounds=2)
        revealed = {n: p.detach().numpy().copy() for n, p in fed.reveal().named_parameters()}
    batches = [r.batches for r in history]
    _, params = plaintext.run(
        mlp(1024, [16], 10, seed=1), data, test, batches, 0.1, dtype=torch.float64
    )
    for name, value in params.items():
        assert np.abs(revealed[name] - value).max() < 2e-3, name


# ---------------------------------------------------------------------- judged and plugged in


@pytest.mark.parametrize(
    "only",
    [
        *("table/", "correctness/", "truncation/", "cost/", "views/", "streams", "ledger"),
        *("tamper/product", "tamper/share", "tamper/reveal", "tamper/many", "failure/"),
        # Lies in what follows from a product; the test of altered messages above has some of each.
        pytest.param("tamper/", marks=pytest.mark.slow),
    ],
)
def test_it_conforms(only: str) -> None:
    report = conformance(FantasticFour, only=only)
    assert report.ok, str(report)
    if only in ("cost/", "tamper/product"):
        name = {"cost/": "cost/declared"}.get(only, only)
        assert report[name].passed  # and is not among what it does not promise


def listed(*folders: Path, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """What `wwfl backends` of a fresh process says of these protocols, with these folders on the
    path."""
    done = subprocess.run(
        [sys.executable, "-m", "wwfl", "backends", *names, "--json", "-"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (SOURCES, *folders)))},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert all(
        word in done.stderr for word in ("fantastic4", "3pc", "measured costs")
    )  # the tables
    return {row["name"]: row for row in json.loads(done.stdout)}


def check_row(rows: dict[str, dict[str, Any]]) -> None:
    f4 = rows["f4"]
    assert f4["from"] == "fantastic4" and f4["error"] is None and f4["parties"] == 4
    assert f4["security"] == "malicious, security with abort, 1 corrupt party"
    assert f4["costs"]["product"] == {"bits_offline": 0, "bits_online": 1024, "rounds": 3}


def gates(mpc: Session, x: np.ndarray, y: np.ndarray) -> list[Any]:
    """Elementwise products of numbers and of bits, a matrix product, a comparison."""
    a, b = mpc.share(x, 0), mpc.share(y, 3)
    less = a < b
    return [mpc.reveal(r) for r in (a * b, a @ b, less & (b < 0), less.times(a))]


def test_on_a_device_it_brings_a_kernel_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the entry point that pip would write: the same messages, by a kernel that is in its
    own package. A subclass, which may have changed any step, runs as it is written."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    info = tmp_path / "fantastic4-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fantastic4\nVersion: 0.1.0\n")
    points = project["entry-points"][accelerated.GROUP]
    lines = "".join(f"{k} = {v}\n" for k, v in points.items())
    (info / "entry_points.txt").write_text(f"[{accelerated.GROUP}]\n{lines}")
    monkeypatch.syspath_prepend(str(tmp_path))
    accelerated.forget()
    launched: set[str] = set()
    launch = ShimLauncher.launch

    def watched(self: Any, source: str, kernel: str, *args: Any, **kwargs: Any) -> None:
        launched.add(f"{Path(source).name}: {kernel}")
        launch(self, source, kernel, *args, **kwargs)

    monkeypatch.setattr(ShimLauncher, "launch", watched)

    class Changed(FantasticFour):
        """Somebody's variant."""

    g = rng()
    x, y = g.normal(size=(3, 3)) * 30, g.normal(size=(3, 3)) * 30
    own = {"cross.cu: cross_ring", "cross.cu: cross_bits"}
    try:
        seen: list[Any] = []
        for protocol, device, wanted in (
            (FantasticFour(), "cpu", set()),
            (FantasticFour(), "shim", own),
            (Changed(), "shim", set()),
        ):
            launched.clear()
            log = Log()
            with LocalCluster(
                protocol, name="f4", insecure_seed=1, deadline_s=60, device=device
            ) as made:
                made.memory.tamper = log
                opened = made.run(gates, x, y)
            assert {name for name in launched if name.startswith("cross.cu")} == wanted
            assert np.abs(opened[0] - x * y).max() < 2**-11
            seen.append(log.messages)
        assert seen[0] == seen[1] == seen[2]
    finally:
        accelerated.forget()


def test_wwfl_lists_it_by_its_entry_point_and_names_a_broken_plugin(tmp_path: Path) -> None:
    """The metadata that pip writes, in a folder on the path; beside it a plug-in whose module is
    missing."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["wwfl.backends"]
    assert points == {"f4": "fantastic4:FantasticFour"}
    for name, entries in ((project["name"], points), ("broken", {"b1": "no_such_module:Protocol"})):
        info = tmp_path / f"{name}-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
        lines = "".join(f"{k} = {v}\n" for k, v in entries.items())
        (info / "entry_points.txt").write_text(f"[wwfl.backends]\n{lines}")
    rows = listed(tmp_path, FOLDER, names=("2pc", "3pc", "4pc", "plain", "f4", "b1"))
    assert {"2pc", "3pc", "4pc", "plain"} <= rows.keys()
    check_row(rows)
    assert rows["b1"]["from"] == "broken" and "ModuleNotFoundError" in rows["b1"]["error"]


def setuptools_version() -> int:
    try:
        return int(version("setuptools").split(".")[0])
    except PackageNotFoundError:
        return 0


@pytest.mark.skipif(
    setuptools_version() < 77,
    reason="its pyproject needs setuptools 77, which is not installed here",
)
def test_pip_installs_it(tmp_path: Path) -> None:
    """From a copy, into a folder of its own, without network."""
    shutil.copytree(
        FOLDER,
        tmp_path / "source",
        ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"),
    )
    options = [
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(tmp_path / "site"),
    ]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, str(tmp_path / "source")],
        check=True,
        timeout=60,
    )
    check_row(listed(tmp_path / "site", names=("3pc", "f4")))
