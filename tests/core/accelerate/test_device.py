"""Shares on a device: the same bits as on the host in every message, and nothing that comes home on
the way.

The device is the emulated one, and a GPU where there is one."""

from __future__ import annotations

import re
import sys
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backends import Additive2PC, Additive2PCOT, Replicated3PC, Tetrad4PC
from device_bench import CONTROL, DeviceBench, lenet_inputs, lenet_outcomes
from emulated_gpu import EMULATED, Emulated, EmulatedArray
from emulated_gpu.devices import device as device_of
from emulated_gpu.devices import everywhere
from helpers import REPOSITORY, rng, words
from reshare import reshare
from wwfl import Cluster, Federation, Schedule
from wwfl.data.datasets import mnist
from wwfl.nn import mlp
from wwfl_core import LocalCluster, MPCBackend, Session, SharedTensor
from wwfl_core.accelerate import HOST, named
from wwfl_core.accelerate.choose import GROUP
from wwfl_core.accelerate.cuda import gemm
from wwfl_core.cluster import load_shares, save_shares
from wwfl_core.errors import ConfigError, Misuse
from wwfl_core.kernels._lazy import Kernel
from wwfl_core.numbers.algebra import BITS, RING, RING32
from wwfl_core.numbers.arrays import beside, on_host, to_host
from wwfl_core.party.transcript import Transcript
from wwfl_core.randomness.prg import Prg
from wwfl_core.testing import correctness

PROTOCOLS = {"3pc": Replicated3PC, "4pc": Tetrad4PC}
PAIR = {
    f"pair.{step}" for step in ("correction", "wrap_message", "truncate_left", "truncate_right")
}
KERNELS = {  # that the protocols bring, by the kind of step that they are for
    "3pc": {
        "product": {"replicated.product"},
        "truncate": PAIR,
        "compare": {"replicated_carry.round"},
        "bits": {"replicated.lift", "replicated.inject"},
    },
    "4pc": {
        "product": {
            f"tetrad.{step}" for step in ("offline", "seed", "check", "evaluate", "conclude")
        },
        "truncate": {
            "pair.wrap_message",
            *(
                f"tetrad.wrap_{step}"
                for step in ("rest", "rest_and_seed", "share", "conclude", "check")
            ),
            "tetrad.shift_right_half",
        },
        "compare": {
            f"tetrad_carry.{step}" for step in ("offline", "check", "evaluate", "conclude")
        },
        "bits": {
            "replicated.lift",
            *(f"tetrad.{s}" for s in ("inject_piece", "gated", "products")),
        },
    },
}
CHECKS = [
    *("share", "linear", "product", "shapes", "matmul", "conv2d", "bilinear_many", "bits"),
    *("sign", "is_zero", "bit_to_ring", "inject", "relu", "softmax", "copies"),
]


def _launched(where: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The kernels of protocols that run from now on, as file.kernel: one name for both rings, and
    for rows of words and of bytes."""
    used: set[str] = set()
    kind = type(device_of(EMULATED if where == "cpu" else where).launcher)
    launch = kind.launch

    def watched(self: Any, source: str, kernel: str, *args: Any, **kwargs: Any) -> None:
        if Path(source).is_absolute():
            used.add(f"{Path(source).stem}.{re.sub('_(ring|bits|words|bytes)$', '', kernel)}")
        launch(self, source, kernel, *args, **kwargs)

    monkeypatch.setattr(kind, "launch", watched)
    return used


@pytest.fixture(autouse=True)
def no_silent_copies_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy takes the emulated device's arrays for its own where it makes arrays; CuPy's it
    refuses. So do we here."""
    for name in ("array", "asarray", "ascontiguousarray"):
        monkeypatch.setattr(np, name, _refusing(getattr(np, name)))


def _refusing(make: Any) -> Any:
    def refused(value: Any, *args: Any, **kwargs: Any) -> Any:
        held = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(item, EmulatedArray) for item in held):
            raise TypeError("Implicit conversion to a NumPy array is not allowed")
        return make(value, *args, **kwargs)

    return refused


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Callable[[], MPCBackend]:
    return PROTOCOLS[request.param]


# ---------------------------------------------------------------------- operations


@everywhere
@pytest.mark.parametrize("check", CHECKS)
def test_every_message_of_every_operation_has_the_same_bits(
    protocol: Callable[[], MPCBackend], check: str, where: str
) -> None:
    """The kit's correctness programs, with equal keys: results are right, and so are all bytes on
    all links."""
    here, there = DeviceBench(protocol), DeviceBench(protocol, device=where)
    run = getattr(correctness, check)
    run(here)
    run(there)
    assert here.log.messages == there.log.messages
    assert sum(map(len, here.log.messages.values())) > 10
    assert not there.log.from_host, f"sent from the host: {there.log.from_host}"


def test_two_parties_with_a_helper_compute_there_as_well() -> None:
    here, there = DeviceBench(Additive2PC), DeviceBench(Additive2PC, device=EMULATED)
    for bench in (here, there):
        correctness.relu(bench)
        correctness.matmul(bench)
    assert here.log.messages == there.log.messages
    assert not there.log.from_host


@everywhere
def test_a_lenet_step_gives_the_same_shares_and_stays_on_the_device(
    protocol: Callable[[], MPCBackend], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu, cpu_log, _ = lenet_outcomes(protocol, "cpu")
    ran: set[str] = set()

    def watched(self: Kernel, *arguments: object) -> None:
        ran.add(self._function.__name__)
        self.prepare()(*arguments)

    monkeypatch.setattr(Kernel, "__call__", watched)
    launched = _launched(where, monkeypatch)
    on_device, log, _ = lenet_outcomes(protocol, where)
    assert ran <= {"_pack"}, "the host's kernels may only pack public bits"
    assert launched == set().union(*KERNELS[protocol.name].values()), (
        "a step fell back, or has a new kernel"
    )
    assert log.messages == cpu_log.messages
    assert not log.from_host
    assert {name for messages in log.messages.values() for name, *_ in messages} - set(CONTROL)
    for mine, theirs in zip(on_cpu, on_device, strict=True):
        for (_, parts), (stayed, device_parts) in zip(mine, theirs, strict=True):
            assert stayed
            assert parts.keys() == device_parts.keys()
            for component, array in parts.items():
                np.testing.assert_array_equal(device_parts[component], array)


@pytest.mark.parametrize("where", ["cpu", EMULATED])
def test_products_on_a_device_are_one_kernel_per_step(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elementwise products over Z_2^64 and GF(2); matrix products and broadcasting stay with the
    general path."""
    used = _launched(where, monkeypatch)
    for check in (correctness.bits, correctness.product, correctness.matmul):
        for factory in PROTOCOLS.values():
            check(DeviceBench(factory, device=where))
    wanted = set() if where == "cpu" else KERNELS["3pc"]["product"] | KERNELS["4pc"]["product"]
    assert used == wanted


@everywhere
def test_large_products_of_a_cluster_are_made_of_residues_and_have_the_same_bits(
    protocol: Callable[[], MPCBackend], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every size counts as large here, so that all parties, each on its own stream, ask the library
    for products."""
    for name in ("RESIDUES_SIDE", "RESIDUES_INNER", "RESIDUES_WORK"):
        monkeypatch.setattr(gemm, name, 1)
    multiply, parties = gemm.residues.multiply, set[int]()

    def watched(*arguments: Any) -> None:
        parties.add(threading.get_ident())
        multiply(*arguments)

    monkeypatch.setattr(gemm.residues, "multiply", watched)
    here, there = DeviceBench(protocol), DeviceBench(protocol, device=where)
    for check in (correctness.matmul, correctness.conv2d):
        check(here)
        assert not parties
        check(there)
        assert len(parties) > 1
        parties.clear()
    assert here.log.messages == there.log.messages
    assert not there.log.from_host


# -------------------------------------------------------------------- clusters on different devices


def _converted(
    source: MPCBackend, target: MPCBackend, devices: tuple[str, str], value: np.ndarray
) -> list[Any]:
    with (
        LocalCluster(source, name="a", insecure_seed=1, device=devices[0], deadline_s=120) as a,
        LocalCluster(target, name="b", insecure_seed=1, device=devices[1], deadline_s=120) as b,
    ):
        there = reshare(a.share(value), to=b, allow_weaker=True)
        parts = [o.value for o in b.submit(_parts, there).outcomes()]
        return [parts, b.reveal(there)]


def _parts(mpc: Session, x: SharedTensor) -> dict[int, np.ndarray]:
    assert all(on_host(a) == (mpc.party.device is HOST) for a in x.data.parts.values())
    return dict(x.data.parts)


@everywhere
@pytest.mark.parametrize("shape", [(3,), (5, 4)])
@pytest.mark.parametrize(
    "pair", [(Replicated3PC, Tetrad4PC), (Tetrad4PC, Replicated3PC)], ids=["3to4", "4to3"]
)
def test_resharing_between_devices_gives_the_same_shares(
    pair: Any, shape: tuple[int, ...], where: str
) -> None:
    value = np.round(rng().normal(size=shape), 3)
    want, opened = _converted(pair[0](), pair[1](), ("cpu", "cpu"), value)
    for devices in ((where, "cpu"), ("cpu", where), (where, where)):
        got, again = _converted(pair[0](), pair[1](), devices, value)
        np.testing.assert_array_equal(again, opened)
        for mine, theirs in zip(want, got, strict=True):
            assert mine.keys() == theirs.keys()
            for component, array in mine.items():
                np.testing.assert_array_equal(theirs[component], array)


def test_a_federation_trains_the_same_model_wherever_its_clusters_compute() -> None:
    train = mnist()[0][:40]
    schedule = Schedule(samples_per_client=4, clients_per_round=1, epochs=1, batch=4)
    found: list[list[np.ndarray]] = []
    for devices in (("cpu", "cpu"), (EMULATED, "cpu")):
        clusters = [
            Cluster(make(), clients=2, device=device)
            for make, device in zip(PROTOCOLS.values(), devices, strict=True)
        ]
        network = mlp(1024, [3], 10, seed=1)
        with Federation(
            network, Additive2PC(), clusters, schedule=schedule, insecure_seed=3, deadline_s=120
        ) as f:
            assert [c.device for c in f.clusters] == list(devices)
            f.fit(train, rounds=1)
            found.append([p.detach().numpy().copy() for p in f.reveal().parameters()])
    for here, there in zip(*found, strict=True):
        np.testing.assert_array_equal(here, there)


def _save(mpc: Session, folder: str, x: SharedTensor) -> str:
    return save_shares(mpc, folder, "model", {"x": x}, "round 1")


def _load(mpc: Session, folder: str) -> SharedTensor:
    return load_shares(mpc, folder, "model")[0]["x"]


def test_share_files_do_not_depend_on_the_device(
    protocol: Callable[[], MPCBackend], tmp_path: Path
) -> None:
    value = np.array([1.5, -2.25, 1000.0])
    for device in ("cpu", EMULATED):
        with LocalCluster(protocol(), name="c", insecure_seed=4, device=device) as c:
            c.run(_save, str(tmp_path / device), c.share(value))
    for file in sorted((tmp_path / "cpu").iterdir()):
        assert file.read_bytes() == (tmp_path / EMULATED / file.name).read_bytes()
    with LocalCluster(protocol(), name="c", insecure_seed=4, device=EMULATED) as c:
        restored = c.run(_load, str(tmp_path / "cpu"))
        assert all(not o.error for o in c.submit(_parts, restored).outcomes())
        np.testing.assert_array_equal(c.reveal(restored), value)


def _sum(mpc: Session, x: SharedTensor) -> Any:
    return mpc.reveal(x * x)


@pytest.mark.slow
def test_server_processes_compute_on_the_device_and_send_over_tls() -> None:
    value = np.arange(40.0) - 17
    with LocalCluster(Tetrad4PC(), processes=True, device=EMULATED, deadline_s=120) as c:
        np.testing.assert_allclose(c.run(_sum, c.share(value)), value**2, atol=1e-5)


# ---------------------------------------------------------------------- streams, masks, digests


@everywhere
@pytest.mark.parametrize("size", [0, 1, 7, 8, 63, 64, 65, 1000])
def test_key_streams_are_the_same_everywhere(size: int, where: str) -> None:
    device = named(where)
    for algebra in (RING, BITS, RING32):
        want = Prg(bytes(range(32))).draw(9, "zero", algebra, (size,))
        got = device.draw(Prg(bytes(range(32))), 9, "zero", algebra, (size,))
        assert not on_host(got)
        np.testing.assert_array_equal(to_host(got), want)
        assert to_host(got).dtype == want.dtype


@everywhere
@pytest.mark.parametrize("algebra", [RING, BITS, RING32], ids=str)
@pytest.mark.parametrize("signs", [(1, 1), (1, 0), (0, 1), (0, 2), (2, 1), (2, 2)])
def test_a_mask_that_is_made_where_it_is_added_is_the_same(
    algebra: Any, signs: tuple[int, int], where: str
) -> None:
    g, shape = rng(), (5, 7)
    value = algebra.from_bytes(g.integers(0, 256, algebra.nbytes(shape), np.uint8), shape)
    plus, minus = signs
    found = []
    for device in (HOST, named(where)):
        keys = [Prg(bytes([i + 1]) * 32) for i in range(plus + minus)]
        masks = [device.mask(k, 3, "m", algebra, shape) for k in keys]
        terms = [device.put(value), *masks[:plus]]
        found.append(to_host(algebra.difference(terms, masks[plus:])))
        with pytest.raises(Misuse, match="never reused"):
            keys[0].draw(3, "m", algebra, shape)
    np.testing.assert_array_equal(*found)


def test_digests_of_arrays_that_come_home_later_are_those_of_arrays_hashed_at_once() -> None:
    g, device = rng(), named(EMULATED)
    arrays = [words(g, 3), words(g, 2, 5), words(g, 0), words(g, 4)]
    at_once, later = Transcript(), Transcript()
    for number, array in enumerate(arrays):
        for peer in (1, 2):
            at_once.vouch(peer, number, array)
            later.vouch(peer, number, array if number == 2 else device.put(array))
            at_once.expect(peer, number, array)
            later.expect(peer, number, device.put(array))
    for peer in (1, 2):
        assert at_once.said(peer).tobytes() == later.said(peer).tobytes()
        assert at_once.heard(peer).tobytes() == later.heard(peer).tobytes()
    assert at_once.said(1).tobytes() != Transcript().said(1).tobytes()
    later.clear()
    assert later.said(1).tobytes() == Transcript().said(1).tobytes()


def test_public_values_go_where_the_share_is_and_nothing_else_moves() -> None:
    device = named(EMULATED)
    public, share = np.arange(4, dtype=np.uint64), device.put(np.arange(4, dtype=np.uint64))
    assert beside(public, public) is public
    assert beside(share, share) is share
    assert not on_host(beside(public, share))
    assert device.put(share) is share
    for host in (public, np.zeros((), np.uint64)):
        with pytest.raises(TypeError, match="move one of them first"):
            np.add(host, share)
    with pytest.raises(TypeError):
        np.add.reduce(share)  # CuPy's arrays take functions (np.sum), not the methods of ufuncs
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(share)


# ---------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "", "CUDA", "no_such_module:Device"])
def test_an_unknown_device_is_refused(device: str) -> None:
    says = "is unknown; choose 'cpu', 'cuda', 'cuda:N' for GPU N, or package.module:Class"
    with pytest.raises(ConfigError, match=says):
        LocalCluster(Replicated3PC(), device=device)


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("wwfl_core:LocalCluster", "is a class, but not a Device"),
        ("wwfl_core.accelerate:Kernels", "does not define put"),
        ("wwfl_core.accelerate:__name__", "neither a Device class nor a function"),
        ("builtins:locals", "made a dict, not a Device"),
    ],
)
def test_what_is_no_device_is_refused(device: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        named(device)


def test_a_device_is_found_by_the_entry_point_of_its_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metadata that pip writes. A broken plug-in beside it disturbs nobody, and nobody can take
    the place of a built-in device."""
    info = tmp_path / "devices-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: devices\nVersion: 0.1.0\n")
    lines = f"emulated = {EMULATED}\nbroken = no_such_module:Device\ncpu = {EMULATED}\n"
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert isinstance(named("emulated"), Emulated)
    assert named("cpu") is HOST
    with pytest.raises(ConfigError, match="did you mean 'emulated'"):
        named("emulate")
    with pytest.raises(
        ConfigError, match=r"'broken' of devices cannot be loaded: .*no_such_module"
    ):
        named("broken")


def test_the_emulated_device_is_no_part_of_what_is_installed() -> None:
    """Only sources for a GPU, and what they include, are data of a package; the core names no
    emulation."""
    shipped = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    kept = {pattern for patterns in shipped["package-data"].values() for pattern in patterns}
    assert {pattern for pattern in kept if "csrc" in pattern} == {"csrc/*.cu", "csrc/*.cuh"}
    files = [path for path in (REPOSITORY / "src").rglob("*.*") if path.is_file()]
    assert {p.suffix for p in files if p.parent.name == "csrc"} == {".cu", ".cuh"}
    text = {p: p.read_text() for p in files if p.suffix in (".py", ".cu", ".cuh")}
    assert not [p.name for p, t in text.items() if "emulated_gpu" in t or "emulated::" in t]


def test_without_cupy_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ConfigError, match=r"pip install 'wwfl\[cuda\]'"):
        LocalCluster(Replicated3PC(), device="cuda")


def _cupy_with(devices: int | None) -> ModuleType:
    """What CuPy answers on a machine with so many GPUs (None: without a driver)."""

    class CUDARuntimeError(RuntimeError):
        pass

    def count() -> int:
        if devices is None:
            raise CUDARuntimeError(
                "cudaErrorInsufficientDriver: CUDA driver version is insufficient"
            )
        return devices

    fake: Any = ModuleType("cupy")
    fake.cuda = SimpleNamespace(
        runtime=SimpleNamespace(getDeviceCount=count, CUDARuntimeError=CUDARuntimeError)
    )
    return fake


@pytest.mark.parametrize(
    ("devices", "device", "says"),
    [
        (None, "cuda", "no device it can use"),
        (0, "cuda", "no device"),
        (2, "cuda:2", "this machine has 2"),
    ],
)
def test_cupy_without_that_device_is_refused(
    devices: int | None, device: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", _cupy_with(devices))
    with pytest.raises(ConfigError, match=says):
        LocalCluster(Replicated3PC(), device=device)


def test_a_protocol_that_computes_on_the_host_only_is_refused_on_a_device() -> None:
    with pytest.raises(Misuse, match="computes on the host only"):
        LocalCluster(Additive2PCOT(), device=EMULATED)


@pytest.mark.gpu
def test_memory_is_bounded_and_reported() -> None:
    from emulated_gpu.devices import why_no_gpu

    if why_no_gpu():
        pytest.skip(why_no_gpu())
    params, images, _ = lenet_inputs()
    with LocalCluster(Replicated3PC(), device="cuda") as c:
        c.run(_sum, c.share(images))
        (memory,) = c.memory_report()
    assert 0 < memory.used_bytes <= memory.reserved_bytes <= memory.limit_bytes
    assert params
