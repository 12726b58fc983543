"""The conformance kit: passes what is right, and catches every broken protocol with the check meant
for it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest

from backends import Additive2PC, Plain, Replicated3PC, Tetrad4PC
from broken_converters import BROKEN
from broken_protocols import (
    ALSO_CAUGHT_BY,
    CAUGHT_BY,
    AddsPublicTwice,
    ForgetsTheSigns,
    LeakyTable,
    ShortWindow,
    WrongCrossTerm,
)
from broken_protocols.deals_for_one_corruption import DealsForOneCorruption, Replicated5PC
from helpers import EVERY, TESTS
from wwfl.cli.conformance import every_check
from wwfl_core import MPCBackend
from wwfl_core.errors import Misuse
from wwfl_core.protocol.declared_cost import bits_of
from wwfl_core.testing import (
    NAMES,
    BackendSuite,
    Check,
    DeclaredCost,
    Failed,
    NotPromised,
    Report,
    Sizes,
    Verdict,
    check_backend,
    conformance,
    programs,
)
from wwfl_core.testing.statistics import LIMIT, alike, uniformity
from wwfl_core.testing.table import in_row_space

# ---------------------------------------------------------------------- the built-in protocols


class TestPlain(BackendSuite):
    factory = Plain


class Test2PC(BackendSuite):
    factory = Additive2PC


class Test3PC(BackendSuite):
    factory = Replicated3PC


class Test4PC(BackendSuite):
    factory = Tetrad4PC


JUDGED = {suite.factory for suite in (TestPlain, Test2PC, Test3PC, Test4PC)}
"""Protocols that pass every check above, so that no broken one of them needs to show it again."""


class TestOtherFormat(BackendSuite):
    """Checks do not assume 20 fractional bits, nor that a factory is a class."""

    factory = staticmethod(lambda: Replicated3PC(frac_bits=13))
    skip = frozenset(n for n in NAMES if n.startswith(("tamper/", "failure/", "table/")))


EXPECTED_SILENCE = {  # what each protocol does not promise, and nothing else is skipped
    "plain": ("table/privacy", "views/", "tamper/", "failure/"),
    "2pc": ("tamper/",),
    "3pc": ("tamper/",),
    "4pc": (),
}


@pytest.mark.parametrize(
    "protocol", [Plain, Additive2PC, Replicated3PC, Tetrad4PC], ids=lambda p: p.name
)
def test_only_what_is_not_promised_is_left_out_and_the_reason_is_given(
    protocol: type[MPCBackend],
) -> None:
    fast = ("table", "tamper/share", "cost/product", "views/fresh")
    for check in check_backend(protocol):
        silent = check.name.startswith(EXPECTED_SILENCE[protocol.name])
        if check.name.startswith(fast):
            verdict = check.run()
            assert (verdict.passed is None) == silent, verdict
    if protocol in (Additive2PC, Replicated3PC):
        verdict = conformance(protocol, only="tamper/product").verdicts[0]
        assert verdict.detail == "semi-honest: does not promise to detect tampering"


# ---------------------------------------------------------------------- the broken ones


def verdict_of(factory: Callable[[], MPCBackend], name: str) -> Verdict:
    (found,) = [check for check in check_backend(factory) if check.name == name]
    return found.run()


@pytest.mark.parametrize("broken", CAUGHT_BY, ids=lambda p: p.__name__)
def test_every_known_defect_is_caught_by_the_check_meant_for_it(broken: type[MPCBackend]) -> None:
    name = CAUGHT_BY[broken]
    verdict = verdict_of(broken, name)
    print(verdict)
    assert verdict.passed is False, verdict
    sound = broken.__mro__[1]
    assert sound in JUDGED or verdict_of(sound, name).passed is True


WRONG_EVERYWHERE = (AddsPublicTwice, ForgetsTheSigns, LeakyTable, ShortWindow, WrongCrossTerm)


@pytest.mark.parametrize(
    "broken", [b for b in CAUGHT_BY if b not in WRONG_EVERYWHERE], ids=lambda p: p.__name__
)
def test_the_broken_ones_look_right_otherwise(broken: type[MPCBackend]) -> None:
    """They are caught for their defect, not because they crash: all still share, multiply and
    compare rightly."""
    for name in (
        "correctness/share",
        "correctness/product",
        "correctness/sign",
        "correctness/bits",
    ):
        verdict = verdict_of(broken, name)
        assert verdict.passed is True, verdict


@pytest.mark.parametrize("name", [n for n in ALSO_CAUGHT_BY if n in NAMES])
def test_a_defect_made_for_another_check_fails_this_one_too(name: str) -> None:
    assert verdict_of(ALSO_CAUGHT_BY[name], name).passed is False


COSTS = [n.removeprefix("cost/") for n in NAMES if n.startswith("cost/") and n != "cost/declared"]
UNTARGETED: dict[str, str] = {}
"""Checks that no broken protocol or converter fails yet, each with the reason."""


@pytest.mark.parametrize("operation", COSTS)
def test_a_declared_cost_that_is_off_by_one_bit_or_one_round_is_caught(operation: str) -> None:
    right = Replicated3PC.declared_costs[operation]

    def offline(sizes: Sizes) -> float:
        return bits_of(right.offline, sizes) + 1

    def online(sizes: Sizes) -> float:
        return bits_of(right.online, sizes) - 1

    wrong = (
        replace(right, offline=offline),
        replace(right, online=online),
        replace(right, rounds=right.rounds + 1),
    )
    for declared in wrong:
        costs = {**Replicated3PC.declared_costs, operation: replace(declared, links=None)}
        off = type("OffByOne", (Replicated3PC,), {"declared_costs": costs})
        verdict = verdict_of(off, f"cost/{operation}")
        assert verdict.passed is False and "declared are" in verdict.detail, verdict


def test_every_check_is_targeted_by_a_broken_protocol_or_listed_with_the_reason_why_not() -> None:
    """Those of the kit, and those that `reshare` and `wwfl` add to it."""
    targeted = {
        *CAUGHT_BY.values(),
        *ALSO_CAUGHT_BY,
        *BROKEN,
        *(f"cost/{operation}" for operation in COSTS),
    }
    names = {check.name for check in every_check(Plain, EVERY)}
    assert names >= {*NAMES, *BROKEN, "trains/demo"}
    assert names - targeted == UNTARGETED.keys()
    assert all(UNTARGETED.values())


def test_a_name_that_matches_no_check_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(Misuse, match=r"starts with 'tabel'; did you mean 'table'"):
        conformance(Plain, only="tabel")
    assert not Report("mine", "none", ()).ok


def test_every_file_of_the_folder_is_in_the_table() -> None:

    files = {p.stem for p in (TESTS / "broken_protocols").glob("*.py")} - {
        "__init__",
        "deals_for_one_corruption",
    }
    assert files == {b.__module__.split(".")[1] for b in CAUGHT_BY}
    for broken in CAUGHT_BY:
        assert sys.modules[broken.__module__].__doc__ and broken.__doc__


# ---------------------------------------------------------------------- verdicts, checks, reports


def test_a_verdict_says_what_happened() -> None:
    def fails() -> str:
        raise Failed("two is not three")

    def silent() -> str:
        raise NotPromised("nobody said so")

    def crashes() -> str:
        raise ZeroDivisionError("oops\nsecond line")

    cases = [
        (lambda: "fine", True, "✓"),
        (fails, False, "✗"),
        (silent, None, "–"),
        (crashes, False, "✗"),
    ]
    verdicts = [Check(f"c{i}", "claim", body).run() for i, (body, _, _) in enumerate(cases)]
    for verdict, (_, passed, mark) in zip(verdicts, cases, strict=True):
        assert (
            verdict.passed is passed and str(verdict).startswith(mark) and "\n" not in str(verdict)
        )
    assert re.fullmatch(
        r"ZeroDivisionError: oops second line \(test_testing.py, line \d+, in crashes\)",
        verdicts[3].detail,
    )
    report = Report("mine", "semi-honest", tuple(verdicts))
    assert (
        not report.ok
        and [v.name for v in report.failures] == ["c1", "c3"]
        and report["c2"].passed is None
    )
    assert "DOES NOT CONFORM. 1 passed, 2 failed, 1 not promised" in str(report)
    data = json.loads(json.dumps(report.to_json()))
    assert data["ok"] is False and [c["passed"] for c in data["checks"]] == [
        True,
        False,
        None,
        False,
    ]
    with pytest.raises(KeyError):
        report["c9"]


def test_a_report_of_a_real_protocol() -> None:
    lines: list[str] = []
    report = conformance(Plain, only="correctness/", progress=lines.append)
    assert report.ok and len(lines) == len(report.verdicts) == sum(
        n.startswith("correctness/") for n in NAMES
    )
    assert report.protocol == "plain" and "conforms" in report.summary()
    assert len(str(report).splitlines()) == len(lines) + 1
    assert all(c.claim for c in check_backend(Plain)) and len(set(NAMES)) == len(NAMES)


def test_a_factory_that_raises_is_a_failed_verdict_and_not_an_exception() -> None:
    def broken_factory() -> MPCBackend:
        raise ImportError("no such engine")

    report = conformance(broken_factory, only="correctness/s")
    assert (
        not report.ok
        and "no such engine" in report.verdicts[0].detail
        and "no such engine" in report.security
    )


class UnknownName(Plain):
    declared_costs: ClassVar[Mapping[str, DeclaredCost]] = {"prodct": DeclaredCost(0, 0, 0)}


class Undeclared(Replicated3PC):
    declared_costs: ClassVar[Mapping[str, DeclaredCost]] = {}


class WrongRounds(Replicated3PC):
    declared_costs: ClassVar[Mapping[str, DeclaredCost]] = {"product": DeclaredCost(0, 192, 2)}


class WrongLink(Replicated3PC):
    declared_costs: ClassVar[Mapping[str, DeclaredCost]] = {
        "product": DeclaredCost(0, 192, 1, links={(0, 1): 64, (1, 2): 64, (2, 0): 64})
    }


def test_costs_are_compared_in_bits_rounds_and_links_and_undeclared_ones_are_measured() -> None:
    assert verdict_of(UnknownName, "cost/declared").passed is False
    assert "in 1 rounds; declared" in verdict_of(WrongRounds, "cost/product").detail
    assert "per link" in verdict_of(WrongLink, "cost/product").detail
    assert verdict_of(Undeclared, "cost/declared").passed is None
    silent = verdict_of(Undeclared, "cost/product")
    assert silent.passed is None
    assert (
        silent.detail
        == "declares no costs for product; measured 0 / 192 bits per element, 1 rounds"
    )
    assert DeclaredCost(lambda s: s.n * s.f, 3, 1).at(Sizes(10, 20, 5)) == (50, 30, 1)


def test_a_check_leaves_no_trace() -> None:
    """No hook, no patched class, no thread is left behind."""
    from wwfl_core.party.party import Party
    from wwfl_core.randomness.prg import Prg

    before = Party.prg, Prg.draw, threading.active_count()
    for name in ("views/uniform", "streams", "failure/lost-party", "ledger"):
        assert verdict_of(Replicated3PC, name).passed is True
    assert (Party.prg, Prg.draw) == before[:2]
    until = time.monotonic() + 5
    while threading.active_count() > before[2] and time.monotonic() < until:
        time.sleep(0.05)
    assert threading.active_count() <= before[2]


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "protocol", [Plain, Additive2PC, Replicated3PC, Tetrad4PC], ids=lambda p: p.name
)
def test_the_thorough_form_finds_nothing(protocol: type[MPCBackend]) -> None:
    """Every message tampered with in every way, every point of failure, millions of truncations."""
    report = conformance(protocol, thorough=True)
    assert report.ok, str(report)


# ---------------------------------------------------------------------- what the kit stands on


def test_the_statistics_tell_uniform_from_biased() -> None:
    g = np.random.default_rng(5)
    flat = [g.integers(0, 2**64 - 1, 4096, np.uint64, endpoint=True) for _ in range(300)]
    assert max(uniformity(a) for a in flat) < LIMIT - 1
    assert uniformity(flat[0] & flat[1] | flat[2]) > LIMIT
    assert uniformity(flat[0] << np.uint64(1)) > LIMIT
    lows = [a.astype(np.uint8) for a in flat]
    assert max(alike(a, b) for a, b in pairwise(lows)) < LIMIT - 1
    assert alike(lows[0], lows[1] & 127) > LIMIT
    assert alike(np.zeros(4096, np.uint8), np.zeros(4096, np.uint8)) < 1
    assert alike(np.zeros(4096, np.uint8), np.ones(4096, np.uint8)) > LIMIT


def test_linear_algebra_decides_who_reconstructs() -> None:
    assert in_row_space([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [1, -1, 1])
    assert not in_row_space([[1, 0, 0], [0, 1, 0]], [1, 1, 1])
    assert in_row_space([[1, 1, 0], [0, 0, 2]], [3, 3, -1])
    assert not in_row_space([], [1]) and in_row_space([], [0])


# ---------------------------------------------------------------------- coalitions of two


@pytest.mark.parametrize(
    ("name", "operations"), [("views/span", ("product",)), ("views/alike", ())]
)
def test_a_coalition_of_two_is_watched_where_two_may_be_corrupt(
    name: str, operations: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "OPERATIONS", {k: programs.OPERATIONS[k] for k in operations})
    assert verdict_of(Replicated5PC, "correctness/product").passed is True
    assert verdict_of(Replicated5PC, "table/dealing").passed is True
    assert verdict_of(Replicated5PC, name).passed is True, verdict_of(Replicated5PC, name)
    assert verdict_of(DealsForOneCorruption, "views/uniform").passed is True
    verdict = verdict_of(DealsForOneCorruption, name)
    assert verdict.passed is False, verdict
    print(verdict)


def test_the_kit_needs_neither_pytest_nor_hypothesis() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None; sys.modules['pytest'] = None\n"
        "from backends import Plain; from wwfl_core.testing import conformance, BackendSuite\n"
        "assert conformance(Plain, only='correctness/p').ok\n"
        "try:\n"
        " import wwfl_core.testing.strategies\n"
        "except ImportError as error:\n"
        " print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "needs hypothesis: pip install hypothesis" in done.stdout
