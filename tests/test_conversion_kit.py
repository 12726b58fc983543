"""The kit's checks of conversion and training on the built-in protocols, and the page that shows their verdicts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backends import Tetrad4PC
from helpers import EVERY
from reshare import reshare
from reshare.testing import conversion
from wwfl.cli.conformance import built_in, every_check
from wwfl.testing import conformance
from wwfl_core import LocalCluster
from wwfl_core.cluster import Handle
from wwfl_core.testing import conformance as kit

PAGE = Path(__file__).parent.parent / "docs" / "conformance.md"


@pytest.mark.parametrize("name", EVERY)
def test_conversion_to_and_from_every_built_in_protocol_conforms(name: str) -> None:
    report = conformance(EVERY[name], only="reshare/", others=EVERY)
    assert report.ok, str(report)


@pytest.mark.parametrize("name", EVERY)
def test_every_built_in_protocol_trains(name: str) -> None:
    report = conformance(EVERY[name], only="trains/", others=EVERY)
    assert report.ok and report["trains/demo"].passed, str(report)


def forgets_the_mask(x: Handle, to: LocalCluster) -> Handle:
    """Opens the value and shares it again with constant masks."""
    from wwfl_core.cluster import LocalCluster as Cluster

    bits = x.ref.frac_bits
    if bits is None:
        return reshare(x, to)
    value = x.cluster.reveal(x)
    original = Cluster._client_key
    to._client_key = lambda: b"k" * 32  # type: ignore[method-assign]
    try:
        return to.share(value, frac_bits=bits)
    finally:
        to._client_key = original.__get__(to)  # type: ignore[method-assign]


@pytest.mark.parametrize("check", ["reshare/fresh", "reshare/views"])
def test_a_converter_that_opens_the_value_and_repeats_its_masks_is_caught(check: str) -> None:
    assert kit(EVERY["3pc"], only=check, extra=[conversion(EVERY)]).ok
    report = kit(EVERY["3pc"], only=check, extra=[conversion(EVERY, forgets_the_mask)])
    assert not report.ok, str(report)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_tetrad_survives_every_alteration_of_every_message() -> None:
    """Share, product, truncation, sign, injection, ReLU, reveal, and conversion as source and as target."""
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
