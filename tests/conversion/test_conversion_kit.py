"""The kit's checks of conversion and training on the built-in protocols, and the page that shows
their verdicts."""

from __future__ import annotations

import re

import pytest

from backends import Tetrad4PC
from broken_converters import BROKEN
from broken_protocols import ALSO_CAUGHT_BY
from helpers import EVERY, REPOSITORY
from reshare.testing import conversion, values
from wwfl.cli.conformance import built_in, every_check
from wwfl.testing import conformance
from wwfl_core.testing import conformance as kit

PAGE = REPOSITORY / "docs" / "reference" / "conformance.md"


@pytest.mark.parametrize("name", EVERY)
def test_conversion_to_and_from_every_built_in_protocol_conforms(name: str) -> None:
    """With itself and those before it, in both directions: every pair is met once."""
    names = list(EVERY)
    others = {other: EVERY[other] for other in names[: names.index(name) + 1]}
    report = conformance(EVERY[name], only="reshare/", others=others)
    assert report.ok, str(report)


@pytest.mark.parametrize("name", EVERY)
def test_every_built_in_protocol_trains(name: str) -> None:
    report = conformance(EVERY[name], only="trains/", others=EVERY)
    assert report.ok and report["trains/demo"].passed, str(report)


@pytest.mark.parametrize("check", BROKEN)
def test_every_check_of_conversion_catches_the_broken_converter_made_for_it(check: str) -> None:
    convert, protocol, others = BROKEN[check]
    report = kit(protocol, only=check, extra=[conversion(others, convert)])
    assert not report.ok, str(report)
    report = kit(protocol, only=check, extra=[conversion(others)])
    assert report.ok and report[check].passed, str(report)


@pytest.mark.parametrize("check", [c for c in BROKEN if c != "reshare/value"])
def test_the_broken_converters_convert_rightly_otherwise(check: str) -> None:
    convert, protocol, others = BROKEN[check]
    report = kit(protocol, only="reshare/value", extra=[conversion(others, convert)])
    assert report.ok, str(report)


def test_seeds_for_everybody_show_only_when_the_masks_behind_them_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    convert, protocol, others = BROKEN["reshare/views"]
    monkeypatch.setattr(values, "_masks", lambda payload: [])
    assert kit(protocol, only="reshare/views", extra=[conversion(others, convert)]).ok


def test_the_check_of_training_fails_a_protocol_whose_rounding_is_biased() -> None:
    assert not conformance(ALSO_CAUGHT_BY["trains/demo"], only="trains/demo", others=EVERY).ok


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_tetrad_survives_every_alteration_of_every_message() -> None:
    """Share, product, truncation, sign, injection, ReLU, reveal, and conversion as source and as
    target."""
    for only in ("tamper/", "reshare/tamper"):
        report = conformance(Tetrad4PC, True, only=only, others=EVERY)
        assert report.ok, str(report)


def test_the_page_names_every_built_in_protocol_and_every_check_with_its_claim() -> None:
    text, protocols = PAGE.read_text(), built_in()
    checks = every_check(next(iter(protocols.values())), protocols)
    assert re.findall(r"^- `([^`]+)`: ", text, re.MULTILINE) == [c.name for c in checks]
    assert all(f"- `{c.name}`: {' '.join(c.claim.split())}\n" in text for c in checks)
    assert re.findall(r"\[ wwfl (\S+) \| conforms", text) == list(protocols)
    for row in re.findall(r"^\| (?:2pc|3pc|4pc|plain) \|.*$", text, re.MULTILINE):
        assert sum(int(n) for n in re.findall(r"(\d+) [✓✗–]", row)) == len(checks)
