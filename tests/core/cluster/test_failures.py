"""What goes wrong is reported in bounded time, by its cause; afterwards a cluster works or says
that it does not."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from helpers import (
    EVERY,
    SECURE,
    add_and_reveal,
    cluster,
    flip_first,
    one_party_raises,
    slow_program,
)
from wwfl_core import LocalCluster, Session, SharedTensor
from wwfl_core.errors import (
    DeadlineExceeded,
    Desync,
    Misuse,
    PeerAborted,
    PeerLost,
    ProtocolError,
    RangeError,
    VerificationFailed,
)


@pytest.fixture(scope="module", params=EVERY)
def c(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    """One cluster for all harmless errors: each test also shows that the cluster survived the ones
    before."""
    with cluster(request.param, deadline_s=10.0) as started:
        yield started


def works(c: LocalCluster) -> bool:
    return bool(np.allclose(c.run(add_and_reveal, np.array([1.5, -2.0]), np.ones(2)), [2.5, -1.0]))


def with_signs(c: LocalCluster) -> tuple[Any, Any]:
    """A shared tensor and the bits of its signs, from a run of their own.

    (In 4PC only errors that strike all parties before any of them waits are harmless: CS4 runs
    ahead of the others, and a party that stops alone is what an attack looks like.)"""
    x = c.share(np.ones(3))
    return x, c.run(lambda mpc, t: t.negative(), x)


# ---------------------------------------------------------------------- bad values


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ([[1.0, 2.0], [3.0]], Misuse, "not a rectangular array"),
        (np.array(["a", "b"]), Misuse, "has dtype <U1; expected real numbers"),
        (np.array([1j]), Misuse, "has dtype complex128"),
        (np.array([None, 1.0]), Misuse, "has dtype object"),
        (np.array([[0.0, 1.0], [np.nan, 2.0]]), RangeError, r"\[1, 0\] = nan does not fit"),
        (np.array([1.0, -np.inf]), RangeError, r"\[1\] = -inf does not fit"),
        (
            np.array([0.0, 0.0, 2.0**42]),
            RangeError,
            r"\[2\] = 4398046511104.0 does not fit .* 20 fractional bits",
        ),
        (np.array(-(2.0**42)), RangeError, "does not fit"),
    ],
    ids=["ragged", "text", "complex", "object", "nan", "infinite", "too large", "too small"],
)
def test_values_that_cannot_be_shared_are_named_before_anything_is_sent(
    c: LocalCluster, value: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        c.share(value)
    with pytest.raises(error, match=message):
        c.run(add_and_reveal, value, value)
    assert c.last_cost.bytes_sent() == 0
    assert works(c)


@pytest.mark.parametrize("owner", [-1, 4, "0", None, 1.0])
def test_an_owner_that_is_no_party_is_refused(c: LocalCluster, owner: Any) -> None:
    with pytest.raises(Misuse, match="is not a party that holds shares; choose one of"):
        c.run(lambda mpc: mpc.share(1.0, owner))
    assert works(c)


def test_the_helper_cannot_own_a_value() -> None:
    with (
        cluster("2pc") as c,
        pytest.raises(Misuse, match=r"owner=2 is not a party that holds shares"),
    ):
        c.run(lambda mpc: mpc.share(1.0, 2))


def test_a_value_must_be_given_at_its_owner_with_the_declared_shape(c: LocalCluster) -> None:
    with pytest.raises(Misuse, match="its shape everywhere"):
        c.run(lambda mpc: mpc.share(None, 0))
    with pytest.raises(Misuse, match=r"has shape \(3,\), declared was \(2,\)"):
        c.run(lambda mpc: mpc.share(np.ones(3), 0, shape=(2,)))
    assert works(c)


@pytest.mark.parametrize(
    ("program", "error", "message"),
    [
        (lambda m, x, s: x + x[:2], Misuse, r"addition: shapes \(3,\) and \(2,\) do not broadcast"),
        (
            lambda m, x, s: x - np.ones(2),
            Misuse,
            r"addition: shapes \(3,\) and \(2,\) do not broadcast",
        ),
        (
            lambda m, x, s: x * x[:2],
            Misuse,
            r"elementwise product: shapes \(3,\) and \(2,\) do not broadcast",
        ),
        (
            lambda m, x, s: x * np.ones(2),
            Misuse,
            r"multiplication: shapes \(3,\) and \(2,\) do not broadcast",
        ),
        (
            lambda m, x, s: x @ x,
            Misuse,
            r"matmul: needs two matrices, got shapes \(3,\) and \(3,\)",
        ),
        (
            lambda m, x, s: x.reshape(3, 1) @ x.reshape(3, 1),
            Misuse,
            r"inner dimensions differ in \(3, 1\) @ \(3, 1\)",
        ),
        (lambda m, x, s: x * 2.0**60, RangeError, "the public factor"),
        (
            lambda m, x, s: x + np.array([0.0, np.nan, 0.0]),
            RangeError,
            r"the public operand\[1\] = nan",
        ),
        (lambda m, x, s: x / 0.0, Misuse, "division by zero"),
        (lambda m, x, s: x[7], Misuse, r"index 7 does not fit shape \(3,\)"),
        (lambda m, x, s: x.truncate(21), Misuse, "cannot drop 21 of 20 fractional bits"),
        (
            lambda m, x, s: s.times(x[:2]),
            Misuse,
            r"bits of shape \(3,\) cannot gate a tensor of shape \(2,\)",
        ),
    ],
)
def test_operands_that_do_not_fit_are_named_and_the_cluster_goes_on(
    c: LocalCluster, program: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        c.run(program, *with_signs(c))
    assert works(c)


@pytest.mark.parametrize("bits", [0, 1, 65])
def test_a_comparison_window_that_cannot_be_is_refused_by_every_protocol(
    c: LocalCluster, bits: int
) -> None:
    with pytest.raises(Misuse, match=f"bits={bits}"):
        c.run(lambda mpc, x: x.negative(bits), c.share(np.ones(3)))
    assert works(c)


def test_tensors_of_different_clusters_do_not_mix(c: LocalCluster) -> None:
    kept: list[SharedTensor] = []
    with cluster("plain") as other:
        foreign = other.share(np.ones(3))
        other.run(lambda mpc, x: kept.append(x), foreign)
        with pytest.raises(Misuse, match=f"is not shared at cluster {c.name}; reshare it"):
            c.run(lambda mpc, x: x, foreign)
        for use in (
            lambda x, s: x + kept[0],
            lambda x, s: x * kept[0],
            lambda x, s: s.times(kept[0]),
        ):
            with pytest.raises(Misuse, match=r"different clusters|cannot gate a tensor"):
                c.run(lambda mpc, x, s, use=use: use(x, s), *with_signs(c))
        with pytest.raises(Misuse, match="belongs to another cluster"):
            c.run(lambda mpc: mpc.reveal(kept[0]))
    assert works(c)


# ---------------------------------------------------------------------- parties that fail


@pytest.mark.parametrize("name", SECURE)
def test_the_first_cause_is_raised_and_the_reactions_are_its_notes(name: str) -> None:
    with cluster(name, deadline_s=10.0) as c:
        begun = time.monotonic()
        with pytest.raises(ZeroDivisionError, match="my own mistake") as caught:
            c.run(one_party_raises, 1, ZeroDivisionError("my own mistake"))
        assert time.monotonic() - begun < 5
        notes = "\n".join(caught.value.__notes__)
        assert f"first failure at party {c.name}/1" in notes and "one_party_raises" in notes
        assert f"aborted by {c.name}/1: ZeroDivisionError (its own report says more)" in notes
        if c.sharing.security.malicious:  # one party alone raising is what an attack looks like
            with pytest.raises(ProtocolError, match="cannot continue: ZeroDivisionError"):
                works(c)
        else:
            assert works(c)


def shares_too_large_a_number(mpc: Session) -> None:
    mpc.share(np.array([1.0, 123456789e30]) if mpc.me == 0 else None, 0, shape=(2,))
    mpc.verify()


@pytest.mark.parametrize("name", ["2pc", "3pc", "4pc"])
def test_the_other_servers_are_not_told_a_number_that_was_refused(name: str) -> None:
    with cluster(name, deadline_s=10.0) as c:
        outcomes = c.submit(shares_too_large_a_number).outcomes()
    assert isinstance(outcomes[0].error, RangeError) and "e+38" in str(outcomes[0].error)
    told = [o.error for o in outcomes[1:] if o.error is not None]
    assert told or name == "2pc"  # nobody waits for a message there
    assert all("e+38" not in str(error) and "RangeError" in str(error) for error in told)


@pytest.mark.parametrize("name", ["2pc", "3pc"])
@pytest.mark.parametrize("who", [0, 1, 2])
def test_after_one_party_failed_the_tensors_of_before_still_work(name: str, who: int) -> None:
    def fails(mpc: Session, x: SharedTensor, y: SharedTensor) -> Any:
        if mpc.me == who:
            raise RuntimeError("once")
        return mpc.reveal(x * y)

    with cluster(name, deadline_s=5.0) as c:
        x, y = c.share([1.0, 2.0]), c.share([3.0, -4.0])
        with pytest.raises(RuntimeError, match="once"):
            c.run(fails, x, y)
        assert np.allclose(c.run(lambda mpc, a, b: mpc.reveal(a * b), x, y), [3.0, -8.0], atol=1e-5)


def test_a_refused_command_between_a_failure_and_a_retry_changes_nothing() -> None:
    with cluster("3pc", deadline_s=3.0) as c, cluster("plain") as other:
        with pytest.raises(RuntimeError):
            c.run(
                one_party_raises, 2, RuntimeError("uneven: the others are several operations ahead")
            )
        with pytest.raises(Misuse, match="is not shared at cluster"):
            c.run(lambda mpc, x: x, other.share(1.0))
        assert works(c)


def diverge(mpc: Session) -> Any:
    x = mpc.share(np.ones(2), 0)
    return mpc.reveal(x * x if mpc.me == 0 else x)


@pytest.mark.parametrize("name", SECURE)
def test_parties_that_run_different_programs_find_out_and_both_are_named(name: str) -> None:
    with cluster(name, deadline_s=10.0) as c:
        with pytest.raises(Desync) as caught:
            c.run(diverge)
        message = str(caught.value)
        assert f"{c.name}/0" in message and "the two run different programs" in message
        assert sum(f"{c.name}/{i}" in message for i in range(4)) == 2
        assert "operation" in message and "expected" in message


def shapes_differ(mpc: Session) -> Any:
    return mpc.reveal(mpc.share(np.ones(2 if mpc.me else 3), 0))


def test_parties_whose_shapes_differ_find_out() -> None:
    with cluster("3pc") as c, pytest.raises(Desync, match=r"uint64 \([23],\).*uint64 \([23],\)"):
        c.run(shapes_differ)


@pytest.mark.parametrize("name", SECURE)
def test_a_party_that_stalls_is_named_when_the_deadline_passes(name: str) -> None:
    def stall(mpc: Session) -> Any:
        if mpc.me == 1:
            time.sleep(1.2)
        return mpc.reveal(mpc.share(np.ones(2), 1))

    with cluster(name, deadline_s=0.3) as c:
        begun = time.monotonic()
        with pytest.raises(
            DeadlineExceeded, match=rf"{c.name}/1 did not send operation \d+ '\w+' .* within 0.3 s"
        ):
            c.run(stall)
        assert time.monotonic() - begun < 5


def test_an_endpoint_that_closes_in_mid_run_ends_the_run_everywhere() -> None:
    with cluster("3pc", deadline_s=20.0) as c:
        pending = c.submit(slow_program, 15.0)
        threading.Timer(0.4, c.workers[1]._endpoint.close).start()  # type: ignore[attr-defined]
        begun = time.monotonic()
        outcomes = pending.outcomes()
        assert time.monotonic() - begun < 8
        assert all(o.error is not None for o in outcomes)
        assert "this endpoint was closed" in str(outcomes[1].error)
        for other in (0, 2):
            assert isinstance(outcomes[other].error, PeerLost | PeerAborted)
            assert f"{c.name}/1" in str(outcomes[other].error)


def test_a_pending_verification_survives_a_harmless_error() -> None:
    """A wrong value of run 1 that nobody opened yet is still found in run 3, whatever happened in
    run 2."""
    with cluster("4pc") as c:
        c.memory.tamper = flip_first("mul", 1)
        x = c.run(lambda mpc, a: a * a, c.share(np.ones(4)))
        c.memory.tamper = None
        with pytest.raises(Misuse):
            c.run(lambda mpc, a: a[9], x)
        with pytest.raises(VerificationFailed):
            c.reveal(x)


def test_a_closed_cluster_says_so() -> None:
    with cluster("plain") as c:
        pass
    with pytest.raises(ProtocolError, match="it was closed"):
        c.share(1.0)


# ---------------------------------------------------------------------- processes


def test_a_killed_server_process_is_named_within_seconds() -> None:
    with cluster("3pc", processes=True, deadline_s=60.0) as c:
        with pytest.raises(Misuse, match="must be functions of an importable module"):
            c.run(lambda mpc: None)
        with pytest.raises(RangeError, match=r"\[1\] = nan does not fit"):
            c.run(add_and_reveal, np.array([0.0, np.nan]), np.zeros(2))
        assert works(c)  # neither did any harm
        victim = c.workers[1].process  # type: ignore[attr-defined]
        pending = c.submit(slow_program, 60.0)
        time.sleep(1.0)
        begun = time.monotonic()
        os.kill(victim.pid, signal.SIGKILL)
        with pytest.raises(
            PeerLost,
            match=rf"the process of {c.name}/1 ended \(exit code -9\); restart the cluster",
        ) as caught:
            pending.result()
        assert time.monotonic() - begun < 10
        assert any(f"{c.name}/1" in note for note in caught.value.__notes__)
        with pytest.raises(ProtocolError, match="cannot continue: PeerLost"):
            works(c)


def test_an_error_in_a_server_process_comes_back_with_its_cause() -> None:
    with cluster("2pc", processes=True, deadline_s=30.0) as c:
        with pytest.raises(ZeroDivisionError, match="remote") as caught:
            c.run(one_party_raises, 0, ZeroDivisionError("remote"))
        assert "one_party_raises" in "\n".join(caught.value.__notes__)
        assert works(c)
