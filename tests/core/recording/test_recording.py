"""Recorded programs: the same messages, bits and costs as ordinary runs, with masks of their own in
every run, and refused where a repetition could not be the program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import Additive2PC, Additive2PCOT, Plain, Replicated3PC, Tetrad4PC
from device_bench import LAYERS, DeviceBench, lenet_inputs
from emulated_gpu import EMULATED
from emulated_gpu.devices import everywhere
from helpers import REPOSITORY, rng
from wwfl.nn import SGD, Network, sgd_step, train
from wwfl_core import LocalCluster, MPCBackend, Session, SharedTensor
from wwfl_core.channel.frames import Frame
from wwfl_core.errors import Misuse, PeerAborted, VerificationFailed
from wwfl_core.numbers.bilinear import Conv2d, MatMul
from wwfl_core.randomness.prg import fresh_key
from wwfl_core.recording import recorded
from wwfl_core.tensors import bilinear_many, concatenate
from wwfl_core.tensors.ops import softmax
from wwfl_core.testing import streams

PROTOCOLS: dict[str, Callable[[], MPCBackend]] = {
    "plain": Plain,
    "2pc": Additive2PC,
    "3pc": Replicated3PC,
    "4pc": Tetrad4PC,
}
RUNS = 5
"""One ordinary run, two that are recorded, two repetitions."""


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Callable[[], MPCBackend]:
    return PROTOCOLS[request.param]


def _raised(outcomes: Sequence[Any]) -> list[BaseException]:
    return [o.error for o in outcomes if o.error is not None]


def product(mpc: Session, x: SharedTensor, y: SharedTensor) -> SharedTensor:
    return x * y


again = recorded(product)


# ---------------------------------------------------------------------- equal to ordinary runs


def _steps(
    mpc: Session, step: Any, network: Network, params: Any, x: SharedTensor, y: SharedTensor
) -> Any:
    """RUNS steps of training from one model, each on its own: of masks that 2PC has kept with an
    argument, a repetition knows nothing."""

    def once() -> Any:
        for t in (*params.values(), x, y):
            t.data.cache.clear()
        return step(mpc, network, SGD(0.1), params, None, x, y)[0]

    return [[(key, t.data.parts) for key, t in once().items()] for _ in range(RUNS)]


def _training(protocol: Callable[[], MPCBackend], device: str, step: Any) -> tuple[Any, Any, Any]:
    params, images, one_hot = lenet_inputs()
    bench = DeviceBench(protocol, device=device)
    with bench.cluster() as c:
        shared = {name: c.share(value) for name, value in params.items()}
        x, y = c.share(images), c.share(one_hot)
        handle = c.submit(_steps, step, Network(LAYERS), shared, x, y)
        outcomes = handle.outcomes()
        assert not _raised(outcomes)
    return [o.value for o in outcomes], bench.log.messages, [o.cost for o in outcomes]


@everywhere
def test_training_steps_send_the_same_messages_and_make_the_same_shares(
    protocol: Callable[[], MPCBackend], where: str
) -> None:
    if where == EMULATED and protocol is Plain:
        pytest.skip("sends nothing; the host's run compares its shares")
    ordinary = _training(protocol, where, sgd_step.program)
    repeated = _training(protocol, where, recorded(sgd_step.program))
    assert ordinary[1] == repeated[1]
    assert ordinary[2] == repeated[2], "costs: bytes, messages, rounds, by label"
    for mine, theirs in zip(ordinary[0], repeated[0], strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert [key for key, _ in one] == [key for key, _ in other]
            for (_, a), (_, b) in zip(one, other, strict=True):
                assert a.keys() == b.keys()
                assert all(type(a[c]) is type(b[c]) and np.array_equal(a[c], b[c]) for c in a)


OPERATIONS: dict[str, Callable[[SharedTensor, SharedTensor], SharedTensor]] = {
    "sum": lambda x, y: x + y.sum(0, keepdims=True) * 2 - 1.5,
    "product": lambda x, y: x * y,
    "square": lambda x, y: x * x + y,
    "matmul": lambda x, y: (x @ y.T) @ y,
    "relu": lambda x, y: x.relu() - (-y).relu(),
    "compare": lambda x, y: ((x < y).to_integers() + (x >= 0.25).to_integers()).rescale(
        y.frac_bits
    ),
    "equals": lambda x, y: x.equals(x.rescale(10).rescale(x.frac_bits)).times(y),
    "softmax": lambda x, y: softmax(x) * y,
    "pieces": lambda x, y: concatenate([x[1:], y[:1] / 3], 0).transpose(1, 0).T.reshape(*x.shape),
    "narrow": lambda x, y: (x.narrow() + y.narrow()).widen(),
    "two products": lambda x, y: (
        x + bilinear_many([(MatMul(False, True), x, y), (MatMul(True, False), y, x)])[1][:1, :1]
    ),
    "convolution": lambda x, y: x.reshape(1, 1, *x.shape).bilinear(
        Conv2d(1, 1), y[:1, :1].reshape(1, 1, 1, 1)
    )[0, 0, 1:-1, 1:-1],
}


@settings(max_examples=12, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(OPERATIONS)), min_size=1, max_size=3),
    shape=st.tuples(st.integers(2, 5), st.integers(2, 5)),
    which=st.sampled_from(["2pc", "3pc", "4pc"]),
    seed=st.integers(0, 2**16),
)
def test_programs_of_any_operations_compute_the_same(
    names: list[str], shape: tuple[int, int], which: str, seed: int
) -> None:
    """On other arguments than those that were recorded."""

    def program(mpc: Session, x: SharedTensor, y: SharedTensor) -> SharedTensor:
        for name in names:
            x = OPERATIONS[name](x, y)
        return x

    g, results = np.random.default_rng(seed), []
    values = [(g.uniform(-1, 1, shape), g.uniform(-1, 1, shape)) for _ in range(RUNS)]
    for form in (program, recorded(program)):
        with LocalCluster(PROTOCOLS[which](), name="c", insecure_seed=5) as c:
            results.append([c.reveal(c.run(form, c.share(x), c.share(y))) for x, y in values])
    assert np.array_equal(results[0], results[1])


def test_training_repeats_its_steps_and_reaches_the_same_model(
    protocol: Callable[[], MPCBackend],
) -> None:
    params, _, _ = lenet_inputs()
    g = rng()
    images, one_hot = g.normal(size=(13, 1, 8, 8)), np.eye(4)[g.integers(0, 4, 13)]
    batches = [list(map(int, g.permutation(13)[: 3 if i % 2 else 2])) for i in range(10)]
    found = []

    def program(mpc: Session, fresh: bool, params: Any, x: SharedTensor, y: SharedTensor) -> Any:
        kept = mpc.party.recordings
        if fresh:  # nothing is remembered from step to step
            network = Network(LAYERS)
            velocity = None
            for batch in batches:
                params, velocity = sgd_step.program(
                    mpc, network, SGD(0.1, 0.5), params, velocity, x[batch], y[batch]
                )
        else:
            params, _ = train(mpc, Network(LAYERS), params, x, y, batches, SGD(0.1, 0.5))
            assert sum(known.recording is not None for known in kept.values()) == (
                0 if mpc.protocol.numpy_only else 2
            )
        return params

    for fresh in (True, False):
        with LocalCluster(protocol(), name="c", insecure_seed=5) as c:
            shared = {name: c.share(value) for name, value in params.items()}
            model = c.run(program, fresh, shared, c.share(images), c.share(one_hot))
            found.append({name: c.reveal(t) for name, t in model.items()})
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


# ---------------------------------------------------------------------- masks


def test_no_stream_is_drawn_twice_over_repetitions(protocol: Callable[[], MPCBackend]) -> None:
    tap = streams.Recorder()
    with LocalCluster(protocol()) as c:
        c.run(streams.recorded, tap)
        x = c.share(np.ones((2, 3)))
        for _ in range(RUNS):
            c.run(again, x, x)
    assert streams._distinct(tap.draws) >= RUNS


@pytest.mark.parametrize("which", ["2pc", "3pc", "4pc"])
def test_every_repetition_of_one_program_on_one_value_looks_different(which: str) -> None:
    sent: list[tuple[int, str, str, bytes]] = []

    def tap(sender: str, receiver: str, frame: Frame) -> Frame:
        sent.append((frame.tag.run, sender, receiver, frame.payload.tobytes()))
        return frame

    with LocalCluster(PROTOCOLS[which]()) as c:
        x = c.share(rng().normal(size=(4, 4)))
        c.memory.tamper = tap
        for _ in range(RUNS):
            c.run(again, x, x)
    large = [payload for *_, payload in sent if len(payload) >= 16]
    assert len(large) >= RUNS and len(set(large)) == len(large)


@pytest.mark.parametrize("which", ["2pc", "3pc"])
def test_after_a_run_that_failed_repetitions_go_on_with_fresh_masks(which: str) -> None:
    tap, x = streams.Recorder(), rng().normal(size=(2, 3))

    def fails(mpc: Session, a: SharedTensor) -> SharedTensor:
        b = again(mpc, a, a)
        if mpc.me == 1:
            raise RuntimeError("on purpose")
        return again(mpc, b, b)

    with LocalCluster(PROTOCOLS[which](), deadline_s=20) as c:
        c.run(streams.recorded, tap)
        a = c.share(x)
        for _ in range(RUNS):
            c.run(again, a, a)
        assert _raised(c.submit(fails, a).outcomes())
        assert np.allclose(c.reveal(c.run(again, a, a)), x * x, atol=1e-5)
    streams._distinct(tap.draws)


# ---------------------------------------------------------------------- security


def test_what_a_repetition_received_is_verified_before_anything_is_opened() -> None:
    """Every message of a repeated product of Tetrad, altered in one bit: it is noticed before the
    result is opened."""
    caught = 0
    with LocalCluster(Tetrad4PC(), insecure_seed=1) as c:
        x = c.share(np.ones(4))
        for _ in range(RUNS):
            c.run(again, x, x)
        count: list[str] = []
        c.memory.tamper = lambda s, r, frame: count.append(r) or frame
        c.run(again, x, x)
    for at in range(len(count)):
        with LocalCluster(Tetrad4PC(), insecure_seed=1, deadline_s=20) as c:
            x, seen = c.share(np.ones(4)), 0
            for _ in range(RUNS):
                c.run(again, x, x)

            def alter(sender: str, receiver: str, frame: Frame, at: int = at) -> Frame:
                nonlocal seen
                seen += 1
                if seen != at + 1:
                    return frame
                payload = frame.payload.copy()
                payload.reshape(-1).view(np.uint8)[0] ^= 1
                return replace(frame, payload=payload)

            c.memory.tamper = alter
            try:
                z = c.run(again, x, x)
                c.memory.tamper = None
                assert np.allclose(c.reveal(z), 1, atol=1e-5)
            except (VerificationFailed, PeerAborted):
                caught += 1
    assert caught == len(count) > 8


def opens(mpc: Session, x: SharedTensor) -> SharedTensor:
    mpc.protocol.open(x.data, "in a recorded program")
    return x


def shares(mpc: Session, x: SharedTensor) -> SharedTensor:
    return x + mpc.share(np.ones(3), 0, shape=(3,))


def draws_noise(mpc: Session, x: SharedTensor) -> SharedTensor:
    noise = np.frombuffer(fresh_key(), np.uint64)[:3] >> np.uint64(40)
    return (
        SharedTensor(mpc, mpc.protocol.deal(noise if mpc.me == 0 else None, [0], (3,)), x.frac_bits)
        + x
    )


def branches(mpc: Session, x: SharedTensor) -> SharedTensor:
    for part in x.data.parts.values():
        if part[0] > 7:
            return x * 2
    return x


def hashes(mpc: Session, x: SharedTensor) -> SharedTensor:
    for part in x.data.parts.values():
        np.asarray(part).tobytes()
    return x


def counts(mpc: Session, x: SharedTensor) -> SharedTensor:
    return x * 2 if any(np.count_nonzero(part) > 3 for part in x.data.parts.values()) else x


def compares(mpc: Session, x: SharedTensor) -> SharedTensor:
    return x * 2 if any(np.array_equal(part, part + part) for part in x.data.parts.values()) else x


def checks(mpc: Session, x: SharedTensor) -> SharedTensor:
    y = x * x
    mpc.verify()
    return y


def keeps(mpc: Session, x: SharedTensor) -> SharedTensor:
    mpc.party.notes["x"] = x
    return x


@pytest.mark.parametrize(
    "program", [opens, shares, draws_noise, branches, counts, compares, hashes, checks, keeps]
)
def test_what_no_repetition_could_do_is_refused_while_recording(program: Any) -> None:
    """With a message that says what it was."""
    known = recorded(program)
    with LocalCluster(Tetrad4PC(), deadline_s=20) as c:
        x = c.share(np.ones(3))
        c.run(known, x)
        errors = _raised(c.submit(known, x).outcomes())
        assert any(isinstance(e, Misuse) and "recorded program" in str(e) for e in errors), errors
        assert not any("AttributeError" in str(e) or "TypeError" in str(e) for e in errors)


def test_a_cluster_goes_on_after_a_program_that_could_not_be_recorded() -> None:
    known = recorded(branches)
    with LocalCluster(Replicated3PC(), deadline_s=20) as c:
        x = c.share(np.full(3, 2.0))
        c.run(known, x)
        assert _raised(c.submit(known, x).outcomes())
        for _ in range(RUNS):
            assert np.allclose(c.reveal(c.run(again, x, x)), 4, atol=1e-5)


class Outside:
    """Something that a program reads besides its arguments."""

    value = 1


def depends(mpc: Session, x: SharedTensor) -> SharedTensor:
    return x * float(Outside.value)


def depends_on_array(mpc: Session, x: SharedTensor) -> SharedTensor:
    return x + np.full(3, Outside.value, np.float64)


def depends_in_length(mpc: Session, x: SharedTensor) -> SharedTensor:
    for _ in range(Outside.value):
        x = x + x
    return x


@pytest.mark.parametrize("program", [depends, depends_on_array, depends_in_length])
def test_a_program_that_depends_on_more_than_its_arguments_is_found_out(program: Any) -> None:
    known = recorded(program)
    with LocalCluster(Replicated3PC(), deadline_s=20) as c:
        x = c.share(np.ones(3))
        for Outside.value in (1, 2):
            c.run(known, x)
        Outside.value = 3
        errors = _raised(c.submit(known, x).outcomes())
        assert (
            all(isinstance(e, Misuse) and "did something else" in str(e) for e in errors) and errors
        )
        assert program.__name__ in str(errors[0])


# ---------------------------------------------------------------------- forms


def scaled(
    mpc: Session, x: dict[str, Any], by: tuple[float, ...], names: Any = None
) -> dict[str, Any]:
    return {
        "list": [x["x"] * b for b in by],
        "names": names,
        "same": x["x"],
        "bits": x["x"] < x["y"],
        "none": None,
    }


def test_public_values_choose_the_recording_and_trees_come_back() -> None:
    known, value = recorded(scaled), rng().normal(size=3)
    with LocalCluster(Replicated3PC()) as c:
        x = {"x": c.share(value), "y": c.share(np.zeros(3))}
        for _ in range(RUNS):
            for by in ((1.0, 2.0), (3.0,)):
                got = c.run(known, x, by, "these")
                assert got["names"] == "these" and got["none"] is None
                for t, b in zip(got["list"], by, strict=True):
                    assert np.allclose(c.reveal(t), value * b, atol=1e-5)
                assert np.allclose(c.reveal(got["same"]), value, atol=1e-5)
                assert np.array_equal(c.reveal(got["bits"]), value < 0)


def test_a_tensor_given_twice_is_not_two_tensors() -> None:
    """A square opens one mask in 2PC, a product two: repetitions must not be mixed up."""
    messages = []
    with LocalCluster(Additive2PC()) as c:
        x, y = c.share(np.full(3, 2.0)), c.share(np.full(3, 3.0))
        for _ in range(RUNS):
            for a, b in ((x, x), (x, y)):
                z = c.run(again, a, b)
                messages.append(c.last_cost.messages(label="mask"))
                assert np.allclose(c.reveal(z), 6 if b is y else 4, atol=1e-5)
    assert messages[-2] * 2 == messages[-1]


def test_arguments_that_are_not_hashable_are_named() -> None:
    with LocalCluster(Plain()) as c:
        errors = _raised(c.submit(recorded(product), c.share(np.ones(3)), np.ones(3)).outcomes())
        assert (
            isinstance(errors[0], Misuse)
            and "product" in str(errors[0])
            and "hashable" in str(errors[0])
        )


class Stateful(Replicated3PC):
    """Says of itself that it must not be repeated."""

    keeps_state = True


@pytest.mark.parametrize("protocol", [Additive2PCOT, Stateful], ids=["2pc-ot", "stateful"])
def test_protocols_that_keep_a_state_of_their_own_just_run(
    protocol: Callable[[], MPCBackend],
) -> None:
    def program(mpc: Session, x: SharedTensor) -> SharedTensor:
        z = again(mpc, x, x)
        assert not mpc.party.recordings
        return z

    with LocalCluster(protocol()) as c:
        x = c.share(np.full(3, 2.0))
        for _ in range(RUNS):
            assert np.allclose(c.reveal(c.run(program, x)), 4, atol=1e-5)


def test_recordings_in_a_recorded_program_are_part_of_it() -> None:
    outer = recorded(lambda mpc, x: again(mpc, x, x) + again(mpc, x, x))
    with LocalCluster(Replicated3PC()) as c:
        x = c.share(np.full(3, 2.0))
        for _ in range(RUNS):
            assert np.allclose(c.reveal(c.run(outer, x)), 8, atol=1e-5)


def test_a_recording_can_be_read() -> None:
    """Every message of a product with truncation is a line, with its peer, operation and label; the
    documentation's example is one."""

    def source(mpc: Session, x: SharedTensor) -> tuple[str, int]:
        found = again.recording(mpc, x, x)
        assert found is not None
        return found.source, found.operations

    with LocalCluster(Replicated3PC(), name="c") as c:
        x = c.share(np.ones(3))
        for _ in range(RUNS):
            c.run(again, x, x)
        told = [outcome.value for outcome in c.submit(source, x).outcomes()]
    assert all(text.startswith("def run(first, v0, v1):\n") for text, _ in told)
    assert {operations for _, operations in told} == {3 + 1}
    page = (REPOSITORY / "docs" / "how-to" / "recording.md").read_text()
    assert (
        page[page.index("    v25 = ") : page.index("\nIt keeps what")]
        == told[0][0][told[0][0].index("    v25 = ") :]
    )
    assert "('c/1', first + 1, 'mul', " in told[2][0] and "label='mul'" in told[2][0]


def test_on_a_device_the_lines_start_kernels() -> None:
    """Not their wrappers: allocations and launches, with the words of a stream that is reserved in
    every run."""

    def source(mpc: Session, x: SharedTensor) -> str:
        found = again.recording(mpc, x, x)
        assert found is not None
        return found.source

    with LocalCluster(Replicated3PC(), device=EMULATED) as c:
        x = c.share(np.ones(3))
        for _ in range(RUNS):
            c.run(again, x, x)
        texts = [outcome.value for outcome in c.submit(source, x).outcomes()]
    for text in texts:
        assert "replicated.cu', 'product_ring', " in text and ".empty((3, ), " in text
        assert "first + 1, 'zero'" in text
        assert ", *v" in text and "replicated.product" not in text


def test_arrays_at_odd_addresses_are_settled_before_kernels_read_them() -> None:
    """What a recording decided by an address holds for every argument: views into the middle of 16
    bytes, too."""

    def pieces(mpc: Session, x: SharedTensor) -> list[SharedTensor]:
        return [again(mpc, x[i : i + 4], x[i : i + 4]) for i in (0, 1, 2, 3, 4, 5)]

    value = rng().normal(size=9)
    with LocalCluster(Replicated3PC(), device=EMULATED) as c:
        found = [c.reveal(t) for t in c.run(pieces, c.share(value))]
    for i, one in enumerate(found):
        assert np.allclose(one, value[i : i + 4] ** 2, atol=1e-5)


def test_a_server_forgets_the_recordings_that_it_used_least_recently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wwfl_core.recording.program.KEPT", 2)
    with LocalCluster(Plain()) as c:
        tensors = [c.share(np.ones(n)) for n in (1, 2, 3)]
        for x in (*tensors, *tensors):
            c.run(again, x, x)

        assert c.run(lambda mpc: len(mpc.party.recordings)) == 2
